"""One push of a client into one open chunk, and what became of it on each replica."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gfs_ha.client.data_plane import DataPlane, PushStream
from gfs_ha.client.passes import NOT_GIVEN
from gfs_ha.errors import (
    DiskFailed,
    DiskFull,
    GfsError,
    NoSpace,
    TooFewCopies,
    UnknownOutcome,
    Unreachable,
)
from gfs_ha.ids import DiskId, ServerId, format_id
from gfs_ha.protocol.frames import ReplicaAck
from gfs_ha.protocol.grid import BlockCrcs
from gfs_ha.protocol.metadata import ChunkAllocated

_OF_A_DISK = (DiskFailed.__name__, DiskFull.__name__)


@dataclass(frozen=True, slots=True)
class PushOutcome:
    """Who has everything, who failed, and the reason in words if not all have it.

    Fields:
        failed_disks: of servers in `failed` that say that it is their disk that does not take it.
    """

    complete: tuple[ServerId, ...]
    failed: tuple[ServerId, ...]
    error: GfsError | None
    failed_disks: Mapping[ServerId, DiskId] = field(default_factory=dict)

    @property
    def cut_off(self) -> tuple[ServerId, ...]:
        """Return those of `failed` that are to be avoided, and not only one of their disks."""
        return tuple(one for one in self.failed if one not in self.failed_disks)

    def everywhere(self, chunk: ChunkAllocated) -> bool:
        """Return True when every replica of the chunk's set acknowledged everything (C1)."""
        return len(self.complete) == len(chunk.replicas)

    def enough(self, chunk: ChunkAllocated) -> bool:
        """Return True when the chunk may be finished with those that have everything (C5)."""
        return len(self.complete) >= min(chunk.min_copies, chunk.goal)


class ChunkPush:
    """Sends bytes from `offset`, the exact end of the chunk, along its chain.

    A chain that breaks is remembered, not raised: later bytes are swallowed, and `finish` tells.
    A broken push is never resumed on the same chunk (C6). Where tickets end, one that takes long is
    several on the wire, each from the exact end of the one before, which all replicas acknowledged.
    Used by one thread at a time.
    """

    def __init__(self, plane: DataPlane, chunk: ChunkAllocated, offset: int, length_max: int):
        self.chunk = chunk
        self.offset = offset
        self.length = 0
        self._plane = plane
        self._limit = offset + length_max
        self._sums = BlockCrcs(offset)  # Of what is settled.
        self._acks: tuple[ReplicaAck, ...] = ()
        self._stream: PushStream | None = None
        self._error: GfsError | None = None
        self._blameless = False
        self._open()

    @property
    def crcs(self) -> Sequence[int]:
        """Return the CRC-32C of the parts on the chunk's grid; after `finish`."""
        return self._sums.crcs

    @property
    def broken(self) -> bool:
        return self._error is not None

    def send(self, data: memoryview) -> None:
        """Send the bytes that follow."""
        if self._stream is not None and self._stream.stale:
            self._renew(self._stream)
        self.length += len(data)
        if self._stream is None:
            return
        try:
            self._stream.send(data)
        except GfsError as error:
            self._break(error)

    def finish(self) -> PushOutcome:
        """Settle the length, wait for the acknowledgements, and say who has what."""
        stream = self._stream
        if stream is not None and stream.stale and (self._unsettled == 0 or stream.lapsed):
            self._renew(stream)
        if self._stream is not None:
            self._settle(self._stream)
        if self._blameless:
            return PushOutcome((), (), self._error)
        return read_acks(self.chunk, self._acks, self.offset + self.length, self._error)

    def abandon(self) -> None:
        """Hang up; the bytes count nowhere."""
        if self._stream is not None:
            self._stream.abandon()
            self._stream = None

    @property
    def _unsettled(self) -> int:
        return self.offset + self.length - self._sums.end

    def _open(self) -> None:
        at = self._sums.end
        try:
            self._stream = self._plane.push(self.chunk, at, self._limit - at)
        except GfsError as error:
            self._error = error
            # Then no server was asked.
            self._blameless = error.details.get("reason") == NOT_GIVEN

    def _settle(self, stream: PushStream) -> None:
        """Finish what is on the wire."""
        self._stream = None
        try:
            self._acks = stream.finish()
        except GfsError as error:
            self._acks, self._error = (), error
            return
        end = self.offset + self.length
        if any(ack.complete and ack.end == end for ack in self._acks):
            self._sums.add(self._unsettled, stream.crcs)

    def _renew(self, stream: PushStream) -> None:
        """Go on with new tickets, if all replicas have what came before."""
        if not self._unsettled:
            self.abandon()  # Nothing left yet.
        elif stream.lapsed:
            self._break(Unreachable("the source was silent until the tickets of the push ended"))
            self._blameless = True
            return
        else:
            self._settle(stream)
            end = self.offset + self.length
            if not read_acks(self.chunk, self._acks, end, self._error).everywhere(self.chunk):
                self._error = self._error or TooFewCopies("not every server took what came first")
                return
        self._open()

    def _break(self, error: GfsError) -> None:
        self._acks, self._error = (), error
        self.abandon()


def read_acks(
    chunk: ChunkAllocated, acks: tuple[ReplicaAck, ...], end: int, error: GfsError | None
) -> PushOutcome:
    """Return the outcome of a push that should have brought the chunk to `end`.

    To blame are the servers that the hop above them names, or the head when it broke off itself;
    those behind a failed one are silent without being at fault.
    """
    complete = {ack.server_id for ack in acks if ack.complete and ack.end == end}
    holders = tuple(one.server_id for one in chunk.replicas if one.server_id in complete)
    failures = [ack for ack in acks if not ack.complete and ack.code != UnknownOutcome.__name__]
    failed = tuple(ack.server_id for ack in failures)
    if not acks and error is not None:
        failed = (chunk.replicas[0].server_id,)
    if error is None and len(holders) < len(chunk.replicas):
        why = "; ".join(f"{_name(chunk, ack.server_id)}: {ack.message}" for ack in failures)
        full = {ack.code for ack in failures} == {DiskFull.__name__}
        error = (NoSpace if full else TooFewCopies)(
            f"chunk {format_id(chunk.chunk_id)} reached {len(holders)} of "
            f"{len(chunk.replicas)} servers ({why or 'the others did not answer'})"
        )
    on_disk = {ack.server_id for ack in failures if ack.code in _OF_A_DISK}
    disks = {one.server_id: one.disk_id for one in chunk.replicas if one.server_id in on_disk}
    return PushOutcome(holders, failed, error, {key: one for key, one in disks.items() if one})


def _name(chunk: ChunkAllocated, server_id: ServerId) -> str:
    found = (one.name for one in chunk.replicas if one.server_id == server_id)
    return next(found, format_id(server_id))
