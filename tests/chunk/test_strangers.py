"""What those cost a data port who speak no word that it knows."""

from __future__ import annotations

import logging
import os
import threading
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from chunk_house import BIRTH, CHUNK, CLUSTER, client_room, push, start_house, street
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
from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.errors import Overloaded, UnknownReplica, Unreachable
from gfs_ha.ids import ServerId
from gfs_ha.logs.requests import RequestLog
from gfs_ha.net.network import Address
from gfs_ha.net.sealed_stream import HELLO_BYTES
from gfs_ha.net.streams import Stream, StreamListener, TcpStreams
from gfs_ha.protocol.data import DataRequest, Op, cluster_hash, encode_request
from gfs_ha.protocol.frames import FRAME_BYTES, FrameKind, decode_error, decode_frame

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
        lines = [one for one in caplog.messages if "reason=bad_request" in one]
        assert 1 <= len(lines) <= 2 + took_s, lines[-3:]
        assert one.house.port.turned_away.counts()["bad_request"] == KNOCKS


def test_who_says_nothing_or_half_a_header_is_counted_and_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dataport, "FRAME_DEADLINE_S", 0.2)
    with sealed_street(tmp_path, 1) as (one,), caplog.at_level(logging.WARNING):
        assert not knock(one, b"GFSD\x01\x01", 1 << 16)
        monkeypatch.undo()
        monkeypatch.setattr(dataport, "STREAM_IDLE_S", 3.0)  # Time for somebody honest.
        assert not knock(one, b"", 1 << 16)
        with sealed_room() as room:  # Who has asked for something may be silent then.
            assert push_sealed(room, Leader([one]).target(), b"of somebody honest").complete
            ends_s = RUNTIME.monotonic_s() + 30.0
            while one.house.port.stream_count:
                assert RUNTIME.monotonic_s() < ends_s, "nobody ends an idle stream"
                RUNTIME.sleep(0.02)
        counts = one.house.port.turned_away.counts()
        assert (counts["late"], counts["silent"]) == (1, 1), counts
        monkeypatch.undo()  # Those who come now are to be there still when the port is full.
        with ExitStack() as flood:
            for _ in range(PLACES + 3):
                where = ("127.0.0.1", one.house.port.port)
                flood.enter_context(closing(TcpStreams(RUNTIME).connect(where, 10.0)))
            ends_s = RUNTIME.monotonic_s() + 30.0
            while not one.house.port.turned_away.counts()["turned_out"]:
                assert RUNTIME.monotonic_s() < ends_s, "nobody gave way"
                RUNTIME.sleep(0.02)
    assert "reason=late: the rest of a request did not come" in caplog.text


class _Held:
    """A stream whose thread gets no turn once something happened on it, until it is let go."""

    def __init__(self, inner: Stream, go: threading.Event) -> None:
        self._inner, self._go = inner, go

    def wait(self, timeout_s: float) -> bool:
        happened = self._inner.wait(timeout_s)
        assert self._go.wait(60.0), "nobody let it go"
        return happened

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _BusyListener:
    def __init__(self, inner: StreamListener, go: threading.Event) -> None:
        self._inner, self._go = inner, go
        self.port, self.close = inner.port, inner.close

    def accept(self) -> Stream | None:
        stream = self._inner.accept()
        return None if stream is None else _Held(stream, self._go)


class _Busy:
    """The network of a machine whose threads get no turn for a while."""

    def __init__(self) -> None:
        self._inner, self.go = TcpStreams(RUNTIME), threading.Event()

    def connect(self, address: Address, timeout_s: float) -> Stream:
        return self._inner.connect(address, timeout_s)

    def listen(self, address: Address) -> StreamListener:
        return _BusyListener(self._inner.listen(address), self.go)


def test_no_more_give_way_than_there_are_places_before_the_first_of_them_has_ended() -> None:
    """Each still has its thread: on a machine with too much to do a flood would take them all."""
    places, network = 4, _Busy()
    house = start_house(MemoryDisk(RUNTIME), 1, RUNTIME, network, places)
    where = ("127.0.0.1", house.port.port)
    with ExitStack() as flood:
        flood.callback(house.stop)
        flood.callback(network.go.set)
        came = [
            flood.enter_context(closing(TcpStreams(RUNTIME).connect(where, 10.0)))
            for _ in range(2 * places + 2)
        ]
        for stream in came[-2:]:  # They are heard in the order in which they came.
            said = memoryview(bytearray(FRAME_BYTES))
            stream.receive(said, patient)
            frame = decode_frame(said)
            why = memoryview(bytearray(frame.body_length))
            stream.receive(why, patient)
            assert frame.kind is FrameKind.FAILED
            assert isinstance(decode_error(bytes(why)), Overloaded)
        counts = house.port.turned_away.counts()
        assert (counts["turned_out"], counts["full"]) == (places, 2), counts
        gone, kept = came[:places], came[places:-2]
        assert not any(one.idle() for one in gone) and all(one.idle() for one in kept)
        network.go.set()
        ends_s = RUNTIME.monotonic_s() + 30.0
        while house.port._ending:
            assert RUNTIME.monotonic_s() < ends_s, "those who gave way do not end"
            RUNTIME.sleep(0.01)
        with client_room() as room:
            assert push(room, target_of([house]), b"of somebody honest").complete


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "open"])
def test_those_who_send_a_header_byte_by_byte_keep_nobody_out_and_are_hung_up_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: bool
) -> None:
    monkeypatch.setattr(dataport, "FRAME_DEADLINE_S", 1.5)  # Time for somebody honest.
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
        assert requests.stop(), "who writes the lines does not end"
        lines = [one for one in caplog.messages if "outcome=" in one or "lines left out" in one]
        assert len(lines) == 1 and "outcome=UnknownReplica" in lines[0], lines[-3:]
        word = "ticket refused" if cluster == CLUSTER else "another cluster"
        assert 1 <= len([one for one in caplog.messages if word in one]) <= 2 + took_s
