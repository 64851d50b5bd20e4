"""What strangers say on a Raft port, byte by byte."""

from __future__ import annotations

import struct

import msgspec

from gfs_ha.checksum import crc32c


def frame(data: bytes, length: int | None = None, crc: int | None = None) -> bytes:
    """Return a frame, with a length or a CRC that are not its own if they are given."""
    size = len(data) if length is None else length
    return struct.pack("!II", size, crc32c(data) if crc is None else crc) + data


def word(tag: str, *fields: object) -> bytes:
    return msgspec.msgpack.encode([tag, *fields])


def frames_of(received: bytes) -> list[bytes]:
    """Return what lies in the frames of a member's answer."""
    frames = []
    while len(received) >= 8:
        (length,) = struct.unpack_from("!I", received)
        frames.append(received[8 : 8 + length])
        received = received[8 + length :]
    return frames


NO_HANDSHAKE = [
    b"GET / HTTP/1.1\r\nHost: m1\r\n\r\n",
    bytes(64),
    frame(b"x" * 5000),
    frame(b"", length=0xFFFFFFFF),
    frame(b"\xc1" * 10),
    frame(b"hello", crc=1),
    frame(word("ready")),
    frame(word("proof")),
    frame(word("append", 1, 1, 1, 1, 1, 1, [], 0)),
    frame(word("gfs-ha hello", 1)),
    frame(word("gfs-ha hello").replace(b"hello", b"hell\xff")),
    frame(word("refusal", "Denied", "why", 1).replace(b"why", b"wh\xff")),
]
