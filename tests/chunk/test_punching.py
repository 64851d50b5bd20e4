"""Blocks that are given back (G8): marked before they go, never served, never a reason to doubt."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from chunk_house import BIRTH, BOOT_ID, CHUNK, client_room, fetch, start_house, street
from copy_house import CAPACITY, copy_now, order, outcome, seal, source
from copy_house import DATA as COPIED
from msgspec import structs
from replica_house import (
    RUNTIME,
    append,
    digest_of,
    make_replica,
    noise,
    open_store,
    stored,
)

from gfs_ha.checksum import block_crcs
from gfs_ha.chunk.disk import PosixDisk, PosixFile
from gfs_ha.chunk.disk_memory import MemoryDisk, MemoryFile, PowerCut
from gfs_ha.chunk.slots.format import State
from gfs_ha.chunk.slots.slot import read_header
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.errors import (
    ProtocolError,
    RangeGone,
    ReplicaBusy,
    StaleOrder,
    UnknownReplica,
)
from gfs_ha.ids import LogIndex
from gfs_ha.limits import BLOCK_BYTES
from gfs_ha.protocol.gone import pack_blocks

SEALED = LogIndex(40)
PUNCH = LogIndex(50)
LATER = LogIndex(60)
DATA = noise(5 * BLOCK_BYTES + 77)
GONE = 0b100110  # Also the last block, which is not a whole one.


def sealed_store(disk: MemoryDisk, data: bytes = DATA) -> ChunkStore:
    store = open_store(disk)
    append(make_replica(store), data)
    store.finish_seal(CHUNK, SEALED, len(data), digest_of(data))
    return store


def block(index: int, data: bytes = DATA) -> bytes:
    return data[index * BLOCK_BYTES : (index + 1) * BLOCK_BYTES]


def test_what_is_gone_is_not_served_and_all_else_is() -> None:
    disk = MemoryDisk(RUNTIME)
    store = sealed_store(disk)
    before = disk.usage().used
    assert store.punch(CHUNK, PUNCH, GONE) == 2 * BLOCK_BYTES
    assert before - disk.usage().used == 2 * BLOCK_BYTES
    for again in (store, open_store(disk, BOOT_ID + 1)):
        replica = again.get(CHUNK)
        for index in range(6):
            if GONE >> index & 1:
                with pytest.raises(RangeGone):
                    replica.plan_read(index * BLOCK_BYTES + 5, 1)
            else:
                start = index * BLOCK_BYTES
                assert list(replica.plan_read(start, 9).crcs) == block_crcs(block(index))
        with pytest.raises(RangeGone):
            replica.plan_read(0, BLOCK_BYTES + 1)
        assert list(replica.plan_read(0, len(DATA), data=False).crcs) == block_crcs(DATA)


def test_a_replica_with_blocks_gone_is_proved_and_confirmed_like_any_other() -> None:
    disk = MemoryDisk(RUNTIME)
    sealed_store(disk).punch(CHUNK, PUNCH, GONE)
    store = open_store(disk, BOOT_ID + 1)
    end = (len(DATA), digest_of(DATA))
    assert store.prove(CHUNK, LATER, len(DATA)).digest == end[1]
    answer = store.fence(CHUNK, BIRTH, LATER)
    assert answer.proof and answer.end == len(DATA)
    store.finish_seal(CHUNK, LATER, *end)
    store.compare(CHUNK, LATER, *end)
    assert store.get(CHUNK).condition == "sealed" and store.list_open() == ()
    assert store.confirm(CHUNK, BIRTH, (LogIndex(LATER + 1), *end), GONE)
    assert store.get(CHUNK).header.gone == GONE
    # Of one that lacks more than the masters gave back it is not said that it is whole.
    assert not store.confirm(CHUNK, BIRTH, (LogIndex(LATER + 1), *end), GONE & ~2)


def test_damage_beside_what_is_gone_is_found() -> None:
    disk = MemoryDisk(RUNTIME)
    store = sealed_store(disk)
    store.punch(CHUNK, PUNCH, GONE)
    disk.flip(store.get(CHUNK).name, 65536 + 3 * BLOCK_BYTES)
    store.compare(CHUNK, LATER, len(DATA), digest_of(DATA))
    assert store.get(CHUNK).condition == "damaged"


def test_a_replica_that_is_gone_and_has_a_torn_header_is_settled_by_its_seal() -> None:
    disk = MemoryDisk(RUNTIME)
    name = sealed_store(disk).get(CHUNK).name
    open_store(disk).punch(CHUNK, PUNCH, GONE)
    disk.flip(name, 9)
    store = open_store(disk, BOOT_ID + 1)
    assert store.get(CHUNK).condition == "damaged"
    store.finish_seal(CHUNK, LATER, len(DATA), digest_of(DATA))
    assert store.get(CHUNK).condition == "sealed" and store.get(CHUNK).header.gone == GONE


def test_what_is_not_sealed_or_does_not_exist_is_not_given_back() -> None:
    disk = MemoryDisk(RUNTIME)
    store = open_store(disk)
    append(make_replica(store), DATA)
    with pytest.raises(ReplicaBusy):
        store.punch(CHUNK, PUNCH, 1)
    store.finish_seal(CHUNK, SEALED, len(DATA), digest_of(DATA))
    with pytest.raises(ProtocolError):
        store.punch(CHUNK, PUNCH, 1 << 6)
    store.punch(CHUNK, LATER, 1)
    with pytest.raises(StaleOrder):
        store.punch(CHUNK, PUNCH, 2)
    store.delete(CHUNK, LATER)
    with pytest.raises(UnknownReplica):
        store.punch(CHUNK, LATER, 1)


def test_the_same_order_again_gives_back_what_a_crash_left() -> None:
    disk = MemoryDisk(RUNTIME)
    store = sealed_store(disk)
    disk.cut_after = 4  # Two copies of the header, each synced.
    with pytest.raises(PowerCut):
        store.punch(CHUNK, PUNCH, GONE)
    disk.power_cycle()
    store = open_store(disk, BOOT_ID + 1)
    assert store.get(CHUNK).header.gone == GONE
    assert store.punch(CHUNK, PUNCH, GONE) == 2 * BLOCK_BYTES
    assert store.punch(CHUNK, PUNCH, GONE) == 0
    assert store.delete(CHUNK, LATER) == 65536 + len(DATA) - 2 * BLOCK_BYTES


@pytest.mark.parametrize("luck", range(6))
def test_after_a_power_cut_no_block_is_gone_without_its_mark(luck: int) -> None:
    """Marked and synced in both copies, then punched: at every operation, with every luck."""
    cut, complete = 0, False
    while not complete:
        disk = MemoryDisk(RUNTIME)
        store = sealed_store(disk)
        store.punch(CHUNK, LogIndex(PUNCH - 1), 2)
        name = store.get(CHUNK).name
        disk.cut_after = cut
        try:
            store.punch(CHUNK, PUNCH, GONE)
            complete = True
        except PowerCut:
            pass
        coins = random.Random(luck * 10_007 + cut)
        disk.power_cycle(lambda write, sector: coins.random() < luck / 5)  # noqa: B023
        for lost in (None, 0, 8192):  # Also when one copy of the header rots later.
            if lost is not None:
                disk.flip(name, lost + 9)
            reading = read_header(disk, name)
            assert reading is not None, (cut, luck)
            replica = open_store(disk, BOOT_ID + 1).get(CHUNK)
            data = stored(replica, disk, len(DATA))
            for index in range(6):
                if not reading.header.gone >> index & 1:
                    assert block(index, data) == block(index), (cut, index, lost)
            assert not reading.header.gone & ~GONE and reading.header.gone & 2
            if lost is not None:
                disk.flip(name, lost + 9)
        store = open_store(disk, BOOT_ID + 1)
        store.punch(CHUNK, PUNCH, GONE)
        assert store.get(CHUNK).header.gone == GONE
        assert store.prove(CHUNK, LATER, len(DATA)).digest == digest_of(DATA)
        cut += 1
    assert cut >= 5, "the punch was too short to mean anything"


def test_a_copy_is_without_what_is_gone_and_counts_as_whole(tmp_path: Path) -> None:
    gone = 0b101 | 1 << 20 | 1 << 32
    with street(tmp_path, 1) as (house,):
        seal(house.store)
        assert house.store.punch(CHUNK, PUNCH, gone) > 3 * BLOCK_BYTES
        store = open_store(MemoryDisk(RUNTIME))
        wanted = structs.replace(order([source(house)], LATER), gone=pack_blocks(gone))
        copy_now(store, wanted)
        replica = store.get(CHUNK)
        assert replica.header.gone == gone and replica.header.state is State.SEALED
        assert store.prove(CHUNK, LATER, len(COPIED)).digest == digest_of(COPIED)
        for index in range(33):
            if not gone >> index & 1:
                start = index * BLOCK_BYTES
                plan = replica.plan_read(start, len(block(index, COPIED)))
                read = stored(replica, store.shelves[0].disk, len(COPIED))  # type: ignore[arg-type]
                assert block_crcs(block(index, read)) == list(plan.crcs)
        room = store.shelves[0].disk.open(replica.name).room()
        assert room <= 65536 + len(COPIED) - 3 * BLOCK_BYTES < 65536 + CAPACITY
        # Ordered again it is whole already; a source of further copies like any other.
        copy_now(store, structs.replace(wanted, order_index=LogIndex(LATER + 1)))


def test_a_source_that_has_given_back_more_than_the_order_says_is_no_source(
    tmp_path: Path,
) -> None:
    with street(tmp_path, 2) as (less, more):
        for house in (less, more):
            seal(house.store)
        more.store.punch(CHUNK, PUNCH, 0b1010)
        less.store.punch(CHUNK, PUNCH, 0b10)
        wanted = structs.replace(order([source(more), source(less)], LATER), gone=b"\x02")
        store = open_store(MemoryDisk(RUNTIME))
        copy_now(store, wanted)
        assert store.get(CHUNK).header.gone == 0b10
        assert list(store.get(CHUNK).plan_read(3 * BLOCK_BYTES, 9).crcs) == block_crcs(
            block(3, COPIED)
        )
        alone = open_store(MemoryDisk(RUNTIME))
        assert outcome(alone, structs.replace(wanted, sources=(source(more),))) == "CorruptData"
        with pytest.raises(UnknownReplica):
            alone.get(CHUNK)
        assert not more.damage and not less.damage


def test_a_reader_hears_of_what_is_gone_also_amid_its_read(tmp_path: Path) -> None:
    with street(tmp_path, 1) as (house,), client_room() as room:
        seal(house.store)
        house.store.punch(CHUNK, PUNCH, 1 << 3)
        with pytest.raises(RangeGone):
            fetch(room, house, 3 * BLOCK_BYTES, 7)
        with pytest.raises(RangeGone):
            fetch(room, house, 0, len(COPIED))
        assert fetch(room, house, 0, 100)[0] == COPIED[:100]
        assert not house.damage


class Surprise:
    """What happens when the second file is opened from now on: the first one is for the CRCs."""

    def __init__(self) -> None:
        self.after: int | None = None
        self.act: Callable[[], object] = lambda: None

    def opening(self) -> None:
        if self.after is not None:
            self.after -= 1
            if self.after == 0:
                self.after = None
                self.act()


class SurprisingMemory(MemoryDisk):
    def __init__(self, surprise: Surprise) -> None:
        super().__init__(RUNTIME)
        self.surprise = surprise

    def open(self, name: str) -> MemoryFile:
        self.surprise.opening()
        return super().open(name)


class SurprisingPosix(PosixDisk):
    def __init__(self, directory: Path, surprise: Surprise) -> None:
        super().__init__(directory)
        self.surprise = surprise

    def open(self, name: str) -> PosixFile:
        self.surprise.opening()
        return super().open(name)


@pytest.mark.parametrize("kind", ["memory", "posix"])
@pytest.mark.parametrize("length", [9, 4 * BLOCK_BYTES])
def test_what_is_given_back_amid_a_read_is_no_damage(
    kind: str, length: int, tmp_path: Path
) -> None:
    """The read is planned, then come mark and punch, then its bytes leave or are looked at.

    A big one on a real disk leaves by sendfile: its reader finds zeros, and asks again.
    """
    surprise = Surprise()
    disk = SurprisingMemory(surprise) if kind == "memory" else SurprisingPosix(tmp_path, surprise)
    house = start_house(disk, 1, RUNTIME)
    try:
        with client_room() as room:
            seal(house.store)
            surprise.act = lambda: house.store.punch(CHUNK, PUNCH, 1 << 6)
            surprise.after = 2
            with pytest.raises(RangeGone):
                fetch(room, house, 6 * BLOCK_BYTES, length)
        assert surprise.after is None, "nothing happened"
        assert not house.damage and house.store.get(CHUNK).condition == "sealed"
    finally:
        house.stop()
        disk.close()
