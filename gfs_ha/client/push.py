"""The client's end of one push: bytes as they come, cut into packets, sent down a chain.

The true length is settled by `finish`, so a source of unknown length needs no buffering first. The
caller keeps the bytes until all replicas acknowledged them: a broken push is never resumed (C6).
"""

from __future__ import annotations

from array import array
from contextlib import ExitStack
from dataclasses import dataclass

from gfs_ha.client.data_room import DataRoom
from gfs_ha.errors import GfsError, InvalidArgument, UnknownOutcome
from gfs_ha.ids import Birth, ChunkId, ServerId
from gfs_ha.limits import PACKET_BYTES_DEFAULT, PACKET_BYTES_MAX, PACKET_BYTES_MIN
from gfs_ha.net.answers import Deadline
from gfs_ha.net.asking import showing
from gfs_ha.net.push_stream import PushStream
from gfs_ha.protocol.data import (
    ChunkKind,
    DataRequest,
    Durability,
    Hop,
    Op,
    RequestFlag,
)
from gfs_ha.protocol.frames import ReplicaAck, failed_ack
from gfs_ha.protocol.grid import BlockCrcs, part_crcs
from gfs_ha.protocol.packets import encode_packet
from gfs_ha.protocol.tickets import OperationPass


@dataclass(frozen=True, slots=True)
class PushTarget:
    """The open chunk that is appended to, as its row says, and the chain in order."""

    chunk_id: ChunkId
    birth: Birth
    capacity: int
    durability: Durability
    chain: tuple[Hop, ...]
    kind: ChunkKind = ChunkKind.PUT
    given: OperationPass | None = None  # Of the tickets of the chain.


@dataclass(frozen=True, slots=True)
class PushResult:
    """What became of a push, per replica in the order of the chain.

    Fields:
        crcs: CRC-32C of each grid part of the pushed range; parts that share a block are joined.
    """

    acks: tuple[ReplicaAck, ...]
    offset: int
    end: int
    crcs: array[int]

    @property
    def complete(self) -> bool:
        """Return True when every replica of the set acknowledged: only then the bytes count."""
        return all(ack.complete for ack in self.acks)

    @property
    def holders(self) -> tuple[ServerId, ...]:
        """Return the servers that hold all of it at the chunk's durability."""
        return tuple(ack.server_id for ack in self.acks if ack.complete and ack.end == self.end)


class Push:
    """One push to an open chunk, from its exact end. Used by one thread; close it in any case.

    An error of the head is kept: `write` does nothing any more and `finish` tells. Nothing is sent
    before the first packet is full or `finish` is called.
    """

    def __init__(
        self,
        room: DataRoom,
        target: PushTarget,
        offset: int,
        length_max: int,
        deadline_s: float,
        packet_bytes: int = PACKET_BYTES_DEFAULT,
    ) -> None:
        """Args: `length_max` bounds what will be written; `deadline_s` is that of all of it."""
        if not target.chain or offset + length_max > target.capacity:
            raise InvalidArgument(f"{length_max} bytes at {offset} of chunk {target.chunk_id:#x}")
        if not PACKET_BYTES_MIN <= packet_bytes <= PACKET_BYTES_MAX:
            raise InvalidArgument(f"packets of {packet_bytes} bytes")
        self._room = room
        self._target = target
        self._offset = offset
        self._limit = offset + length_max
        self._deadline = Deadline(room.runtime, deadline_s)
        self._packet_bytes = packet_bytes
        self._sums = BlockCrcs(offset)
        self._pending = 0
        self._stream: PushStream | None = None
        self._error: GfsError | None = None
        self._cleanup = ExitStack()
        self._buffer: memoryview | None = None

    @property
    def end(self) -> int:
        """Return the offset in the chunk up to which bytes were written so far."""
        return self._sums.end + self._pending

    @property
    def failed(self) -> bool:
        """Return True once the head is lost or refuses: writing on is of no use."""
        return self._error is not None or (self._stream is not None and self._stream.ended_early)

    @property
    def error(self) -> GfsError | None:
        """Return what went wrong with the head of the chain so far."""
        return self._error

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes; full packets leave at once, from `data` itself where possible."""
        view = memoryview(data).cast("B")
        if self.end + len(view) > self._limit:
            raise InvalidArgument(f"more bytes than the {self._limit - self._offset} announced")
        while len(view) and not self.failed:
            # Packets end on the packet grid of the chunk, so that all but the first are alike.
            room = self._packet_bytes - self.end % self._packet_bytes
            part, view = view[:room], view[room:]
            if not self._pending and len(part) == room:
                self._send(part, last=False)
                continue
            buffer = self._lend()
            buffer[self._pending : self._pending + len(part)] = part
            self._pending += len(part)
            if len(part) == room:
                self._send_pending(last=False)

    def finish(self) -> PushResult:
        """Settle the length, wait for the acknowledgements, and return them."""
        self._send_pending(last=True)
        acks: tuple[ReplicaAck, ...] = ()
        if self._error is None and self._stream is not None:
            try:
                acks = self._stream.finish()
            except GfsError as error:
                self._error = error
        return PushResult(self._per_hop(acks), self._offset, self._sums.end, self._sums.crcs)

    def _per_hop(self, acks: tuple[ReplicaAck, ...]) -> tuple[ReplicaAck, ...]:
        known = {ack.server_id: ack for ack in acks}
        chain = self._target.chain
        if self._error is not None:
            known = {chain[0].server_id: failed_ack(chain[0].server_id, self._error)}
        unknown = UnknownOutcome("a server above it in the chain was lost")
        return tuple(
            known.get(hop.server_id) or failed_ack(hop.server_id, unknown) for hop in chain
        )

    def abort(self) -> None:
        """Break it off, from any thread; what was sent never counts unless it was finished."""
        stream = self._stream
        if stream is not None:
            stream.abort()

    def close(self) -> None:
        """Let go of stream and buffer; a push that was not finished is broken off."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        self._buffer = None
        self._cleanup.close()

    def __enter__(self) -> Push:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _lend(self) -> memoryview:
        if self._buffer is None:
            self._buffer = self._cleanup.enter_context(self._room.buffers.borrow()).data
        return self._buffer

    def _send_pending(self, last: bool) -> None:
        pending, self._pending = self._pending, 0
        self._send(self._buffer[:pending] if self._buffer is not None else memoryview(b""), last)

    def _send(self, part: memoryview, last: bool) -> None:
        offset = self._sums.end
        crcs = part_crcs(offset, part)
        self._sums.add(len(part), crcs)
        if self.failed:
            return
        try:
            if self._stream is None:
                self._stream = self._open()
            self._stream.send([encode_packet(offset, len(part), last, crcs), part])
        except GfsError as error:
            self._error = error

    def _open(self) -> PushStream:
        target = self._target
        request = DataRequest(
            op=Op.PUSH,
            cluster=self._room.cluster,
            target=target.chain[0].server_id,
            disk_id=target.chain[0].disk_id,
            chunk_id=target.chunk_id,
            birth=target.birth,
            offset=self._offset,
            length=self._limit - self._offset,
            deadline_ms=max(1, int(self._deadline.left_s() * 1000)),
            op_id=self._room.runtime.random_u64() or 1,
            flags=RequestFlag.CREATE if self._offset == 0 else RequestFlag(0),
            durability=target.durability,
            kind=target.kind,
            capacity=target.capacity,
            hops=target.chain[1:],
            label=self._room.label,
            trace_id=self._room.trace_id,
        )
        request = showing(request, target.given, target.chain[0].ticket, self._room.runtime)
        return PushStream(self._room.streams, target.chain[0], request, self._deadline)
