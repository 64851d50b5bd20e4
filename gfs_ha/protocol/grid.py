"""The 64 KiB grid of a chunk: which parts a byte range is cut into, and how parts join.

Every list of block CRCs on the wire and on disk follows this grid, so that the CRC of a range can
be compared with, or combined into, the CRC of a block wherever the range begins.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from functools import lru_cache

from gfs_ha.checksum import combine, crc32c
from gfs_ha.limits import BLOCK_BYTES

CRC_BYTES = 4


def block_count(offset: int, length: int) -> int:
    """Return how many blocks of the grid the range touches."""
    if length == 0:
        return 0
    return (offset + length - 1) // BLOCK_BYTES - offset // BLOCK_BYTES + 1


def cuts(offset: int, length: int) -> tuple[tuple[int, int], ...]:
    """Return (start, end) of each part, counted from the start of the range."""
    return _cuts(offset % BLOCK_BYTES, length)


@lru_cache(maxsize=512)
def _cuts(phase: int, length: int) -> tuple[tuple[int, int], ...]:
    found = []
    start = 0
    end = min(BLOCK_BYTES - phase, length)
    while start < length:
        found.append((start, end))
        start, end = end, min(end + BLOCK_BYTES, length)
    return tuple(found)


def part_crcs(offset: int, data: memoryview) -> array[int]:
    """Return the CRC-32C of each part of `data`, which lies at `offset` of its chunk."""
    return array("I", [crc32c(data[start:end]) for start, end in cuts(offset, len(data))])


def first_mismatch(offset: int, data: memoryview, crcs: Iterable[int]) -> int | None:
    """Return the index of the first part whose CRC differs, or None when all are right."""
    for index, ((start, end), crc) in enumerate(
        zip(cuts(offset, len(data)), crcs, strict=True),
    ):
        if crc32c(data[start:end]) != crc:
            return index
    return None


def range_crc(offset: int, length: int, crcs: Iterable[int]) -> int:
    """Return the CRC-32C of the whole range from the CRCs of its parts."""
    total = 0
    for (start, end), crc in zip(cuts(offset, length), crcs, strict=True):
        total = combine(total, crc, end - start)
    return total


class BlockCrcs:
    """The CRCs of the blocks of a range that grows at its end.

    Where a part begins inside a block, the CRC of that block so far is combined with the part's.
    """

    def __init__(self, end: int = 0, tail_crc: int | None = None) -> None:
        """Args: `tail_crc` is that of the block before `end` up to `end`, None on the grid."""
        self.end = end
        self.crcs: array[int] = array("I", [] if tail_crc is None else [tail_crc])

    def add(self, length: int, crcs: Sequence[int]) -> None:
        """Append `length` bytes whose parts have these CRCs."""
        for (start, end), crc in zip(cuts(self.end, length), crcs, strict=True):
            if (self.end + start) % BLOCK_BYTES and self.crcs:
                self.crcs[-1] = combine(self.crcs[-1], crc, end - start)
            else:
                self.crcs.append(crc)
        self.end += length


def pack_crcs(crcs: array[int]) -> bytes:
    """Return the little-endian array that travels and lies on disk."""
    if _LITTLE:
        return crcs.tobytes()
    swapped = array("I", crcs)
    swapped.byteswap()
    return swapped.tobytes()


def unpack_crcs(data: bytes | memoryview) -> array[int]:
    """Return what `pack_crcs` made."""
    crcs = array("I")
    crcs.frombytes(data)
    if not _LITTLE:
        crcs.byteswap()
    return crcs


_LITTLE = array("I", [1]).tobytes()[0] == 1
assert array("I").itemsize == CRC_BYTES
