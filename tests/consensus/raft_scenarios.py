"""The holes of stock PySyncObj 0.3.17 as scenarios: each returns whether the damage is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from raft_lab import APPLIED, Lab

Make = Callable[[str], Lab]
Scenario = Callable[[Make], bool]


def late_append_truncates(make: Make) -> bool:
    """An AppendEntries from an old connection is read late; acknowledged commands are lost."""
    lab = make("ABC")
    lab.elect("A")
    lab.isolate("C")
    lab.propose("A", "w1")
    for _ in range(3):
        lab.tick("A")
        lab.pass_time(0.05)
    late = lab.take("A", "B")
    lab.cut("A", "B")
    lab.heal("A", "B")
    values = [f"y{number}" for number in range(5)]
    for value in values:
        lab.propose("A", value)
    while lab.outcome(values[-1]) is None:  # B stores all, and learns last that it is committed.
        lab.pass_time(0.02)
        lab.tick("A")
        if lab.outcome(values[-1]) is None:
            lab.deliver("A", "B")
            lab.tick("B")
            lab.deliver("B", "A")
    assert [lab.outcome(value) for value in values] == [APPLIED] * 5
    lab.give("A", "B", late)
    lab.tick("B")
    lab.kill("A")
    lab.heal("B", "C")
    lab.run(12.0, "BC")
    (leader,) = lab.leaders()
    lab.propose(leader, "new")
    lab.run(2.0, "BC")
    return not set(values) <= set(lab.applied("C"))


def old_answer_commits(make: Make) -> bool:
    """An acknowledgement of an earlier term is counted: acknowledged, but on a minority only."""
    lab = make("ABCDE")
    lab.elect("A")
    for other in "CDE":
        lab.cut("A", other)
    for number in range(6):
        lab.propose("A", f"x{number}")
    for _ in range(3):
        lab.pass_time(0.12)
        lab.tick("A")
        lab.deliver("A", "B")
        lab.tick("B")
    late = lab.take("B", "A")
    lab.isolate("B")
    lab.elect("D", "CDE")
    for other in "CDE":
        lab.heal("A", other)
    lab.run(1.0, "ACDE")  # What A had for itself is replaced.
    lab.elect("A", "ACDE")
    for other in "DE":
        lab.cut("A", other)
    lab.propose("A", "y")
    lab.tick("A")
    lab.give("B", "A", late)
    lab.run(0.5, "AC")
    holders = [name for name in lab.ids if lab.log(name)[-1] == lab.log("A")[-1]]
    return lab.outcome("y") == APPLIED and len(holders) < 3


def snapshot_commits(make: Make) -> bool:
    """A leader that was cut off is brought back by a snapshot; its own lost command "succeeds"."""
    lab = make("ABC")
    lab.elect("A")
    lab.propose("A", "w0")
    lab.run(0.5)
    lab.isolate("A")
    lab.propose("A", "LOST")
    lab.tick("A")
    lab.tick("A")
    lab.elect("B", "BC")
    for number in range(80):
        lab.propose("B", f"b{number}")
    lab.run(2.0, "BC")
    lab.rejoin("A")
    for _ in range(200):  # Message by message: a snapshot comes in pieces.
        lab.pass_time(0.03)
        lab.tick("B")
        first, *rest = [*lab.take("B", "A"), None]
        if first is not None:
            lab.give("B", "A", [first])
            lab.wire["B", "A"].extend(rest[:-1])
        lab.tick("A")
        lab.deliver("A", "B")
        if lab.outcome("LOST") is not None:
            break
    return lab.outcome("LOST") == APPLIED and "LOST" not in lab.applied("B")


def one_vote_counts_twice(make: Make) -> bool:
    """A vote message that comes twice makes a leader with two votes of five."""
    lab = make("ABCDE")
    lab.pass_time(10.0)
    for name in lab.ids:
        lab._internal(name)._SyncObj__raftElectionDeadline = 0.0 if name == "A" else 1e9
    for _ in range(4):
        lab.pass_time(0.001)
        lab.tick("A")
        for other in "BCDE":
            lab.deliver("A", other)
            lab.tick(other)
        votes = [message for message in lab.wire["B", "A"] if lab.is_vote(message)]
        if votes:
            break
        for other in "BCDE":
            lab.deliver(other, "A")
    assert votes and not lab.leads("A")
    lab.give("B", "A", votes * 2)
    return lab.leads("A")


def vote_is_forgotten(make: Make) -> bool:
    """A member votes, loses power, and votes for somebody else in the same term."""
    lab = make("ABC")
    votes = []
    for candidate in "AC":
        lab.pass_time(10.0)
        lab._internal("B")._SyncObj__raftElectionDeadline = 1e9
        lab.give(candidate, "B", [lab.ask_vote(7)])
        lab.tick("B")
        votes += [m for m in lab.take("B", candidate) if lab.is_vote(m)]
        lab.power_cut("B")
    return len(votes) > 1


def acknowledged_is_not_durable(make: Make) -> bool:
    """Power fails everywhere after a command was acknowledged; the command is gone."""
    lab = make("ABC")
    lab.elect("A")
    lab.propose("A", "precious")
    lab.run(0.5)
    assert lab.outcome("precious") == APPLIED
    for name in lab.ids:
        lab.power_cut(name)
    lab.elect("B")
    lab.run(1.0)
    return "precious" not in lab.applied("B")


def raising_apply_wedges(make: Make) -> bool:
    """A command whose apply raises stops all later ones, while every process seems to be well."""
    lab = make("ABC")
    lab.elect("A")
    lab.propose("A", "poison")
    lab.run(0.1)
    if lab.leads("A"):
        lab.propose("A", "good")
    lab.run(20.0)
    wedged = all(lab.raised[name] > 100 for name in lab.ids)
    return wedged and lab.outcome("good") is None


def raising_callback_applies_twice(make: Make) -> bool:
    """A callback that raises makes its command apply twice, on one member only."""
    lab = make("ABC")
    lab.elect("A")
    lab.propose("A", "angry")
    lab.run(1.0)
    assert lab.applied("B") == ["angry"]
    return lab.applied("A") != ["angry"]


def callbacks_never_fire(make: Make) -> bool:
    """A leader is cut off and overtaken; what it was asked to do never ends."""
    lab = make("ABC")
    lab.elect("A")
    lab.isolate("A")
    values = [f"z{number}" for number in range(20)]
    for value in values:
        lab.propose("A", value)
    lab.tick("A")
    lab.elect("B", "BC")
    for number in range(100):
        lab.propose("B", f"b{number}")
    lab.run(3.0, "BC")
    lab.rejoin("A")
    lab.run(30.0)
    return any(lab.outcome(value) is None for value in values)


def forwarded_command_never_ends(make: Make) -> bool:
    """A command given to a follower is lost with a connection; nobody ever hears of it."""
    lab = make("ABC")
    lab.elect("A")
    lab.propose("B", "forwarded")
    lab.tick("B")
    lab.take("B", "A")
    lab.cut("A", "B")
    lab.heal("A", "B")
    lab.run(30.0, step_s=0.05)
    return lab.outcome("forwarded") is None


def flaky_link_deposes(make: Make) -> bool:
    """One link is down; a healthy leader, whom a majority hears, is deposed."""
    lab = make("ABC")
    lab.elect("A")
    term = lab.term("A")
    lab.cut("A", "C")
    changes = 0
    leaders = lab.leaders()
    for _ in range(600):
        lab.run(0.05, step_s=0.05)
        changes += lab.leaders() != leaders
        leaders = lab.leaders()
    return changes > 0 or lab.term("A") != term


def leads_without_quorum(make: Make) -> bool:
    """A leader that no majority hears any more goes on leading, beside a new one."""
    lab = make("ABC")
    lab.elect("A")
    lab.isolate("A")
    lab.run(8.0)
    assert set(lab.leaders()) & {"B", "C"}
    return lab.leads("A")


def isolated_leader_reads_stale(make: Make) -> bool:
    """A leader that was replaced without hearing of it answers reads from its old state."""
    lab = make("ABC")
    lab.elect("A")
    lab.isolate("A")
    lab.elect("B", "BC")
    lab.propose("B", "NEW")
    lab.run(0.5, "BC")
    assert lab.outcome("NEW") == APPLIED
    answers = lab.read("A")
    lab.run(5.0)
    return any("NEW" not in values for values in answers)


def new_leader_reads_stale(make: Make) -> bool:
    """NEW was acknowledged by a leader that died; its successor answers old, old, NEW."""
    lab = make("ABC")
    lab.elect("A")
    lab.propose("A", "old")
    lab.run(0.5)
    lab.propose("A", "NEW")
    while lab.outcome("NEW") is None:  # The others store it, but do not learn that it is committed.
        lab.pass_time(0.001)
        lab.tick("A")
        if lab.outcome("NEW") is None:
            for other in "BC":
                lab.deliver("A", other)
                lab.tick(other)
                lab.deliver(other, "A")
    lab.kill("A")
    answers: list[list[list[str]]] = []
    for _ in range(600):
        lab.run(0.02, "BC")
        answers += [lab.read(name) for name in lab.leaders()]
    released = [values for answer in answers for values in answer]
    assert released, "no read was ever answered"
    return any("NEW" not in values for values in released)


SCENARIOS: list[Scenario] = [
    late_append_truncates,
    old_answer_commits,
    snapshot_commits,
    one_vote_counts_twice,
    vote_is_forgotten,
    acknowledged_is_not_durable,
    raising_apply_wedges,
    raising_callback_applies_twice,
    callbacks_never_fire,
    forwarded_command_never_ends,
    flaky_link_deposes,
    leads_without_quorum,
    isolated_leader_reads_stale,
    new_leader_reads_stale,
]


def play(scenario: Scenario, lab_type: type[Lab], path: Path) -> bool:
    labs: list[Lab] = []

    def make(ids: str) -> Lab:
        labs.append(lab_type(ids, path))
        return labs[-1]

    try:
        return scenario(make)
    finally:
        for lab in labs:
            lab.close()
