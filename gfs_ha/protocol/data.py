"""The words of the data plane: what a request on a data port says, to the byte (no I/O).

    request   prefix, fixed part, ticket, hops, label, CRC   client -> head -> next -> last
    packet    header, CRCs of its grid parts, bytes      the same way, after a PUSH request
    frame     header, body, CRC; after DATA: raw bytes   the other way

A reader skips what lies beyond the fixed length that it knows. Everything is bounded and checked
by a CRC-32C of its own; integers are little-endian. docs/data_plane.md shows the bytes.
"""

from __future__ import annotations

import enum
import hashlib
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

import msgspec

from gfs_ha.checksum import crc32c
from gfs_ha.errors import ProtocolError
from gfs_ha.ids import (
    ANY_DISK,
    NO_TRACE,
    Birth,
    ChunkId,
    DiskId,
    ServerId,
    StartId,
    TraceId,
    unpack_epoch,
)
from gfs_ha.limits import CHUNK_BYTES_MAX, DATA_HEADER_BYTES_MAX, GOAL_MAX, PROTOCOL_VERSION
from gfs_ha.protocol.tickets import OperationPass
from gfs_ha.protocol.usage import LABEL_BYTES_MAX, clean_label

_E = TypeVar("_E", bound=enum.IntEnum)
_MEMBERS: dict[tuple[type[enum.IntEnum], int], enum.IntEnum] = {}  # Those that were looked up.

HOPS_MAX = GOAL_MAX - 1
HOST_BYTES_MAX = 255
TICKET_BYTES_MAX = 2048  # Of all tickets of a chain.
NONCE_BYTES = 16  # Of a request that shows a ticket.
PROOF_BYTES = 16
DEADLINE_MS_MAX = 24 * 3600 * 1000


class Op(enum.IntEnum):
    """What a request asks for."""

    PUSH = 1  # Append the packets that follow, here and on the hops.
    FETCH = 2  # Read a range.
    BLOCKS = 3  # Read the whole CRC array of a sealed chunk.
    APPEND = 4  # Take the records that follow, as the primary of a tail; see records.py.
    TAIL_LENGTH = 5  # Tell how much of a tail every replica acknowledged.
    LOG = 6  # Tell the newest log lines, as the `length` bytes say that follow; see logs.py.


class Durability(enum.IntEnum):
    """What an acknowledgement means (C1)."""

    DISK = 1
    MEMORY = 2


class ChunkKind(enum.IntEnum):
    """Who may append to the chunk: one client session, or a primary."""

    PUT = 1
    TAIL = 2


class RequestFlag(enum.IntFlag):
    CREATE = 1  # A push at offset 0 makes the replica.
    CHECKED = 2  # A fetch: the server reads and checks every block itself, and reports damage.
    RECORDS = 4  # A push of a primary: a block of entries follows the request (records.py).
    REPAIR = 8  # A fetch for a copy: it waits for what the server may give to repair.


# As plain numbers: arithmetic with flags takes a microsecond, and a small append has a dozen.
_CREATE, _RECORDS = int(RequestFlag.CREATE), int(RequestFlag.RECORDS)
_FLAGS = tuple(RequestFlag(number) for number in range(16))


class Hop(msgspec.Struct, frozen=True):
    """One server of a chain and where its data port is."""

    server_id: ServerId
    host: str
    port: int
    disk_id: DiskId = ANY_DISK  # Of that server, for a replica that the push makes.
    ticket: bytes = b""  # For it; on the wire it stands with the others.


class DataRequest(msgspec.Struct, frozen=True):
    """One request on a data port; `deadline_ms` is a duration, the `length` of a push a maximum."""

    op: Op
    cluster: int
    target: ServerId
    chunk_id: ChunkId
    birth: Birth
    offset: int
    length: int
    deadline_ms: int
    op_id: int
    flags: RequestFlag = RequestFlag(0)
    durability: Durability = Durability.DISK
    kind: ChunkKind = ChunkKind.PUT
    capacity: int = 0
    hops: tuple[Hop, ...] = ()
    ticket: bytes = b""
    start_id: StartId = StartId(0)  # APPEND, TAIL_LENGTH: of the primary's process.
    committed: int = 0  # RECORDS: how much of the tail every replica acknowledged before.
    label: str = ""  # How the client calls itself: for people, proves nothing. From others none.
    disk_id: DiskId = ANY_DISK  # Of the target, for a replica that the push makes.
    trace_id: TraceId = NO_TRACE  # Which command of a client asks, for people.
    nonce: bytes = b""  # Of who asked first, where tickets are shown; passed on as it is.
    proof: bytes = b""  # As it came; who asks makes it anew for each stream.
    given: OperationPass | None = None  # What the ticket says in secret; it is not sent.

    @property
    def creates(self) -> bool:
        """Return whether it may make the replica."""
        return int(self.flags) & _CREATE != 0

    @property
    def brings_records(self) -> bool:
        """Return whether it is a push of a primary."""
        return int(self.flags) & _RECORDS != 0


# magic, version, op, header length (all of it), fixed length (prefix and fixed part), ticket length
_PREFIX = struct.Struct("<4sBBHHH")
# flags, durability, kind, hop count, reserved, deadline, cluster, target, chunk, birth, offset,
# length, op id, capacity, start id, committed
_FIXED = struct.Struct("<HBBB3xIQQQQQQQQQQ")
# Behind them if there is one: the trace id. Releases that know none skip it.
_TRACE = struct.Struct("<Q")
_HOP = struct.Struct("<QHB")  # server id, port, length of the host that follows
_CRC = struct.Struct("<I")
_MAGIC = b"GFSD"
_FIXED_LENGTH = _PREFIX.size + _FIXED.size

PREFIX_BYTES = _PREFIX.size


def cluster_hash(cluster_id: str) -> int:
    """Return the 64 bits of a cluster id that every data request carries."""
    return int.from_bytes(hashlib.blake2b(cluster_id.encode(), digest_size=8).digest(), "little")


def encode_request(request: DataRequest, prove: Callable[[bytes], bytes] | None = None) -> bytes:
    """Return the bytes of a request header.

    Args: `prove` returns the proof of all that is before it, where tickets are shown.
    Raises: ProtocolError where a field does not fit.
    """
    hops = b"".join(_encode_hop(hop) for hop in request.hops)
    disks = (request.disk_id, *(hop.disk_id for hop in request.hops))
    if request.label or any(disks):
        hops += _encode_label(request.label)
    if any(disks):
        hops += _encode_disks(disks)
    tickets = _encode_tickets(request) if request.ticket else b""
    fixed_length = _FIXED_LENGTH + (_TRACE.size if request.trace_id else 0)
    length = fixed_length + len(tickets) + len(hops) + _CRC.size
    length += NONCE_BYTES + PROOF_BYTES if tickets else 0
    if length > DATA_HEADER_BYTES_MAX or len(request.hops) > HOPS_MAX:
        raise ProtocolError(f"a request header of {length} bytes, {len(request.hops)} hops")
    try:
        head = _PREFIX.pack(
            _MAGIC, PROTOCOL_VERSION, request.op, length, fixed_length, len(tickets)
        ) + _FIXED.pack(
            request.flags,
            request.durability,
            request.kind,
            len(request.hops),
            request.deadline_ms,
            request.cluster,
            request.target,
            request.chunk_id,
            request.birth.pack(),
            request.offset,
            request.length,
            request.op_id,
            request.capacity,
            request.start_id,
            request.committed,
        )
        if request.trace_id:
            head += _TRACE.pack(request.trace_id)
    except struct.error as error:
        raise ProtocolError(f"a field of a data request does not fit: {error}") from error
    whole = head + tickets + hops
    if tickets:
        whole += request.nonce
        proof = prove(whole) if prove is not None else request.proof
        if len(proof) != PROOF_BYTES:
            raise ProtocolError("a request that shows a ticket has no proof")
        whole += proof
    return whole + _CRC.pack(crc32c(whole))


def proven_part(header: bytes | memoryview) -> bytes:
    """Return what of a header that shows a ticket its proof is about."""
    return bytes(header[: -PROOF_BYTES - _CRC.size])


def _encode_tickets(request: DataRequest) -> bytes:
    """Return the tickets of a chain: a count, then length and bytes of each."""
    tickets = (request.ticket, *(hop.ticket for hop in request.hops))
    if len(request.nonce) != NONCE_BYTES or max(map(len, tickets)) >> 8:
        raise ProtocolError("a ticket of more than 255 bytes, or a request without its nonce")
    whole = bytes((len(tickets),)) + b"".join(bytes((len(one),)) + one for one in tickets)
    if len(whole) > TICKET_BYTES_MAX:
        raise ProtocolError(f"tickets of {len(whole)} bytes; {TICKET_BYTES_MAX} at most")
    return whole


def _decode_tickets(data: bytes, count: int) -> list[bytes]:
    if data[0] != count:
        raise ProtocolError(f"{data[0]} tickets for {count} servers")
    found = []
    at = 1
    for _ in range(count):
        end = at + 1 + data[at] if at < len(data) else at
        found.append(data[at + 1 : end])
        at = end
    if at != len(data):
        raise ProtocolError("the tickets of a request are cut off")
    return found


def _encode_hop(hop: Hop) -> bytes:
    host = hop.host.encode()
    if not 0 < len(host) <= HOST_BYTES_MAX or not 0 < hop.port < 1 << 16:
        raise ProtocolError(f"no address: {hop.host!r} port {hop.port}")
    return _HOP.pack(hop.server_id, hop.port, len(host)) + host


def _encode_label(label: str) -> bytes:
    text = label.encode(errors="replace")
    if len(text) > LABEL_BYTES_MAX:
        raise ProtocolError(f"a client's name of {len(text)} bytes; {LABEL_BYTES_MAX} at most")
    return bytes((len(text),)) + text


def _encode_disks(disks: tuple[DiskId, ...]) -> bytes:
    try:
        return struct.pack(f"<{len(disks)}Q", *disks)
    except struct.error as error:
        raise ProtocolError(f"the id of a disk does not fit: {error}") from error


def request_length(prefix: bytes | memoryview) -> int:
    """Return the length of the whole request header from its first PREFIX_BYTES.

    Raises: ProtocolError if this is no request of ours or of another version.
    """
    magic, version, _op, length, fixed, ticket = _PREFIX.unpack(prefix)
    if magic != _MAGIC:
        raise ProtocolError("these bytes are no data request of gfs-ha")
    if version != PROTOCOL_VERSION:
        raise ProtocolError(
            f"data protocol version {version}, this server speaks {PROTOCOL_VERSION}"
        )
    if length > DATA_HEADER_BYTES_MAX or fixed < _FIXED_LENGTH or ticket > TICKET_BYTES_MAX:
        raise ProtocolError(f"a request header of {length} bytes, fixed part {fixed}")
    if fixed + ticket + _CRC.size > length:
        raise ProtocolError(f"a request header of {length} bytes is too short for its parts")
    return int(length)


def decode_request(data: bytes | memoryview) -> DataRequest:
    """Return the request in a whole header. Raises: ProtocolError on anything out of bounds."""
    data = bytes(data)
    if request_length(data[:PREFIX_BYTES]) != len(data):
        raise ProtocolError("a request header of the wrong length")
    if _CRC.unpack_from(data, len(data) - _CRC.size)[0] != crc32c(data[: -_CRC.size]):
        raise ProtocolError("a request header arrived damaged")
    _, _, op, _, fixed_length, ticket_length = _PREFIX.unpack_from(data)
    flags, durability, kind, hop_count, deadline, *rest = _FIXED.unpack_from(data, PREFIX_BYTES)
    cluster, target, chunk, birth, offset, length, op_id, capacity, start_id, committed = rest
    traced = fixed_length >= _FIXED_LENGTH + _TRACE.size
    trace_id = _TRACE.unpack_from(data, _FIXED_LENGTH)[0] if traced else NO_TRACE
    hops_at = fixed_length + ticket_length
    ends_at = len(data) - _CRC.size - (NONCE_BYTES + PROOF_BYTES if ticket_length else 0)
    if ends_at < hops_at:
        raise ProtocolError("a request that shows a ticket has no proof")
    hops, beyond = _decode_hops(data[hops_at:ends_at], hop_count)
    label, disks = _decode_beyond(beyond, 1 + hop_count) if beyond else ("", ())
    tickets = [b""] * (1 + hop_count)
    if ticket_length:
        tickets = _decode_tickets(data[fixed_length:hops_at], 1 + hop_count)
    if disks or ticket_length:
        places = zip(hops, disks[1:] or [ANY_DISK] * hop_count, tickets[1:], strict=True)
        hops = tuple(Hop(at.server_id, at.host, at.port, disk, one) for at, disk, one in places)
    proof_at = ends_at + NONCE_BYTES
    request = DataRequest(
        op=member(Op, op),
        cluster=cluster,
        target=ServerId(target),
        chunk_id=ChunkId(chunk),
        birth=unpack_epoch(birth),
        offset=offset,
        length=length,
        deadline_ms=deadline,
        op_id=op_id,
        flags=_FLAGS[flags % len(_FLAGS)],
        durability=member(Durability, durability),
        kind=member(ChunkKind, kind),
        capacity=capacity,
        hops=hops,
        ticket=tickets[0],
        start_id=StartId(start_id),
        committed=committed,
        label=label,
        disk_id=disks[0] if disks else ANY_DISK,
        trace_id=TraceId(trace_id),
        nonce=data[ends_at:proof_at] if ticket_length else b"",
        proof=data[proof_at : -_CRC.size] if ticket_length else b"",
    )
    if offset + length > CHUNK_BYTES_MAX or capacity > CHUNK_BYTES_MAX:
        raise ProtocolError(f"a range beyond any chunk: offset {offset} length {length}")
    if not 0 < deadline <= DEADLINE_MS_MAX:
        raise ProtocolError(f"a deadline of {deadline} ms")
    return request


def member(kind: type[_E], value: int) -> _E:
    """Return the member with that number. Raises: ProtocolError."""
    found = _MEMBERS.get((kind, value))
    if found is None:
        if value not in list(kind):
            raise ProtocolError(f"no {kind.__name__} has number {value}")
        found = _MEMBERS[kind, value] = kind(value)
    return found  # type: ignore[return-value]


def _decode_hops(data: bytes, count: int) -> tuple[tuple[Hop, ...], bytes]:
    """Return the hops and what follows them."""
    if count > HOPS_MAX:
        raise ProtocolError(f"{count} hops, at most {HOPS_MAX}")
    hops = []
    at = 0
    for _ in range(count):
        if at + _HOP.size > len(data):
            raise ProtocolError("a hop is cut off")
        server_id, port, host_length = _HOP.unpack_from(data, at)
        at += _HOP.size
        host = data[at : at + host_length]
        at += host_length
        if len(host) != host_length or not host or not port:
            raise ProtocolError("a hop without an address")
        try:
            hops.append(Hop(ServerId(server_id), host.decode(), port))
        except UnicodeDecodeError:
            raise ProtocolError("a host name that is no text") from None
    return tuple(hops), data[at:]


def _decode_beyond(data: bytes, count: int) -> tuple[str, tuple[DiskId, ...]]:
    """Return how the client calls itself, and so many disks, or none.

    What lies behind them is of a later release.
    """
    at = 1 + data[0]
    if at > len(data):
        raise ProtocolError("a client's name is cut off")
    label = _label_of(data[1:at]) if at > 1 else ""
    if at == len(data):
        return label, ()
    if at + 8 * count > len(data):
        raise ProtocolError("the disks of a request are cut off")
    return label, tuple(DiskId(one) for one in struct.unpack_from(f"<{count}Q", data, at))


@lru_cache(maxsize=1024)
def _label_of(data: bytes) -> str:
    return clean_label(data.decode(errors="replace"))
