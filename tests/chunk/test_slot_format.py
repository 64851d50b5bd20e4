"""Slot headers: what one copy says, and what two say together."""

from __future__ import annotations

from array import array

import msgspec
import pytest

from gfs_ha.chunk.slots.format import (
    COPY_BYTES,
    Copy,
    Header,
    State,
    copy_offset,
    decode_copy,
    encode_header,
    weigh,
)
from gfs_ha.ids import ChunkId, Epoch, LogIndex
from gfs_ha.limits import BLOCK_BYTES, CHUNK_BYTES_MAX, MIB
from gfs_ha.protocol.data import ChunkKind, Durability

HEADER = Header(
    generation=4,
    chunk_id=ChunkId(0x1000000000007),
    birth=Epoch(1, 9),
    kind=ChunkKind.PUT,
    durability=Durability.DISK,
    state=State.OPEN,
    capacity=MIB,
    end=70_000,
    promised_end=70_000,
    first_boot_id=(1 << 64) - 1,
    fence_index=LogIndex(3),
    order_index=LogIndex(5),
    written_ms=1_700_000_000_000,
    digest=0xFFFFFFFF,
)
TABLE = array("I", [1, 0xFFFFFFFF])
BLANK = decode_copy(memoryview(bytes(COPY_BYTES)))


def coded(header: Header = HEADER, table: array[int] = TABLE) -> bytearray:
    return bytearray(encode_header(header, table).ljust(COPY_BYTES, b"\0"))


def copy_of(**changes: object) -> Copy:
    header = msgspec.structs.replace(HEADER, **changes)
    blocks = -(-header.end // BLOCK_BYTES)
    return decode_copy(memoryview(coded(header, array("I", range(blocks)))))


def test_a_copy_comes_back_as_it_was_written() -> None:
    copy = decode_copy(memoryview(coded()))
    assert (copy.header, copy.table, copy.blank, copy.why_bad) == (HEADER, TABLE, False, "")


def test_the_biggest_chunk_fits_a_copy() -> None:
    header = msgspec.structs.replace(HEADER, end=CHUNK_BYTES_MAX)
    table = array("I", range(CHUNK_BYTES_MAX // BLOCK_BYTES))
    data = encode_header(header, table)
    assert len(data) <= COPY_BYTES
    assert decode_copy(memoryview(data)).table == table


def test_a_copy_that_was_never_written_is_blank_not_bad() -> None:
    assert BLANK.blank and not BLANK.why_bad and BLANK.header is None


def test_every_flipped_bit_of_a_copy_is_noticed() -> None:
    data = coded()
    length = len(encode_header(HEADER, TABLE))
    for at in range(length):
        data[at] ^= 0x10
        copy = decode_copy(memoryview(data))
        assert copy.why_bad, f"byte {at}"
        data[at] ^= 0x10


def test_a_copy_with_a_torn_table_still_tells_its_promise() -> None:
    data = coded()
    data[513] ^= 1
    copy = decode_copy(memoryview(data))
    assert copy.header is not None and copy.header.promised_end == 70_000
    assert copy.table is None


@pytest.mark.parametrize("length", [0, 1, 511, 512, 515])
def test_a_copy_that_is_cut_off_is_not_whole(length: int) -> None:
    copy = decode_copy(memoryview(coded())[:length])
    assert copy.table is None
    assert copy.blank == (length == 0)


def test_the_newer_copy_counts_and_the_older_is_remembered() -> None:
    reading = weigh(copy_of(generation=4, end=10), copy_of(generation=5, end=20))
    assert reading is not None
    assert reading.header.end == 20 and reading.header.generation == 5
    assert reading.previous is not None and reading.previous[0].end == 10
    assert not reading.copy_lost


def test_a_first_copy_alone_is_whole() -> None:
    reading = weigh(copy_of(generation=0, end=0), BLANK)
    assert reading is not None and not reading.copy_lost


def test_a_blank_copy_beside_a_later_one_is_lost() -> None:
    reading = weigh(BLANK, copy_of(generation=1))
    assert reading is not None and reading.copy_lost


def test_nothing_can_be_said_of_two_bad_copies() -> None:
    bad = Copy(None, None, blank=False, why_bad="torn")
    assert weigh(bad, bad) is None
    assert weigh(BLANK, BLANK) is None


def test_the_next_copy_never_overwrites_the_only_good_one() -> None:
    good, torn = copy_of(generation=4, end=10), bytearray(coded())
    newer = msgspec.structs.replace(HEADER, generation=5)
    torn = coded(newer)
    torn[513] ^= 1
    for damaged in (decode_copy(memoryview(torn)), Copy(None, None, False, "torn")):
        reading = weigh(good, damaged)
        assert reading is not None and reading.copy_lost
        next_generation = reading.header.generation + 1
        assert copy_offset(next_generation) != copy_offset(4)


def test_a_promise_outlives_the_table_beside_it() -> None:
    torn = coded(msgspec.structs.replace(HEADER, generation=5, promised_end=70_000))
    torn[513] ^= 1
    reading = weigh(copy_of(generation=4, end=10, promised_end=10), decode_copy(memoryview(torn)))
    assert reading is not None
    assert (reading.header.end, reading.header.promised_end) == (10, 70_000)


def test_a_fence_outlives_the_table_beside_it() -> None:
    torn = coded(msgspec.structs.replace(HEADER, generation=5, state=State.FENCED))
    torn[513] ^= 1
    reading = weigh(copy_of(generation=4), decode_copy(memoryview(torn)))
    assert reading is not None and reading.header.state is State.FENCED


def test_half_a_seal_is_no_seal() -> None:
    torn = coded(msgspec.structs.replace(HEADER, generation=5, state=State.SEALED))
    torn[513] ^= 1
    reading = weigh(copy_of(generation=4, end=100_000), decode_copy(memoryview(torn)))
    assert reading is not None
    assert (reading.header.state, reading.header.end) == (State.FENCED, 100_000)
