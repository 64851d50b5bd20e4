"""The block CRCs of a chunk that grows by pushes, and its digest (pure)."""

from __future__ import annotations

from collections.abc import Sequence

from gfs_ha.checksum import chunk_digest
from gfs_ha.protocol.grid import BlockCrcs


class ChunkCrcs:
    """CRC-32C of each 64 KiB block of the first `length` bytes of a chunk."""

    def __init__(self) -> None:
        self._blocks = BlockCrcs()

    @property
    def length(self) -> int:
        return self._blocks.end

    def append(self, length: int, crcs: Sequence[int]) -> None:
        """Add bytes that follow, whose parts on the chunk's grid have these CRCs."""
        self._blocks.add(length, crcs)

    def digest(self) -> int:
        """Return the digest of the chunk as long as it is now (C4)."""
        return chunk_digest(self._blocks.crcs)
