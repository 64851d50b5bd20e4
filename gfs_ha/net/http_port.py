"""A small HTTP server for GET, for machines that look at this process: one thread, all bounded.

One request per connection, answered by a page that is there or comes later; a body is never taken.
Who is slow, with the request or in taking the answer, loses its place to who comes: whatever many
peers do costs a few descriptors and no time of anybody else's.
"""

from __future__ import annotations

import logging
import select
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from gfs_ha.logs.seldom import Seldom
from gfs_ha.net.listener import Listener, Starved
from gfs_ha.net.network import Address
from gfs_ha.net.sockets import SEND_FLAGS
from gfs_ha.net.wakeup import Wakeup
from gfs_ha.runtime import Future, Runtime

TEXT = "text/plain; charset=utf-8"

_WAIT_S = 1.0
_STARVED_S = 0.1
_RECEIVE_BYTES = 4096
_END = b"\r\n\r\n"
_PHRASES = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}

# Why a request was refused, as it is counted; `turned_out` gave its place to who came.
REFUSALS = ("bad_request", "too_long", "too_late", "not_taken", "turned_out")
_REASONS = {400: REFUSALS[0], 405: REFUSALS[0], 431: REFUSALS[1], 408: REFUSALS[2]}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What one port holds at most, and how long it waits."""

    peers_max: int = 16
    request_bytes_max: int = 8 * 1024
    request_s: float = 5.0  # From the connection to the end of the request.
    make_s: float = 5.0  # From then on until the page is there.
    send_s: float = 10.0  # Until the peer has taken it.


@dataclass(frozen=True, slots=True)
class Page:
    """An answer."""

    body: bytes
    status: int = 200
    content_type: str = TEXT


def text_page(text: str, status: int = 200) -> Page:
    """Return a page of one line, or of several."""
    return Page(f"{text}\n".encode(), status)


# Told the path that is asked for. It must not wait: what takes long comes by a Future.
Route = Callable[[str], "Page | Future[Page]"]


@dataclass(slots=True, eq=False)
class _Peer:
    sock: socket.socket
    name: str
    deadline_s: float
    asked: bytearray = field(default_factory=bytearray)
    coming: Future[Page] | None = None
    left: memoryview | None = None  # Of the answer, once there is one.
    whole: bool = True  # False: the peer wants to know of the page only, by HEAD.


class HttpPort:
    """Serves one route on one port. `run` belongs to one thread; `stop` to all.

    Raises (when built): PortTaken, ConfigError.
    """

    def __init__(self, runtime: Runtime, listen: Address, route: Route, limits: HttpLimits) -> None:
        """Args: `listen` is (host, port); port 0 takes a free one."""
        self._runtime = runtime
        self._limits = limits
        self._route = route
        self._listener = Listener(listen)
        self._wakeup = Wakeup()
        self._poll = select.poll()
        self._poll.register(self._listener.descriptor, select.POLLIN)
        self._poll.register(self._wakeup.descriptor, select.POLLIN)
        self._peers: dict[int, _Peer] = {}  # By descriptor, who came first is first.
        self._stopping = False
        self._logged = Seldom(runtime)  # Of what is refused; all is counted.
        self.refused = dict.fromkeys(REFUSALS, 0)  # Since the start, by reason.

    @property
    def port(self) -> int:
        """Return the port that it listens on."""
        return self._listener.port

    def run(self) -> None:
        """Serve until `stop`, then hang up and give the port back."""
        try:
            while not self._stopping:
                self._turn()
        finally:
            for peer in list(self._peers.values()):
                self._part(peer)
            self._wakeup.close()
            self._listener.close()

    def stop(self) -> None:
        """Make `run` return soon. Thread-safe."""
        self._stopping = True
        self._wakeup.set()

    def _turn(self) -> None:
        now_s = self._runtime.monotonic_s()
        next_s = min((one.deadline_s for one in self._peers.values()), default=now_s + _WAIT_S)
        wait_s = max(0.0, min(_WAIT_S, next_s - now_s))
        accept = False
        for descriptor, event in self._poll.poll(wait_s * 1000):
            peer = self._peers.get(descriptor)
            if peer is not None:
                self._guard(peer, partial(self._on_socket, peer, event))
            elif descriptor == self._wakeup.descriptor:
                self._wakeup.clear()
            else:
                accept = True
        for peer in list(self._peers.values()):
            self._guard(peer, partial(self._look, peer))
        # Last: a descriptor that was closed above may come back here as another peer's.
        if accept:
            self._accept()

    def _guard(self, peer: _Peer, action: Callable[[], None]) -> None:
        """Run what one peer caused; whatever goes wrong in it costs that peer only."""
        try:
            action()
        except OSError:
            self._part(peer)
        except Exception:
            logger.exception("a request failed by a mistake of ours")
            self._part(peer)

    def _on_socket(self, peer: _Peer, event: int) -> None:
        if peer.left is not None:
            self._send(peer)
        elif peer.coming is None and event & select.POLLIN:
            self._receive(peer)
        else:
            self._part(peer)  # It hung up.

    def _receive(self, peer: _Peer) -> None:
        try:
            received = peer.sock.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        if not received:
            self._part(peer)
            return
        peer.asked += received
        if _END in peer.asked:
            self._answer(peer)
        elif len(peer.asked) > self._limits.request_bytes_max:
            self._begin_to_send(peer, text_page("the request is too long", 431))

    def _answer(self, peer: _Peer) -> None:
        words = bytes(peer.asked.partition(b"\r\n")[0]).split(b" ")
        if len(peer.asked) > self._limits.request_bytes_max + len(_END):
            self._begin_to_send(peer, text_page("the request is too long", 431))
            return
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            self._begin_to_send(peer, text_page("this is no request of HTTP/1.1", 400))
            return
        if words[0] not in (b"GET", b"HEAD"):
            self._begin_to_send(peer, text_page("only GET and HEAD are answered", 405))
            return
        peer.whole = words[0] == b"GET"
        path = words[1].partition(b"?")[0].decode("ascii", "replace")
        try:
            found = self._route(path)
        except Exception:
            logger.exception("a page failed by a mistake of ours path=%r", path)
            found = text_page("this page failed; the log says why", 500)
        if isinstance(found, Page):
            self._begin_to_send(peer, found)
            return
        peer.coming = found
        peer.deadline_s = self._runtime.monotonic_s() + self._limits.make_s
        self._poll.modify(peer.sock.fileno(), select.POLLRDHUP)
        found.when_done(self._wakeup.set)

    def _look(self, peer: _Peer) -> None:
        """Go on with a page that has come, and give up on who is late."""
        coming = peer.coming
        if peer.left is None and coming is not None and coming.done():
            try:
                page = coming.result(0.0)
            except Exception as error:
                page = text_page(f"this page failed: {error}", 500)
            self._begin_to_send(peer, page)
        if self._runtime.monotonic_s() < peer.deadline_s:
            return
        if peer.left is not None:
            self._note(peer, "not_taken", "the answer was not taken in time")
            self._part(peer)
        elif coming is not None:
            self._begin_to_send(peer, text_page("the page is not there yet; ask again", 503))
        else:
            self._begin_to_send(peer, text_page("the request did not come", 408))

    def _begin_to_send(self, peer: _Peer, page: Page) -> None:
        if page.status in _REASONS:
            self._note(peer, _REASONS[page.status], page.body.decode().rstrip())
        allowed = "Allow: GET, HEAD\r\n" if page.status == 405 else ""
        head = (
            f"HTTP/1.1 {page.status} {_PHRASES[page.status]}\r\n"
            f"Content-Type: {page.content_type}\r\n"
            f"Content-Length: {len(page.body)}\r\n"
            f"{allowed}Cache-Control: no-store\r\nConnection: close\r\n\r\n"
        ).encode()
        peer.left = memoryview(head + (page.body if peer.whole else b""))
        peer.deadline_s = self._runtime.monotonic_s() + self._limits.send_s
        self._poll.modify(peer.sock.fileno(), select.POLLOUT)
        self._send(peer)

    def _send(self, peer: _Peer) -> None:
        assert peer.left is not None, "there is an answer"
        try:
            peer.left = peer.left[peer.sock.send(peer.left, SEND_FLAGS) :]
        except BlockingIOError:
            return
        if not peer.left:
            self._part(peer)

    def _accept(self) -> None:
        try:
            accepted = self._listener.accept()
        except Starved:
            if self._peers:
                self._turn_out()
            elif not self._listener.turn_away():
                self._runtime.sleep(_STARVED_S)
            return
        for sock, name in accepted:
            if len(self._peers) >= self._limits.peers_max:
                self._turn_out()
            peer = _Peer(sock, name, self._runtime.monotonic_s() + self._limits.request_s)
            self._peers[sock.fileno()] = peer
            self._poll.register(sock.fileno(), select.POLLIN)

    def _turn_out(self) -> None:
        """Have who came first make room."""
        oldest = next(iter(self._peers.values()))
        self._note(oldest, "turned_out", f"{len(self._peers)} connections, it came first")
        self._part(oldest)

    def _note(self, peer: _Peer, reason: str, why: str) -> None:
        """Count what was refused; one line a second tells of it."""
        self.refused[reason] += 1
        if self._logged.now():
            logger.warning("request refused peer=%s reason=%s: %s", peer.name, reason, why)

    def _part(self, peer: _Peer) -> None:
        descriptor = peer.sock.fileno()
        if self._peers.get(descriptor) is peer:
            del self._peers[descriptor]
            self._poll.unregister(descriptor)
        peer.sock.close()
