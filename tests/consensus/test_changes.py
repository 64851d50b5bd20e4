"""Members come and go: who counts when, what a leader refuses, what is lost without that (M5)."""

from __future__ import annotations

from pathlib import Path

import pytest
from raft_lab import TIMEOUT_MAX_S, TIMEOUT_MIN_S, OurLab

from gfs_ha.errors import (
    AlreadyExists,
    Busy,
    GfsError,
    LimitExceeded,
    NotFound,
    NotLeader,
    NotReady,
    PreconditionFailed,
)
from gfs_ha.limits import RAFT_MEMBERS_MAX
from gfs_ha.master.raft.contract import LEARNER, OUTSIDER, VOTER, Outcome
from gfs_ha.master.raft.members import (
    NOBODY,
    AddLearner,
    Addresses,
    AdmitMember,
    Change,
    Configuration,
    RemoveMember,
)
from gfs_ha.sim.guards import GUARDS


class SparedLab(OurLab):
    spares = "DE"


def where(name: str) -> Addresses:
    return Addresses((name, 1), (name, 2))


def of(voters: str, learners: str = "") -> Configuration:
    return Configuration({n: where(n) for n in voters}, {n: where(n) for n in learners})


@pytest.fixture
def lab(tmp_path: Path) -> SparedLab:
    made = SparedLab("ABCDE", tmp_path)
    made.elect("A", "ABC")
    made.run(0.5)
    return made


def ended(lab: OurLab, change: Change, leader: str = "A", only: str = "ABCDE") -> GfsError | None:
    """Ask for a change, give it a second, and return how it ended."""
    found = lab.change(leader, change)
    lab.run(1.0, only)
    (outcome,) = found
    return outcome.error


def standing(lab: OurLab, name: str) -> str:
    return str(lab.nodes[name].status().standing)


@pytest.mark.parametrize(
    ("voters", "own", "needed"),
    [
        ("A", "A", 0),
        ("AB", "A", 1),
        ("ABC", "A", 1),
        ("ABCD", "A", 2),
        ("ABC", "X", 2),
        ("", "X", 1),
    ],
)
def test_a_majority_is_counted_in_one_place(voters: str, own: str, needed: int) -> None:
    assert of(voters, "LM").others_needed(own) == needed


def test_learners_and_strangers_never_make_a_majority() -> None:
    configuration = of("ABC", "L")
    assert not configuration.agreed("A", {"L", "X", "A"})
    assert configuration.agreed("A", {"L", "B"})
    assert configuration.reached("A", {"B": 3, "C": 5, "L": 9, "X": 9}) == 5
    assert of("ABCD").reached("A", {"B": 3, "C": 5, "D": 9}) == 5


def test_a_change_moves_one_member_by_one_step() -> None:
    added = AddLearner("D", where("D")).changed(of("ABC"))
    assert added == of("ABC", "D")
    assert AdmitMember("D").changed(added) == of("ABCD")
    assert RemoveMember("A").changed(of("ABC", "D")) == of("BC", "D")
    refused: list[tuple[Change, Configuration, type[GfsError]]] = [
        (AddLearner("A", where("A")), of("ABC"), AlreadyExists),
        (AddLearner("D", where("D")), of("ABC", "D"), AlreadyExists),
        (AddLearner("Z", where("Z")), of("ABCDEFGHI"[:RAFT_MEMBERS_MAX]), LimitExceeded),
        (AdmitMember("A"), of("ABC"), AlreadyExists),
        (AdmitMember("D"), of("ABC"), NotFound),
        (RemoveMember("D"), of("ABC"), NotFound),
        (RemoveMember("A"), of("A", "B"), PreconditionFailed),
    ]
    for change, now, error in refused:
        with pytest.raises(error):
            change.changed(now)


def test_who_is_removed_hears_of_it_only_once_that_is_committed(tmp_path: Path) -> None:
    lab = OurLab("ABC", tmp_path)
    lab.elect("A")
    lab.change("A", RemoveMember("C"))
    lab.run(0.3, "AC")  # B, which has to store it, too, hears nothing.
    assert standing(lab, "A") == VOTER and list(lab.nodes["A"].replica.configuration.voters) == [
        "A",
        "B",
    ]
    assert list(lab.nodes["C"].replica.configuration.voters) == ["A", "B", "C"]
    lab.run(0.3)
    assert standing(lab, "C") == OUTSIDER


def test_a_new_member_learns_then_votes_and_the_old_one_hears_that_it_is_out(
    lab: SparedLab,
) -> None:
    lab.propose("A", "before")
    lab.run(0.3)
    assert standing(lab, "D") == OUTSIDER and lab.applied("D") == []
    assert ended(lab, AddLearner("D", where("D"))) is None
    assert standing(lab, "D") == LEARNER and lab.applied("D") == ["before"]
    assert ended(lab, AdmitMember("D")) is None
    assert {lab.voters(name) for name in "ABCD"} == {"ABCD"} and standing(lab, "D") == VOTER
    assert ended(lab, RemoveMember("C")) is None
    assert {lab.voters(name) for name in "ABCD"} == {"ABD"} and standing(lab, "C") == OUTSIDER
    term = lab.term("A")
    lab.run(3 * TIMEOUT_MAX_S)
    assert lab.leads("A") and lab.term("A") == term, "who is out disturbs nobody"
    lab.kill("A")
    lab.run(4 * TIMEOUT_MAX_S, "BD")
    (leader,) = lab.leaders()
    lab.propose(leader, "after")
    lab.run(0.5, "BD")
    assert lab.applied("D") == ["before", "after"]


def test_who_hears_that_a_change_is_done_sees_it(lab: SparedLab) -> None:
    for change in (AddLearner("D", where("D")), RemoveMember("D")):
        seen: list[bool] = []

        def done(outcome: Outcome, seen: list[bool] = seen) -> None:
            members = lab.nodes["A"].status().members
            seen.append(any(member.member_id == "D" for member in members))

        lab.nodes["A"].change_members(change, 5.0, done)
        for _ in range(40):  # In steps so small that no status is due by itself.
            lab.run(0.001, "ABC", step_s=0.001)
        assert seen == [isinstance(change, AddLearner)]


def test_a_learner_neither_counts_nor_stands(lab: SparedLab) -> None:
    assert ended(lab, AddLearner("D", where("D"))) is None
    for other in "BC":
        lab.cut("A", other)
    lab.propose("A", "lonely")
    lab.run(TIMEOUT_MIN_S / 2, "AD")
    assert lab.log("D")[-1] == lab.log("A")[-1] and lab.outcome("lonely") is None
    lab.isolate("D")
    term = lab.term("D")
    lab.run(5 * TIMEOUT_MAX_S, "D")
    assert lab.term("D") == term


def test_a_newcomer_never_replays_what_was_before_it(lab: SparedLab) -> None:
    # The log may hold configurations in which its name voted: two newcomers would elect one.
    for name in "DE":
        before = lab.log("A")[-1][0]
        assert ended(lab, AddLearner(name, where(name))) is None
        lab.run(0.5)
        assert lab.log("A")[0] == (1, 0), "the leader still has all of its log"
        assert lab.log(name)[-1] == lab.log("A")[-1]
        assert lab.log(name)[0][0] > before, "also when a snapshot for another one is at hand"


def test_what_a_leader_refuses(lab: SparedLab, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(ended(lab, AddLearner("D", where("D")), leader="B"), NotLeader)
    assert isinstance(ended(lab, RemoveMember("A")), PreconditionFailed)
    first = lab.change("A", AddLearner("D", where("D")))
    second = lab.change("A", AddLearner("E", where("E")))
    lab.tick("A")
    assert isinstance(second[0].error, Busy) and not first
    lab.run(1.0)
    assert first[0].error is None
    lab.isolate("D")
    lab.run(2 * TIMEOUT_MAX_S)
    assert isinstance(ended(lab, AdmitMember("D")), NotReady)
    lab.rejoin("D")
    lab.run(0.5)
    monkeypatch.setattr("gfs_ha.master.raft.changes.RAFT_ADMISSION_LAG_MAX", -1)
    late = ended(lab, AdmitMember("D"))
    assert isinstance(late, NotReady) and "not caught up" in late.message
    monkeypatch.undo()
    progress = lab.nodes["A"].replica.progress_of("D")
    assert progress is not None and progress.match_index == lab.log("A")[-1][0]
    progress.applied_index -= 1001  # All of it is there, but not applied yet.
    unapplied = lab.change("A", AdmitMember("D"))
    lab.tick("A")
    assert isinstance(unapplied[0].error, NotReady)


def test_no_change_that_would_end_all_writing(lab: SparedLab) -> None:
    lab.isolate("B")
    lab.run(2 * TIMEOUT_MAX_S)
    error = ended(lab, RemoveMember("C"))
    assert isinstance(error, NotReady) and "2 are needed" in error.message
    assert ended(lab, RemoveMember("B")) is None


def test_truncation_and_restarts_return_to_the_configuration_before(lab: SparedLab) -> None:
    lab.isolate("A")
    outcomes = lab.change("A", RemoveMember("C"))
    lab.tick("A")
    assert lab.voters("A") == "AB" and not outcomes
    lab.power_cut("A")
    assert lab.voters("A") == "AB", "it is stored with the log"
    lab.isolate("A")
    lab.elect("B", "BC")
    lab.propose("B", "x")
    lab.run(0.5, "BC")
    lab.rejoin("A")
    lab.run(1.0)
    assert lab.voters("A") == "ABC" and lab.applied("A") == ["x"]
    lab.power_cut("A")
    assert lab.voters("A") == "ABC"


def test_a_configuration_outlives_the_log_that_brought_it(lab: SparedLab) -> None:
    assert ended(lab, AddLearner("D", where("D"))) is None
    assert ended(lab, RemoveMember("C")) is None
    for number in range(30):
        lab.propose("A", f"{number}")
        lab.run(0.1, "ABD")
    lab.run(1.0, "ABD")
    assert lab.nodes["A"].status().first > 10
    for name in "ABD":
        lab.power_cut(name)
        configuration = lab.nodes[name].replica.configuration
        assert (sorted(configuration.voters), [*configuration.learners]) == (["A", "B"], ["D"])
        assert configuration.learners["D"] == where("D")


def test_who_was_alone_needs_the_second_voter_from_its_admission_on(tmp_path: Path) -> None:
    lab = type("Pair", (OurLab,), {"spares": "B"})("AB", tmp_path)
    lab.elect("A", "A")
    assert lab.nodes["A"].reads_now()
    assert ended(lab, AddLearner("B", where("B")), only="AB") is None
    assert ended(lab, AdmitMember("B"), only="AB") is None
    assert lab.leads("A"), "it did not take the time before for a time without answers"
    lab.isolate("A")
    lab.propose("A", "x")
    lab.run(TIMEOUT_MIN_S, "A")
    assert lab.outcome("x") is None and not lab.nodes["A"].reads_now()
    lab.rejoin("A")
    lab.run(2 * TIMEOUT_MAX_S)
    lab.run(2.0)
    assert lab.leaders()


def test_votes_and_appends_of_one_that_is_not_in_ones_own_configuration_count(
    lab: SparedLab,
) -> None:
    """C lags behind: it does not know D yet, when D becomes the leader with its vote."""
    lab.isolate("C")
    assert ended(lab, AddLearner("D", where("D")), only="ABD") is None
    assert ended(lab, AdmitMember("D"), only="ABD") is None
    assert lab.voters("C") == "ABC"
    lab.kill("A")
    lab.rejoin("C")
    lab.elect("D", "BCD")
    lab.propose("D", "x")
    lab.run(0.5, "BCD")
    assert lab.outcome("x") == "applied" and lab.voters("C") == "ABCD"
    assert lab.applied("C") == ["x"]


def two_removals_at_once(lab: OurLab) -> bool:
    """A leader that nobody hears any more removes the others one after another, and goes on."""
    lab.elect("A")
    lab.run(0.3)
    lab.isolate("A")
    for name in "CB":
        lab.change("A", RemoveMember(name))
    lab.tick("A")
    lab.propose("A", "x")
    for _ in range(4):
        lab.tick("A")
    acknowledged = lab.outcome("x") == "applied"
    lab.elect("B", "BC")
    return acknowledged and "x" not in lab.applied("B")


def changes_with_disjoint_majorities(lab: OurLab) -> bool:
    """Ongaro 2015: A removes B, uncommitted; B removes A before an entry of its term is committed.
    {B, C} commit by the one configuration, {A, D} by the other.
    """
    lab.elect("A")
    lab.run(0.3)
    lab.isolate("A")
    lab.change("A", RemoveMember("B"))
    lab.tick("A")
    lab.elect("B", "BCD", settle_s=0.0)
    lab.isolate("D")
    lab.run(0.1, "BC")
    nobody: list[Outcome] = lab.change("B", RemoveMember("A"))
    lab.run(0.1, "BC")
    assert not nobody or nobody[0].error is None or isinstance(nobody[0].error, Busy | NotReady)
    lab.propose("B", "x")
    lab.run(0.3, "BC")
    acknowledged = lab.outcome("x") == "applied"
    lab.heal("A", "D")
    lab.isolate("B")
    if acknowledged:
        lab.elect("A", "AD")
        lab.propose("A", "y")
        lab.run(0.5, "AD")
    return acknowledged and lab.outcome("y") == "applied" and "x" not in lab.applied("D")


@pytest.mark.parametrize(
    ("guard", "ids", "scenario"),
    [
        ("one-change-at-a-time", "ABC", two_removals_at_once),
        ("own-entry-before-changes", "ABCD", changes_with_disjoint_majorities),
    ],
)
def test_what_is_lost_without_the_rule(
    guard: str, ids: str, scenario: object, tmp_path: Path
) -> None:
    assert callable(scenario)
    for node_type, damage in ((OurLab.node_type, False), (GUARDS[guard], True)):
        path = tmp_path / str(damage)
        path.mkdir()
        made = type("Lab", (OurLab,), {"node_type": node_type})(ids, path)
        assert scenario(made) == damage


def test_nobody_is_no_majority() -> None:
    assert NOBODY.members == {} and not NOBODY.agreed("A", {"A"})
