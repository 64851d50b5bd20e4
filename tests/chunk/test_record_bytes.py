"""Records to the byte, as docs/data_plane.md and docs/on_disk.md tell them."""

from __future__ import annotations

import msgspec
import pytest
from chunk_house import BIRTH, CHUNK
from replica_house import RUNTIME, noise, open_store
from tail_house import APPENDER, append_entries, entries_of, make_tail

from gfs_ha.checksum import crc32c
from gfs_ha.chunk.disk import opened
from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.chunk.slots.format import DATA_OFFSET
from gfs_ha.errors import ProtocolError
from gfs_ha.ids import ServerId, SessionId, StartId
from gfs_ha.limits import BLOCK_BYTES, MIB, RECORD_BYTES_MAX
from gfs_ha.protocol.data import DataRequest, Op, RequestFlag, decode_request, encode_request
from gfs_ha.protocol.frames import FRAME_BODY_BYTES_MAX
from gfs_ha.protocol.records import (
    RecordAck,
    RecordHeader,
    TailLength,
    decode_entries,
    decode_record_acks,
    decode_record_head,
    decode_tail_length,
    encode_entries,
    encode_record_acks,
    encode_record_head,
    encode_tail_length,
    pack_entries,
)

HEAD = RecordHeader(SessionId(0x0102030405060708), 1000, 900, 77, 0xA1B2C3D4)


def number(data: bytes, start: int, end: int) -> int:
    return int.from_bytes(data[start : end + 1], "little")


def test_the_header_of_a_record() -> None:
    data = encode_record_head(HEAD)
    assert len(data) == 40 and data[:4] == b"GFSR"
    assert number(data, 4, 7) == 77
    assert (number(data, 8, 15), number(data, 16, 23)) == (HEAD.appender, 1000)
    assert (number(data, 24, 31), number(data, 32, 35)) == (900, HEAD.crc)
    assert number(data, 36, 39) == crc32c(data[:36])
    assert decode_record_head(data) == HEAD


@pytest.mark.parametrize("at", range(40))
def test_a_header_that_arrived_damaged_is_refused(at: int) -> None:
    data = bytearray(encode_record_head(HEAD))
    data[at] ^= 4
    with pytest.raises(ProtocolError):
        decode_record_head(bytes(data))


@pytest.mark.parametrize(
    "changed",
    [
        {"length": 0},
        {"length": RECORD_BYTES_MAX + 1},
        {"appender": SessionId(0)},
        {"window_start": 1001},
        {"sequence": 900 + 1024},
    ],
)
def test_a_header_beyond_its_limits_is_refused(changed: dict[str, int]) -> None:
    with pytest.raises(ProtocolError):
        decode_record_head(encode_record_head(msgspec.structs.replace(HEAD, **changed)))


def test_the_fields_of_a_request_about_a_tail() -> None:
    request = DataRequest(
        op=Op.PUSH,
        cluster=1,
        target=ServerId(2),
        chunk_id=CHUNK,
        birth=BIRTH,
        offset=0,
        length=0,
        deadline_ms=1000,
        op_id=3,
        flags=RequestFlag.RECORDS,
        start_id=StartId(0x1122334455667788),
        committed=0x99,
    )
    data = encode_request(request)
    assert number(data, 8, 9) == 104 and number(data, 12, 13) == 4
    assert (number(data, 88, 95), number(data, 96, 103)) == (0x1122334455667788, 0x99)
    assert decode_request(data) == request


def test_a_block_of_entries() -> None:
    entries = entries_of(5, [10, 20], first=3, window_start=2)
    data = encode_entries(pack_entries(entries))
    assert number(data, 0, 3) == 2 and number(data, 4, 7) == crc32c(data[8:])
    assert [number(data, 8 + at, 15 + at) for at in (0, 8, 16, 24)] == [APPENDER, 3, 2, 5]
    assert number(data, 40, 43) == 10 and len(data) == 8 + 2 * 36
    assert decode_entries(data[:8], data[8:]) == entries


def test_the_entries_of_a_batch_in_a_slot() -> None:
    disk = MemoryDisk(RUNTIME)
    replica = make_tail(open_store(disk))
    data = noise(BLOCK_BYTES + 50)
    entries = entries_of(0, [BLOCK_BYTES, 50])
    append_entries(replica, data, entries)
    frame = memoryview(bytearray(200))
    with opened(disk, replica.name) as file:
        assert file.read(DATA_OFFSET + MIB, frame) == 24 + 2 * 36
    raw = bytes(frame[: 24 + 72])
    assert raw[:4] == b"GFSE" and number(raw, 4, 7) == 2
    assert number(raw, 8, 15) == len(data)
    assert number(raw, 16, 19) == crc32c(data[BLOCK_BYTES:])
    assert number(raw, 20, 23) == crc32c(raw[:20] + raw[24:])
    assert raw[24:] == pack_entries(entries)


def test_answers_about_records() -> None:
    top = 2**64 - 1
    acks = tuple(RecordAck(SessionId(top), top, 2**26, 2**23) for _ in range(500))
    body = encode_record_acks(acks)
    assert decode_record_acks(body) == acks and len(body) <= FRAME_BODY_BYTES_MAX
    told = TailLength(CHUNK, 99, True)
    assert decode_tail_length(encode_tail_length(told)) == told
    with pytest.raises(ProtocolError):
        decode_record_acks(b"\xc1")
