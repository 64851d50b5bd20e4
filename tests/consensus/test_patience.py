"""What a member waits for before it answers, votes or wants to be elected (M3, M4)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from raft_lab import TIMEOUT_MAX_S, TIMEOUT_MIN_S, OurLab

from gfs_ha.master.raft.messages import AskPreVote, Vote, decode

BETWEEN_S = (TIMEOUT_MIN_S + TIMEOUT_MAX_S) / 2


@pytest.fixture
def lab(tmp_path: Path) -> OurLab:
    made = OurLab("ABC", tmp_path)
    made.elect("A")
    made.run(0.5)
    return made


def canvassed(lab: OurLab, name: str, other: str) -> bool:
    return any(isinstance(decode(message), AskPreVote) for message in lab.take(name, other))


def voted(lab: OurLab, candidate: str, voter: str) -> bool:
    lab.give(candidate, voter, [lab.ask_vote(lab.term(voter) + 1)])
    lab.tick(voter)
    answers = [decode(message) for message in lab.take(voter, candidate)]
    return any(isinstance(answer, Vote) and answer.granted for answer in answers)


def test_a_leader_beyond_its_lease_answers_no_read_without_a_majority(lab: OurLab) -> None:
    lab.isolate("A")
    lab.run(BETWEEN_S, "A")
    assert lab.leads("A"), "it may not know yet that somebody else could lead"
    seen = lab.read("A")
    lab.run(0.06, "A")
    assert lab.leads("A") and not seen


def test_a_restarted_member_votes_for_nobody_while_a_lease_may_rest_on_it(lab: OurLab) -> None:
    lab.power_cut("B")
    lab.pass_time(BETWEEN_S)
    assert not voted(lab, "C", "B")
    lab.pass_time(TIMEOUT_MAX_S)
    assert voted(lab, "C", "B")


def test_what_waits_in_the_sockets_is_heard_before_a_leader_is_missed(lab: OurLab) -> None:
    lab.run(0.1)
    lab.take("B", "C")
    lab.pass_time(0.1)
    lab.tick("A")
    lab.pass_time(2 * TIMEOUT_MAX_S)  # B stood still, and the leader's words wait for it.
    lab.transports["B"].poll = lambda *_: lab.deliver("A", "B")  # type: ignore[method-assign]
    lab.tick("B")
    assert not canvassed(lab, "B", "C")


def test_the_time_of_an_own_commit_does_not_make_a_leader_missed(
    lab: OurLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = lab.disks["B"].begin()
    kind = type(probe)
    probe.abort()
    commit = kind.commit

    def slow(self: Any) -> None:
        lab.pass_time(2 * TIMEOUT_MAX_S)
        commit(self)

    lab.propose("A", "value")
    lab.tick("A")
    lab.deliver("A", "B")
    with monkeypatch.context() as patch:
        patch.setattr(kind, "commit", slow)
        lab.tick("B")
    lab.take("B", "C")
    lab.tick("B")
    assert not canvassed(lab, "B", "C")
