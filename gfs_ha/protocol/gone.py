"""Sets of blocks of a chunk, as bit masks: which of them were given back (G8).

Bit n stands for the block of 64 KiB that begins at n * 64 KiB. In memory a set is an integer; in
rows, orders and headers it is that integer, little-endian and as short as it can be.
"""

from __future__ import annotations

from collections.abc import Iterator

from gfs_ha.errors import InvalidArgument
from gfs_ha.limits import BLOCK_BYTES, CHUNK_BYTES_MAX
from gfs_ha.protocol.grid import block_count

MASK_BYTES_MAX = CHUNK_BYTES_MAX // BLOCK_BYTES // 8


def pack_blocks(mask: int) -> bytes:
    """Return the shortest bytes of a set; none for the empty one."""
    return mask.to_bytes((mask.bit_length() + 7) // 8, "little")


def unpack_blocks(data: bytes) -> int:
    """Return the set. Raises: InvalidArgument when it is longer than any chunk."""
    if len(data) > MASK_BYTES_MAX:
        raise InvalidArgument(f"a set of blocks of {len(data)} bytes, at most {MASK_BYTES_MAX}")
    return int.from_bytes(data, "little")


def blocks_of(offset: int, length: int) -> int:
    """Return the set of the blocks that a range touches."""
    if not length:
        return 0
    return ((1 << block_count(offset, length)) - 1) << (offset // BLOCK_BYTES)


def runs(mask: int) -> Iterator[tuple[int, int]]:
    """Yield (offset, length) in bytes of each run of neighbouring blocks, from the first on."""
    start = 0
    while mask:
        skip = (mask & -mask).bit_length() - 1
        mask >>= skip
        count = (~mask & (mask + 1)).bit_length() - 1
        mask >>= count
        start += skip
        yield start * BLOCK_BYTES, count * BLOCK_BYTES
        start += count


def bytes_of(mask: int, length: int) -> int:
    """Return how many bytes of a chunk of that length lie in the blocks of a set."""
    total = mask.bit_count() * BLOCK_BYTES
    tail = length % BLOCK_BYTES
    if tail and mask >> (length // BLOCK_BYTES) & 1:
        total -= BLOCK_BYTES - tail
    return total
