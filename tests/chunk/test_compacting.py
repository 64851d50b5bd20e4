"""One compaction on real sockets: what lives is written as a put is, or nothing refers to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from chunk_house import BIRTH, CHUNK, House, client_room, fetch, street
from copy_house import CAPACITY, DATA, SEALED, seal
from disks_house import A, B, open_disks, shelf_of
from hanging_disk import HangingDisk
from replica_house import digest_of

from gfs_ha.chunk.compacting import CompactRoom, compact
from gfs_ha.chunk.compactions import Compactions, _Running
from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.chunk.epochs import EpochBook
from gfs_ha.chunk.outbox import Outbox
from gfs_ha.chunk.slots.format import DATA_OFFSET
from gfs_ha.errors import (
    Cancelled,
    CorruptData,
    GfsError,
    NotLeader,
    ProtocolError,
    RangeGone,
    TooFewCopies,
    UnknownOutcome,
    WrongState,
)
from gfs_ha.ids import ChunkId, Epoch, LogIndex, SessionId, make_chunk_id
from gfs_ha.limits import BLOCK_BYTES
from gfs_ha.net.stream_pool import StreamPool
from gfs_ha.net.streams import TcpStreams
from gfs_ha.protocol.calls import Asked, CallBody, CallReply, Reply
from gfs_ha.protocol.codec import failure
from gfs_ha.protocol.control import CompactChunk, OrderDone, OrderFailed
from gfs_ha.protocol.extents import MovedRange, MoveReferences, ReferencesMoved
from gfs_ha.protocol.metadata import (
    AllocateChunk,
    ChunkAllocated,
    ChunkSealed,
    CloseSession,
    Done,
    FinishChunk,
    Location,
    OpenSession,
    SessionOpened,
)
from gfs_ha.runtime import ThreadedRuntime

RUNTIME = ThreadedRuntime()
FRESH = make_chunk_id(1, 99)
INDEX = LogIndex(70)
RANGES = (
    (5, 100),
    (BLOCK_BYTES - 1, 2),
    (3 * BLOCK_BYTES, 9 * BLOCK_BYTES + 7),
    (len(DATA) - 3, 3),
)
LIVING = b"".join(DATA[start : start + length] for start, length in RANGES)
MOVED = (
    MovedRange(5, 0, 100),
    MovedRange(BLOCK_BYTES - 1, 100, 2),
    MovedRange(3 * BLOCK_BYTES, 102, 9 * BLOCK_BYTES + 7),
    MovedRange(len(DATA) - 3, 109 + 9 * BLOCK_BYTES, 3),
)


@dataclass
class Masters:
    """What a leader would answer, and all that it was asked; `fails` may say otherwise."""

    houses: list[House]
    asked: list[Asked] = field(default_factory=list)
    fails: Callable[[Asked], GfsError | None] = lambda asked: None
    moves: int = 2  # Commands until nothing is left to move.

    def call(self, body: CallBody, timeout_s: float) -> CallReply:
        (one,) = body
        self.asked.append(one)
        error = self.fails(one)
        if error is not None:
            if isinstance(error, NotLeader):
                raise error
            return (failure(error),)
        return (self.answer(one),)

    def answer(self, asked: Asked) -> Reply:
        request = asked.request
        if isinstance(request, OpenSession):
            return SessionOpened(SessionId(7))
        assert asked.session_id == 7
        if isinstance(request, AllocateChunk):
            places = tuple(
                Location(house.hop.server_id, "cs", house.hop.host, house.hop.port, "r", "m")
                for house in self.houses
            )
            capacity = request.chunk_bytes
            return ChunkAllocated(FRESH, BIRTH, capacity, places, 3, 2, request.durability)
        if isinstance(request, FinishChunk):
            return ChunkSealed(FRESH, request.length, request.digest, request.holders)
        if isinstance(request, MoveReferences):
            self.moves -= 1
            return ReferencesMoved(400 if self.moves else 9, more=bool(self.moves))
        assert isinstance(request, CloseSession)
        return Done()

    def kinds(self) -> list[str]:
        return [type(one.request).__name__ for one in self.asked]


@pytest.fixture
def houses(tmp_path: Path) -> Iterator[list[House]]:
    with street(tmp_path, 3) as made:
        seal(made[0].store)
        yield made


@pytest.fixture
def streams() -> Iterator[StreamPool]:
    pool = StreamPool(TcpStreams(RUNTIME), RUNTIME)
    yield pool
    pool.close()


def room(houses: list[House], masters: Masters, streams: StreamPool) -> CompactRoom:
    return CompactRoom(houses[0].store, streams, masters, RUNTIME, "cs1", ("m", "r"))


def order(ranges: tuple[tuple[int, int], ...] = RANGES, **changes: object) -> CompactChunk:
    fields: dict[str, object] = {
        "chunk_id": CHUNK,
        "birth": BIRTH,
        "order_index": INDEX,
        "length": len(DATA),
        "digest": digest_of(DATA),
        "goal": 3,
        "capacity": CAPACITY,
        "ranges": ranges,
    }
    return CompactChunk(**{**fields, **changes})  # type: ignore[arg-type]


def run(made: CompactRoom, wanted: CompactChunk) -> int:
    return compact(made, wanted, lambda pace: None, lambda: None)


def test_what_lives_is_on_all_replicas_before_files_refer_to_it(
    houses: list[House], streams: StreamPool
) -> None:
    masters = Masters(houses)
    assert run(room(houses, masters, streams), order()) == 409
    assert masters.kinds() == [
        "OpenSession",
        "AllocateChunk",
        "FinishChunk",
        "MoveReferences",
        "MoveReferences",
        "CloseSession",
    ]
    assert [one.sequence for one in masters.asked[1:]] == [1, 2, 3, 4, 5]
    finish, move = masters.asked[2].request, masters.asked[3].request
    assert finish == FinishChunk(FRESH, len(LIVING), digest_of(LIVING), (1, 2, 3))
    assert move == MoveReferences(CHUNK, INDEX, FRESH, MOVED)
    for house in houses:
        house.store.finish_seal(FRESH, SEALED, len(LIVING), digest_of(LIVING))
    with client_room() as client:
        for house in houses:
            assert fetch(client, house, 0, len(LIVING), FRESH)[0] == LIVING


def test_each_change_is_sent_under_its_number_until_it_is_answered(
    houses: list[House], streams: StreamPool
) -> None:
    masters = Masters(houses)
    seen: dict[tuple[str, int], int] = {}

    def fails(asked: Asked) -> GfsError | None:
        key = (type(asked.request).__name__, asked.sequence)
        seen[key] = seen.get(key, 0) + 1
        if seen[key] == 1:
            return NotLeader("it lost", leader="")
        return UnknownOutcome("on its way") if seen[key] == 2 else None

    masters.fails = fails
    assert run(room(houses, masters, streams), order()) == 409
    assert set(seen.values()) == {3}


@pytest.mark.parametrize("trouble", ["damage", "gone", "other", "few", "lost", "refused", "sealed"])
def test_when_anything_is_wrong_no_reference_moves_and_the_session_ends(
    houses: list[House], streams: StreamPool, tmp_path: Path, trouble: str
) -> None:
    masters = Masters(houses)
    store = houses[0].store
    error: type[GfsError] = CorruptData
    wanted = order()
    if trouble == "damage":
        with (tmp_path / "cs1" / store.get(CHUNK).name).open("r+b") as file:
            file.seek(DATA_OFFSET + 5 * BLOCK_BYTES)
            file.write(b"rot")
    elif trouble == "gone":
        store.punch(CHUNK, SEALED, 1 << 5)
        error = RangeGone
    elif trouble == "other":
        wanted = order(digest=1)
    elif trouble == "few":
        masters.houses = houses[:2]
        error = TooFewCopies
    elif trouble == "lost":
        houses[2].stop()
        error = TooFewCopies
    elif trouble == "refused":
        error = WrongState
        masters.fails = lambda asked: (
            WrongState("another order") if isinstance(asked.request, MoveReferences) else None
        )
    else:
        answer = masters.answer

        def sealed_shorter(asked: Asked) -> Reply:
            if isinstance(asked.request, FinishChunk):
                return ChunkSealed(FRESH, 1, 1, (1,))
            return answer(asked)

        masters.answer = sealed_shorter  # type: ignore[method-assign]
    with pytest.raises(error):
        run(room(houses, masters, streams), wanted)
    if trouble != "refused":
        assert "MoveReferences" not in masters.kinds()
    assert not masters.asked or masters.kinds()[-1] == "CloseSession"
    if trouble == "lost":
        houses.pop()
        return
    assert store.get(CHUNK).condition == ("damaged" if trouble == "damage" else "sealed")


@pytest.mark.parametrize(
    "changes",
    [
        {"ranges": ()},
        {"ranges": ((0, 10), (5, 10))},
        {"ranges": ((0, 0),)},
        {"ranges": ((0, len(DATA) + 1),)},
        {"ranges": tuple((n * 10, 1) for n in range(300))},
        {"length": 1 << 40},
    ],
)
def test_an_order_that_makes_no_sense_is_refused_before_anybody_is_asked(
    houses: list[House], streams: StreamPool, changes: dict[str, object]
) -> None:
    masters = Masters(houses)
    with pytest.raises(ProtocolError):
        run(room(houses, masters, streams), order(**changes))  # type: ignore[arg-type]
    assert not masters.asked


def test_orders_are_answered_once_each_and_a_stopped_one_not_at_all(
    houses: list[House], streams: StreamPool
) -> None:
    masters = Masters(houses)
    epoch = Epoch(1, 9)
    epochs = EpochBook([MemoryDisk(RUNTIME)], RUNTIME)
    epochs.told(epoch)
    outbox = Outbox(RUNTIME)
    working = Compactions(room(houses, masters, streams), epochs, outbox)
    working.start()
    try:
        working.take(Epoch(1, 8), order())  # Its leader was deposed while it waited.
        while working._waiting is not None:
            RUNTIME.sleep(0.002)
        working.take(epoch, order(chunk_id=ChunkId(5)))
        failed = answer(outbox)
        assert isinstance(failed, OrderFailed) and failed.failure.error == "UnknownReplica"
        assert not masters.asked
        working.take(epoch, order())
        assert answer(outbox) == OrderDone(CHUNK, INDEX, "compact")
    finally:
        assert working.stop(20.0)
    working.take(epoch, order())
    with pytest.raises(Cancelled):
        working._check(_Running(order(), frozenset()))
    assert not outbox.waiting()


def test_one_that_hangs_on_a_disk_out_of_service_keeps_no_other_from_its_turn(
    houses: list[House], streams: StreamPool
) -> None:
    masters, disk, other = Masters(houses), HangingDisk(RUNTIME), ChunkId(5)
    store = open_disks({A: disk, B: MemoryDisk(RUNTIME)})
    seal(store)
    assert store.get(CHUNK).disk_id == A
    shelf_of(store, A).ailing = "so that the next one lies elsewhere"
    seal(store, DATA, other)
    epoch, outbox = Epoch(1, 9), Outbox(RUNTIME)
    epochs = EpochBook([MemoryDisk(RUNTIME)], RUNTIME)
    epochs.told(epoch)
    made = CompactRoom(store, streams, masters, RUNTIME, "cs1", ("m", "r"))
    working = Compactions(made, epochs, outbox)
    working.start()
    try:
        disk.hang(whole=True)
        working.take(epoch, order())
        disk.wait_until_it_hangs()
        working.give_up(B)
        working.take(epoch, order(chunk_id=other))
        store.take_out(shelf_of(store, A), "it does not answer")
        working.give_up(A)
        assert answer(outbox) == OrderDone(other, INDEX, "compact")
        disk.let_go()
        while disk.hanging:
            RUNTIME.sleep(0.01)
    finally:
        disk.let_go()
        assert working.stop(20.0)
    assert not outbox.waiting()
    moved = [one.request for one in masters.asked if isinstance(one.request, MoveReferences)]
    assert {one.chunk_id for one in moved} == {other}, "what comes through after all is not wanted"


def answer(outbox: Outbox) -> object:
    with outbox.changed:
        while not outbox.waiting():
            assert outbox.changed.wait(20.0), "no answer"
    (found,) = outbox.take().answers
    return found
