"""What a seal under way makes of answers that do not say what a replica has."""

from __future__ import annotations

import pytest

from gfs_ha.ids import Birth, ChunkId, LogIndex, ServerId
from gfs_ha.master.seal_attempt import Attempt
from gfs_ha.master.sealing import SealingChunk
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.control import FenceAnswer, OrderFailed

CHUNK = ChunkId(7)
INDEX = LogIndex(50)
A, B, C = ServerId(1), ServerId(2), ServerId(3)


def attempt(*codes: str) -> Attempt:
    """Return one in which A answered its end, and B that it failed so, the last time."""
    made = Attempt(SealingChunk(CHUNK, Birth(1, 1), INDEX, 0, frozenset((A, B, C))))
    made.fences[A] = FenceAnswer(CHUNK, INDEX, 5, 5, 1, 1, True)
    for code in codes:
        made.fences[B] = OrderFailed(CHUNK, INDEX, "fence", Failure(code, "because"))
    return made


@pytest.mark.parametrize("code", ["DiskFailed", "DiskFull", "Overloaded", "ReplicaBusy"])
def test_who_failed_to_say_what_it_has_stays_asked(code: str) -> None:
    """Else its order would be a fresh one after the proofs, and be waited for again."""
    assert attempt(code).unheard() == {B, C}


def test_who_does_not_know_the_chunk_has_said_all() -> None:
    assert attempt("UnknownReplica").unheard() == {C}


def test_only_the_last_word_says_that_a_disk_fails() -> None:
    assert attempt("Overloaded", "DiskFailed").disk_failed(B)
    assert not attempt("DiskFailed", "Overloaded").disk_failed(B)
    assert not attempt("DiskFailed").disk_failed(A) and not attempt().disk_failed(B)
