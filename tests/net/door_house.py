"""A door with a small service behind it, raw peers that talk to it, and a server made of bytes."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import ExitStack

from gfs_ha.errors import GfsError, NotFound, WrongCluster
from gfs_ha.net.channel import Channel, ChannelLimits
from gfs_ha.net.connection import DoorLimits
from gfs_ha.net.door import Door
from gfs_ha.net.network import Address, Connection, Deferred, Hello
from gfs_ha.net.rpc import FrameReader, Reply, encode_request
from gfs_ha.net.tls import Credentials
from gfs_ha.runtime import ThreadedRuntime

PATIENCE_S = 60.0  # Only a broken test waits so long.
GREETING = b"cluster-1"

ECHO, LATER, REFUSE, BREAK, BIG, NONSENSE, LATER_BIG = range(1, 8)


class Service:
    """Echoes, defers, refuses, breaks: by method number. Remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, bytes, bytes]] = []
        self.deferred: dict[bytes, Deferred] = {}
        self.abandoned: list[bytes] = []
        self.changed = threading.Condition()

    def hello(self, connection: Connection, body: bytes) -> bytes:
        if body != GREETING:
            raise WrongCluster(f"this is cluster-1, not {body.decode(errors='replace')}")
        connection.identity = "greeted"
        return b"welcome"

    def handle(
        self, connection: Connection, method: int, context: bytes, body: bytes
    ) -> bytes | Deferred:
        assert connection.identity == "greeted"
        with self.changed:
            self.asked.append((method, context, body))
            self.changed.notify_all()
        if method == LATER:
            return self._defer(body)
        if method == REFUSE:
            raise NotFound(f"no {body.decode()}")
        if method == BREAK:
            raise ZeroDivisionError("a mistake in the handler")
        if method == BIG:
            return b"x" * int(body)
        if method == NONSENSE:
            return "no bytes"  # type: ignore[return-value]
        return context + b"/" + body

    def _defer(self, body: bytes) -> Deferred:
        """The body is `name` or `name:timeout in ms`."""
        name, _, timeout_ms = body.partition(b":")

        def on_close() -> None:
            with self.changed:
                self.abandoned.append(name)
                self.changed.notify_all()

        deferred = Deferred(int(timeout_ms or 60_000) / 1000, on_close)
        with self.changed:
            self.deferred[name] = deferred
            self.changed.notify_all()
        return deferred

    def error_reply(self, error: GfsError) -> bytes:
        return f"{error.code}: {error.message}".encode()

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until something about the service is so."""
        with self.changed:
            assert self.changed.wait_for(condition, PATIENCE_S)

    def take(self, name: bytes) -> Deferred:
        """Return the deferred answer of that name, once the call has arrived."""
        self.wait(lambda: name in self.deferred)
        return self.deferred[name]


class Peer:
    """A raw socket at a door: says whatever a test wants, reads frames."""

    def __init__(
        self,
        address: Address,
        receive_buffer: int | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.sock = socket.socket()
        if receive_buffer is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(address)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.sock = self._secure(tls, address[0])
        self._reader = FrameReader()

    def _secure(self, tls: ssl.SSLContext, host: str) -> ssl.SSLSocket:
        """Shake hands. Raises: EOFError when the door hangs up instead."""
        try:
            return tls.wrap_socket(self.sock, server_hostname=host)
        except ssl.SSLEOFError:
            raise EOFError from None

    def send(self, data: bytes) -> bool:
        """Send all of it; return False if the door hung up meanwhile."""
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
            return False
        return True

    def greet(self) -> Peer:
        self.send(encode_request(0, 0, b"", GREETING))
        assert self.reply() == Reply(0, b"welcome")
        return self

    def reply(self) -> Reply:
        """Return the next answer. Raises: EOFError when the door hung up."""
        while (reply := self._reader.next_reply()) is None:
            try:
                data = self.sock.recv(65_536)
            except ssl.SSLEOFError:
                raise EOFError from None  # The door hangs up without a word of TLS.
            if not data:
                raise EOFError
            self._reader.feed(data)
        return reply

    def dropped(self) -> bool:
        """Wait until the door hangs up, throwing away what it still says."""
        try:
            while self.sock.recv(65_536):
                pass
        except (ConnectionResetError, ssl.SSLEOFError):
            pass
        return True

    def close(self) -> None:
        self.sock.close()


class House:
    """Everything a test opened, closed in the end whatever happened.

    With credentials everything in it is TLS.
    """

    def __init__(
        self,
        stack: ExitStack,
        server: Credentials | None = None,
        client: Credentials | None = None,
    ) -> None:
        self.stack = stack
        self.server = server
        self.client = client
        self.crashes: list[tuple[str, BaseException]] = []
        self.runtime = ThreadedRuntime(lambda name, error: self.crashes.append((name, error)))

    def open_door(self, service: Service, limits: DoorLimits | None = None, port: int = 0) -> Door:
        door = Door(self.runtime, ("127.0.0.1", port), service.hello, service, limits, self.server)
        task = self.runtime.spawn("door", door.run)

        def close() -> None:
            door.stop()
            assert task.join(PATIENCE_S)

        self.stack.callback(close)
        return door

    def dial(
        self, port: int, limits: ChannelLimits | None = None, hello: Hello | None = None
    ) -> Channel:
        limits = limits or ChannelLimits(connect_timeout_s=PATIENCE_S)
        channel = Channel(
            ("127.0.0.1", port), hello or Hello(GREETING), self.runtime, limits, self.client
        )

        def close() -> None:
            channel.close()
            assert channel.join(PATIENCE_S)

        self.stack.callback(close)
        return channel

    def peer(self, port: int, receive_buffer: int | None = None) -> Peer:
        tls = None if self.client is None else self.client.client_context()
        peer = Peer(("127.0.0.1", port), receive_buffer, tls)
        self.stack.callback(peer.close)
        return peer

    def stranger(self, port: int) -> Peer:
        """Return a peer that says nothing by itself, not even that it wants TLS."""
        peer = Peer(("127.0.0.1", port))
        self.stack.callback(peer.close)
        return peer

    def serve_bytes(self, script: Callable[[socket.socket], None]) -> int:
        """Accept one connection and let `script` play the server; return the port."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.stack.callback(listener.close)
        listener.settimeout(PATIENCE_S)

        def serve() -> None:
            sock, _ = listener.accept()
            sock.settimeout(PATIENCE_S)
            if self.server is not None:
                sock = self.server.server_context().wrap_socket(sock, server_side=True)
            with sock:
                script(sock)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        self.stack.callback(lambda: thread.join(PATIENCE_S))
        port: int = listener.getsockname()[1]
        return port
