"""The block CRCs of a chunk that grows by pushes, and its digest (pure)."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from gfs_ha.checksum import chunk_digest, combine
from gfs_ha.limits import BLOCK_BYTES
from gfs_ha.protocol.grid import part_crcs


class ChunkCrcs:
    """CRC-32C of each 64 KiB block of the first `length` bytes of a chunk."""

    def __init__(self) -> None:
        self.length = 0
        self._crcs = array("I")

    def append(self, data: memoryview) -> None:
        """Add the bytes that follow."""
        self.append_parts(len(data), part_crcs(self.length, data))

    def append_parts(self, length: int, parts: Sequence[int]) -> None:
        """Add bytes of which only the CRCs of their parts on the chunk's grid are known."""
        if not length:
            return
        rest = list(parts)
        filled = self.length % BLOCK_BYTES
        if filled:
            # The first part completes (or extends) a block that an earlier push began.
            first_length = min(BLOCK_BYTES - filled, length)
            self._crcs[-1] = combine(self._crcs[-1], rest.pop(0), first_length)
        self._crcs.extend(rest)
        self.length += length

    def digest(self) -> int:
        """Return the digest of the chunk as long as it is now (C4)."""
        return chunk_digest(self._crcs)
