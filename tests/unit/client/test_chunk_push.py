"""A push that outlives its tickets is several on the wire, and blames nobody for their end."""

from __future__ import annotations

import os

import pytest
from little_cluster import LittleCluster, LittlePlane

from gfs_ha.client.chunk_push import ChunkPush, PushOutcome
from gfs_ha.client.chunk_supply import ChunkSpec, ChunkSupply
from gfs_ha.client.locations import Here
from gfs_ha.client.open_chunk import OpenChunk
from gfs_ha.client.passes import NOT_GIVEN
from gfs_ha.client.shipment import WriterParts
from gfs_ha.errors import TicketRefused
from gfs_ha.ids import Epoch, ServerId, make_chunk_id
from gfs_ha.limits import KIB, MIB
from gfs_ha.protocol.calls import Asked, Reply
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.grid import part_crcs
from gfs_ha.protocol.metadata import ChunkAllocated, FinishChunk, Location, SealChunk

DATA = os.urandom(300 * KIB)
PARTS = [(0, 100 * KIB), (100 * KIB, 101 * KIB), (101 * KIB, 230_001), (230_001, len(DATA))]
PLACES = tuple(Location(ServerId(n), f"cs{n}", "h", 1, "r", "m") for n in (1, 2, 3))
CHUNK = ChunkAllocated(make_chunk_id(1, 7), Epoch(1, 1), MIB, PLACES, 3, 2, "disk")


@pytest.fixture
def plane() -> LittlePlane:
    return LittlePlane()


def begun(plane: LittlePlane) -> ChunkPush:
    return ChunkPush(plane, CHUNK, 0, MIB)


def send(push: ChunkPush, *parts: tuple[int, int]) -> None:
    for start, end in parts:
        push.send(memoryview(DATA)[start:end])


def whole(plane: LittlePlane, push: ChunkPush) -> PushOutcome:
    outcome = push.finish()
    assert outcome.everywhere(CHUNK), outcome
    assert list(push.crcs) == list(part_crcs(0, memoryview(DATA)))
    for place in PLACES:
        assert plane.chunks[place.server_id, CHUNK.chunk_id] == DATA
    return outcome


@pytest.mark.parametrize("after", [1, 64 * KIB, len(DATA)])
def test_it_is_settled_and_goes_on_at_its_end(plane: LittlePlane, after: int) -> None:
    plane.stale_after = after
    push = begun(plane)
    send(push, *PARTS)
    whole(plane, push)
    assert plane.push_count == {1: 4, 64 * KIB: 3, len(DATA): 1}[after]


def test_what_waited_for_its_first_byte_begins_with_new_tickets(plane: LittlePlane) -> None:
    push = begun(plane)
    plane.lapses = {1}
    send(push, *PARTS)
    whole(plane, push)
    assert plane.push_count == 2


@pytest.mark.parametrize("more", [True, False])
def test_when_its_tickets_end_under_way_it_is_broken_and_nobody_is_to_blame(
    plane: LittlePlane, more: bool
) -> None:
    push = begun(plane)
    send(push, *PARTS[:2])
    plane.lapses = {1}
    if more:
        send(push, *PARTS[2:])
    outcome = push.finish()
    assert (outcome.complete, outcome.failed) == ((), ())
    assert outcome.error is not None and not outcome.enough(CHUNK)


@pytest.mark.parametrize("victim", [1, 2, 3])
@pytest.mark.parametrize("when", ["settling", "afterwards"])
def test_a_server_that_dies_meanwhile_is_named_and_nothing_counts(
    plane: LittlePlane, victim: int, when: str
) -> None:
    push = begun(plane)
    send(push, PARTS[0])
    plane.stale_after = 1
    if when == "afterwards":
        send(push, PARTS[1])
        plane.stale_after = None
    plane.dead.add(ServerId(victim))
    send(push, *PARTS[2 if when == "afterwards" else 1 :])
    outcome = push.finish()
    if when == "settling" or victim == 1:
        assert outcome.complete == ()
    else:  # Those before it have all.
        assert outcome.complete == tuple(ServerId(n) for n in range(1, victim))
    assert outcome.failed == (ServerId(victim),)


WITHHELD = TicketRefused("the leader gives no new ticket", reason=NOT_GIVEN)


@pytest.mark.parametrize("sent", [0, 1])
def test_no_server_is_blamed_for_tickets_that_the_leader_does_not_give(
    plane: LittlePlane, sent: int
) -> None:
    if not sent:
        plane.withheld = WITHHELD
    push = begun(plane)
    send(push, *PARTS[:sent])
    plane.withheld, plane.stale_after = WITHHELD, 1
    send(push, *PARTS[sent:])
    outcome = push.finish()
    assert (outcome.complete, outcome.failed, outcome.error) == ((), (), WITHHELD)


def test_a_chunk_that_cannot_be_finished_is_sealed_by_the_leader_whoever_is_to_blame() -> None:
    """Also if it is nobody: else it stays open, with what was published of it."""
    little = LittleCluster()
    connection, runtime = little.connection, little.connection.runtime
    supply = ChunkSupply(connection.session, Here("here"), runtime, 5.0)
    answer = little.masters._serve
    asked_for: list[type] = []

    def refuse(asked: Asked) -> Reply:
        asked_for.append(type(asked.request))
        if isinstance(asked.request, FinishChunk):
            return Failure("WrongState", "not now", {})
        return answer(asked)

    chunk = OpenChunk(WriterParts(supply, little.plane, runtime, 5.0), supply.take(ChunkSpec()))
    assert chunk.append(memoryview(DATA)) is not None
    little.plane.withheld = WITHHELD
    little.masters._serve = refuse  # type: ignore[method-assign]
    assert chunk.append(memoryview(b"more")) is None
    assert FinishChunk in asked_for and SealChunk not in asked_for
    chunk.finish()
    assert SealChunk in asked_for
    little.close()
