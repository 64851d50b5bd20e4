"""What a server is told about a replica that it lists: exact orders, from the chunk's row alone."""

from __future__ import annotations

import msgspec
import pytest

from gfs_ha.ids import Birth, ChunkId, DiskId, LogIndex, ServerId, SessionId
from gfs_ha.master.planners.listed import order_for
from gfs_ha.master.state.records import DEAD, OPEN, SEALED, SEALING, Chunk
from gfs_ha.master.state.records import Replica as Place
from gfs_ha.protocol.control import (
    CompareReplica,
    DeleteReplica,
    FinishReplica,
    ForgetTombstone,
    OpenReplica,
)

CHUNK = ChunkId(1 << 48 | 7)
BIRTH = Birth(1, 1)
A, B, C = ServerId(1), ServerId(2), ServerId(3)
END = (CHUNK, BIRTH, LogIndex(60), 500, 99)
ROW = Chunk(
    SEALED,
    "put",
    "disk",
    1 << 20,
    3,
    2,
    tuple(Place(server, DiskId(100 + server)) for server in (A, B, C)),
    BIRTH,
    LogIndex(40),
    begin_index=LogIndex(50),
    length=500,
    digest=99,
    holders=(A, B),
    sealed_index=LogIndex(60),
)


def listed(state: str, order_index: int = 50, birth: Birth = BIRTH) -> OpenReplica:
    return OpenReplica(CHUNK, birth, DiskId(103), 500, state, LogIndex(order_index))


def row(**changes: object) -> Chunk:
    return msgspec.structs.replace(ROW, **changes)


@pytest.mark.parametrize("state", ["open", "fenced", "damaged"])
def test_a_holder_seals_and_everybody_else_compares(state: str) -> None:
    assert order_for(A, listed(state), ROW) == FinishReplica(*END)
    assert order_for(C, listed(state), ROW) == CompareReplica(*END)


def test_a_holder_that_was_dropped_and_kept_again_seals_under_its_newest_order() -> None:
    order = order_for(A, listed("fenced", order_index=75), ROW)
    assert order == FinishReplica(CHUNK, BIRTH, LogIndex(75), 500, 99)


def test_who_has_compared_is_left_alone_whoever_leads_then() -> None:
    assert order_for(C, listed("fenced", order_index=60), ROW) is None
    assert order_for(C, listed("quarantined", order_index=60), ROW) is None


def test_what_was_kept_while_open_has_not_compared_itself() -> None:
    """To be kept leaves a newer order in the header, and nothing else."""
    order = order_for(C, listed("open", order_index=75), ROW)
    assert order == CompareReplica(CHUNK, BIRTH, LogIndex(75), 500, 99)


def test_what_is_quarantined_or_of_another_birth_is_left_alone() -> None:
    for server in (A, C):
        assert order_for(server, listed("quarantined"), ROW) is None
        assert order_for(server, listed("fenced", birth=Birth(2, 1)), ROW) is None


@pytest.mark.parametrize("state", [OPEN, SEALING])
@pytest.mark.parametrize("condition", ["open", "fenced", "tombstone"])
def test_nothing_is_ordered_before_the_seal(state: str, condition: str) -> None:
    assert order_for(C, listed(condition), row(state=state)) is None


def test_a_refusal_stands_while_its_writer_may_still_push() -> None:
    claimed = row(claimed_by=SessionId(9))
    assert order_for(C, listed("tombstone"), claimed) is None
    assert order_for(C, listed("tombstone"), ROW) == ForgetTombstone(CHUNK, LogIndex(60))


@pytest.mark.parametrize("state", ["open", "fenced", "damaged", "quarantined", "tombstone"])
def test_of_a_dead_chunk_everything_goes(state: str) -> None:
    dead = row(state=DEAD, dead_index=LogIndex(70))
    assert order_for(C, listed(state), dead) == DeleteReplica(
        CHUNK, LogIndex(70), "the chunk is dead"
    )
