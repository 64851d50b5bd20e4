"""One packet of a push: its header and the CRCs of its parts on the chunk's grid (no I/O)."""

from __future__ import annotations

import struct
from array import array

import msgspec

from gfs_ha.checksum import crc32c
from gfs_ha.errors import ProtocolError
from gfs_ha.limits import CHUNK_BYTES_MAX, PACKET_BYTES_MAX
from gfs_ha.protocol.grid import CRC_BYTES, block_count, pack_crcs, unpack_crcs

# magic, flags, CRC count, length, offset, reserved, CRC of header and CRC array
_PACKET = struct.Struct("<4sHHIQQI")
_CRC = struct.Struct("<I")
_MAGIC = b"GFSP"
_LAST = 1

PACKET_BYTES = _PACKET.size


class PacketHeader(msgspec.Struct, frozen=True):
    """One packet of a push; `last` settles the true length of the push."""

    offset: int
    length: int
    last: bool
    crc_count: int
    crc: int

    @property
    def body_length(self) -> int:
        return self.crc_count * CRC_BYTES + self.length


def encode_packet(offset: int, length: int, last: bool, crcs: array[int]) -> bytes:
    """Return header and CRC array of a packet; its bytes follow on the wire."""
    flags = _LAST if last else 0
    packed = pack_crcs(crcs)
    head = _PACKET.pack(_MAGIC, flags, len(crcs), length, offset, 0, 0)
    return head[: -_CRC.size] + _CRC.pack(crc32c(packed, crc32c(head[: -_CRC.size]))) + packed


def decode_packet(head: bytes | memoryview) -> PacketHeader:
    """Return the packet that PACKET_BYTES describe. Raises: ProtocolError."""
    magic, flags, crc_count, length, offset, _, crc = _PACKET.unpack(head)
    if magic != _MAGIC:
        raise ProtocolError("these bytes are no packet of a push")
    if length > PACKET_BYTES_MAX or offset + length > CHUNK_BYTES_MAX:
        raise ProtocolError(f"a packet of {length} bytes at {offset}")
    if crc_count != block_count(offset, length):
        raise ProtocolError(f"a packet of {length} bytes at {offset} with {crc_count} CRCs")
    return PacketHeader(offset, length, bool(flags & _LAST), crc_count, crc)


def packet_crcs(
    packet: PacketHeader, head: bytes | memoryview, packed: bytes | memoryview
) -> array[int]:
    """Return the CRC array of a packet. Raises: ProtocolError if header or array is damaged."""
    if crc32c(packed, crc32c(head[: -_CRC.size])) != packet.crc:
        raise ProtocolError(f"the header of the packet at {packet.offset} arrived damaged")
    return unpack_crcs(packed)
