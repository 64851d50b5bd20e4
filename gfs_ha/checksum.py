"""CRC-32C of bytes, its combination over neighbouring ranges, and the digest of a sealed chunk.

Algorithm id 1 in every header. The CRC is the field's own (Castagnoli polynomial, reflected;
RFC 3720).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache

from crc32c import crc32c as _crc32c

from gfs_ha.limits import BLOCK_BYTES

CRC32C_ALGORITHM = 1
_POLYNOMIAL = 0x82F63B78


def crc32c(data: bytes | bytearray | memoryview, initial: int = 0) -> int:
    """Return the CRC-32C of `data`, continued from `initial`. Releases the GIL on big buffers."""
    return int(_crc32c(data, initial))


def block_crcs(data: bytes | bytearray | memoryview) -> list[int]:
    """Return the CRC-32C of each 64 KiB block of `data`; the last block may be short."""
    view = memoryview(data)
    return [
        int(_crc32c(view[start : start + BLOCK_BYTES]))
        for start in range(0, len(view), BLOCK_BYTES)
    ]


def chunk_digest(crcs: Sequence[int]) -> int:
    """Return the digest of a chunk: the CRC-32C over its block CRCs, little-endian (C4)."""
    return crc32c(struct.pack(f"<{len(crcs)}I", *crcs))


def _multiply(matrix: Sequence[int], vector: int) -> int:
    total = 0
    index = 0
    while vector:
        if vector & 1:
            total ^= matrix[index]
        vector >>= 1
        index += 1
    return total


@lru_cache(maxsize=64)
def _zeros_operator(power: int) -> tuple[int, ...]:
    """Return the 32x32 GF(2) matrix that appends 2**power zero bytes to a CRC."""
    if power == 0:
        one_bit = [_POLYNOMIAL, *(1 << bit for bit in range(31))]
        two = [_multiply(one_bit, row) for row in one_bit]
        four = [_multiply(two, row) for row in two]
        return tuple(_multiply(four, row) for row in four)
    half = _zeros_operator(power - 1)
    return tuple(_multiply(half, row) for row in half)


@lru_cache(maxsize=64)
def _zeros_tables(power: int) -> tuple[tuple[int, ...], ...]:
    """Return `_zeros_operator` as four tables of 256, one for each byte of the CRC.

    Four look-ups take 0.4 us where the matrix takes 5: a range of 64 MiB has 1,024 blocks.
    """
    matrix = _zeros_operator(power)
    return tuple(
        tuple(_multiply(matrix, byte << shift) for byte in range(256)) for shift in (0, 8, 16, 24)
    )


def combine(first: int, second: int, second_length: int) -> int:
    """Return the CRC of A+B from crc(A), crc(B) and len(B) in bytes.

    Source: M. Adler's crc32_combine (zlib), for the Castagnoli polynomial.
    """
    if second_length == 0:
        return first
    while second_length:
        lowest = second_length & -second_length
        low, second_byte, third_byte, high = _zeros_tables(lowest.bit_length() - 1)
        first = (
            low[first & 255]
            ^ second_byte[first >> 8 & 255]
            ^ third_byte[first >> 16 & 255]
            ^ high[first >> 24]
        )
        second_length ^= lowest
    return first ^ second


def combine_blocks(crcs: Iterable[int], length: int) -> int:
    """Return the CRC of `length` bytes from the CRCs of its blocks (the last may be short)."""
    total = 0
    left = length
    for crc in crcs:
        block = min(BLOCK_BYTES, left)
        total = combine(total, crc, block)
        left -= block
    assert left == 0, f"{left} bytes without a block CRC"
    return total
