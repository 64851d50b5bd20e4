"""Tails on a disk in memory, and batches of records pushed into them without a network."""

from __future__ import annotations

from collections.abc import Sequence

from chunk_house import BIRTH, CHUNK
from replica_house import noise

from gfs_ha.chunk.slots.replica import Replica
from gfs_ha.chunk.slots.store import ChunkStore, ReplicaSpec
from gfs_ha.ids import ChunkId, LogIndex, SessionId
from gfs_ha.limits import MIB
from gfs_ha.protocol.data import ChunkKind, Durability
from gfs_ha.protocol.grid import part_crcs
from gfs_ha.protocol.records import RecordEntry, pack_entries

MAKING = LogIndex(10)
APPENDER = SessionId(5)


def tail_spec(
    durability: Durability = Durability.DISK, chunk_id: ChunkId = CHUNK, capacity: int = MIB
) -> ReplicaSpec:
    return ReplicaSpec(chunk_id, BIRTH, ChunkKind.TAIL, capacity, durability)


def make_tail(store: ChunkStore, durability: Durability = Durability.DISK) -> Replica:
    return store.create_tail(tail_spec(durability), MAKING)


def entries_of(
    offset: int,
    lengths: Sequence[int],
    first: int = 1,
    window_start: int = 1,
    appender: SessionId = APPENDER,
) -> tuple[RecordEntry, ...]:
    """Return records of these lengths, one after the other, with sequences from `first`."""
    found = []
    for number, length in enumerate(lengths):
        found.append(RecordEntry(appender, first + number, window_start, offset, length))
        offset += length
    return tuple(found)


def append_entries(replica: Replica, data: bytes, entries: Sequence[RecordEntry]) -> int:
    """Push one batch, whose entries make up `data`, and return the new end."""
    offset = replica.header.end
    with replica.begin_push(offset, len(data), pack_entries(entries)) as push:
        for start in range(0, len(data), 20_000):
            packet = memoryview(data[start : start + 20_000])
            push.append(packet, part_crcs(offset + start, packet))
        return push.commit()


class Written:
    """The batches that one tail got so far."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.data = b""
        self.entries: list[RecordEntry] = []
        self.ends = [0]
        self.counts: list[int] = []  # Of records in each batch.

    def batch(self, lengths: Sequence[int], window_start: int = 1) -> int:
        """Append one batch of records of these lengths."""
        entries = entries_of(len(self.data), lengths, len(self.entries) + 1, window_start)
        data = noise(sum(lengths), seed=len(self.ends))
        end = append_entries(self.replica, data, entries)
        self.data += data
        self.entries += entries
        self.ends.append(end)
        self.counts.append(len(entries))
        return end
