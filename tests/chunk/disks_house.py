"""A store over several disks in memory, and what a copy does there without the network."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import contextmanager

from chunk_house import BIRTH, BOOT_ID, CHUNK, CLUSTER, NO_JOURNAL
from replica_house import RUNTIME, digest_of, noise

from gfs_ha.checksum import block_crcs
from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.chunk.journal.journal import JournalShape
from gfs_ha.chunk.scrub import Scrubber
from gfs_ha.chunk.slots.copy_slot import CopySlot
from gfs_ha.chunk.slots.identity import Identity
from gfs_ha.chunk.slots.shelf import Shelf
from gfs_ha.chunk.slots.spec import ReplicaSpec
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.ids import DiskId, LogIndex, ServerId
from gfs_ha.limits import BLOCK_BYTES, MIB
from gfs_ha.net.buffers import BufferPool
from gfs_ha.protocol.data import ChunkKind, Durability

A, B, C = DiskId(71), DiskId(72), DiskId(73)
SEALED, ORDER, LATER = LogIndex(40), LogIndex(50), LogIndex(60)
DATA = noise(3 * BLOCK_BYTES + 5)
DIGEST = digest_of(DATA)
PUT = ReplicaSpec(CHUNK, BIRTH, ChunkKind.PUT, MIB, Durability.DISK)
TAIL = ReplicaSpec(CHUNK, BIRTH, ChunkKind.TAIL, MIB, Durability.DISK)

Disks = dict[DiskId, MemoryDisk]


def blank(*disk_ids: DiskId) -> Disks:
    return {disk_id: MemoryDisk(RUNTIME) for disk_id in disk_ids}


def open_disks(
    disks: Disks, boot_id: int = BOOT_ID, shape: JournalShape = NO_JOURNAL
) -> ChunkStore:
    """Return the store of those disks, in the order in which they are given."""
    buffers = BufferPool(RUNTIME)
    shelves = [
        Shelf(
            disk, Identity(CLUSTER, ServerId(1), disk_id, "one"), buffers, RUNTIME, boot_id, shape
        )
        for disk_id, disk in disks.items()
    ]
    return ChunkStore(shelves, RUNTIME)


def shelf_of(store: ChunkStore, disk_id: DiskId) -> Shelf:
    return next(shelf for shelf in store.shelves if shelf.disk_id == disk_id)


def begin_copy(
    store: ChunkStore, disk_id: DiskId, order: LogIndex = ORDER, data: bytes = DATA
) -> CopySlot:
    """Return a copy that has all its bytes and does not count yet."""
    slot = store.begin_copy(PUT, order, len(data), disk_id=disk_id)
    try:
        slot.append(memoryview(data), array("I", block_crcs(data)))
    except BaseException:
        store.drop_copy(slot)
        raise
    return slot


def copy_to(store: ChunkStore, disk_id: DiskId, order: LogIndex = ORDER) -> None:
    """Do what a copy order does that names a disk."""
    if store.confirm(CHUNK, BIRTH, (order, len(DATA), DIGEST), disk_id=disk_id):
        return
    slot = begin_copy(store, disk_id, order)
    try:
        store.install_copy(slot, DIGEST, lambda: True)
    finally:
        store.drop_copy(slot)


def drop_outlived(store: ChunkStore) -> None:
    """Do what scrubs do after one has read the chunk whole: each sees to its own disk."""
    store.note_whole(CHUNK)
    for shelf in store.shelves:
        store.drop_outlived(shelf)


@contextmanager
def scrubbing(store: ChunkStore) -> Iterator[dict[DiskId, Scrubber]]:
    """Scrub all disks of a store meanwhile, each by itself."""
    made = {
        shelf.disk_id: Scrubber(store, lambda *_: None, RUNTIME, shelf=shelf)
        for shelf in store.shelves
    }
    for one in made.values():
        one.start()
    try:
        yield made
    finally:
        for one in made.values():
            one.stop(0.0)  # All are told before any is waited for.
        ended = [one.stop(60.0) for one in made.values()]
        assert all(ended)


def slots(disk: MemoryDisk) -> list[str]:
    return [name for name in disk.names() if name.endswith(".slot")]
