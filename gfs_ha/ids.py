"""The names that things have inside the cluster: chunks, epochs, births, servers, sessions."""

from __future__ import annotations

from typing import NewType

import msgspec

ChunkId = NewType("ChunkId", int)  # 16-bit incarnation, 48-bit replicated counter; never reused.
ServerId = NewType("ServerId", int)  # uint64, given by RegisterServer.
DiskId = NewType("DiskId", int)  # uint64, random, chosen when the data directory is made.
ANY_DISK = DiskId(0)  # Whichever disk of a server suits.
SessionId = NewType(
    "SessionId", int
)  # from the replicated counter; 0 = the leader itself, no session.
ContentId = NewType("ContentId", int)
InodeId = NewType("InodeId", int)
StartId = NewType("StartId", int)  # random uint64 of one run of a process.
LogIndex = NewType("LogIndex", int)

TraceId = NewType("TraceId", int)  # random, 63 bits: one command of a client, wherever it is seen.

NO_SESSION = SessionId(0)
NO_TRACE = TraceId(0)
ROOT_INODE = InodeId(1)

_COUNTER_BITS = 48
_TRACE_DIGITS = 16
_COUNTER_MAX = (1 << _COUNTER_BITS) - 1
_INCARNATION_MAX = (1 << 16) - 1


class Epoch(msgspec.Struct, frozen=True, order=True, array_like=True):
    """Who leads, and in which life of the cluster: (incarnation, Raft term). Ordered."""

    incarnation: int
    term: int

    def pack(self) -> int:
        """Return the epoch as one uint64 (16-bit incarnation, 48-bit term); order is kept."""
        return (self.incarnation << _COUNTER_BITS) | self.term

    def __str__(self) -> str:
        return f"{self.incarnation}.{self.term}"


Birth = Epoch  # (incarnation, term) of the command that created a chunk.


def unpack_epoch(packed: int) -> Epoch:
    """Return the epoch (or birth) that `Epoch.pack` made a uint64 of."""
    return Epoch(packed >> _COUNTER_BITS, packed & _COUNTER_MAX)


def make_chunk_id(incarnation: int, counter: int) -> ChunkId:
    """Return the chunk id of a replicated counter value in one incarnation of the cluster."""
    assert 0 < incarnation <= _INCARNATION_MAX, incarnation
    assert 0 < counter <= _COUNTER_MAX, counter
    return ChunkId((incarnation << _COUNTER_BITS) | counter)


def split_chunk_id(chunk_id: ChunkId) -> tuple[int, int]:
    """Return (incarnation, counter) of a chunk id."""
    return chunk_id >> _COUNTER_BITS, chunk_id & _COUNTER_MAX


def order_index(incarnation: int, index: LogIndex) -> LogIndex:
    """Return the number of the orders that a command makes right.

    It grows over incarnations, too: one that went on from an older copy uses log indexes again, and
    a server ignores orders that are older than one that it obeyed.
    """
    return LogIndex((incarnation - 1) << _COUNTER_BITS | index)


def incarnation_of_order(index: LogIndex) -> int:
    """Return the incarnation whose command made an order right."""
    return (index >> _COUNTER_BITS) + 1


def format_id(value: int) -> str:
    """Return a 64-bit id as people and JSON see it, `0x1000000000007`."""
    return f"0x{value:x}"


def format_trace(trace_id: TraceId) -> str:
    """Return a trace id as people and JSON see it: 16 hexadecimal digits."""
    return f"{trace_id:016x}"


def parse_trace(text: str) -> TraceId | None:
    """Return the trace id that 16 hexadecimal digits stand for, None for anything else."""
    if len(text) != _TRACE_DIGITS or not set(text.lower()) <= set("0123456789abcdef"):
        return None
    return TraceId(int(text, 16)) or None
