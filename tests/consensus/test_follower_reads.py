"""Reads on followers: what the leader confirmed, what the own store shows, and how old that is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from raft_lab import PERIOD_S, TIMEOUT_MAX_S, OurLab

from gfs_ha.errors import DeadlineExceeded, GfsError, NotLeader
from gfs_ha.limits import RAFT_PROPOSALS_MAX, READ_REFRESH_S
from gfs_ha.master.raft.freshness import AGE_UNKNOWN_MS, Freshness
from gfs_ha.master.raft.messages import AppendEntries, AskReadIndex, ReadIndex, decode, encode


class Asked:
    """A read that was asked of a member, and what became of it."""

    def __init__(self, lab: OurLab, name: str, anywhere: bool = True, deadline_s: float = 5.0):
        self.values: list[str] | None = None
        self.error: GfsError | None = None
        self._lab, self._name = lab, name
        lab.nodes[name].read_index(deadline_s, self._done, anywhere)

    def _done(self, error: GfsError | None) -> None:
        assert self.values is None and self.error is None, "answered twice"
        if error is None:
            self.values = self._lab.applied(self._name)
        else:
            self.error = error

    @property
    def open(self) -> bool:
        return self.values is None and self.error is None


def make(ids: str, directory: Path) -> OurLab:
    lab = OurLab(ids, directory)
    lab.elect("A")
    for name in ids:
        lab.nodes[name].replica._refresh_s = float("inf")  # It asks only for reads.
    lab.run(1.0)
    for name in ids:
        lab.nodes[name].replica._freshness = Freshness()
    lab.tick("A")
    return lab


@pytest.fixture
def lab(tmp_path: Path) -> OurLab:
    return make("ABC", tmp_path)


def sent(lab: OurLab, source: str, target: str, kind: type) -> list[Any]:
    """Return the messages of a kind that are on their way."""
    return [m for m in map(decode, lab.wire[source, target]) if isinstance(m, kind)]


def test_a_follower_shows_what_was_acknowledged_before_it_was_asked(lab: OurLab) -> None:
    lab.propose("A", "x")
    for name in "AB":  # C hears nothing of it.
        lab.tick(name)
        lab.deliver("A", "B")
        lab.deliver("B", "A")
    lab.tick("A")
    lab.deliver("B", "A")
    lab.tick("A")
    assert lab.outcome("x") == "applied" and lab.applied("C") == []
    read = Asked(lab, "C")
    lab.run(0.1)
    assert read.values == ["x"]


def test_all_reads_that_arrived_share_one_question(lab: OurLab) -> None:
    reads = [Asked(lab, "B") for _ in range(100)]
    lab.tick("B")
    assert len(sent(lab, "B", "A", AskReadIndex)) == 1
    lab.run(0.1)
    assert all(read.values == [] for read in reads)


def test_a_read_after_the_question_waits_for_the_next_one(lab: OurLab) -> None:
    first = Asked(lab, "B")
    lab.tick("B")
    second = Asked(lab, "B")
    lab.deliver("B", "A")
    lab.tick("A")
    lab.deliver("A", "B")
    lab.tick("B")
    assert not first.open and second.open
    lab.run(0.1)
    assert not second.open


def test_an_answer_releases_no_read_that_came_after_its_question(lab: OurLab) -> None:
    first = Asked(lab, "B")
    lab.tick("B")
    (earlier,) = [m for m in lab.take("B", "A") if isinstance(decode(m), AskReadIndex)]
    second = Asked(lab, "B")
    lab.tick("B")
    (later,) = [m for m in lab.take("B", "A") if isinstance(decode(m), AskReadIndex)]
    for question, waits in ((earlier, True), (later, False)):
        lab.give("B", "A", [question])
        lab.tick("A")
        lab.deliver("A", "B")
        lab.tick("B")
        assert not first.open and second.open == waits


def test_only_what_the_store_shows_is_released(lab: OurLab) -> None:
    lab.propose("A", "x")
    lab.run(0.2, "AC")
    assert lab.outcome("x") == "applied"
    read = Asked(lab, "B")
    lab.tick("B")
    lab.deliver("B", "A")
    lab.tick("A")
    waiting = lab.take("A", "B")
    lab.give("A", "B", [m for m in waiting if isinstance(decode(m), ReadIndex)])
    lab.tick("B")
    assert read.open, "it knows the index and lacks the entry"
    lab.give("A", "B", [m for m in waiting if not isinstance(decode(m), ReadIndex)])
    lab.tick("B")
    assert read.values == ["x"]


def test_a_leader_beyond_its_lease_answers_no_follower_without_a_majority(tmp_path: Path) -> None:
    lab = make("ABCDE", tmp_path)
    for mine in "AB":
        for other in "CDE":
            lab.cut(mine, other)
    lab.run((1.0 + TIMEOUT_MAX_S) / 2, "AB")
    assert lab.leads("A"), "it may not know yet that somebody else could lead"
    read = Asked(lab, "B")
    for _ in range(5):
        lab.tick("B")
        lab.deliver("B", "A")
        lab.tick("A")
        assert sent(lab, "A", "B", ReadIndex) == []
        lab.deliver("A", "B")
    assert lab.leads("A") and read.open
    lab.run(2 * TIMEOUT_MAX_S, "AB")
    assert isinstance(read.error, NotLeader) and read.error.details["leader"] == ""


def test_a_leader_answers_nobody_of_another_term(lab: OurLab) -> None:
    for term in (lab.term("A") - 1, lab.term("A") + 1):
        lab.give("B", "A", [encode(AskReadIndex(term, 1))])
        lab.run(0.0, "A")
        lab.tick("A")
        assert sent(lab, "A", "B", ReadIndex) == []


def test_a_follower_asked_by_mistake_answers_nothing(lab: OurLab) -> None:
    lab.give("B", "C", [encode(AskReadIndex(lab.term("C"), 1))])
    lab.tick("C")
    assert sent(lab, "C", "B", ReadIndex) == []


def test_an_answer_of_another_term_counts_for_nothing(lab: OurLab) -> None:
    read = Asked(lab, "B")
    lab.tick("B")
    question = sent(lab, "B", "A", AskReadIndex)[0]
    lab.take("B", "A")
    lab.give("A", "B", [encode(ReadIndex(question.term - 1, question.asked_ns, 0))])
    lab.tick("B")
    assert read.open and lab.nodes["B"].freshness == Freshness()


def test_a_question_that_got_lost_is_asked_again(lab: OurLab) -> None:
    read = Asked(lab, "B")
    lab.tick("B")
    lab.take("B", "A")
    lab.run(PERIOD_S / 2)
    assert read.open
    lab.run(2 * PERIOD_S)
    assert read.values == []


def test_without_a_leader_a_follower_refuses_at_once(lab: OurLab) -> None:
    lab.isolate("B")
    lab.run(2 * TIMEOUT_MAX_S, "B")
    read = Asked(lab, "B")
    lab.tick("B")
    assert isinstance(read.error, NotLeader)


def test_a_read_that_waits_ends_at_its_deadline(lab: OurLab) -> None:
    read = Asked(lab, "B", deadline_s=0.2)
    lab.cut("A", "B")
    lab.run(0.5, "B")
    assert isinstance(read.error, DeadlineExceeded)


def test_reads_are_answered_by_a_follower_that_is_elected_meanwhile(lab: OurLab) -> None:
    read = Asked(lab, "B")
    lab.tick("B")
    lab.take("B", "A")
    lab.kill("A")
    lab.nodes["B"].replica._SyncObj__raftElectionDeadline = 0.0
    lab.run(3 * TIMEOUT_MAX_S, "BC")
    fresh = Asked(lab, "B")
    lab.run(0.2, "BC")
    assert lab.leaders() and not read.open
    assert fresh.values == []


def test_what_only_a_leader_may_answer_is_refused_by_a_follower(lab: OurLab) -> None:
    read = Asked(lab, "B", anywhere=False)
    lab.tick("B")
    assert isinstance(read.error, NotLeader) and read.error.details["leader"] == "A"


def test_the_reads_that_wait_are_bounded(lab: OurLab) -> None:
    for _ in range(RAFT_PROPOSALS_MAX):
        lab.nodes["B"].read_index(5.0, lambda error: None, anywhere=True)
    lab.tick("B")
    refused = Asked(lab, "B")
    assert refused.error is not None and refused.error.code == "Overloaded"


# How old the store is -------------------------------------------------------------------------


def age_s(lab: OurLab, name: str) -> float:
    return float(lab.now_s - lab.nodes[name].freshness.as_of_s)


def test_the_age_counts_from_the_question_however_late_the_answer_comes(lab: OurLab) -> None:
    Asked(lab, "B")
    lab.tick("B")
    asked_s = lab.now_s
    lab.deliver("B", "A")
    lab.tick("A")
    late = lab.take("A", "B")
    lab.pass_time(0.7)
    lab.give("A", "B", late)
    lab.tick("B")
    assert age_s(lab, "B") == pytest.approx(0.7)
    assert lab.nodes["B"].freshness.as_of_s <= asked_s


def test_what_the_leader_sends_by_itself_makes_no_store_younger(lab: OurLab) -> None:
    Asked(lab, "B")
    lab.run(0.1)
    before = lab.nodes["B"].freshness
    lab.propose("A", "x")
    lab.run(1.0)
    assert lab.applied("B") == ["x"]
    assert lab.nodes["B"].freshness == before


def test_an_answer_dates_the_store_only_once_it_is_shown(lab: OurLab) -> None:
    lab.propose("A", "x")
    lab.run(0.2, "AC")
    Asked(lab, "B")
    lab.tick("B")
    lab.deliver("B", "A")
    lab.tick("A")
    waiting = lab.take("A", "B")
    lab.give("A", "B", [m for m in waiting if isinstance(decode(m), ReadIndex)])
    lab.tick("B")
    fresh = lab.nodes["B"].freshness
    assert fresh.as_of_s == float("-inf") and not fresh.leaderless(TIMEOUT_MAX_S, lab.now_s)
    lab.give("A", "B", [m for m in waiting if isinstance(decode(m), AppendEntries)])
    lab.tick("B")
    assert age_s(lab, "B") < 0.5


def test_an_idle_follower_knows_its_age_nevertheless(tmp_path: Path) -> None:
    lab = make("ABC", tmp_path)
    for name in "BC":
        lab.nodes[name].replica._refresh_s = READ_REFRESH_S
    lab.run(1.0)
    assert age_s(lab, "B") < 0.3 and age_s(lab, "C") < 0.3
    lab.isolate("B")
    lab.run(3.0, "B")
    assert 3.0 <= age_s(lab, "B") < 3.3
    assert lab.nodes["B"].freshness.leaderless(TIMEOUT_MAX_S, lab.now_s)


def test_a_leader_ages_from_the_end_of_its_lease(lab: OurLab) -> None:
    assert age_s(lab, "A") < 0.1
    lab.isolate("A")
    cut_s = lab.now_s
    lab.run(4.0, "A")
    assert lab.nodes["A"].freshness.as_of_s <= cut_s + 1.0
    assert lab.nodes["A"].freshness.leaderless(TIMEOUT_MAX_S, lab.now_s)


def test_the_age_is_rounded_up_and_may_be_unknown() -> None:
    assert Freshness().age_ms(5.0) == AGE_UNKNOWN_MS
    assert Freshness(1.0, 1.0).age_ms(1.0001) == 1
    assert Freshness(1.0, 1.0).age_ms(1.5) == 500
    assert Freshness(1.0, 1.0).age_ms(0.9) == 0
    assert Freshness(1.0, 1.0).within(0.5, 1.5) and not Freshness(1.0, 1.0).within(0.49, 1.5)
    assert not Freshness().within(1e9, 1.0)
