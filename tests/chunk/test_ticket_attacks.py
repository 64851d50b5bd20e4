"""What a hostile client tries on a data port that asks for tickets: refused, counted, harmless."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from chunk_house import BIRTH, CHUNK, CLUSTER
from hostile.recorder import Change, Recorder, flipped
from replica_house import noise
from sealed_house import (
    PLACES,
    RUNTIME,
    Guarded,
    Leader,
    fetch_sealed,
    patient,
    push_sealed,
    request_of,
    sealed_network,
    sealed_room,
    sealed_street,
)

from gfs_ha.client.data_room import DataRoom
from gfs_ha.client.fetch import Fetch, FetchTarget
from gfs_ha.client.push import Push
from gfs_ha.errors import GfsError, Overloaded, TicketRefused, Unreachable
from gfs_ha.ids import Epoch, ServerId, make_chunk_id
from gfs_ha.limits import KIB, MIB
from gfs_ha.net.answers import AnswerReader, Deadline
from gfs_ha.net.asking import ask
from gfs_ha.net.payloads import RECORD_BYTES_MAX
from gfs_ha.net.sealed_stream import HELLO_BYTES, SealedStream
from gfs_ha.net.streams import Stall, TcpStreams
from gfs_ha.protocol.data import DataRequest, Op
from gfs_ha.protocol.frames import FRAME_BYTES, FrameKind, decode_error, decode_frame
from gfs_ha.protocol.tickets import Level, Right

DATA = noise(300 * KIB)
Forge = Callable[[Leader, Guarded], tuple[bytes, dict[str, object]]]


def asked(guarded: Guarded, request: DataRequest) -> bytes:
    """Ask once on a stream of its own; return what comes. Raises: why not."""
    stream = sealed_network().connect(("127.0.0.1", guarded.house.port.port), 10.0)
    with closing(stream):
        reader = AnswerReader(stream, request.op_id, Deadline(RUNTIME, 20.0))
        ask(stream, request, [], reader.stall)
        assert reader.wait()[0] is FrameKind.DATA
        into = memoryview(bytearray(request.length))
        stream.receive(into, patient)
        return bytes(into)


@contextmanager
def filled(directory: Path, count: int = 2) -> Iterator[tuple[list[Guarded], Leader]]:
    with sealed_street(directory, count) as guarded, sealed_room() as room:
        leader = Leader(guarded)
        assert push_sealed(room, leader.target(), DATA).complete
        yield guarded, leader
        # Whatever was tried: it still serves those who may, and wrote nothing.
        for one in guarded:
            assert fetch_sealed(room, leader, one, 0, len(DATA))[0] == DATA


FORGED: dict[str, tuple[str, Forge]] = {
    "altered anywhere": ("altered", lambda leader, one: (flipped(leader.ticket(one), 40), {})),
    "altered nonce": ("altered", lambda leader, one: (flipped(leader.ticket(one), 9), {})),
    "altered end": ("altered", lambda leader, one: (flipped(leader.ticket(one), -1), {})),
    "cut": ("altered", lambda leader, one: (leader.ticket(one)[:30], {})),
    "made up": ("unknown_key", lambda leader, one: (os.urandom(120), {})),
    "expired": ("expired", lambda leader, one: (leader.ticket(one, ends_ms=1), {})),
    "too long-lived": (
        "expired",
        lambda leader, one: (leader.ticket(one, ends_ms=one.keys.now_ms() + 400_000), {}),
    ),
    "of another server": (
        "unknown_key",
        lambda leader, one: (leader.ticket(leader.guarded[1]), {}),
    ),
    "of another server by our key": (
        "foreign",
        lambda leader, one: (leader.ticket(one, server_id=ServerId(99)), {}),
    ),
    "of another chunk": (
        "foreign",
        lambda leader, one: (leader.ticket(one, chunk_id=make_chunk_id(1, 8)), {}),
    ),
    "of another birth": (
        "foreign",
        lambda leader, one: (leader.ticket(one, birth=Epoch(1, 4)), {}),
    ),
    "for something else": (
        "not_allowed",
        lambda leader, one: (leader.ticket(one, rights=Right.PUSH | Right.APPEND), {}),
    ),
    "beyond its limit": (
        "limit",
        lambda leader, one: (leader.ticket(one, byte_limit=99), {}),
    ),
    "for a log": (
        "not_allowed",
        lambda leader, one: (
            leader.ticket(one, chunk_id=0, birth=Epoch(0, 0)),
            {"op": Op.LOG, "chunk_id": 0, "birth": Epoch(0, 0)},
        ),
    ),
    "with another secret": (
        "replayed",
        lambda leader, one: (leader.ticket(one, secret=os.urandom(32)), {}),
    ),
    "at another target": ("foreign", lambda leader, one: (leader.ticket(one), {"target": 2})),
}


@pytest.mark.parametrize("how", FORGED)
def test_a_ticket_that_does_not_fit_is_refused_and_counted(tmp_path: Path, how: str) -> None:
    reason, forge = FORGED[how]
    with filled(tmp_path) as (guarded, leader):
        ticket, changed = forge(leader, guarded[0])
        with pytest.raises(TicketRefused) as refused:
            asked(guarded[0], request_of(guarded[0], leader, ticket, **changed))
        assert refused.value.details["reason"] == reason
        assert guarded[0].refused == {reason: 1}
        assert guarded[1].refused == {}


def test_no_ticket_at_all_is_refused(tmp_path: Path) -> None:
    with filled(tmp_path) as (guarded, leader):
        request = request_of(guarded[0], leader, b"", given=None, nonce=b"")
        stream = TcpStreams(RUNTIME).connect(("127.0.0.1", guarded[0].house.port.port), 10.0)
        with closing(stream):
            stream.receive(memoryview(bytearray(HELLO_BYTES)), patient)
            ask(stream, request, [], patient)
            head = memoryview(bytearray(FRAME_BYTES))
            stream.receive(head, patient)
            frame = decode_frame(head)
            body = memoryview(bytearray(frame.body_length))
            stream.receive(body, patient)
            error = decode_error(bytes(body))
        assert isinstance(error, TicketRefused) and error.details["reason"] == "missing"
        assert guarded[0].refused == {"missing": 1}


def recorded(guarded: Guarded, change: Change = bytes) -> Recorder:
    return Recorder(("127.0.0.1", guarded.house.port.port), change)


def answer_of(stream: SealedStream, op_id: int = 7) -> FrameKind:
    return AnswerReader(stream, op_id, Deadline(RUNTIME, 20.0)).wait()[0]


def test_a_request_that_is_sent_again_as_it_was_is_refused(tmp_path: Path) -> None:
    with filled(tmp_path) as (guarded, leader):
        recorder = recorded(guarded[0])
        stream = recorder.sealed()
        request = request_of(guarded[0], leader, leader.ticket(guarded[0]))
        ask(stream, request, [], patient)
        assert answer_of(stream) is FrameKind.DATA
        stream.receive(memoryview(bytearray(100)), patient)
        assert stream.end()
        (said,) = recorder.sent
        for again in (recorder, recorded(guarded[0])):
            if again is not recorder:
                again.inner.receive(memoryview(bytearray(HELLO_BYTES)), patient)
            again.inner.send([said], patient)
            head = memoryview(bytearray(FRAME_BYTES))
            again.inner.receive(head, patient)
            body = memoryview(bytearray(decode_frame(head).body_length))
            again.inner.receive(body, patient)
            assert decode_error(bytes(body)).details["reason"] == "replayed"
            again.inner.close()
        assert guarded[0].refused == {"replayed": 2}


def pushed(
    guarded: Guarded, leader: Leader, change: Callable[[int, bytes], bytes]
) -> tuple[Recorder, GfsError | None]:
    """Append to the chunk with something changed on its way; return what became of it."""
    calls = iter(range(1_000))
    recorder = recorded(guarded, lambda data: change(next(calls), data))

    class Network:
        def connect(self, address: object, timeout_s: float) -> SealedStream:
            return recorder.sealed()

    room = DataRoom(CLUSTER, Network(), RUNTIME)  # type: ignore[arg-type]
    where = Leader([guarded], leader.level, secret=leader.secret).target()
    with Push(room, where, len(DATA), 2 * MIB, 20.0) as push:
        push.write(noise(2 * MIB, 9))
        result = push.finish()
        error = push.error
    room.close()
    assert not result.complete
    return recorder, error


RECORD_CHANGES: dict[str, Callable[[int, bytes], bytes]] = {
    "a flipped byte": lambda turn, data: flipped(data, -50_000) if turn == 1 else data,
    "a flipped tag": lambda turn, data: flipped(data, -1) if turn == 1 else data,
    "a record twice": lambda turn, data: data + data if turn == 1 else data,
    "a record left out": lambda turn, data: b"" if turn == 1 else data,
    "a record of great length": lambda turn, data: (
        struct.pack("<I", RECORD_BYTES_MAX + 1) + data[4:] if turn == 1 else data
    ),
    "a record of no length": lambda turn, data: struct.pack("<I", 0) + data if turn == 1 else data,
}


@pytest.mark.parametrize("how", RECORD_CHANGES)
def test_what_is_changed_on_its_way_is_never_written(tmp_path: Path, how: str) -> None:
    with filled(tmp_path, 1) as (guarded, leader):
        one = guarded[0]
        pushed(one, leader, RECORD_CHANGES[how])
        assert one.house.store.get(CHUNK).header.end == len(DATA)


def test_what_is_changed_on_its_way_back_is_not_believed(tmp_path: Path) -> None:
    with filled(tmp_path, 1) as (guarded, leader):
        recorder = recorded(guarded[0])
        receive = recorder.inner.receive
        seen = [0]

        def altered(into: memoryview, stall: Stall) -> None:
            receive(into, stall)
            seen[0] += 1
            if seen[0] == 3 and len(into) > 20:  # The hello, a length, then a record.
                into[5] ^= 1

        recorder.inner.receive = altered  # type: ignore[method-assign]
        stream = recorder.sealed()
        ask(stream, request_of(guarded[0], leader, leader.ticket(guarded[0])), [], patient)
        with pytest.raises(Unreachable, match="altered"):
            answer_of(stream)
        stream.close()


@pytest.mark.parametrize("floor", [Level.INTEGRITY, Level.ENCRYPT])
def test_a_server_goes_no_lower_than_it_is_told_to(tmp_path: Path, floor: Level) -> None:
    with sealed_street(tmp_path, 1, floor) as guarded, sealed_room() as room:
        for level in Level:
            leader = Leader(guarded, level)
            result = push_sealed(room, leader.target(make_chunk_id(1, 20 + level)), b"some")
            assert result.complete == (level >= floor), level
        assert set(guarded[0].refused) == {"level"}


def test_what_goes_over_the_wire_is_in_clear_only_where_it_is_said(tmp_path: Path) -> None:
    text = b"the quick brown fox jumps over the lazy dog" * 4
    with filled(tmp_path, 1) as (guarded, _):
        one = guarded[0]
        for level in Level:
            leader = Leader(guarded, level)
            recorder = recorded(one)
            stream = recorder.sealed()
            # As far as it is sealed: what follows the header is what the first sender seals.
            request = request_of(one, leader, leader.ticket(one, chunk_id=0, birth=Epoch(0, 0)))
            ask(stream, request, [text], patient)
            stream.close()
            assert (text in b"".join(recorder.sent)) == (level is not Level.ENCRYPT)


def test_a_thousand_refusals_cost_nothing_that_stays(tmp_path: Path) -> None:
    with filled(tmp_path, 1) as (guarded, leader):
        one = guarded[0]
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(1_000):
            with pytest.raises(TicketRefused):
                asked(one, request_of(one, leader, os.urandom(100)))
        assert one.refused == {"unknown_key": 1_000}
        deadline_s = RUNTIME.monotonic_s() + 30.0
        while len(os.listdir("/proc/self/fd")) > before + 8 and RUNTIME.monotonic_s() < deadline_s:
            RUNTIME.sleep(0.05)
        assert len(os.listdir("/proc/self/fd")) <= before + 8
        assert one.house.port.stream_count <= 8


def test_who_shows_no_tickets_is_told_so_by_a_port_that_asks_for_them(tmp_path: Path) -> None:
    with filled(tmp_path, 1) as (guarded, _):
        room = DataRoom(CLUSTER, TcpStreams(RUNTIME), RUNTIME)
        with closing(room), pytest.raises(GfsError, match='mode = "tls"'):
            target = FetchTarget(guarded[0].house.hop, CHUNK, BIRTH)
            Fetch(room, target, 10.0).read(0, memoryview(bytearray(10)))


def test_who_showed_no_ticket_gives_way_on_a_full_port(tmp_path: Path) -> None:
    """Else so many silent connections as it serves would shut out everybody."""
    with filled(tmp_path, 1) as (guarded, leader), ExitStack() as flood:
        one = guarded[0]
        address = ("127.0.0.1", one.house.port.port)
        kept = sealed_network().connect(address, 10.0)
        flood.callback(kept.close)

        def fetched_on_it() -> bytes:
            request = request_of(one, leader, leader.ticket(one))
            ask(kept, request, [], patient)
            assert answer_of(kept) is FrameKind.DATA
            into = memoryview(bytearray(100))
            kept.receive(into, patient)
            assert kept.end()
            return bytes(into)

        assert fetched_on_it() == DATA[:100]
        for number in range(3 * PLACES):
            silent = TcpStreams(RUNTIME).connect(address, 10.0)
            flood.callback(silent.close)
            if number % 2:
                silent.send([b"GFSD\x01"], patient)
            try:
                silent.receive(memoryview(bytearray(HELLO_BYTES)), patient)
            except Unreachable:
                pass  # It was shown out already.
        request = request_of(one, leader, leader.ticket(one))
        assert asked(one, request) == DATA[:100], "a newcomer with a ticket has a place"
        assert fetched_on_it() == DATA[:100], "who showed one keeps his"
        assert one.house.port.stream_count <= PLACES


def test_a_port_full_of_those_with_tickets_refuses_newcomers(tmp_path: Path) -> None:
    with filled(tmp_path, 1) as (guarded, leader):
        one = guarded[0]
        with ExitStack() as held, pytest.raises(Overloaded):
            for _ in range(PLACES + 1):
                stream = sealed_network().connect(("127.0.0.1", one.house.port.port), 10.0)
                held.callback(stream.close)
                ask(stream, request_of(one, leader, leader.ticket(one)), [], patient)
                assert answer_of(stream) is FrameKind.DATA
        deadline_s = RUNTIME.monotonic_s() + 30.0
        while one.house.port.stream_count > PLACES // 2 and RUNTIME.monotonic_s() < deadline_s:
            RUNTIME.sleep(0.02)
