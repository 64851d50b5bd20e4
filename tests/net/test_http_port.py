"""A port for probes and scrapers: what it answers, and that nobody can keep it from answering."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from door_house import PATIENCE_S
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gfs_ha.net.http_port import HttpLimits, HttpPort, Page, Route, text_page
from gfs_ha.runtime import Future, ThreadedRuntime

HOST = "127.0.0.1"
RUNTIME = ThreadedRuntime()
Open = Callable[..., "Served"]


class Served:
    """A port that answers on a thread."""

    def __init__(self, route: Route, limits: HttpLimits) -> None:
        self.http = HttpPort(RUNTIME, (HOST, 0), route, limits)
        self.port = self.http.port
        self._task = RUNTIME.spawn("http", self.http.run)

    def close(self) -> None:
        self.http.stop()
        assert self._task.join(PATIENCE_S)

    def dial(self) -> socket.socket:
        return socket.create_connection((HOST, self.port), PATIENCE_S)

    def ask(self, request: bytes) -> tuple[int, bytes, bytes]:
        """Return status, head and body of the answer."""
        with self.dial() as peer:
            peer.sendall(request)
            return answer(peer)

    def get(self, path: str = "/") -> tuple[int, bytes]:
        status, _, body = self.ask(f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
        return status, body


def answer(peer: socket.socket) -> tuple[int, bytes, bytes]:
    received = b""
    while piece := peer.recv(65_536):
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), head, body


@pytest.fixture
def served() -> Iterator[Open]:
    with ExitStack() as stack:

        def open_port(route: Route = lambda path: text_page(path), **limits: float) -> Served:
            made = Served(route, HttpLimits(**limits))  # type: ignore[arg-type]
            stack.callback(made.close)
            return made

        yield open_port


def test_a_page_comes_whole_with_its_length_and_the_connection_ends(served: Open) -> None:
    status, head, body = served().ask(b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (status, body) == (200, b"/a\n")
    assert b"Content-Length: 3\r\n" in head
    assert b"Content-Type: text/plain; charset=utf-8\r\n" in head
    assert head.endswith(b"Connection: close")


def test_head_says_how_long_the_page_is_and_brings_none_of_it(served: Open) -> None:
    status, head, body = served().ask(b"HEAD /abc HTTP/1.0\r\n\r\n")
    assert (status, body) == (200, b"")
    assert b"Content-Length: 5\r\n" in head


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 405),
        (b"GET /\r\n\r\n", 400),
        (b"GET / / HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400),
        (b"GET / SPDY/1\r\n\r\n", 400),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 9000, 431),
    ],
)
def test_what_is_no_get_is_refused(served: Open, request_text: bytes, status: int) -> None:
    port = served()
    assert port.ask(request_text)[0] == status
    assert port.get()[0] == 200


def test_what_is_refused_is_counted_and_told_of(
    served: Open, caplog: pytest.LogCaptureFixture
) -> None:
    late, port = served(request_s=1.0), served(request_s=PATIENCE_S, peers_max=4)
    assert late.ask(b"GET / HT")[0] == 408
    begun_s = RUNTIME.monotonic_s()
    for said in (b"GET /\r\n\r\n", b"POST / HTTP/1.1\r\n\r\n", b"G" * 9000):
        port.ask(said)
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(port.dial())
        assert port.get()[0] == 200
    lines = caplog.text.count("request refused peer=127.0.0.1:")
    assert 2 <= lines <= 3 + RUNTIME.monotonic_s() - begun_s
    assert "reason=bad_request: this is no request of HTTP/1.1" in caplog.text
    refused = port.http.refused
    assert (refused["bad_request"], refused["too_long"], refused["turned_out"]) == (2, 1, 2)
    assert (refused["too_late"], late.http.refused["too_late"]) == (0, 1)


def test_a_request_may_come_byte_by_byte(served: Open) -> None:
    with served().dial() as peer:
        for byte in b"GET /slow HTTP/1.1\r\n\r\n":
            peer.sendall(bytes([byte]))
        assert answer(peer)[2] == b"/slow\n"


def test_a_page_that_takes_long_holds_up_nobody(served: Open) -> None:
    coming: Future[Page] = RUNTIME.future()
    port = served(lambda path: coming if path == "/late" else text_page("now"))
    with port.dial() as peer:
        peer.sendall(b"GET /late HTTP/1.1\r\n\r\n")
        assert port.get("/other") == (200, b"now\n")
        coming.set(text_page("late"))
        assert answer(peer)[2] == b"late\n"


def test_a_page_that_does_not_come_is_given_up(served: Open) -> None:
    port = served(lambda path: RUNTIME.future(), make_s=0.2)
    assert port.get()[0] == 503


def test_a_page_that_fails_is_said_to_and_the_next_one_is_served(served: Open) -> None:
    def route(path: str) -> Page | Future[Page]:
        failed: Future[Page] = RUNTIME.future()
        if path == "/raises":
            raise ZeroDivisionError
        if path == "/fails":
            failed.fail(OSError("no such disk"))
            return failed
        return text_page("fine")

    port = served(route)
    assert port.get("/raises")[0] == 500
    assert port.get("/fails") == (500, b"this page failed: no such disk\n")
    assert port.get("/else") == (200, b"fine\n")


def test_who_does_not_ask_in_time_is_sent_away(served: Open) -> None:
    with served(request_s=0.2).dial() as peer:
        peer.sendall(b"GET / HTTP/1.1\r\n")
        assert answer(peer)[0] == 408


def test_who_asks_byte_by_byte_is_sent_away_at_the_same_time_and_keeps_nobody_out(
    served: Open,
) -> None:
    port = served(request_s=1.0, peers_max=8)
    with ExitStack() as stack:
        slow = [stack.enter_context(port.dial()) for _ in range(8)]
        ends_s = RUNTIME.monotonic_s() + PATIENCE_S
        open_ones = set(slow)
        while open_ones and RUNTIME.monotonic_s() < ends_s:
            for peer in list(open_ones):
                try:
                    peer.sendall(b"G")
                except OSError:
                    open_ones.discard(peer)
            assert port.get("/livez")[0] == 200
            RUNTIME.sleep(0.02)
        assert not open_ones, "each byte gave it more time"


def test_who_takes_no_answer_loses_it(served: Open) -> None:
    page = Page(b"x" * (64 << 20))
    port = served(lambda path: page, send_s=0.2)
    with port.dial() as peer:
        peer.sendall(b"GET / HTTP/1.1\r\n\r\n")
        # Far less than the page fits into the buffers between us; then the port hangs up.
        ends_s = RUNTIME.monotonic_s() + PATIENCE_S
        while not port.http.refused["not_taken"]:
            assert RUNTIME.monotonic_s() < ends_s, "it waits on"
            RUNTIME.sleep(0.02)
        received = 0
        with pytest.raises(ConnectionError):
            while piece := peer.recv(1 << 20):
                received += len(piece)
            raise ConnectionError
        assert received < len(page.body)


def test_many_idle_peers_do_not_keep_a_probe_out(served: Open) -> None:
    port = served(peers_max=4)
    with ExitStack() as stack:
        idle = [stack.enter_context(port.dial()) for _ in range(12)]
        assert port.get("/livez") == (200, b"/livez\n")
        # Who came first made room: it was hung up on.
        assert idle[0].recv(1) == b""


def test_many_peers_that_read_nothing_do_not_keep_a_probe_out(served: Open) -> None:
    big = Page(b"x" * (16 << 20))
    port = served(lambda path: big if path == "/big" else text_page("alive"), peers_max=4)
    with ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(port.dial()).sendall(b"GET /big HTTP/1.1\r\n\r\n")
        assert port.get("/livez") == (200, b"alive\n")


def test_a_peer_that_leaves_while_its_page_is_made_costs_nothing(served: Open) -> None:
    coming: Future[Page] = RUNTIME.future()
    port = served(lambda path: coming if path == "/late" else text_page("now"))
    with port.dial() as peer:
        peer.sendall(b"GET /late HTTP/1.1\r\n\r\n")
        assert port.get("/other")[0] == 200
    coming.set(text_page("late"))
    assert port.get("/other")[0] == 200


def test_a_port_that_ended_is_free_again(served: Open) -> None:
    port = served()
    idle = port.dial()
    port.close()
    with idle, pytest.raises(ConnectionError):
        assert idle.recv(1) == b""
        raise ConnectionError
    again = HttpPort(RUNTIME, (HOST, port.port), lambda path: text_page(path), HttpLimits())
    again.stop()
    again.run()


@given(st.lists(st.binary(max_size=200), max_size=6))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_bytes_come_the_next_probe_is_answered(
    anything: Served, pieces: list[bytes]
) -> None:
    with anything.dial() as peer:
        for piece in pieces:
            try:
                peer.sendall(piece)
            except OSError:
                break  # It was answered, or hung up on, already.
    assert anything.get("/livez") == (200, b"/livez\n")


@pytest.fixture
def anything(served: Open) -> Served:
    """A port that the attacks of one test share."""
    return served()
