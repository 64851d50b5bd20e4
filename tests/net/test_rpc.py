"""The two frames: equal to what RPyC writes, and nothing else gets through."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rpyc.core import brine, consts

from gfs_ha.errors import ProtocolError
from gfs_ha.net.rpc import (
    METHOD_MAX,
    OPCODE,
    SEQUENCE_MAX,
    FrameReader,
    Reply,
    Request,
    encode_reply,
    encode_request,
)

HEADER = struct.Struct("!LB")
sequences = st.integers(0, SEQUENCE_MAX) | st.integers(0, 300)
methods = st.integers(0, METHOD_MAX)
blobs = st.binary(max_size=600) | st.sampled_from([b"x" * 255, b"x" * 256, b"x" * 2000])


def frame(payload: bytes) -> bytes:
    return HEADER.pack(len(payload), 0) + payload + b"\n"


def stock_request(sequence: object, value: object, opcode: object = OPCODE) -> bytes:
    """A request as RPyC's own Connection._send writes it."""
    args = (opcode, (consts.LABEL_VALUE, value))
    return frame(brine.I1.pack(consts.MSG_REQUEST) + brine.dump((sequence, args)))


def stock_load(data: bytes) -> tuple[int, object]:
    """What RPyC's own Channel and Connection make of a frame."""
    length, compressed = HEADER.unpack_from(data)
    payload = data[HEADER.size : HEADER.size + length]
    assert not compressed and len(data) == HEADER.size + length + 1
    return payload[0], brine.load(payload[1:])


@settings(deadline=None)
@given(sequences, methods, blobs, blobs)
def test_a_request_is_written_and_read_as_rpyc_does(
    sequence: int, method: int, context: bytes, body: bytes
) -> None:
    data = encode_request(sequence, method, context, body)
    value = (method, context, body)
    assert data == stock_request(sequence, value)
    assert stock_load(data) == (
        consts.MSG_REQUEST,
        (sequence, (OPCODE, (consts.LABEL_VALUE, value))),
    )
    reader = FrameReader()
    reader.feed(data)
    assert reader.next_request() == Request(sequence, method, context, body)
    assert reader.next_request() is None and reader.buffered == 0


@settings(deadline=None)
@given(sequences, blobs)
def test_a_reply_is_written_and_read_as_rpyc_does(sequence: int, body: bytes) -> None:
    data = encode_reply(sequence, body)
    assert stock_load(data) == (consts.MSG_REPLY, (sequence, (consts.LABEL_VALUE, body)))
    reader = FrameReader()
    reader.feed(data)
    assert reader.next_reply() == Reply(sequence, body)
    assert reader.next_reply() is None and reader.buffered == 0


@settings(deadline=None)
@given(
    st.lists(st.tuples(sequences, methods, blobs, blobs), max_size=8),
    st.lists(st.integers(1, 5000), min_size=1, max_size=20),
)
def test_frames_come_out_whole_however_the_stream_is_cut(
    calls: list[tuple[int, int, bytes, bytes]], cuts: list[int]
) -> None:
    stream = b"".join(encode_request(*call) for call in calls)
    reader = FrameReader()
    found = []
    at = 0
    turn = 0
    while at < len(stream):
        size = cuts[turn % len(cuts)]
        reader.feed(stream[at : at + size])
        at += size
        turn += 1
        while (request := reader.next_request()) is not None:
            found.append(tuple(request))
    assert found == calls
    assert reader.buffered == 0


@settings(deadline=None)
@given(st.binary(max_size=64))
def test_any_bytes_are_a_request_or_a_protocol_error(payload: bytes) -> None:
    reader = FrameReader()
    reader.feed(frame(payload))
    try:
        request = reader.next_request()
    except ProtocolError:
        return
    assert request is not None
    args = (OPCODE, (consts.LABEL_VALUE, (request.method, request.context, request.body)))
    assert brine.load(payload[1:]) == (request.sequence, args)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 60), st.integers(0, 255), st.sampled_from(["set", "insert", "remove"]))
def test_one_wrong_byte_gives_another_request_or_a_protocol_error(
    at: int, value: int, change: str
) -> None:
    payload = bytearray(encode_request(7, 300, b"context", b"body" * 5)[HEADER.size : -1])
    at %= len(payload)
    if change == "set":
        payload[at] = value
    elif change == "insert":
        payload.insert(at, value)
    else:
        del payload[at]
    reader = FrameReader()
    reader.feed(frame(bytes(payload)) + encode_request(8, 1, b"", b""))
    try:
        request = reader.next_request()
    except ProtocolError:
        return
    assert request is not None
    # Whatever it became, it did not eat into the next frame.
    assert reader.next_request() == Request(8, 1, b"", b"")


@pytest.mark.parametrize(
    "data",
    [
        encode_request(1, 1, b"", b"")[:4] + b"\1" + encode_request(1, 1, b"", b"")[5:],
        HEADER.pack(0xFFFFFFF0, 0),
        HEADER.pack(0, 0) + b"\n",
        HEADER.pack(1, 0) + b"\x01\n",
        encode_request(1, 1, b"", b"")[:-1] + b"x",
        encode_reply(1, b""),
        frame(encode_request(1, 1, b"", b"")[HEADER.size : -1] + b"x"),
        frame(encode_request(1, 1, b"", b"")[HEADER.size : -1] * 2),
        frame(b"\x03" + brine.dump((1, (consts.LABEL_VALUE, b"")))),
        frame(b"\x01" + b"\x10" * 200_000),
        frame(b"\x01" + b"\x14\x01" * 200_000),
        frame(brine.I1.pack(1) + brine.dump((1, (OPCODE, (2, (1, b"", b"")))))),
        frame(brine.I1.pack(1) + brine.dump((1, (OPCODE, (3, ("evil.Cls", 1, 2)))))),
        frame(brine.I1.pack(1) + brine.dump((1, (OPCODE, (1, (1, b"", b"")), ())))),
        stock_request(1, (1, b"", b""), opcode=consts.HANDLE_PING),
        stock_request(-1, (1, b"", b"")),
        stock_request(SEQUENCE_MAX + 1, (1, b"", b"")),
        stock_request(True, (1, b"", b"")),
        stock_request("1", (1, b"", b"")),
        stock_request(1, (-1, b"", b"")),
        stock_request(1, (METHOD_MAX + 1, b"", b"")),
        stock_request(1, (7**2000, b"", b"")),
        stock_request(1, (1, b"")),
        stock_request(1, (1, b"", b"", b"")),
        stock_request(1, (1, "text", b"")),
        stock_request(1, (1, b"", (b"",))),
        stock_request(1, (1, b"", 3.5)),
        stock_request(1, (1, b"", None)),
        stock_request(1, (1, b"", frozenset([1, 2]))),
        stock_request(1, (1, b"", slice(1, 2, 3))),
        stock_request(1, (1, b"", 1j)),
        stock_request(1, (1, b"", ...)),
    ],
    ids=lambda data: f"{len(data)}-{data[5:13].hex()}",
)
def test_nothing_but_the_one_request_is_read(data: bytes) -> None:
    reader = FrameReader()
    reader.feed(data)
    with pytest.raises(ProtocolError):
        reader.next_request()


@pytest.mark.parametrize("digits", [b"+7", b" 7", b"7_0", b"", b"9" * 19, b"\xb2", b"1" * 200])
def test_a_number_is_plain_digits_in_range(digits: bytes) -> None:
    value = brine.TAG_INT_L1 + bytes([len(digits)]) + digits
    whole = encode_request(7, 1, b"", b"")
    payload = whole[HEADER.size : HEADER.size + 2] + value + whole[HEADER.size + 3 : -1]
    reader = FrameReader()
    reader.feed(frame(payload))
    with pytest.raises(ProtocolError):
        reader.next_request()


def test_a_frame_above_the_cap_is_refused_by_its_header() -> None:
    reader = FrameReader(frame_bytes_max=1000)
    reader.feed(encode_request(1, 1, b"", b"x" * 2000)[:5])
    with pytest.raises(ProtocolError, match="1000"):
        reader.next_request()


def test_rpycs_own_loader_is_left_as_it_is_for_others_in_this_process() -> None:
    value = (frozenset([1, 2]), slice(1, 2, None), 1j, 7**400, ...)
    assert brine.load(brine.dump(value)) == value
