"""One peer's clock, with the time given by the test: when it has used up the door's patience."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from gfs_ha.net.connection import Call, DoorConnection, DoorLimits
from gfs_ha.net.network import Deferred
from gfs_ha.net.rpc import Request, encode_request

LIMITS = DoorLimits(
    calls_in_flight_max=2,
    handshake_deadline_s=3.0,
    frame_deadline_s=10.0,
    write_stall_s=10.0,
    idle_s=600.0,
)


class Pair:
    """A connection as the door has it, and the peer's end."""

    def __init__(self) -> None:
        self.peer, ours = socket.socketpair()
        for sock in (self.peer, ours):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        ours.setblocking(False)
        self.peer.setblocking(False)
        self.connection = DoorConnection(ours, "peer:1", LIMITS, now_s=0.0)

    def say(self, data: bytes, now_s: float) -> list[Request]:
        """Let the peer say something; return the whole requests that came of it."""
        found = []
        for start in range(0, len(data), 1000):
            self.peer.send(data[start : start + 1000])
            assert self.connection.receive(now_s)
            while (request := self.connection.next_request(now_s)) is not None:
                found.append(request)
        return found

    def hear(self, size: int) -> int:
        try:
            return len(self.peer.recv(size))
        except BlockingIOError:
            return 0


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    made.connection.greet()
    yield made
    made.connection.close(reset=False)
    made.peer.close()


@pytest.fixture
def stranger() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.connection.close(reset=False)
    made.peer.close()


def test_a_stranger_has_the_time_of_the_handshake(stranger: Pair) -> None:
    assert stranger.connection.overdue(2.9) is None
    assert "no hello" in str(stranger.connection.overdue(3.1))


def test_a_greeted_peer_may_be_silent_until_it_counts_as_idle(pair: Pair) -> None:
    assert pair.connection.overdue(599.0) is None
    assert "idle" in str(pair.connection.overdue(601.0))


def test_a_peer_with_a_call_in_flight_is_never_idle(pair: Pair) -> None:
    (request,) = pair.say(encode_request(1, 1, b"", b"x"), 0.0)
    call = Call(pair.connection, request, Deferred(1.0))
    pair.connection.park(call)
    assert pair.connection.overdue(10_000.0) is None
    assert pair.connection.held_bytes == 1
    assert pair.connection.unpark(call) and not pair.connection.unpark(call)
    assert pair.connection.held_bytes == 0


def test_a_frame_has_its_deadline_from_its_first_byte(pair: Pair) -> None:
    data = encode_request(1, 1, b"", b"x" * 300)
    for now_s in range(10):
        assert pair.say(data[now_s : now_s + 1], float(now_s)) == []
        assert pair.connection.overdue(float(now_s)) is None
    assert "finish a frame" in str(pair.connection.overdue(10.5))


def test_a_whole_frame_ends_its_deadline_and_the_next_starts_its_own(pair: Pair) -> None:
    data = encode_request(1, 1, b"", b"x" * 300)
    pair.say(data[:5], 0.0)
    assert len(pair.say(data[5:] + data[:5], 9.0)) == 1
    assert pair.connection.overdue(18.0) is None
    assert "finish a frame" in str(pair.connection.overdue(19.5))


def test_the_deadline_of_a_frame_stands_still_while_the_door_does_not_read(pair: Pair) -> None:
    data = encode_request(1, 1, b"", b"x" * 300)
    pair.say(data[:5], 0.0)
    pair.connection.pause()
    assert pair.connection.overdue(100.0) is None
    assert pair.say(data[5:10], 101.0) == []
    assert pair.connection.overdue(110.0) is None
    assert "finish a frame" in str(pair.connection.overdue(112.0))


def test_a_peer_that_takes_nothing_is_overdue_after_the_stall(pair: Pair) -> None:
    pair.connection.send(1, b"a" * 1_000_000)
    pair.connection.flush(5.0)
    assert pair.connection.overdue(14.9) is None
    assert "took no answers" in str(pair.connection.overdue(15.1))


def test_a_peer_that_takes_a_little_plays_for_time_and_is_overdue_too(pair: Pair) -> None:
    pair.connection.send(1, b"a" * 1_000_000)
    pair.connection.flush(0.0)
    taken = 0
    for now_s in range(1, 10):
        taken += pair.hear(2000)
        pair.connection.flush(float(now_s))
    assert taken > 10_000
    assert "took no answers" in str(pair.connection.overdue(10.1))


def test_a_slow_peer_that_goes_on_reading_is_patiently_fed(pair: Pair) -> None:
    pair.connection.send(1, b"a" * 1_000_000)
    pair.connection.flush(0.0)
    for now_s in range(1, 60):
        for _ in range(10):
            pair.hear(2000)
            pair.connection.flush(float(now_s))
        assert pair.connection.overdue(float(now_s)) is None


def test_the_last_answer_is_flushed_before_the_peer_is_hung_up_on(pair: Pair) -> None:
    pair.connection.send(1, b"a" * 20_000)
    pair.connection.flush(0.0)
    pair.connection.hang_up(0.0)
    pair.connection.send(2, b"not any more")
    taken = 0
    while pair.connection.owed:
        taken += pair.hear(4096)
        pair.connection.flush(1.0)
    while (more := pair.hear(4096)) > 0:
        taken += more
    assert 20_000 < taken < 20_100
    assert pair.connection.listening and not pair.connection.takes_calls
    assert pair.connection.overdue(2.9) is None
    assert "did not hang up" in str(pair.connection.overdue(3.1))


def test_small_answers_leave_together_in_their_order(pair: Pair) -> None:
    for sequence in range(1, 50):
        pair.connection.send(sequence, b"%d" % sequence)
    pair.connection.flush(0.0)
    heard = pair.peer.recv(65_536)
    assert [heard.find(b"%d\n" % n) for n in range(1, 50)] == sorted(
        heard.find(b"%d\n" % n) for n in range(1, 50)
    )
    assert not pair.connection.owed
