"""One packet of a push: its header and the CRCs of its parts on the chunk's grid (no I/O)."""

from __future__ import annotations

import struct
from array import array

import msgspec

from gfs_ha.checksum import crc32c
from gfs_ha.errors import CorruptData, ProtocolError
from gfs_ha.limits import CHUNK_BYTES_MAX, PACKET_BYTES_MAX
from gfs_ha.protocol.grid import block_count, pack_crcs, unpack_crcs

# magic, flags, CRC count, length, offset, reserved, CRC of the CRC array, CRC of the header
_PACKET = struct.Struct("<4sHHIQIII")
_CRC = struct.Struct("<I")
_MAGIC = b"GFSP"
_LAST = 1

PACKET_BYTES = _PACKET.size
_HEAD_CRC_AT = PACKET_BYTES - _CRC.size


class PacketHeader(msgspec.Struct, frozen=True):
    """One packet of a push; `last` settles the true length of the push."""

    offset: int
    length: int
    last: bool
    crc_count: int
    crcs_crc: int


def encode_packet(offset: int, length: int, last: bool, crcs: array[int]) -> bytes:
    """Return header and CRC array of a packet; its bytes follow on the wire."""
    packed = pack_crcs(crcs)
    flags = _LAST if last else 0
    head = _PACKET.pack(_MAGIC, flags, len(crcs), length, offset, 0, crc32c(packed), 0)
    head = head[:_HEAD_CRC_AT]
    return head + _CRC.pack(crc32c(head)) + packed


def decode_packet(head: bytes | memoryview) -> PacketHeader:
    """Return the packet that PACKET_BYTES describe. Raises: ProtocolError, also when damaged."""
    magic, flags, crc_count, length, offset, _, crcs_crc, head_crc = _PACKET.unpack(head)
    if magic != _MAGIC or crc32c(head[:_HEAD_CRC_AT]) != head_crc:
        raise ProtocolError("these bytes are no packet of a push, or arrived damaged")
    if length > PACKET_BYTES_MAX or offset + length > CHUNK_BYTES_MAX:
        raise ProtocolError(f"a packet of {length} bytes at {offset}")
    if crc_count != block_count(offset, length):
        raise ProtocolError(f"a packet of {length} bytes at {offset} with {crc_count} CRCs")
    return PacketHeader(offset, length, bool(flags & _LAST), crc_count, crcs_crc)


def packet_crcs(packet: PacketHeader, packed: memoryview) -> array[int]:
    """Return the CRC array of a packet. Raises: CorruptData if it arrived damaged."""
    if crc32c(packed) != packet.crcs_crc:
        raise CorruptData(f"the CRCs of the packet at {packet.offset} arrived damaged")
    return unpack_crcs(packed)
