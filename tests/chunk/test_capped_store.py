"""A store that may take a part of its file system: full at its capacity, and as whole as before."""

from __future__ import annotations

from pathlib import Path

import pytest
from chunk_house import BIRTH, BOOT_ID, identity
from replica_house import append, digest_of, make_replica, noise

from gfs_ha.chunk.capped_disk import CappedDisk
from gfs_ha.chunk.disk import PosixDisk, opened
from gfs_ha.chunk.inventory import disk_facts
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.errors import DiskFull
from gfs_ha.ids import ChunkId, LogIndex, make_chunk_id
from gfs_ha.limits import MIB
from gfs_ha.runtime import ThreadedRuntime

RUNTIME = ThreadedRuntime()
CAPACITY = 64 * MIB
ORDER, LATER = LogIndex(50), LogIndex(60)
DATA = noise(300_000)
# The file system notes where a file lies in blocks of its own, some only when it writes back.
NOTES = 64 << 10


def take(directory: Path) -> tuple[CappedDisk, ChunkStore]:
    disk = CappedDisk(PosixDisk(directory), CAPACITY, RUNTIME.lock())
    return disk, ChunkStore.on(disk, identity(1), RUNTIME, BOOT_ID)


def real_bytes(disk: CappedDisk) -> int:
    total = 0
    for name in disk.names():
        with opened(disk, name) as file:
            total += file.room()
    return total


def fill(store: ChunkStore) -> list[ChunkId]:
    """Push as a client does, 8 MiB reserved at a time, until the disk is full."""
    made = []
    for number in range(1, 100):
        chunk_id = make_chunk_id(1, number)
        try:
            replica = make_replica(store, chunk_id=chunk_id, capacity=8 * MIB)
            made.append(chunk_id)
            append(replica, DATA)
            replica.begin_push(len(DATA), 7 * MIB).__enter__()  # Whose client never comes back.
        except DiskFull as error:
            assert "of the 67108864 bytes that it may take" in str(error) or "room" in str(error)
            return made
    raise AssertionError("it was never full")


def test_a_server_fills_its_capacity_and_no_more(tmp_path: Path) -> None:
    disk, store = take(tmp_path / "d")
    made = fill(store)
    assert 2 <= len(made) < 9 and real_bytes(disk) <= CAPACITY + NOTES
    facts = disk_facts(disk, identity(1).disk_id, store.chunk_count, "")
    assert facts.total_bytes == CAPACITY and not facts.failed
    assert facts.free_bytes == CAPACITY - disk.usage().used < 16 * MIB
    # What is there is still sealed, and gives back what was reserved.
    sealed = store.get(made[0])
    assert store.fence(made[0], BIRTH, ORDER).end == len(DATA)
    sealed.finish(LATER, len(DATA), digest_of(DATA))
    assert disk.usage().free > facts.free_bytes + 6 * MIB
    disk.close()


def test_what_a_start_counts_is_what_the_last_run_left(tmp_path: Path) -> None:
    disk, store = take(tmp_path / "d")
    made = fill(store)
    for chunk_id in made[1:]:
        store.delete(chunk_id, ORDER)
    left = disk.usage()
    assert abs(left.used - real_bytes(disk)) <= NOTES and left.used < CAPACITY // 2
    disk.close()
    again, store = take(tmp_path / "d")
    assert abs(again.usage().used - left.used) <= NOTES and again.usage().total == left.total
    assert store.chunk_count == 1
    make_replica(store, chunk_id=make_chunk_id(1, 200), capacity=8 * MIB)
    again.close()


def test_a_full_server_deletes_and_takes_chunks_again(tmp_path: Path) -> None:
    disk, store = take(tmp_path / "d")
    made = fill(store)
    with pytest.raises(DiskFull):
        make_replica(store, chunk_id=make_chunk_id(1, 300)).begin_push(0, CAPACITY)
    for chunk_id in made:
        store.delete(chunk_id, ORDER)
    replica = make_replica(store, chunk_id=make_chunk_id(1, 301), capacity=16 * MIB)
    assert append(replica, DATA) == len(DATA)
    assert real_bytes(disk) - NOTES <= disk.usage().used <= CAPACITY
    disk.close()
