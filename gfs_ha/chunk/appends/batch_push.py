"""One batch of records pushed from here: this server is the head of the chain (section 9)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gfs_ha.chunk.appends.batch import Batch
from gfs_ha.chunk.appends.tail import Tail
from gfs_ha.chunk.chain import Chain
from gfs_ha.chunk.local_end import LocalEnd
from gfs_ha.chunk.push import PushRoom
from gfs_ha.errors import Fenced, GfsError, ProtocolError, Unreachable, error_from_wire
from gfs_ha.ids import ServerId
from gfs_ha.limits import KIB, PACKET_BYTES_DEFAULT, REQUEST_DEADLINE_S
from gfs_ha.net.answers import Deadline
from gfs_ha.net.asking import showing
from gfs_ha.net.streams import Bytes
from gfs_ha.protocol.data import ChunkKind, DataRequest, Op, RequestFlag, cluster_hash
from gfs_ha.protocol.frames import ReplicaAck
from gfs_ha.protocol.grid import part_crcs
from gfs_ha.protocol.packets import encode_packet
from gfs_ha.protocol.records import encode_entries, pack_entries

_JOINED_BYTES_MAX = 256 * KIB


def push_batch(room: PushRoom, tail: Tail, batch: Batch) -> None:
    """Have every replica take a batch, or hear a note.

    Raises: what failed first, with `details["server"]` where one is to be avoided.
    """
    request = _request(room, tail, batch)
    deadline = Deadline(room.runtime, REQUEST_DEADLINE_S)
    entries = pack_entries(batch.entries)
    local = LocalEnd(room.store, request, entries)
    chain: Chain | None = None
    below: tuple[ReplicaAck, ...] = ()
    try:
        local.begin(tail.disk)
        if not local.failed:
            chain = Chain(room.pool, request, deadline, encode_entries(entries))
            if _send(batch, chain, local):
                local.commit()
            below = chain.acks()
        acks = (local.ack(), *below)
    finally:
        local.close()
        if chain is not None:
            chain.close()
    check_acks(tail.name, acks, request)


def _request(room: PushRoom, tail: Tail, batch: Batch) -> DataRequest:
    header, chain = tail.replica.header, tail.chain
    request = DataRequest(
        op=Op.PUSH,
        cluster=cluster_hash(room.store.cluster_id),
        target=room.store.server_id,
        chunk_id=header.chunk_id,
        birth=header.birth,
        offset=batch.offset,
        length=batch.length,
        deadline_ms=int(REQUEST_DEADLINE_S * 1000),
        op_id=room.runtime.random_u64(),
        flags=RequestFlag.RECORDS,
        durability=header.durability,
        kind=ChunkKind.TAIL,
        hops=chain.hops,
        committed=batch.committed,
        trace_id=batch.trace_id,
    )
    return showing(request, chain.given, b"", room.runtime)


def _send(batch: Batch, chain: Chain, local: LocalEnd) -> bool:
    """Write the bytes here and below, in packets; False when one of them cannot take them."""
    offset, end = batch.offset, batch.offset + batch.length
    for data in _pieces(batch):
        crcs = part_crcs(offset, data)
        last = offset + len(data) == end
        chain.forward(encode_packet(offset, len(data), last, crcs), data)
        if batch.length:
            local.append(data, crcs)
        if local.failed or chain.lost:
            return False
        offset += len(data)
    return True


def _pieces(batch: Batch) -> Iterator[memoryview]:
    """Return the bytes of a batch, packet by packet: small records joined, big ones uncopied."""
    small: list[Bytes] = []
    joined = 0
    for one in batch.arrivals:
        if len(one.data) < _JOINED_BYTES_MAX:
            small.append(one.data)
            joined += len(one.data)
            if joined < PACKET_BYTES_DEFAULT - _JOINED_BYTES_MAX:
                continue
        if small:
            yield memoryview(b"".join(small))
            small, joined = [], 0
        if len(one.data) >= _JOINED_BYTES_MAX:
            whole = memoryview(one.data)
            for start in range(0, len(whole), PACKET_BYTES_DEFAULT):
                yield whole[start : start + PACKET_BYTES_DEFAULT]
    if small or not batch.arrivals:  # A note is one empty packet.
        yield memoryview(b"".join(small))


def check_acks(name: str, acks: Sequence[ReplicaAck], request: DataRequest) -> None:
    """Raise what failed, unless every replica has exactly the batch."""
    expected = [request.target, *[hop.server_id for hop in request.hops]]
    end = request.offset + request.length
    failed = [ack for ack in acks if ack.code]
    for ack in failed:
        if ack.code == Fenced.__name__:
            raise Fenced(ack.message, end=ack.end)
    if failed:
        servers = [ack.server_id for ack in failed]
        raise _named(error_from_wire(failed[0].code, failed[0].message, {}), name, servers)
    if [ack.server_id for ack in acks] != expected:
        heard = {ack.server_id for ack in acks}
        missing = [server_id for server_id in expected if server_id not in heard]
        raise _named(Unreachable("not every replica was heard of, in its turn"), name, missing)
    for ack in acks:
        if request.length and ack.end != end:
            wrong = ProtocolError(f"it acknowledges {ack.end} instead of {end}")
            raise _named(wrong, name, [ack.server_id])


def _named(error: GfsError, name: str, servers: Sequence[ServerId]) -> GfsError:
    """Return an error of other servers as the streams of the tail are told of it."""
    if not servers:
        return type(error)(f"{name}: {error.message}; ask for a new grant")
    listed = ",".join(str(server_id) for server_id in servers)
    message = f"{name}: server {listed}: {error.message}; ask for a new grant"
    return type(error)(message, server=servers[0], servers=listed)
