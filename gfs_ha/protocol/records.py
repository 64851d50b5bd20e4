"""The records of a tail: what is kept of each (C8), and how they travel on a data port (no I/O).

APPEND stream   request, then for each record: header, bytes; answered by RECORDED frames
PUSH, RECORDS   request, then a block of entries, then packets as in any push
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import msgspec

from gfs_ha.checksum import crc32c
from gfs_ha.errors import CorruptData, ProtocolError
from gfs_ha.ids import ChunkId, SessionId
from gfs_ha.limits import APPEND_WINDOW, BATCH_RECORDS_MAX, CHUNK_BYTES_MAX, RECORD_BYTES_MAX
from gfs_ha.protocol.codec import Word, decode, encode, prepare


class RecordEntry(Word, frozen=True, order=True):
    """A record that lies in a chunk; (appender, sequence) names it for ever (C8)."""

    appender: SessionId
    sequence: int
    window_start: int  # Below it the appender asks for nothing any more.
    offset: int  # In the chunk.
    length: int


class RecordHeader(msgspec.Struct, frozen=True):
    """What comes before the bytes of a record on an APPEND stream."""

    appender: SessionId
    sequence: int
    window_start: int
    length: int
    crc: int  # CRC-32C of the bytes.


class RecordAck(Word, frozen=True):
    """A record that is on every replica, and its offset in the chunk.

    Offset -1: it is below the window of its appender, so it was appended before; where is not known
    any more. Only a writer that was started again asks for such a one.
    """

    appender: SessionId
    sequence: int
    offset: int
    length: int


class TailLength(Word, frozen=True):
    """How much of a tail counts. `exact`: the primary says it; another replica may know less."""

    chunk_id: ChunkId
    length: int
    exact: bool


# magic, length, appender, sequence, window start, CRC of the bytes, CRC of the header
_RECORD = struct.Struct("<4sIQQQII")
_CRC = struct.Struct("<I")
_MAGIC = b"GFSR"
RECORD_HEAD_BYTES = _RECORD.size

# count, CRC of the entries
_BLOCK = struct.Struct("<II")
_ENTRY = struct.Struct("<QQQQI")
BLOCK_HEAD_BYTES = _BLOCK.size
ENTRY_BYTES = _ENTRY.size


def encode_record_head(record: RecordHeader) -> bytes:
    """Return the header of a record; its bytes follow on the wire."""
    head = _RECORD.pack(
        _MAGIC,
        record.length,
        record.appender,
        record.sequence,
        record.window_start,
        record.crc,
        0,
    )[: -_CRC.size]
    return head + _CRC.pack(crc32c(head))


def decode_record_head(head: bytes | memoryview) -> RecordHeader:
    """Return what RECORD_HEAD_BYTES say. Raises: ProtocolError, also when damaged."""
    magic, length, appender, sequence, window_start, crc, head_crc = _RECORD.unpack(head)
    if magic != _MAGIC or crc32c(head[: -_CRC.size]) != head_crc:
        raise ProtocolError("these bytes are no record, or arrived damaged")
    if not 0 < length <= RECORD_BYTES_MAX:
        raise ProtocolError(f"a record of {length} bytes; 1 to {RECORD_BYTES_MAX} are taken")
    if not appender or not window_start <= sequence < window_start + APPEND_WINDOW:
        raise ProtocolError(
            f"record {sequence} of appender {appender} with a window from {window_start}"
        )
    return RecordHeader(SessionId(appender), sequence, window_start, length, crc)


def pack_entries(entries: Sequence[RecordEntry]) -> bytes:
    """Return ENTRY_BYTES for each."""
    return b"".join(
        [
            _ENTRY.pack(one.appender, one.sequence, one.window_start, one.offset, one.length)
            for one in entries
        ]
    )


def unpack_entries(packed: bytes | memoryview) -> tuple[RecordEntry, ...]:
    """Return what `pack_entries` made."""
    return tuple(
        RecordEntry(SessionId(appender), sequence, window_start, offset, length)
        for appender, sequence, window_start, offset, length in _ENTRY.iter_unpack(packed)
    )


def encode_entries(packed: bytes) -> bytes:
    """Return the block of some packed entries: its head, then they."""
    return _BLOCK.pack(len(packed) // ENTRY_BYTES, crc32c(packed)) + packed


def entries_length(head: bytes | memoryview) -> int:
    """Return how many bytes follow BLOCK_HEAD_BYTES. Raises: ProtocolError."""
    count, _ = _BLOCK.unpack(head)
    if count > BATCH_RECORDS_MAX:
        raise ProtocolError(f"a block of {count} entries, at most {BATCH_RECORDS_MAX} are taken")
    return int(count) * ENTRY_BYTES


def decode_entries(head: bytes | memoryview, packed: bytes | memoryview) -> tuple[RecordEntry, ...]:
    """Return the entries of a block. Raises: CorruptData, ProtocolError."""
    _, crc = _BLOCK.unpack(head)
    if crc32c(packed) != crc:
        raise CorruptData("a block of record entries arrived damaged")
    entries = unpack_entries(packed)
    for one in entries:
        if not one.length or one.offset + one.length > CHUNK_BYTES_MAX:
            raise ProtocolError(f"a record of {one.length} bytes at {one.offset}")
    return entries


def check_contiguous(entries: Sequence[RecordEntry], offset: int, length: int) -> None:
    """Raise ProtocolError unless the records are exactly that range, one after the other."""
    end = offset
    for one in entries:
        if one.offset != end:
            raise ProtocolError(f"a record at {one.offset}, the one before it ends at {end}")
        end += one.length
    if end != offset + length:
        raise ProtocolError(f"records up to {end} in a push up to {offset + length}")


def encode_record_acks(acks: tuple[RecordAck, ...]) -> bytes:
    """Return the body of a RECORDED frame."""
    return encode(acks)


def decode_record_acks(body: bytes) -> tuple[RecordAck, ...]:
    """Return the records of a RECORDED frame. Raises: ProtocolError."""
    return decode(tuple[RecordAck, ...], body)


def encode_tail_length(told: TailLength) -> bytes:
    """Return the body of a TAIL frame."""
    return encode(told)


def decode_tail_length(body: bytes) -> TailLength:
    """Return what a TAIL frame says. Raises: ProtocolError."""
    return decode(TailLength, body)


prepare(tuple[RecordAck, ...], TailLength)
