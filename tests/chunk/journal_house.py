"""Stores with a small journal on a disk in memory, and appends to several of their tails."""

from __future__ import annotations

from collections.abc import Sequence

from chunk_house import BIRTH, BOOT_ID, CHUNK, identity
from replica_house import RUNTIME, noise, stored
from tail_house import MAKING, append_entries, entries_of, tail_spec

from gfs_ha.checksum import crc32c
from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.chunk.journal.frames import PAGE_BYTES
from gfs_ha.chunk.journal.journal import JournalShape
from gfs_ha.chunk.slots.format import State
from gfs_ha.chunk.slots.replica import Replica
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.ids import ChunkId, LogIndex
from gfs_ha.protocol.control import FenceAnswer
from gfs_ha.protocol.records import RecordEntry

OTHER = ChunkId(CHUNK + 1)
ORDER = LogIndex(50)
SMALL = JournalShape(segments=3, segment_bytes=4 * PAGE_BYTES, append_bytes_max=5000)


def open_journalled(
    disk: MemoryDisk, boot_id: int = BOOT_ID, shape: JournalShape = SMALL
) -> ChunkStore:
    return ChunkStore.on(disk, identity(1), RUNTIME, boot_id, shape)


def with_journal(disk: MemoryDisk, shape: JournalShape = SMALL) -> ChunkStore:
    """Return a store whose journal takes appends."""
    store = open_journalled(disk, shape=shape)
    assert not store.shelves[0].journal.takes(1)
    assert store.shelves[0].journal.keep(), "nobody had made it yet"
    assert store.shelves[0].journal.takes(1)
    return store


_ALL = noise(1 << 18)


def content(chunk_id: ChunkId, start: int, end: int) -> bytes:
    """Return what a tail of these tests has there."""
    shift = chunk_id & 0xFF
    return _ALL[start + shift : end + shift]


class TailStory:
    """What one tail got, and what was told of it."""

    def __init__(self, store: ChunkStore, chunk_id: ChunkId) -> None:
        self.chunk_id = chunk_id
        self.lengths: list[int] = []
        self.pushing = 0
        self.acknowledged = 0
        self.fenced: FenceAnswer | None = None
        self.store = store
        self.replica: Replica = store.create_tail(tail_spec(chunk_id=chunk_id), MAKING)

    def batch(self, *lengths: int) -> None:
        """Append records of these lengths in one batch."""
        data = content(self.chunk_id, self.acknowledged, self.acknowledged + sum(lengths))
        entries = entries_of(self.acknowledged, lengths, len(self.lengths) + 1)
        self.lengths += lengths
        self.pushing = self.acknowledged + sum(lengths)
        self.acknowledged = append_entries(self.replica, data, entries)

    def fence(self) -> FenceAnswer:
        self.fenced = self.store.fence(self.chunk_id, BIRTH, ORDER)
        return self.fenced

    def seal(self) -> None:
        """Seal all that was acknowledged."""
        proof = self.store.prove(self.chunk_id, ORDER, self.acknowledged)
        self.store.finish_seal(self.chunk_id, ORDER, self.acknowledged, proof.digest)

    def records(self, end: int) -> tuple[RecordEntry, ...]:
        return tuple(one for one in entries_of(0, self.lengths) if one.offset + one.length <= end)

    def check(self, store: ChunkStore, disk: MemoryDisk, where: str, order: int = 60) -> None:
        """All that was acknowledged is there, whole, with its records; nothing else counts."""
        answer = store.fence(self.chunk_id, BIRTH, LogIndex(order))
        assert answer.end in (self.acknowledged, self.pushing), where
        assert answer.end >= self.acknowledged, where
        if self.fenced is not None:
            assert answer.end == self.fenced.end, where
        assert not answer.proof or answer.end == answer.promised_end, where
        replica = store.get(self.chunk_id)
        data = content(self.chunk_id, 0, answer.end)
        proof = store.prove(self.chunk_id, LogIndex(order), answer.end)
        assert stored(replica, disk, answer.end) == data, where
        assert proof.crc == crc32c(data), where
        if replica.header.state is not State.SEALED:
            assert proof.records == self.records(answer.end), where


def checked(store: ChunkStore, disk: MemoryDisk, told: Sequence[TailStory], where: str) -> None:
    for one in told:
        one.check(store, disk, where)
