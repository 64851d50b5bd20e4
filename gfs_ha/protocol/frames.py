"""The frames that answer a request on a data port: progress, acknowledgements, errors, echoes."""

from __future__ import annotations

import enum
import struct
from array import array

import msgspec

from gfs_ha.checksum import crc32c
from gfs_ha.errors import GfsError, ProtocolError
from gfs_ha.ids import ChunkId, ServerId
from gfs_ha.limits import CHUNK_BYTES_MAX, GOAL_MAX, PROTOCOL_VERSION
from gfs_ha.protocol.codec import Failure, Word, decode, encode, prepare
from gfs_ha.protocol.data import member
from gfs_ha.protocol.grid import CRC_BYTES, block_count, pack_crcs, unpack_crcs

FRAME_BODY_BYTES_MAX = 32 * 1024
MESSAGE_CHARS_MAX = 300
_DETAILS_MAX = 16


class FrameKind(enum.IntEnum):
    PROGRESS = 1  # Somebody below is alive and working; no body.
    PUSHED = 2  # The end of a push: one ReplicaAck for each replica that is known about.
    FAILED = 3  # The end of any request: an error.
    DATA = 4  # Echo and CRCs; `length` raw bytes follow.
    BLOCKS = 5  # Echo, length, digest and CRCs of a sealed chunk.
    ENDED = 6  # As PUSHED, but not all packets were taken: the stream ends with it.
    RECORDED = 7  # Records of an APPEND stream are on every replica: where each lies.
    TAIL = 8  # How much of a tail counts.
    LOG = 9  # A page of log lines.


class ReplicaAck(Word, frozen=True):
    """What happened on one replica: an empty `code` is success, and `end` counts there."""

    server_id: ServerId
    code: str
    end: int
    message: str = ""

    @property
    def complete(self) -> bool:
        return self.code == ""


class DataEcho(msgspec.Struct, frozen=True):
    """What a DATA or BLOCKS frame says: the range served, whether sealed, the CRCs of its parts."""

    chunk_id: ChunkId
    offset: int
    length: int
    sealed: bool
    digest: int
    crcs: array  # type: ignore[type-arg]


class FrameHeader(msgspec.Struct, frozen=True):
    kind: FrameKind
    op_id: int
    body_length: int
    crc: int


# magic, version, kind, reserved, op id, body length, CRC of header and body
_FRAME = struct.Struct("<4sBBHQII")
# chunk, offset, length, digest, flags; the CRCs follow
_ECHO = struct.Struct("<QQQII")
_CRC = struct.Struct("<I")
_MAGIC = b"GFSA"
HELLO_MAGIC = b"GFSH"  # Of the hello of a data port that asks for tickets.
_ECHO_SEALED = 1

FRAME_BYTES = _FRAME.size


def encode_frame(kind: FrameKind, op_id: int, body: bytes = b"") -> bytes:
    """Return a whole frame."""
    if len(body) > FRAME_BODY_BYTES_MAX:
        raise ProtocolError(f"an answer of {len(body)} bytes")
    head = _FRAME.pack(_MAGIC, PROTOCOL_VERSION, kind, 0, op_id, len(body), 0)[: -_CRC.size]
    return head + _CRC.pack(crc32c(body, crc32c(head))) + body


def decode_frame(head: bytes | memoryview) -> FrameHeader:
    """Return the frame that FRAME_BYTES announce. Raises: ProtocolError."""
    magic, version, kind, _, op_id, body_length, crc = _FRAME.unpack(head)
    if magic == HELLO_MAGIC:
        raise ProtocolError(
            'this data port asks for tickets (its cluster has mode = "tls"), and this process has'
            " no certificates to get one: see [security] in its configuration"
        )
    if magic != _MAGIC or version != PROTOCOL_VERSION:
        raise ProtocolError("these bytes are no answer of a gfs-ha data port")
    if body_length > FRAME_BODY_BYTES_MAX:
        raise ProtocolError(f"an answer of {body_length} bytes")
    return FrameHeader(member(FrameKind, kind), op_id, body_length, crc)


def check_frame(frame: FrameHeader, head: bytes | memoryview, body: bytes | memoryview) -> None:
    """Raise ProtocolError unless header and body arrived whole."""
    if crc32c(body, crc32c(head[: -_CRC.size])) != frame.crc:
        raise ProtocolError("an answer arrived damaged")


def encode_acks(acks: tuple[ReplicaAck, ...]) -> bytes:
    """Return the body of a PUSHED or ENDED frame."""
    return encode(acks)


def decode_acks(body: bytes) -> tuple[ReplicaAck, ...]:
    """Return the acknowledgements of a PUSHED or ENDED frame. Raises: ProtocolError."""
    acks = decode(tuple[ReplicaAck, ...], body)
    if not 0 < len(acks) <= GOAL_MAX:
        raise ProtocolError(f"{len(acks)} acknowledgements")
    return acks


def failed_ack(server_id: ServerId, error: GfsError) -> ReplicaAck:
    """Return the acknowledgement that says why there is none."""
    end = error.details.get("end", 0)
    return ReplicaAck(
        server_id, error.code, end if isinstance(end, int) else 0, error.message[:MESSAGE_CHARS_MAX]
    )


def encode_error(error: GfsError) -> bytes:
    """Return the body of a FAILED frame."""
    details = dict(list(error.details.items())[:_DETAILS_MAX])
    return encode(Failure(error.code, error.message[:MESSAGE_CHARS_MAX], details))


def decode_error(body: bytes) -> GfsError:
    """Return the error in a FAILED frame. Raises: ProtocolError."""
    return decode(Failure, body).raised()


def encode_echo(echo: DataEcho) -> bytes:
    """Return the body of a DATA or BLOCKS frame."""
    flags = _ECHO_SEALED if echo.sealed else 0
    return _ECHO.pack(echo.chunk_id, echo.offset, echo.length, echo.digest, flags) + pack_crcs(
        echo.crcs
    )


def decode_echo(body: bytes | memoryview) -> DataEcho:
    """Return what a DATA or BLOCKS frame says. Raises: ProtocolError."""
    if len(body) < _ECHO.size or (len(body) - _ECHO.size) % CRC_BYTES:
        raise ProtocolError("an answer without its CRCs")
    chunk_id, offset, length, digest, flags = _ECHO.unpack_from(body)
    crcs = unpack_crcs(body[_ECHO.size :])
    if offset + length > CHUNK_BYTES_MAX or len(crcs) != block_count(offset, length):
        raise ProtocolError(f"an answer of {length} bytes at {offset} with {len(crcs)} CRCs")
    return DataEcho(ChunkId(chunk_id), offset, length, bool(flags & _ECHO_SEALED), digest, crcs)


prepare(tuple[ReplicaAck, ...])
