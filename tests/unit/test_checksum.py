"""CRC-32C against the standard's own vectors, and its combination against the plain computation."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gfs_ha.checksum import block_crcs, chunk_digest, combine, combine_blocks, crc32c
from gfs_ha.limits import BLOCK_BYTES


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
    ],
)
def test_the_vectors_of_rfc_3720(data: bytes, wanted: int) -> None:
    assert crc32c(data) == wanted


@given(first=st.binary(max_size=300), second=st.binary(max_size=300))
def test_two_crcs_combine_to_the_crc_of_both(first: bytes, second: bytes) -> None:
    assert combine(crc32c(first), crc32c(second), len(second)) == crc32c(first + second)
    assert crc32c(second, crc32c(first)) == crc32c(first + second)


@pytest.mark.parametrize(
    "length", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES + 17]
)
def test_block_crcs_combine_to_the_crc_of_the_whole(length: int) -> None:
    data = (b"abcdefg" * (length // 7 + 1))[:length]
    crcs = block_crcs(data)
    assert len(crcs) == -(-length // BLOCK_BYTES)
    assert combine_blocks(crcs, length) == crc32c(data)


def test_a_missing_block_is_noticed() -> None:
    with pytest.raises(AssertionError):
        combine_blocks([1], BLOCK_BYTES + 1)


def test_the_digest_is_over_the_array_of_block_crcs() -> None:
    assert chunk_digest([1, 2]) == crc32c(struct.pack("<2I", 1, 2))
    assert chunk_digest([1, 2]) != chunk_digest([2, 1])
