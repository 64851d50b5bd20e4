"""Chunks that are verified on request: every answer counts once, and nobody waits for ever."""

from __future__ import annotations

import pytest

from gfs_ha.errors import GfsError, Overloaded
from gfs_ha.ids import ChunkId, ServerId
from gfs_ha.master import replica_checks
from gfs_ha.master.replica_checks import KEEP_S, ReplicaChecks
from gfs_ha.protocol.codec import Word
from gfs_ha.protocol.damage import (
    BUSY,
    CORRUPT,
    INTACT,
    UNREACHABLE,
    WAITING,
    VerifiedChunk,
    VerifiedReplica,
)

CHUNK = ChunkId(7)
KNOWN = VerifiedChunk(CHUNK, 1000, 3)


class Asker:
    """The slot of a request."""

    def __init__(self, left_s: float = 10.0) -> None:
        self.left = left_s
        self.closed = False
        self.replies: list[Word] = []

    def left_s(self) -> float:
        return self.left

    def reply(self, word: Word) -> bool:
        self.replies.append(word)
        self.closed = True
        return True

    def fail(self, error: GfsError) -> bool:
        raise AssertionError(error)

    @property
    def verdicts(self) -> dict[int, str]:
        [report] = self.replies
        assert isinstance(report, VerifiedChunk)
        return {row.server_id: row.verdict for row in report.replicas}


def row(number: int, verdict: str = WAITING) -> VerifiedReplica:
    return VerifiedReplica(ServerId(number), f"cs{number}", "r1", verdict, "")


@pytest.fixture
def checks() -> ReplicaChecks:
    return ReplicaChecks()


def test_the_answer_comes_when_the_last_holder_has_answered(checks: ReplicaChecks) -> None:
    asker = Asker()
    checks.begin(KNOWN, [row(1), row(2), row(3, UNREACHABLE)], asker, 0.0)
    checks.answered(CHUNK, ServerId(1), INTACT, "")
    assert not asker.replies
    checks.answered(CHUNK, ServerId(2), CORRUPT, "block 3")
    assert asker.verdicts == {1: INTACT, 2: CORRUPT, 3: UNREACHABLE}
    assert len(checks) == 0


def test_with_nobody_to_be_asked_the_answer_comes_at_once(checks: ReplicaChecks) -> None:
    asker = Asker()
    checks.begin(KNOWN, [row(1, UNREACHABLE), row(2, BUSY)], asker, 0.0)
    assert asker.verdicts == {1: UNREACHABLE, 2: BUSY} and len(checks) == 0


def test_answers_of_others_and_second_answers_change_nothing(checks: ReplicaChecks) -> None:
    asker = Asker()
    checks.begin(KNOWN, [row(1), row(2)], asker, 0.0)
    checks.answered(CHUNK, ServerId(9), CORRUPT, "")
    checks.answered(ChunkId(8), ServerId(1), CORRUPT, "")
    checks.answered(CHUNK, ServerId(1), INTACT, "")
    checks.answered(CHUNK, ServerId(1), CORRUPT, "")
    assert not checks.asks(CHUNK, ServerId(1)) and checks.asks(CHUNK, ServerId(2))
    checks.answered(CHUNK, ServerId(2), INTACT, "")
    assert asker.verdicts == {1: INTACT, 2: INTACT}


def test_who_cannot_wait_longer_hears_what_is_known_and_may_ask_for_the_rest(
    checks: ReplicaChecks,
) -> None:
    first, second = Asker(left_s=0.4), Asker()
    checks.begin(KNOWN, [row(1), row(2)], first, 0.0)
    checks.answered(CHUNK, ServerId(1), CORRUPT, "")
    checks.tick(9.5)
    assert first.verdicts == {1: CORRUPT, 2: WAITING}
    checks.answered(CHUNK, ServerId(2), INTACT, "")  # Between the two questions.
    assert checks.known(CHUNK, second, 10.0)
    assert second.verdicts == {1: CORRUPT, 2: INTACT} and len(checks) == 0


def test_two_who_ask_at_once_share_one_look(checks: ReplicaChecks) -> None:
    first, second = Asker(), Asker()
    assert not checks.known(CHUNK, first, 0.0)
    checks.begin(KNOWN, [row(1)], first, 0.0)
    assert checks.known(CHUNK, second, 0.0)
    checks.answered(CHUNK, ServerId(1), INTACT, "")
    assert first.verdicts == second.verdicts == {1: INTACT}


def test_what_nobody_asks_for_any_more_is_forgotten(checks: ReplicaChecks) -> None:
    asker = Asker()
    checks.begin(KNOWN, [row(1)], asker, 0.0)
    asker.closed = True
    checks.tick(KEEP_S - 1)
    assert len(checks) == 1
    checks.tick(KEEP_S + 1)
    assert len(checks) == 0


def test_checks_are_bounded(checks: ReplicaChecks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica_checks, "CHECKS_MAX", 2)
    for number in (1, 2):
        checks.begin(VerifiedChunk(ChunkId(number), 1, 3), [row(1)], Asker(), 0.0)
    with pytest.raises(Overloaded):
        checks.begin(KNOWN, [row(1)], Asker(), 0.0)
