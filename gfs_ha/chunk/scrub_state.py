"""Where the scrub of a disk stands, kept in a file of the disk itself.

Two self-checked copies, written in turn. To lose the newest one costs nothing but reading some
replicas again, so a damaged file is no reason not to start: the scrub begins a new round.
"""

from __future__ import annotations

import struct

import msgspec

from gfs_ha.checksum import crc32c
from gfs_ha.chunk.disk import Disk, File, opened
from gfs_ha.chunk.scrub_plan import Round
from gfs_ha.errors import DiskFailed, NotFound

SCRUB_NAME = "scrub"
_HEAD = struct.Struct(
    "<8sQI"
)  # magic, generation, length of what follows; a CRC-32C of all ends it.
_CRC = struct.Struct("<I")
_MAGIC = b"GFS-SCR1"
COPY_BYTES = 16 << 10
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Round)


class ScrubBook:
    """The kept state of one disk; used by one thread."""

    def __init__(self, disk: Disk) -> None:
        """Read what was kept; nothing, if it cannot be read."""
        self._disk = disk
        self._generation = 0
        self.state = Round()
        self._read()

    def _read(self) -> None:
        try:
            with opened(self._disk, SCRUB_NAME) as file:
                raw = memoryview(bytearray(2 * COPY_BYTES))
                file.read(0, raw)
        except (NotFound, DiskFailed):
            return
        for start in (0, COPY_BYTES):
            found = _decode(raw[start : start + COPY_BYTES])
            if found is not None and found[0] > self._generation:
                self._generation, self.state = found

    def keep(self, state: Round) -> None:
        """Write the state down; it is safe on return. Raises: DiskFailed, DiskFull."""
        self.state = state
        data = _encode(self._generation + 1, state)
        file = self._open()
        try:
            file.write((self._generation + 1) % 2 * COPY_BYTES, data)
            file.sync()
        finally:
            file.close()
        self._generation += 1

    def _open(self) -> File:
        try:
            return self._disk.open(SCRUB_NAME)
        except NotFound:
            file = self._disk.create(SCRUB_NAME)
            self._disk.sync_names()
            return file


def _encode(generation: int, state: Round) -> bytes:
    body = _encoder.encode(state)
    data = _HEAD.pack(_MAGIC, generation, len(body)) + body
    assert len(data) + _CRC.size <= COPY_BYTES, "the suspects of a scrub are bounded"
    return data + _CRC.pack(crc32c(data))


def _decode(raw: memoryview) -> tuple[int, Round] | None:
    magic, generation, length = _HEAD.unpack_from(raw)
    end = _HEAD.size + length
    if magic != _MAGIC or end + _CRC.size > len(raw):
        return None
    if _CRC.unpack_from(raw, end)[0] != crc32c(raw[:end]):
        return None
    try:
        return generation, _decoder.decode(raw[_HEAD.size : end])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
