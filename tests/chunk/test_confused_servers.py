"""A data port that answers whole frames, but about something else than was asked."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from chunk_house import BIRTH, CHUNK, client_room, push, street

from gfs_ha.checksum import crc32c
from gfs_ha.client.fetch import Fetch, FetchTarget
from gfs_ha.client.push import PushTarget
from gfs_ha.errors import ProtocolError
from gfs_ha.ids import ServerId, make_chunk_id
from gfs_ha.limits import MIB
from gfs_ha.protocol.data import (
    PREFIX_BYTES,
    DataRequest,
    Durability,
    Hop,
    Op,
    decode_request,
    encode_request,
    request_length,
)
from gfs_ha.protocol.frames import (
    DataEcho,
    FrameKind,
    ReplicaAck,
    encode_acks,
    encode_echo,
    encode_frame,
)
from gfs_ha.protocol.grid import part_crcs

Reply = Callable[[DataRequest], bytes]
BYTES = memoryview(b"x" * 10)


@contextmanager
def answering(reply: Reply) -> Iterator[int]:
    """Run a port that takes one request and answers it with `reply` of it."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(20.0)

    def serve() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.settimeout(20.0)
            prefix = peer.recv(PREFIX_BYTES, socket.MSG_WAITALL)
            rest = peer.recv(request_length(prefix) - PREFIX_BYTES, socket.MSG_WAITALL)
            peer.sendall(reply(decode_request(prefix + rest)))
            with suppress(ConnectionError):  # Whoever does not take the answer hangs up.
                while peer.recv(1 << 16):
                    pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        thread.join(20.0)
        listener.close()


def test_bytes_of_another_chunk_are_not_taken() -> None:
    def reply(request: DataRequest) -> bytes:
        echo = DataEcho(make_chunk_id(1, 8), 0, len(BYTES), False, 0, part_crcs(0, BYTES))
        return encode_frame(FrameKind.DATA, request.op_id, encode_echo(echo)) + bytes(BYTES)

    with answering(reply) as port, client_room() as room:
        where = FetchTarget(Hop(ServerId(1), "127.0.0.1", port), CHUNK, BIRTH)
        with pytest.raises(ProtocolError, match="another chunk"):
            Fetch(room, where, 10.0).read(0, memoryview(bytearray(len(BYTES))))


def test_an_acknowledgement_of_another_server_is_none(tmp_path: Path) -> None:
    """Else a confused server below could make a replica count that nobody has."""

    def reply(request: DataRequest) -> bytes:
        acks = (ReplicaAck(ServerId(3), "", len(BYTES)),)
        return encode_frame(FrameKind.PUSHED, request.op_id, encode_acks(acks))

    with answering(reply) as port, street(tmp_path, 1) as houses, client_room() as room:
        chain = (houses[0].hop, Hop(ServerId(2), "127.0.0.1", port))
        where = PushTarget(CHUNK, BIRTH, 4 * MIB, Durability.DISK, chain)
        result = push(room, where, bytes(BYTES))
    assert [(ack.server_id, ack.code) for ack in result.acks] == [(1, ""), (2, "ProtocolError")]


def test_what_a_later_release_adds_to_a_header_does_not_move_the_hops() -> None:
    hops = (Hop(ServerId(2), "cs2.example", 7302), Hop(ServerId(3), "cs3", 7303))
    request = DataRequest(
        *(Op.PUSH, 5, ServerId(1), CHUNK, BIRTH, 0, 10, 1000, 7), hops=hops, trace_id=9
    )
    whole = bytearray(encode_request(request)[:-4])
    fixed = int.from_bytes(whole[8:10], "little")
    whole[fixed:fixed] = b"new field"
    whole[8:10] = (fixed + 9).to_bytes(2, "little")
    whole[6:8] = (len(whole) + 4).to_bytes(2, "little")
    assert decode_request(bytes(whole) + crc32c(whole).to_bytes(4, "little")) == request
