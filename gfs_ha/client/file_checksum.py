"""The CRC-32C of a whole file, here or in the cluster, as other tools reckon it.

In the cluster it is combined from the CRCs in the extent rows, so that no byte moves; what has
none there (extents that were split, the open tail of a file that grows) is read, and verified as
any read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from shlex import quote

from gfs_ha.checksum import combine, crc32c
from gfs_ha.client.contents import PinnedContent
from gfs_ha.client.local_files import LocalSource
from gfs_ha.client.piece_stream import PieceStream, ReaderParts
from gfs_ha.client.transfers import Watch
from gfs_ha.errors import CorruptData, PartlyDone
from gfs_ha.limits import MIB
from gfs_ha.protocol.metadata import Extent

LOCAL_READ_BYTES = MIB

STORED = "stored"  # Each extent row carries its CRC: nothing was read.
READ = "read"  # At least a part of the file was read for it.
VERIFIED = "verified"  # All of it was read, and fits what is stored.


@dataclass(frozen=True, slots=True)
class FileChecksum:
    """The CRC-32C of a file, its size, and how many bytes were read for it."""

    path: str
    crc32c: int
    size: int
    read_bytes: int
    how: str


class Checksums:
    """Reckons checksums of remote files. Thread-safe."""

    def __init__(self, parts: ReaderParts, watch: Watch) -> None:
        self._parts = parts
        self._watch = watch

    def of(self, content: PinnedContent, read: bool = True, verify: bool = False) -> FileChecksum:
        """Return the checksum of a pinned content.

        Args: without `read` nothing is read; `verify` reads everything and compares it with what
        the extent rows say. Raises: PartlyDone without `read` when that is not enough; CorruptData,
        ChunkUnavailable, FileChanged.
        """
        total = read_bytes = 0
        for extent in _extents(content):
            crc = extent.crc
            if crc is None and not read:
                raise PartlyDone(
                    f"{content.path}: bytes {extent.file_offset:,} to "
                    f"{extent.file_offset + extent.length:,} have no stored checksum; without "
                    "--no-read they are read"
                )
            if crc is None or verify:
                found = self._read(content, extent)
                read_bytes += extent.length
                if crc is not None and found != crc:
                    raise CorruptData(
                        f"{content.path}: bytes {extent.file_offset:,} to "
                        f"{extent.file_offset + extent.length:,} read as {found:08x}, but "
                        f"{crc:08x} is stored; see gfsctl admin fsck --deep {quote(content.path)}"
                    )
                crc = found
            total = combine(total, crc, extent.length)
        how = VERIFIED if verify else READ if read_bytes else STORED
        self._watch.progress.finished(content.path)
        return FileChecksum(content.path, total, content.size, read_bytes, how)

    def _read(self, content: PinnedContent, extent: Extent) -> int:
        crc = 0
        start = extent.file_offset
        stream = PieceStream(self._parts, content, start, start + extent.length, self._watch)
        try:
            while (filled := stream.take()) is not None:
                crc = crc32c(filled.data, crc)
                size = len(filled.data)
                stream.give_back(filled)
                self._watch.progress.moved(size)
        finally:
            stream.close()
        return crc


def _extents(content: PinnedContent) -> Iterator[Extent]:
    offset = 0
    while offset < content.size:
        extent = content.extent_at(offset)
        yield extent
        offset = extent.file_offset + extent.length


def local_checksum(path: str, watch: Watch) -> FileChecksum:
    """Return the checksum of a local file. Raises: PartlyDone when it changes meanwhile…"""
    crc = offset = 0
    memory = memoryview(bytearray(LOCAL_READ_BYTES))
    with LocalSource(path) as source:
        while count := source.read_into(memory, offset):
            watch.cancel.check()
            crc = crc32c(memory[:count], crc)
            offset += count
            watch.progress.moved(count)
        source.check_unchanged(offset, "it has no checksum")
    watch.progress.finished(path)
    return FileChecksum(path, crc, offset, offset, READ)
