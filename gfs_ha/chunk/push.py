"""The receiving end of a push: checked before it goes anywhere, forwarded before it is written.

Acknowledged only when it is safe here. A replica that fails on this server does not stop the push:
the servers below may still take it, and the answer says for each what happened.
"""

from __future__ import annotations

from dataclasses import dataclass

from gfs_ha.chunk.chain import Chain
from gfs_ha.chunk.local_end import LocalEnd
from gfs_ha.chunk.progress import ProgressTicker
from gfs_ha.chunk.rates import Rates
from gfs_ha.chunk.repair_pace import RepairPace
from gfs_ha.chunk.request_lines import DataLines
from gfs_ha.chunk.service_times import PUSH
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.errors import CorruptData, ProtocolError
from gfs_ha.net.answers import Deadline
from gfs_ha.net.buffers import Buffer
from gfs_ha.net.sealed_stream import SealedStream
from gfs_ha.net.stream_pool import StreamPool
from gfs_ha.net.streams import Stream
from gfs_ha.protocol.data import DataRequest
from gfs_ha.protocol.frames import FrameKind, encode_acks, encode_frame
from gfs_ha.protocol.grid import first_mismatch
from gfs_ha.protocol.packets import PACKET_BYTES, PacketHeader, decode_packet, packet_crcs
from gfs_ha.protocol.records import (
    BLOCK_HEAD_BYTES,
    check_contiguous,
    decode_entries,
    entries_length,
)
from gfs_ha.runtime import Runtime


@dataclass(frozen=True, slots=True)
class PushRoom:
    """What every push on this server needs."""

    store: ChunkStore
    pool: StreamPool
    ticker: ProgressTicker
    runtime: Runtime
    pace: RepairPace | None = None  # Is told how long clients wait.
    rates: Rates | None = None  # Is told how much is served.
    lines: DataLines | None = None  # Are told of every push.


def serve_push(room: PushRoom, request: DataRequest, upstream: Stream) -> bool:
    """Take one push from `upstream`, answer it there, and return whether all of it was taken.

    It ends early when neither this server nor one below can take it; the stream is then of no use.

    Raises: Unreachable if upstream leaves, DeadlineExceeded, ProtocolError: nothing of the push
    counts here then, and those below are broken off.
    """
    deadline = Deadline(room.runtime, request.deadline_ms / 1000)
    begun_s = room.runtime.monotonic_s()
    chain: Chain | None = None
    sealed = upstream if isinstance(upstream, SealedStream) and upstream.speaks_records else None
    block = _receive_entries(request, upstream, deadline)
    local = LocalEnd(room.store, request, block[BLOCK_HEAD_BYTES:])
    if sealed is not None and request.hops:
        block = bytes(sealed.take_raw())  # It goes on as it came.
    try:
        with room.ticker.working(upstream, request.op_id) as operation:
            chain = Chain(room.pool, request, deadline, block, sealed is not None)
            local.begin(operation.disk)
            with room.store.buffers.borrow() as buffer:
                packets = _Packets(upstream, buffer, deadline, sealed if request.hops else None)
                whole = _receive(request, packets, chain, local)
            # From here on it is our time and that of those below, not that of who sends.
            received_s = room.runtime.monotonic_s()
            if whole:
                local.commit()
            below = chain.acks()
            took_s = room.runtime.monotonic_s() - received_s
            if room.pace is not None:
                room.pace.served(PUSH, request.length, took_s)
            if room.rates is not None and whole and not request.brings_records:
                room.rates.note_put(request, packets.length, took_s)
            acks = (local.ack(), *below)
            # Before the answer: the next push may come by another stream as soon as it is read.
            local.close()
        if room.lines is not None:
            room.lines.pushed(request, packets.length, acks, begun_s)
        kind = FrameKind.PUSHED if whole else FrameKind.ENDED
        upstream.send([encode_frame(kind, request.op_id, encode_acks(acks))], deadline.hang_up)
        return whole
    finally:
        local.close()
        if chain is not None:
            chain.close()


def _receive_entries(request: DataRequest, upstream: Stream, deadline: Deadline) -> bytes:
    """Return the block of entries that comes before the packets of records; empty of a put.

    Raises: ProtocolError, CorruptData unless they are exactly the records of the push.
    """
    if not request.brings_records:
        return b""
    head = memoryview(bytearray(BLOCK_HEAD_BYTES))
    upstream.receive(head, deadline.stall)
    packed = memoryview(bytearray(entries_length(head)))
    if packed:
        upstream.receive(packed, deadline.stall)
    check_contiguous(decode_entries(head, packed), request.offset, request.length)
    return bytes(head) + bytes(packed)


def _receive(request: DataRequest, packets: _Packets, chain: Chain, local: LocalEnd) -> bool:
    end = request.offset
    limit = request.offset + request.length
    last = False
    while not last:
        if local.failed and not chain.alive:
            return False
        packet = packets.next()
        if packet.offset != end or end + packet.length > limit:
            raise ProtocolError(
                f"a packet of {packet.length} bytes at {packet.offset}, expected at {end}"
            )
        try:
            crcs = packet_crcs(packet, packets.packed_crcs)
            bad = first_mismatch(end, packets.data, crcs)
            if bad is not None:
                raise CorruptData(f"part {bad} of the packet at {end} arrived damaged")
        except CorruptData as error:
            local.fail(error)
            chain.abandon()
        else:
            chain.forward(packets.whole)
            local.append(packets.data, crcs)
        end += packet.length
        last = packet.last
    if request.brings_records and end != limit:
        raise ProtocolError(f"a push of records ends at {end}, not at {limit}: they are whole")
    return True


class _Packets:
    """The packets of one push, each in the same buffer as the one before."""

    def __init__(
        self, stream: Stream, buffer: Buffer, deadline: Deadline, sealed: SealedStream | None
    ) -> None:
        """Args: `sealed` is the stream if its records are to go on as they come."""
        self._stream = stream
        self._sealed = sealed
        self._buffer = buffer
        self._deadline = deadline
        self._head = memoryview(bytearray(PACKET_BYTES))
        self.whole = self.packed_crcs = self.data = self._head
        self.length = 0  # Of all data so far.

    def next(self) -> PacketHeader:
        # Nobody times silence from above: a slow source is no fault. Deadline or hang-up end it.
        self._stream.receive(self._head, self._deadline.stall)
        packet = decode_packet(self._head)
        body = self._buffer.body(packet.crc_count, packet.length)
        self._stream.receive(body, self._deadline.stall)
        if self._sealed is not None:
            self.whole = self._sealed.take_raw()
        else:
            self.whole = self._buffer.packet(packet.crc_count, packet.length)
            self.whole[:PACKET_BYTES] = self._head
        self.packed_crcs = self._buffer.crcs(packet.crc_count)
        self.data = self._buffer.data[: packet.length]
        self.length += packet.length
        return packet
