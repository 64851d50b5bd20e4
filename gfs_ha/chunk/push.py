"""The receiving end of a push: checked before it goes anywhere, forwarded before it is written.

Acknowledged only when it is safe here. A replica that fails on this server does not stop the push:
the servers below may still take it, and the answer says for each what happened.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass

from gfs_ha.chunk.chain import Chain
from gfs_ha.chunk.progress import Operation, ProgressTicker
from gfs_ha.chunk.slots.appending import OpenPush
from gfs_ha.chunk.slots.replica import Replica
from gfs_ha.chunk.slots.store import ChunkStore, ReplicaSpec
from gfs_ha.errors import AlreadyExists, CorruptData, GfsError, ProtocolError
from gfs_ha.net.answers import Deadline
from gfs_ha.net.buffers import Buffer
from gfs_ha.net.stream_pool import StreamPool
from gfs_ha.net.streams import Stream
from gfs_ha.protocol.data import DataRequest, RequestFlag
from gfs_ha.protocol.frames import FrameKind, ReplicaAck, encode_acks, encode_frame, failed_ack
from gfs_ha.protocol.grid import first_mismatch
from gfs_ha.protocol.packets import PACKET_BYTES, PacketHeader, decode_packet, packet_crcs
from gfs_ha.runtime import Runtime


@dataclass(frozen=True, slots=True)
class PushRoom:
    """What every push on this server needs."""

    store: ChunkStore
    pool: StreamPool
    ticker: ProgressTicker
    runtime: Runtime


def serve_push(room: PushRoom, request: DataRequest, upstream: Stream) -> bool:
    """Take one push from `upstream`, answer it there, and return whether all of it was taken.

    It ends early when neither this server nor one below can take it; the stream is then of no use.

    Raises: Unreachable if upstream leaves, DeadlineExceeded, ProtocolError: nothing of the push
    counts here then, and those below are broken off.
    """
    deadline = Deadline(room.runtime, request.deadline_ms / 1000)
    chain: Chain | None = None
    local = _LocalEnd(room.store, request)
    try:
        with room.ticker.working(upstream, request.op_id) as operation:
            chain = Chain(room.pool, request, deadline)
            local.begin(operation)
            with room.store.buffers.borrow() as buffer:
                whole = _receive(request, _Packets(upstream, buffer, deadline), chain, local)
            if whole:
                local.commit()
            below = chain.acks()
            acks = (local.ack(), *below)
            # Before the answer: the next push may come by another stream as soon as it is read.
            local.close()
        kind = FrameKind.PUSHED if whole else FrameKind.ENDED
        upstream.send([encode_frame(kind, request.op_id, encode_acks(acks))], deadline.hang_up)
        return whole
    finally:
        local.close()
        if chain is not None:
            chain.close()


def _receive(request: DataRequest, packets: _Packets, chain: Chain, local: _LocalEnd) -> bool:
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
    return True


class _Packets:
    """The packets of one push, each in the same buffer as the one before."""

    def __init__(self, stream: Stream, buffer: Buffer, deadline: Deadline) -> None:
        self._stream = stream
        self._buffer = buffer
        self._deadline = deadline
        self._head = memoryview(bytearray(PACKET_BYTES))
        self.whole = self.packed_crcs = self.data = self._head

    def next(self) -> PacketHeader:
        # Nobody times silence from above: a slow source is no fault. Deadline or hang-up end it.
        self._stream.receive(self._head, self._deadline.stall)
        packet = decode_packet(self._head)
        body = self._buffer.body(packet.crc_count, packet.length)
        self._stream.receive(body, self._deadline.stall)
        self.whole = self._buffer.packet(packet.crc_count, packet.length)
        self.whole[:PACKET_BYTES] = self._head
        self.packed_crcs = self._buffer.crcs(packet.crc_count)
        self.data = self._buffer.data[: packet.length]
        return packet


class _LocalEnd:
    """This server's replica in one push; remembers the first thing that went wrong."""

    def __init__(self, store: ChunkStore, request: DataRequest) -> None:
        self._store = store
        self._request = request
        self._replica: Replica | None = None
        self._push: OpenPush | None = None
        self._operation: Operation
        self._error: GfsError | None = None
        self._end = 0

    @property
    def failed(self) -> bool:
        return self._error is not None

    def begin(self, operation: Operation) -> None:
        self._operation = operation
        try:
            with operation.at_disk():
                self._replica = self._find()
                self._push = self._replica.begin_push(self._request.offset, self._request.length)
        except GfsError as error:
            self.fail(error)

    def _find(self) -> Replica:
        request = self._request
        if request.flags & RequestFlag.CREATE and request.offset == 0:
            spec = ReplicaSpec(
                request.chunk_id,
                request.birth,
                request.kind,
                request.capacity,
                request.durability,
            )
            try:
                return self._store.create_replica(spec)
            except AlreadyExists:
                pass  # Then it has to be the same one, and empty: begin_push looks.
        return self._store.get(request.chunk_id, request.birth)

    def append(self, data: memoryview, crcs: array[int]) -> None:
        if self._error is None and self._push is not None:
            try:
                with self._operation.at_disk():
                    self._push.append(data, crcs)
            except GfsError as error:
                self.fail(error)

    def commit(self) -> None:
        if self._error is None and self._push is not None:
            try:
                with self._operation.at_disk():
                    self._end = self._push.commit()
            except GfsError as error:
                self.fail(error)

    def fail(self, error: GfsError) -> None:
        if self._error is None:
            self._error = error

    def ack(self) -> ReplicaAck:
        """Return what is answered for this server, after a last look at the fence (C2)."""
        if self._error is None and self._replica is not None:
            try:
                self._replica.look_before_ack()
            except GfsError as error:
                self.fail(error)
        if self._error is not None:
            return failed_ack(self._store.identity.server_id, self._error)
        return ReplicaAck(self._store.identity.server_id, "", self._end)

    def close(self) -> None:
        push, self._push = self._push, None
        if push is not None:
            push.close()
