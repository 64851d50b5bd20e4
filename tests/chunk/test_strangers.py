"""What those cost a data port who speak no word that it knows."""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from chunk_house import BIRTH, CHUNK, CLUSTER, client_room, street
from chunk_house import target as target_of
from sealed_house import (
    PLACES,
    RUNTIME,
    Guarded,
    Leader,
    fetch_sealed,
    patient,
    push_sealed,
    sealed_room,
    sealed_street,
)

from gfs_ha.chunk import dataport
from gfs_ha.errors import UnknownReplica, Unreachable
from gfs_ha.ids import ServerId
from gfs_ha.logs.requests import RequestLog
from gfs_ha.net.sealed_stream import HELLO_BYTES
from gfs_ha.net.streams import TcpStreams
from gfs_ha.protocol.data import DataRequest, Op, cluster_hash, encode_request
from gfs_ha.protocol.frames import FRAME_BYTES

KNOCKS = 300


def knock(one: Guarded, said: bytes, room: int) -> bool:
    """Say something on a connection of its own; return whether so much is answered."""
    with closing(TcpStreams(RUNTIME).connect(("127.0.0.1", one.house.port.port), 10.0)) as stream:
        stream.receive(memoryview(bytearray(HELLO_BYTES)), patient)
        stream.send([said], patient)
        try:
            stream.receive(memoryview(bytearray(room)), patient)
        except Unreachable:
            return False
        return True


def test_they_do_not_fill_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with sealed_street(tmp_path, 1) as (one,), caplog.at_level(logging.INFO):
        begun_s = RUNTIME.monotonic_s()
        for _ in range(KNOCKS):
            assert not knock(one, b"GET / HTTP/1.1\r\n\r\n" + os.urandom(20), 1 << 16)
        took_s = RUNTIME.monotonic_s() - begun_s
        lines = [one for one in caplog.messages if "bad request" in one]
        assert 1 <= len(lines) <= 2 + took_s, lines[-3:]


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "open"])
def test_those_who_send_a_header_byte_by_byte_keep_nobody_out_and_are_hung_up_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: bool
) -> None:
    monkeypatch.setattr(dataport, "FRAME_DEADLINE_S", 0.5)
    with ExitStack() as stack:
        if closed:
            (one,) = stack.enter_context(sealed_street(tmp_path, 1))
            room, house = stack.enter_context(sealed_room()), one.house
            target = Leader([one]).target()
        else:
            (house,) = stack.enter_context(street(tmp_path, 1))
            room, target = stack.enter_context(client_room()), target_of([house])
        where = ("127.0.0.1", house.port.port)
        slow = [
            stack.enter_context(closing(TcpStreams(RUNTIME).connect(where, 10.0)))
            for _ in range(2 * PLACES)
        ]
        header = b"GFSD\x01\x01\xe8\x03\x68" + bytes(200)  # 1,000 bytes are announced.
        for number in range(len(header)):
            for stream in list(slow):
                if not stream.send_now(header[number : number + 1]):
                    slow.remove(stream)
            if number == 0:
                assert push_sealed(room, target, b"of somebody honest").complete
            if not slow:
                break
            RUNTIME.sleep(0.05)
        assert not slow, "each byte gave it more time"
        ends_s = RUNTIME.monotonic_s() + 30.0
        while house.port.stream_count > 2 and RUNTIME.monotonic_s() < ends_s:
            RUNTIME.sleep(0.02)
        assert house.port.stream_count <= 2


@pytest.mark.parametrize("cluster", [CLUSTER, "another"])
def test_those_who_know_its_words_do_not_fill_it_either(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, cluster: str
) -> None:
    """Each could have a line, and crowd out those of who may ask."""
    requests = RequestLog(RUNTIME, logging.getLogger("requests"))
    said = encode_request(
        DataRequest(Op.FETCH, cluster_hash(cluster), ServerId(1), CHUNK, BIRTH, 0, 10, 5000, 7)
    )
    with (
        sealed_street(tmp_path, 1, requests=requests) as (one,),
        sealed_room() as room,
        caplog.at_level(logging.INFO),
    ):
        begun_s = RUNTIME.monotonic_s()
        for _ in range(KNOCKS // 3):
            assert knock(one, said, FRAME_BYTES)
        with pytest.raises(UnknownReplica):
            fetch_sealed(room, Leader((one,)), one, 0, 10)
        took_s = RUNTIME.monotonic_s() - begun_s
        requests.write(all_of_it=True)
        lines = [one for one in caplog.messages if "outcome=" in one or "lines left out" in one]
        assert len(lines) == 1 and "outcome=UnknownReplica" in lines[0], lines[-3:]
        word = "ticket refused" if cluster == CLUSTER else "another cluster"
        assert 1 <= len([one for one in caplog.messages if word in one]) <= 2 + took_s
