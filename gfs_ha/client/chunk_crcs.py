"""The block CRCs of a chunk that grows by pushes, and its digest (pure)."""

from __future__ import annotations

from gfs_ha.checksum import chunk_digest
from gfs_ha.protocol.grid import BlockCrcs, part_crcs


class ChunkCrcs:
    """CRC-32C of each 64 KiB block of the first `length` bytes of a chunk."""

    def __init__(self) -> None:
        self._blocks = BlockCrcs()

    @property
    def length(self) -> int:
        return self._blocks.end

    def append(self, data: memoryview) -> None:
        """Add the bytes that follow."""
        self._blocks.add(len(data), part_crcs(self._blocks.end, data))

    def digest(self) -> int:
        """Return the digest of the chunk as long as it is now (C4)."""
        return chunk_digest(self._blocks.crcs)
