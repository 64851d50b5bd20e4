"""The seam to the data plane: one push along a chain, one ranged read, the CRCs of a chunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gfs_ha.client.append_records import Record
from gfs_ha.ids import SessionId
from gfs_ha.protocol.append import AppendGrant
from gfs_ha.protocol.frames import ReplicaAck
from gfs_ha.protocol.metadata import ChunkAllocated, ChunkLocations, FileTail, Location
from gfs_ha.protocol.records import RecordAck, TailLength


class PushStream(Protocol):
    """One push under way; used by one thread.

    After `finish`, `crcs` are the CRC-32C of what was sent, by its parts on the chunk's grid.
    """

    crcs: Sequence[int]

    @property
    def stale(self) -> bool:
        """Return True when it is to be finished, and another one begun, before its tickets end."""
        ...

    @property
    def lapsed(self) -> bool:
        """Return True when its tickets may have ended: nobody is to blame for what comes of it."""
        ...

    def send(self, data: memoryview) -> None:
        """Send bytes along the chain. Raises: Unreachable… when the head of it is lost."""
        ...

    def finish(self) -> tuple[ReplicaAck, ...]:
        """Settle the length, and return what happened on each replica that is known about."""
        ...

    def abandon(self) -> None:
        """Hang up; the bytes count nowhere."""
        ...


class RecordStream(Protocol):
    """Records on their way to the primary of a tail; one thread sends while another receives."""

    def send(
        self, appender: SessionId, window_start: int, records: Sequence[Record], alone: bool
    ) -> None:
        """Send records, in order. Raises: Unreachable; see AppendStream."""
        ...

    def receive(self, in_flight: bool, wait_s: float) -> list[RecordAck]:
        """Return what was acknowledged meanwhile. Raises: Unreachable, what the primary refuses."""
        ...

    def abort(self) -> None:
        """End it under whoever sends or waits."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ReadRange:
    """What came with the bytes of a read: CRC-32C of its parts on the chunk's grid."""

    crcs: Sequence[int]
    sealed: bool


@dataclass(frozen=True, slots=True)
class ChunkBlocks:
    """The CRC array of a sealed chunk, as one replica has it."""

    length: int
    crcs: Sequence[int]


class DataPlane(Protocol):
    """Moves bytes between this client and chunkservers; never retries. Thread-safe."""

    def push(self, chunk: ChunkAllocated, offset: int, length_max: int) -> PushStream:
        """Start a push at the exact end of a chunk. Raises: Unreachable for a lost head."""
        ...

    def read(
        self, location: Location, chunk: ChunkLocations, offset: int, into: memoryview
    ) -> ReadRange:
        """Fill `into` from one replica; the bytes fit the CRCs that came with them.

        Raises: Unreachable, CorruptData, UnknownReplica, ChunkUnavailable, Overloaded…
        """
        ...

    def blocks(self, location: Location, chunk: ChunkLocations) -> ChunkBlocks:
        """Return the CRC array of a sealed chunk; the digest is the caller's to check."""
        ...

    def append(self, grant: AppendGrant) -> RecordStream:
        """Dial the primary of a tail. Raises: Unreachable."""
        ...

    def tail_length(self, location: Location, tail: FileTail) -> TailLength:
        """Return how much of a tail counts, as a replica knows it. Raises: Unreachable…"""
        ...

    def close(self) -> None:
        """Hang up everywhere."""
        ...


def primary_of(tail: FileTail) -> Location:
    """Return where the primary of a tail is reached."""
    for one in tail.replicas:
        if one.server_id == tail.primary:
            return one
    return tail.replicas[0]
