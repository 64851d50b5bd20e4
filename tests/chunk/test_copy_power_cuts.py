"""The power goes at every operation of the disk amid a copy, with every kind of luck afterwards.

After it there is no replica or the whole valid one; and what was here before, damaged as it may
be, is not lost before the good one is safe.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Iterator

import pytest
from chunk_house import BIRTH, BOOT_ID, CHUNK
from replica_house import RUNTIME, append, digest_of, make_replica, noise, open_store, readable

from gfs_ha.checksum import block_crcs
from gfs_ha.chunk.disk_memory import MemoryDisk, PowerCut, Survives
from gfs_ha.chunk.slots.format import DATA_OFFSET, State
from gfs_ha.chunk.slots.slot import read_header
from gfs_ha.chunk.slots.store import ChunkStore, ReplicaSpec
from gfs_ha.errors import DiskFailed, GfsError, UnknownReplica
from gfs_ha.ids import LogIndex
from gfs_ha.limits import BLOCK_BYTES, MIB
from gfs_ha.protocol.data import ChunkKind, Durability

SEALED = LogIndex(40)
ORDER = LogIndex(50)
LATER = LogIndex(60)
DATA = noise(3 * BLOCK_BYTES + 5)
END = (ORDER, len(DATA), digest_of(DATA))
LUCK = range(6)

Prelude = Callable[[ChunkStore, MemoryDisk], None]


def nothing(store: ChunkStore, disk: MemoryDisk) -> None:
    pass


def short(store: ChunkStore, disk: MemoryDisk) -> None:
    append(make_replica(store), DATA[: BLOCK_BYTES + 9])
    store.fence(CHUNK, BIRTH, SEALED)


def rotten(store: ChunkStore, disk: MemoryDisk) -> None:
    replica = make_replica(store)
    append(replica, DATA)
    store.finish_seal(CHUNK, SEALED, len(DATA), digest_of(DATA))
    # Written so often that its generation is above that of any new slot.
    for index in range(5):
        store.keep(CHUNK, LogIndex(SEALED + index))
    disk.flip(replica.name, DATA_OFFSET + 2 * BLOCK_BYTES)


PRELUDES = {"nothing": nothing, "short": short, "rotten": rotten}


def copy(store: ChunkStore) -> None:
    """Do what a copy does, without the network."""
    if store.confirm(CHUNK, BIRTH, END):
        return
    spec = ReplicaSpec(CHUNK, BIRTH, ChunkKind.PUT, MIB, Durability.DISK)
    slot = store.begin_copy(spec, ORDER, len(DATA))
    try:
        for start in range(0, len(DATA), 2 * BLOCK_BYTES):
            part = DATA[start : start + 2 * BLOCK_BYTES]
            slot.append(memoryview(part), array("I", block_crcs(part)))
        store.install_copy(slot, END[2], lambda: True)
    finally:
        store.drop_copy(slot)


def survival(luck: int, cut: int) -> Survives:
    """Nothing survives, everything does, or each sector as a coin falls."""
    if luck == 0:
        return lambda write, sector: False
    if luck == 1:
        return lambda write, sector: True
    coins = random.Random(luck * 10_007 + cut)
    return lambda write, sector: coins.random() < 0.5


def cut_everywhere(prelude: Prelude) -> Iterator[tuple[MemoryDisk, bool, str]]:
    cut, complete = 0, False
    while not complete:
        for luck in LUCK:
            disk = MemoryDisk(RUNTIME)
            store = open_store(disk)
            prelude(store, disk)
            disk.cut_after = cut
            done = False
            try:
                copy(store)
                complete = done = True
            except PowerCut:
                pass
            disk.power_cycle(survival(luck, cut))
            yield disk, done, f"cut after {cut}, luck {luck}"
        cut += 1
    assert cut >= 10, "the copy was too short to mean anything"


@pytest.mark.parametrize("before", PRELUDES)
def test_after_a_power_cut_amid_a_copy_there_is_no_replica_or_a_valid_one(before: str) -> None:
    for disk, done, where in cut_everywhere(PRELUDES[before]):
        for _ in range(2):  # What a start does is done: the next one finds the same.
            store = open_store(disk, BOOT_ID + 1)
            try:
                replica = store.get(CHUNK)
            except UnknownReplica:
                assert before == "nothing" and not done, where
                continue
            if replica.header.order_index == ORDER:
                # Also with a torn copy of its header: the order comes again and finds it valid.
                assert replica.header.state is State.SEALED, where
                assert readable(replica, disk, len(DATA)) == DATA, where
                assert not done or replica.condition == "sealed", where
            else:
                assert before != "nothing" and not done, where
                assert readable(replica, disk, BLOCK_BYTES) == DATA[:BLOCK_BYTES], where
        copy(open_store(disk, BOOT_ID + 1))
        store = open_store(disk, BOOT_ID + 2)
        replica = store.get(CHUNK)
        assert replica.condition == "sealed" and store.list_open() == (), where
        assert readable(replica, disk, len(DATA)) == DATA, where
        # A header that was cut off at its making is nobody's, and kept (G2).
        assert disk.names() == sorted([replica.name, *store.unidentified]), where
        assert all(read_size(disk, name) <= DATA_OFFSET for name in store.unidentified), where


def read_size(disk: MemoryDisk, name: str) -> int:
    return disk.open(name).size()


@pytest.mark.parametrize("before", PRELUDES)
def test_a_replaced_replica_does_not_come_back_when_its_copy_is_deleted(before: str) -> None:
    disk = MemoryDisk(RUNTIME)
    store = open_store(disk)
    PRELUDES[before](store, disk)
    copy(store)
    store.delete(CHUNK, LATER)
    disk.power_cycle()
    store = open_store(disk)
    with pytest.raises(UnknownReplica):
        store.get(CHUNK)
    assert store.unidentified == ()


def test_a_copy_that_rots_before_the_old_replica_is_gone_destroys_neither() -> None:
    """Both are on the disk after a crash; only a copy that is whole may have the other removed."""
    seen = 0
    for disk, _, where in cut_everywhere(short):
        names = disk.names()
        reading = read_header(disk, names[-1])
        if len(names) < 2 or reading is None or reading.header.state is not State.SEALED:
            continue
        seen += 1
        disk.flip(names[-1], DATA_OFFSET + 7)
        assert open_store(disk).unidentified == (names[0],), where
        assert disk.names() == names, where
    assert seen, "no crash left both"


@pytest.mark.parametrize("before", ["short", "rotten"])
def test_one_that_gave_way_at_a_start_is_not_back_once_its_copy_is_deleted(before: str) -> None:
    seen = 0
    for disk, done, where in cut_everywhere(PRELUDES[before]):
        both = len(disk.names()) == 2 and not done
        store = open_store(disk)
        if not both or len(disk.names()) == 2 or store.get(CHUNK).header.order_index != ORDER:
            continue
        seen += 1
        store.delete(CHUNK, LATER)
        disk.power_cycle()
        with pytest.raises(UnknownReplica):
            open_store(disk).get(CHUNK)
            pytest.fail(where)
    assert seen, "no crash left both"


@pytest.mark.parametrize("before", ["short", "rotten"])
def test_a_disk_that_fails_amid_a_copy_leaves_what_was_there(before: str) -> None:
    cut = 0
    while True:
        disk = MemoryDisk(RUNTIME)
        store = open_store(disk)
        PRELUDES[before](store, disk)
        names = disk.names()
        fail_after(disk, cut)
        try:
            copy(store)
            break
        except GfsError:
            disk.failing = None
        replica = store.get(CHUNK)
        if replica.header.order_index != ORDER:
            assert disk.names()[:1] == names
            assert readable(replica, disk, BLOCK_BYTES) == DATA[:BLOCK_BYTES]
        copy(store)
        assert readable(store.get(CHUNK), disk, len(DATA)) == DATA
        cut += 1
    assert cut >= 6


def fail_after(disk: MemoryDisk, count: int) -> None:
    """Have one operation fail that changes something, once `count` have gone well."""
    change = disk._change
    left = [count]

    def failing() -> None:
        left[0] -= 1
        if left[0] == -1:
            raise DiskFailed("I/O error")
        change()

    disk._change = failing  # type: ignore[method-assign]
