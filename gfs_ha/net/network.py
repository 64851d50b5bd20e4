"""The Network seam: calls with bytes in and bytes out, and answers that may come later."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gfs_ha.errors import GfsError
from gfs_ha.pki.names import PeerName
from gfs_ha.runtime import Future

Address = tuple[str, int]


class Connection(Protocol):
    """What a handler sees of the peer that calls."""

    identity: object  # Whatever the hello check left here for the handlers; None before.

    @property
    def peer(self) -> str:
        """Return where the peer calls from, `host:port`."""
        ...

    @property
    def certificate(self) -> PeerName | None:
        """Return who the peer is by its certificate; None where there is no TLS."""
        ...

    @property
    def closed(self) -> bool: ...


class Deferred:
    """An answer that comes later; the one way for a handler to wait for something.

    A handler returns it and somebody else calls `reply`, from any thread, exactly once. Unless
    that happens within `timeout_s` of the return (or the door's cap, if that is less) the door
    answers with an error. `on_close` is called on the door's thread when the door gives up on it:
    its connection is gone or the time is over.
    """

    __slots__ = ("_answer", "_closed", "_lock", "_on_close", "_sink", "timeout_s")

    def __init__(self, timeout_s: float, on_close: Callable[[], None] | None = None) -> None:
        self.timeout_s = timeout_s
        self._on_close = on_close
        self._lock = threading.Lock()
        self._answer: bytes | None = None
        self._closed = False
        self._sink: Callable[[bytes], None] | None = None

    @property
    def closed(self) -> bool:
        """Return True when an answer would reach nobody: connection gone, or time over."""
        return self._closed

    @property
    def answer(self) -> bytes | None:
        """Return what was replied so far, for whoever built it."""
        return self._answer

    def reply(self, answer: bytes) -> bool:
        """Answer the call. Returns False if it was answered or given up before. Thread-safe."""
        with self._lock:
            if self._closed or self._answer is not None:
                return False
            self._answer = answer
            sink = self._sink
        if sink is not None:
            sink(answer)
        return True

    def bind(self, sink: Callable[[bytes], None]) -> None:
        """Tell where the answer goes; the server's side calls it once. Thread-safe."""
        with self._lock:
            self._sink = sink
            answer = self._answer
        if answer is not None:
            sink(answer)

    def abandon(self) -> bool:
        """Give up on it: nobody waits any more. Returns False if it was answered before.

        Calls `on_close` when this is the end of it. The server's side calls it.
        """
        with self._lock:
            if self._closed or self._answer is not None:
                return False
            self._closed = True
        if self._on_close is not None:
            self._on_close()
        return True


class Handler(Protocol):
    """The service behind a door. Everything is called on the door's thread: never wait in it."""

    def handle(
        self, connection: Connection, method: int, context: bytes, body: bytes
    ) -> bytes | Deferred:
        """Return the answer, or a Deferred. A GfsError it raises is answered by `error_reply`."""
        ...

    def error_reply(self, error: GfsError) -> bytes:
        """Return the answer that tells the caller of an error."""
        ...


# (connection, body of the hello) -> body of its answer. Raises a GfsError (WrongCluster,
# ProtocolError…) to refuse the peer: it is told by `error_reply` and then disconnected.
HelloCheck = Callable[[Connection, bytes], bytes]


def _accept_any(answer: bytes) -> None:
    """Take any answer to the hello."""


@dataclass(frozen=True, slots=True)
class Hello:
    """The first call on every connection: cluster id and protocol version, as bytes.

    Args: `accept` reads the server's answer and raises the GfsError that it tells of.
    """

    body: bytes
    accept: Callable[[bytes], None] = _accept_any


class Caller(Protocol):
    """The client's end of one connection. Thread-safe."""

    @property
    def closed(self) -> bool: ...

    @property
    def in_flight(self) -> int:
        """Return how many calls the server has not answered."""
        ...

    def call(self, method: int, context: bytes, body: bytes, timeout_s: float) -> bytes:
        """Return the answer of one call.

        Raises: Unreachable, DeadlineExceeded, Overloaded, LimitExceeded. Their `details["sent"]`
        is 0 when the server certainly did not get the call, 1 when it may have.
        """
        ...

    def call_async(
        self, method: int, context: bytes, body: bytes, timeout_s: float
    ) -> Future[bytes]:
        """Send one call and return its answer to come; all errors come through it.

        Waits, at most `timeout_s`, while too many calls are in flight or the peer reads slowly.
        """
        ...

    def close(self) -> None:
        """Give up all calls in flight and hang up. Never blocks."""
        ...


class Server(Protocol):
    """The server's end of a port."""

    @property
    def port(self) -> int: ...

    def run(self) -> None:
        """Serve until `stop`, in the calling thread."""
        ...

    def stop(self, drain_s: float = 0.0) -> None:
        """End `run`; calls in flight get up to `drain_s`. Thread-safe, does not wait."""
        ...

    def post(self, action: Callable[[], None]) -> None:
        """Run `action` on the server's thread, soon. Thread-safe. Raises: Overloaded, NotReady."""
        ...


class Network(Protocol):
    """Makes both ends; the real one is TcpNetwork."""

    def listen(self, address: Address, hello: HelloCheck, handler: Handler) -> Server:
        """Take a port (0 = any). Raises: PortTaken."""
        ...

    def dial(self, address: Address, hello: Hello, timeout_s: float) -> Caller:
        """Connect and say hello. Raises: Unreachable (sent=0), and what `hello.accept` raises."""
        ...
