"""Handing the leadership over: who may be told to, what waits meanwhile, what stays forbidden."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from raft_lab import TIMEOUT_MAX_S, OurLab
from raft_members import Cluster, running, wait_until

from gfs_ha.errors import (
    Busy,
    GfsError,
    NoLeader,
    NotFound,
    NotLeader,
    NotReady,
    PreconditionFailed,
)
from gfs_ha.master.raft.contract import Outcome
from gfs_ha.master.raft.messages import AskVote, TimeoutNow, Vote, decode, encode
from gfs_ha.sim.guards import GUARDS


class Heard:
    """How a transfer ended."""

    def __init__(self) -> None:
        self.ended = False
        self.error: GfsError | None = None
        self.leader = ""

    def __call__(self, error: GfsError | None, leader: str) -> None:
        assert not self.ended, "a transfer ended twice"
        self.ended, self.error, self.leader = True, error, leader


@pytest.fixture
def lab(tmp_path: Path) -> OurLab:
    made = OurLab("ABC", tmp_path)
    made.elect("A")
    made.run(0.5)
    return made


def hand_over(lab: OurLab, target: str = "", leader: str = "A") -> Heard:
    heard = Heard()
    lab.nodes[leader].transfer(target, heard)
    lab.tick(leader)
    return heard


def told(lab: OurLab, source: str, target: str) -> list[TimeoutNow]:
    words = [decode(message) for message in lab.wire[source, target]]
    return [word for word in words if isinstance(word, TimeoutNow)]


def test_the_named_member_leads_within_a_few_messages(lab: OurLab) -> None:
    term = lab.term("A")
    heard = hand_over(lab, "C")
    lab.run(0.1)
    assert (heard.error, heard.leader) == (None, "C")
    assert lab.leaders() == ["C"] and lab.term("C") == term + 1


def test_without_a_name_the_member_that_is_furthest_leads(lab: OurLab) -> None:
    lab.cut("A", "B")
    lab.propose("A", "x")
    lab.run(0.3, "AC")
    lab.heal("A", "B")
    heard = hand_over(lab)
    lab.run(0.1)
    assert heard.leader == "C"


def test_what_was_taken_ends_before_and_what_comes_meanwhile_is_certainly_not_applied(
    lab: OurLab,
) -> None:
    lab.propose("A", "taken")
    lab.tick("A")
    heard = hand_over(lab, "B")
    lab.propose("A", "held")
    lab.tick("A")
    assert not told(lab, "A", "B") and lab.outcome("held") is None
    lab.run(0.2)
    assert heard.leader == "B"
    assert lab.outcome("taken") == "applied" and lab.outcome("held") == "failed"
    lab.run(0.5)
    assert lab.applied("B") == lab.applied("A") == ["taken"]


def test_a_target_that_does_not_take_over_changes_nothing_but_the_lease(lab: OurLab) -> None:
    term = lab.term("A")
    heard = hand_over(lab, "B")
    assert told(lab, "A", "B")
    lab.take("A", "B")
    lab.propose("A", "meanwhile")
    lab.run(TIMEOUT_MAX_S + 0.1, "AC")
    assert isinstance(heard.error, NotReady) and "did not take over" in heard.error.message
    lab.run(0.3, "AC")
    assert lab.leads("A") and lab.term("A") == term and lab.outcome("meanwhile") == "applied"
    assert not lab.nodes["A"].reads_now()
    seen = lab.read("A")
    lab.run(0.2)
    assert seen == [["meanwhile"]]  # By a round.


def test_a_target_that_is_lost_meanwhile_ends_it_at_once(lab: OurLab) -> None:
    lab.propose("A", "x")
    lab.tick("A")
    heard = hand_over(lab, "B")
    lab.cut("A", "B")
    lab.tick("A")
    assert isinstance(heard.error, NotReady) and "lost" in heard.error.message


def test_a_target_that_does_not_catch_up_is_given_up(lab: OurLab) -> None:
    lab.propose("A", "x")
    lab.tick("A")
    lab.take("A", "B")
    heard = hand_over(lab, "B")
    lab.run(TIMEOUT_MAX_S + 0.1, "AC")
    assert isinstance(heard.error, NotReady) and "did not catch up" in heard.error.message
    assert lab.leads("A")


def test_who_cannot_be_told_to_lead(lab: OurLab) -> None:
    assert isinstance(hand_over(lab, "A").error, PreconditionFailed)
    assert isinstance(hand_over(lab, "X").error, NotFound)
    follower = hand_over(lab, "C", leader="B").error
    assert isinstance(follower, NotLeader) and follower.details["leader"] == "A"
    lab.cut("A", "B")
    lab.tick("A")
    away = hand_over(lab, "B").error
    assert isinstance(away, NotReady) and "not connected" in away.message


def test_a_member_that_lacks_too_much_is_not_told_to_lead(
    lab: OurLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gfs_ha.master.raft.transfer.RAFT_TRANSFER_LAG_MAX", 2)
    lab.propose("A", "x")
    lab.run(0.3)
    for number in range(5):
        lab.propose("A", f"{number}")
    lab.tick("A")
    error = hand_over(lab, "B").error
    assert isinstance(error, NotReady) and "not caught up" in error.message


def test_one_transfer_at_a_time_and_every_one_ends(lab: OurLab) -> None:
    first = hand_over(lab, "B")
    assert isinstance(hand_over(lab, "C").error, Busy)
    lab.nodes["A"].close()
    assert isinstance(first.error, NotLeader)
    late = Heard()
    lab.nodes["A"].transfer("B", late)
    assert isinstance(late.error, NotLeader)


def test_a_leader_that_gave_up_and_finds_no_successor_says_so(lab: OurLab) -> None:
    heard = hand_over(lab, "B")
    lab.deliver("A", "B")
    lab.tick("B")
    lab.deliver("B", "A")
    lab.kill("B")
    lab.run(TIMEOUT_MAX_S + 0.1, "A")
    assert isinstance(heard.error, NoLeader)


def test_only_the_leader_of_the_own_term_is_obeyed(lab: OurLab) -> None:
    term = lab.term("C")
    for source, asked in (("B", term), ("A", term - 1), ("A", term + 1)):
        lab.give(source, "C", [encode(TimeoutNow(asked))])
        lab.tick("C")
        assert lab.term("C") == term and not lab.take("C", "B")


def test_nobody_stands_unasked_at_the_first_start(tmp_path: Path) -> None:
    fresh = OurLab("ABC", tmp_path)
    fresh.run(0.1)
    assert [fresh.term(name) for name in "ABC"] == [0, 0, 0]


def test_a_heartbeat_behind_the_word_does_not_take_it_back(lab: OurLab) -> None:
    hand_over(lab, "B")
    lab.pass_time(0.2)
    lab.tick("A")
    lab.deliver("A", "B")
    lab.tick("B")
    assert lab.term("B") == lab.term("A") + 1


@pytest.mark.parametrize(("succeeds", "granted"), [(0, False), (-1, False), (1, True)])
def test_a_voter_believes_only_a_successor_of_the_term_before(
    lab: OurLab, succeeds: int, granted: bool
) -> None:
    term = lab.term("B")
    claimed = {0: 0, -1: term - 1, 1: term}[succeeds]
    lab.give("C", "B", [encode(AskVote(term + 1, 99, term, claimed))])
    lab.tick("B")
    answers = [decode(message) for message in lab.take("B", "C")]
    assert any(isinstance(answer, Vote) and answer.granted for answer in answers) == granted


def stale_after_transfer(lab: OurLab) -> bool:
    """A leader hands over, hears nothing of it, and is read while its successor writes."""
    hand_over(lab, "B")
    lab.deliver("A", "B")
    lab.isolate("A")
    lab.run(0.2, "BC")
    assert lab.leads("B")
    lab.propose("B", "NEW")
    lab.run(0.2, "BC")
    assert lab.outcome("NEW") == "applied" and lab.leads("A")
    seen = lab.read("A")
    lab.tick("A")
    return lab.nodes["A"].reads_now() or any("NEW" not in values for values in seen)


def test_a_leader_that_handed_over_takes_no_lease_in_its_term(lab: OurLab, tmp_path: Path) -> None:
    assert not stale_after_transfer(lab)
    kind = type("Lab", (OurLab,), {"node_type": GUARDS["no-lease-after-transfer"]})
    bare = kind("ABC", tmp_path)
    bare.elect("A")
    bare.run(0.5)
    assert stale_after_transfer(bare)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with running(tmp_path) as cluster:
        yield cluster


def test_real_members_hand_over_and_go_on(cluster: Cluster) -> None:
    before = cluster.goes_through(b"before")
    after: list[Outcome] = []

    def handed_over() -> bool:
        """One attempt: on a busy machine its time runs out, or another election comes between."""
        leader = cluster.leader()
        target = next(one for one in cluster.members.values() if one is not leader)
        heard = Heard()
        leader.node.transfer(target.config.member_id, heard)
        wait_until(lambda: heard.ended, "the transfer")
        if (heard.error, heard.leader) != (None, target.config.member_id):
            return False
        after.append(target.propose(b"after"))
        return after[-1].error is None

    wait_until(handed_over, "the named member to lead and to serve")
    assert after[-1].term > before.term
    for member in cluster.members.values():
        wait_until(lambda m=member: after[-1].index in m.state(), "what came after")
        assert member.state()[before.index] == b"before"


def test_a_cluster_of_one_has_nobody_to_hand_over_to(tmp_path: Path) -> None:
    with running(tmp_path, count=1) as cluster:
        heard = Heard()
        cluster.leader().node.transfer("", heard)
        wait_until(lambda: heard.ended, "the answer")
        assert isinstance(heard.error, NotReady)
