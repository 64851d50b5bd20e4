"""The data port against peers that are many, slow, silent or hostile."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from chunk_house import (
    BIRTH,
    CHUNK,
    CLUSTER,
    House,
    client_room,
    fetch,
    identity,
    push,
    start_house,
    street,
    target,
)
from replica_house import noise

from gfs_ha.chunk.disk import PosixDisk
from gfs_ha.client.data_room import DataRoom
from gfs_ha.errors import Overloaded, PortTaken, Unreachable
from gfs_ha.ids import LogIndex, ServerId, make_chunk_id
from gfs_ha.limits import MIB, PROTOCOL_VERSION
from gfs_ha.net.streams import TcpStreams
from gfs_ha.protocol.data import (
    DataRequest,
    Op,
    RequestFlag,
    cluster_hash,
    encode_request,
)
from gfs_ha.protocol.frames import FRAME_BYTES, FrameKind, decode_error, decode_frame
from gfs_ha.protocol.grid import part_crcs
from gfs_ha.protocol.packets import encode_packet
from gfs_ha.runtime import ThreadedRuntime

PATIENCE_S = 60.0  # Only a broken test waits so long.


@pytest.fixture
def room() -> Iterator[DataRoom]:
    with client_room() as made:
        yield made


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with street(tmp_path, 1) as (made,):
        yield made


@pytest.fixture
def raw(house: House) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", house.port.port), PATIENCE_S) as sock:
        sock.settimeout(PATIENCE_S)
        yield sock


def request(**changes: object) -> DataRequest:
    fields: dict[str, object] = {
        "op": Op.PUSH,
        "cluster": cluster_hash(CLUSTER),
        "target": ServerId(1),
        "chunk_id": CHUNK,
        "birth": BIRTH,
        "offset": 0,
        "length": MIB,
        "deadline_ms": 10_000,
        "op_id": 77,
        "flags": RequestFlag.CREATE,
        "capacity": MIB,
    }
    return DataRequest(**{**fields, **changes})  # type: ignore[arg-type]


def receive(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        if not part:
            break
        data += part
    return data


def answer(sock: socket.socket) -> tuple[FrameKind, bytes]:
    """Return the next frame that is no news of progress."""
    while True:
        frame = decode_frame(receive(sock, FRAME_BYTES))
        body = receive(sock, frame.body_length)
        if frame.kind is not FrameKind.PROGRESS:
            return frame.kind, body


def drain(sock: socket.socket) -> None:
    """Say that nothing more comes, and read until the other side hung up in whichever way."""
    try:
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(4096):
            pass
    except OSError:
        pass


def still_works(room: DataRoom, house: House) -> None:
    data = noise(100_000)
    chunk = CHUNK + 1000 + house.store.chunk_count
    assert push(room, target([house], chunk), data).complete  # type: ignore[arg-type]
    assert fetch(room, house, 0, len(data), chunk)[0] == data  # type: ignore[arg-type]


HOSTILE = {
    "noise": os.urandom(4096),
    "zeros": bytes(4096),
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "only a prefix": encode_request(request())[:12],
    "half a header": encode_request(request())[:60],
    "a huge header": b"GFSD" + bytes([PROTOCOL_VERSION, 1]) + b"\xff\xff\x50\x00\x00\x00",
    "another version": b"GFSD" + bytes([PROTOCOL_VERSION + 1]) + encode_request(request())[5:],
    "an unknown op": encode_request(request())[:5] + b"\x63" + encode_request(request())[6:],
    "a bad packet": encode_request(request()) + os.urandom(64),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_nonsense_ends_its_own_stream_only(
    room: DataRoom, house: House, raw: socket.socket, what: str
) -> None:
    raw.sendall(HOSTILE[what])
    drain(raw)
    still_works(room, house)
    assert house.store.chunk_count <= 2


def test_another_version_is_told_what_is_spoken_here(raw: socket.socket) -> None:
    raw.sendall(HOSTILE["another version"])
    kind, body = answer(raw)
    assert kind is FrameKind.FAILED
    assert decode_error(body).code == "ProtocolError"
    assert f"speaks {PROTOCOL_VERSION}" in decode_error(body).message


@pytest.mark.parametrize(
    "packet",
    [
        encode_packet(5, 10, False, part_crcs(5, memoryview(bytes(10)))) + bytes(10),
        encode_packet(0, 200, False, part_crcs(0, memoryview(bytes(200)))) + bytes(200),
    ],
    ids=["a gap", "more than announced"],
)
def test_a_packet_out_of_place_ends_the_push(
    house: House, raw: socket.socket, packet: bytes
) -> None:
    raw.sendall(encode_request(request(length=100)) + packet)
    kind, body = answer(raw)
    assert kind is FrameKind.FAILED and decode_error(body).code == "ProtocolError"
    assert house.store.fence(CHUNK, BIRTH, LogIndex(1)).end == 0


def test_a_reader_skips_what_a_later_release_adds_to_the_header(raw: socket.socket) -> None:
    from gfs_ha.checksum import crc32c

    whole = bytearray(encode_request(request(op=Op.FETCH, flags=RequestFlag(0)))[:-4])
    fixed = int.from_bytes(whole[8:10], "little")
    whole[fixed:fixed] = b"new field"
    whole[8:10] = (fixed + 9).to_bytes(2, "little")
    whole[6:8] = (len(whole) + 4).to_bytes(2, "little")
    raw.sendall(bytes(whole) + crc32c(whole).to_bytes(4, "little"))
    kind, body = answer(raw)
    assert kind is FrameKind.FAILED and decode_error(body).code == "UnknownReplica"


def test_progress_is_told_while_the_source_is_silent(house: House, raw: socket.socket) -> None:
    raw.sendall(encode_request(request()))
    frames = [decode_frame(receive(raw, FRAME_BYTES)) for _ in range(3)]
    assert {frame.kind for frame in frames} == {FrameKind.PROGRESS}
    assert {frame.op_id for frame in frames} == {77}


def test_a_push_ends_at_its_deadline(house: House, raw: socket.socket) -> None:
    raw.sendall(encode_request(request(deadline_ms=300)))
    kind, body = answer(raw)
    assert kind is FrameKind.FAILED and decode_error(body).code == "DeadlineExceeded"
    assert raw.recv(1) == b""
    assert house.store.fence(CHUNK, BIRTH, LogIndex(1)).end == 0


def test_a_client_that_leaves_amid_a_push_leaves_nothing(house: House) -> None:
    with socket.create_connection(("127.0.0.1", house.port.port), PATIENCE_S) as sock:
        data = memoryview(noise(1000))
        sock.sendall(encode_request(request()) + encode_packet(0, 1000, False, part_crcs(0, data)))
        sock.sendall(data)
        sock.settimeout(PATIENCE_S)
        receive(sock, FRAME_BYTES)
    while house.port.stream_count:
        threading.Event().wait(0.01)
    answer = house.store.fence(CHUNK, BIRTH, LogIndex(1))
    assert (answer.end, answer.proof) == (0, True)


def test_a_reader_that_takes_nothing_is_hung_up_on(house: House, room: DataRoom) -> None:
    data = noise(4 * MIB)
    assert push(room, target([house]), data).complete
    with socket.create_connection(("127.0.0.1", house.port.port), PATIENCE_S) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        asked = request(op=Op.FETCH, length=4 * MIB, flags=RequestFlag(0), deadline_ms=400)
        for _ in range(4):  # More than all buffers on the way hold.
            sock.sendall(encode_request(asked))
        while house.port.stream_count > 1:
            threading.Event().wait(0.01)
    still_works(room, house)


def test_more_streams_than_allowed_are_refused_with_words(tmp_path: Path) -> None:
    runtime = ThreadedRuntime()
    disk = PosixDisk(tmp_path / "d")
    house = start_house(disk, 1, runtime, streams_max=2)
    busy = [socket.create_connection(("127.0.0.1", house.port.port), PATIENCE_S) for _ in range(2)]
    try:
        for number, sock in enumerate(busy):  # Who asked for nothing yet would give way.
            sock.sendall(encode_request(request(chunk_id=make_chunk_id(1, 50 + number))))
            assert receive(sock, FRAME_BYTES), "it hears that work goes on"
        with socket.create_connection(("127.0.0.1", house.port.port), PATIENCE_S) as third:
            third.settimeout(PATIENCE_S)
            kind, body = answer(third)
            assert kind is FrameKind.FAILED
            assert isinstance(decode_error(body), Overloaded)
        busy.pop().close()
        while house.port.stream_count == 2:
            threading.Event().wait(0.01)
        with client_room() as room:
            still_works(room, house)
    finally:
        for sock in busy:
            sock.close()
        house.stop()
        disk.close()


def test_a_stopped_port_breaks_off_what_is_under_way(tmp_path: Path) -> None:
    with street(tmp_path, 1) as (house,):
        with socket.create_connection(("127.0.0.1", house.port.port), PATIENCE_S) as sock:
            sock.sendall(encode_request(request()))
            sock.settimeout(PATIENCE_S)
            receive(sock, FRAME_BYTES)
            house.stop()
            drain(sock)
        with pytest.raises(Unreachable):
            TcpStreams(ThreadedRuntime()).connect(("127.0.0.1", house.port.port), 1.0)


def test_a_taken_port_says_so(house: House, tmp_path: Path) -> None:
    from gfs_ha.chunk.dataport import DataPort

    runtime = ThreadedRuntime()
    with pytest.raises(PortTaken, match=str(house.port.port)):
        DataPort(
            ("127.0.0.1", house.port.port),
            house.store,
            TcpStreams(runtime),
            runtime,
            lambda chunk, block: None,
        )
    assert identity(1).cluster_id == CLUSTER
