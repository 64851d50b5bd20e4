"""One compaction: what lives of a chunk that is here, written into a fresh chunk as a put is (G8).

Every block is read from the own disk and compared with the block CRCs whose digest the masters
know; the copy's CRCs are made of the very bytes that were compared. Files refer to the copy only
once all of its replicas are durable and it is finished.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gfs_ha.checksum import chunk_digest, crc32c
from gfs_ha.chunk.disk import File, opened
from gfs_ha.chunk.pace import Pace
from gfs_ha.chunk.slots.answers import ReadPlan
from gfs_ha.chunk.slots.format import DATA_OFFSET, State
from gfs_ha.chunk.slots.replica import Replica
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.chunk.writer_session import Masters, WriterSession
from gfs_ha.errors import CorruptData, ProtocolError, ReplicaBusy, TooFewCopies
from gfs_ha.ids import ChunkId
from gfs_ha.limits import BLOCK_BYTES, CHUNK_BYTES_MAX, COMPACTION_RANGES_MAX, PACKET_BYTES_DEFAULT
from gfs_ha.net.answers import Deadline
from gfs_ha.net.asking import showing
from gfs_ha.net.push_stream import PushStream
from gfs_ha.net.stream_pool import StreamPool
from gfs_ha.protocol.control import CompactChunk
from gfs_ha.protocol.data import (
    ChunkKind,
    DataRequest,
    Durability,
    Hop,
    Op,
    RequestFlag,
    cluster_hash,
)
from gfs_ha.protocol.extents import MovedRange, MoveReferences, ReferencesMoved
from gfs_ha.protocol.grid import BlockCrcs, part_crcs
from gfs_ha.protocol.metadata import AllocateChunk, ChunkAllocated, ChunkSealed, FinishChunk
from gfs_ha.protocol.packets import encode_packet
from gfs_ha.runtime import Runtime

PUSH_S = 600.0

# Waits until the pace of a compaction lets it go on. Raises: Cancelled once it is stopped.
Pause = Callable[[Pace], None]


@dataclass(frozen=True, slots=True)
class CompactRoom:
    """What compactions need. `place` is (machine, rack) of this server."""

    store: ChunkStore
    streams: StreamPool
    masters: Masters
    runtime: Runtime
    name: str
    place: tuple[str, str]


def compact(room: CompactRoom, order: CompactChunk, pause: Pause, check: Callable[[], None]) -> int:
    """Do it, and return how many extents refer to the copy now.

    Raises: Cancelled; UnknownReplica, WrongBirth, ReplicaBusy, CorruptData, RangeGone (by the state
    of the own replica); ProtocolError; what the masters or the other servers say.
    """
    _check_order(order)
    replica, plan = _plan(room.store, order)
    session = WriterSession(room.masters, room.runtime, f"compaction on {room.name}", check)
    try:
        machine, rack = room.place
        # Durable on all of them, whatever the chunk was written for: its own replicas are by now.
        wanted = AllocateChunk(
            goal=order.goal,
            machine=machine,
            rack=rack,
            rule=order.rule,
            chunk_bytes=order.capacity,
        )
        fresh = session.change(wanted, ChunkAllocated)
        if len(fresh.replicas) < order.goal:
            raise TooFewCopies(f"{len(fresh.replicas)} servers take a compacted chunk now")
        digest = _copy(room, order, (replica, plan, fresh), pause)
        total = sum(length for _, length in order.ranges)
        holders = tuple(one.server_id for one in fresh.replicas)
        ended = FinishChunk(fresh.chunk_id, total, digest, holders)
        sealed = session.change(ended, ChunkSealed)
        if (sealed.length, sealed.digest) != (total, digest):
            raise CorruptData(f"chunk {fresh.chunk_id:#x} was sealed otherwise than it was written")
        return _move(session, order, fresh.chunk_id)
    finally:
        session.close()


def _check_order(order: CompactChunk) -> None:
    end = 0
    for offset, length in order.ranges:
        if offset < end or length < 1:
            raise ProtocolError("ranges overlap, or are not sorted")
        end = offset + length
    if not 0 < len(order.ranges) <= COMPACTION_RANGES_MAX or end > order.length:
        raise ProtocolError(f"{len(order.ranges)} ranges up to {end} of {order.length} bytes")
    if order.length > CHUNK_BYTES_MAX:
        raise ProtocolError(f"a chunk of {order.length} bytes")


def _plan(store: ChunkStore, order: CompactChunk) -> tuple[Replica, ReadPlan]:
    """Return the replica that is here, and its CRCs. Raises: unless it is the sealed chunk."""
    replica = store.get(order.chunk_id, order.birth)
    header = replica.header
    name = f"chunk {order.chunk_id:#x}"
    if header.state is not State.SEALED:
        raise ReplicaBusy(f"{name} is not sealed here yet")
    plan = replica.plan_read(0, header.end, data=False)
    if header.end != order.length or chunk_digest(plan.crcs) != order.digest:
        raise CorruptData(f"{name} is another one here than the sealed one")
    return replica, plan


def _copy(
    room: CompactRoom,
    order: CompactChunk,
    chunks: tuple[Replica, ReadPlan, ChunkAllocated],
    pause: Pause,
) -> int:
    """Write the ranges one after the other into the fresh chunk; return its digest.

    Raises: TooFewCopies unless all of its replicas have all of it.
    """
    replica, plan, fresh = chunks
    total = sum(length for _, length in order.ranges)
    pace = Pace(order.bytes_per_s, room.runtime.monotonic_s())
    deadline = Deadline(room.runtime, PUSH_S)
    hops = [
        Hop(one.server_id, one.host, one.port, one.disk_id, one.ticket) for one in fresh.replicas
    ]
    request = DataRequest(
        op=Op.PUSH,
        cluster=cluster_hash(room.store.cluster_id),
        target=hops[0].server_id,
        disk_id=hops[0].disk_id,
        chunk_id=fresh.chunk_id,
        birth=fresh.birth,
        offset=0,
        length=total,
        deadline_ms=int(PUSH_S * 1000),
        op_id=room.runtime.random_u64() or 1,
        flags=RequestFlag.CREATE,
        durability=Durability.DISK,
        kind=ChunkKind.PUT,
        capacity=fresh.capacity,
        hops=tuple(hops[1:]),
    )
    request = showing(request, fresh.pass_, hops[0].ticket, room.runtime)
    sums = BlockCrcs()
    stream = PushStream(room.streams, hops[0], request, deadline)
    try:
        with opened(replica.disk, plan.name) as file, room.store.buffers.borrow() as buffer:
            reader = _Living(room.store, order, (plan, file), buffer.data)
            while sums.end < total:
                data = reader.take(min(PACKET_BYTES_DEFAULT, total - sums.end))
                pace.take(len(data), room.runtime.monotonic_s())
                pause(pace)
                crcs = part_crcs(sums.end, data)
                last = sums.end + len(data) == total
                stream.send([encode_packet(sums.end, len(data), last, crcs), data])
                sums.add(len(data), crcs)
        acks = stream.finish()
    finally:
        stream.close()
    complete = {ack.server_id for ack in acks if ack.complete and ack.end == total}
    missing = [hop.server_id for hop in hops if hop.server_id not in complete]
    if missing:
        raise TooFewCopies(f"servers {missing} did not take the compacted chunk")
    return chunk_digest(sums.crcs)


class _Living:
    """The bytes of the ranges, one after the other; each block was read and compared."""

    def __init__(
        self,
        store: ChunkStore,
        order: CompactChunk,
        source: tuple[ReadPlan, File],
        buffer: memoryview,
    ) -> None:
        self._store = store
        self._order = order
        self._plan, self._file = source
        self._block = buffer[:BLOCK_BYTES]
        self._packet = buffer[BLOCK_BYTES : BLOCK_BYTES + PACKET_BYTES_DEFAULT]
        self._ranges = list(order.ranges)
        self._loaded = -1

    def take(self, wanted: int) -> memoryview:
        """Return the next bytes. Raises: CorruptData, RangeGone, UnknownReplica."""
        filled = 0
        while filled < wanted:
            offset, length = self._ranges[0]
            index, within = divmod(offset, BLOCK_BYTES)
            count = min(length, BLOCK_BYTES - within, wanted - filled)
            self._load(index)
            self._packet[filled : filled + count] = self._block[within : within + count]
            filled += count
            self._ranges[0] = (offset + count, length - count)
            if count == length:
                self._ranges.pop(0)
        return self._packet[:filled]

    def _load(self, index: int) -> None:
        if index == self._loaded:
            return
        order = self._order
        start = index * BLOCK_BYTES
        block = self._block[: min(BLOCK_BYTES, order.length - start)]
        count = self._file.read(DATA_OFFSET + start, block)
        if count < len(block) or crc32c(block) != self._plan.crcs[index]:
            # Given back while it was read, it is no damage.
            self._store.get(order.chunk_id, order.birth).plan_read(start, 1)
            self._store.note_damage(order.chunk_id)
            raise CorruptData(f"block {index} of chunk {order.chunk_id:#x} is damaged here")
        self._loaded = index


def _move(session: WriterSession, order: CompactChunk, target: ChunkId) -> int:
    """Have all files refer to the copy; return how many extents do."""
    moved_offset, moved = 0, []
    for offset, length in order.ranges:
        moved.append(MovedRange(offset, moved_offset, length))
        moved_offset += length
    request = MoveReferences(order.chunk_id, order.order_index, target, tuple(moved))
    count = 0
    while True:
        reply = session.change(request, ReferencesMoved)
        count += reply.count
        if not reply.more:
            return count
