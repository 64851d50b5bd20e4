"""A raw connection to a port of a daemon: says whatever it likes, and hears how it is refused."""

from __future__ import annotations

import select
import socket
import ssl
import time
from dataclasses import dataclass

Address = tuple[str, int]
PATIENCE_S = 30.0
_READ_BYTES = 65_536
_ALERT = "_ALERT_"


class NotRefused(Exception):
    """A port did for an attacker what it should not have done."""


@dataclass(frozen=True)
class Heard:
    """What came back until the end, and the end: `hung up`, `reset` or an alert of TLS."""

    data: bytes
    end: str


def dial(address: Address, receive_buffer: int | None = None) -> socket.socket:
    """Connect; the kernel takes `receive_buffer` for it, a few KiB for one who is deaf."""
    sock = socket.socket()
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.settimeout(PATIENCE_S)
    sock.connect(address)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class Peer:
    """One TCP connection, in the clear or in TLS; closed by `with`.

    TLS runs in memory, so that sealed bytes can be changed before they leave.
    """

    def __init__(
        self,
        address: Address,
        context: ssl.SSLContext | None = None,
        receive_buffer: int | None = None,
    ) -> None:
        self.sock = dial(address, receive_buffer)
        self.up = context is None
        self._ended = ""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        if context is not None:
            self._tls = context.wrap_bio(
                self._incoming, self._outgoing, server_hostname=str(address[0])
            )
            self._shake(self._tls)

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *about: object) -> None:
        self.sock.close()

    @property
    def ended(self) -> bool:
        """Return whether the other side was heard to hang up."""
        return bool(self._ended)

    def seal(self, data: bytes) -> bytes:
        """Return what goes over the wire for these words."""
        if self._tls is None:
            return data
        for start in range(0, len(data), 16_384):
            self._tls.write(data[start : start + 16_384])
        return self._outgoing.read()

    def say(self, data: bytes) -> bool:
        """Say it; return False once nobody listens."""
        return self.up and self.throw(self.seal(data))

    def throw(self, data: bytes) -> bool:
        """Send bytes as they are; return False once nobody listens."""
        try:
            self.sock.sendall(data)
        except OSError:
            return False
        return True

    def hear(self, patience_s: float = PATIENCE_S) -> Heard:
        """Return all that comes until the other side ends it. Raises: NotRefused."""
        ends_s = time.monotonic() + patience_s
        heard = bytearray()
        while not self._ended:
            if time.monotonic() > ends_s:
                raise NotRefused(f"the connection is open after {patience_s:g} s")
            heard += self.read(1.0)
        return Heard(bytes(heard), self._ended)

    def read(self, wait_s: float = PATIENCE_S) -> bytes:
        """Return what comes next, b"" if nothing does in time or it has ended."""
        if self._ended or not self._readable(wait_s):
            return b""
        try:
            data = self.sock.recv(_READ_BYTES)
        except OSError:
            self._ended = "reset"
            return b""
        if not data:
            self._ended = self._ended or "hung up"
            return b""
        return data if self._tls is None else self._open(self._tls, data)

    def _readable(self, wait_s: float) -> bool:
        ready = select.poll()  # There may be more descriptors than select takes.
        ready.register(self.sock, select.POLLIN)
        return bool(ready.poll(wait_s * 1000))

    def _shake(self, tls: ssl.SSLObject) -> None:
        while not self.up and not self._ended:
            try:
                tls.do_handshake()
                self.up = True
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                self._end(error)
            if not self.throw(self._outgoing.read()):
                self._ended = self._ended or "reset"
            if not self.up and not self._ended:
                self.read()

    def _open(self, tls: ssl.SSLObject, data: bytes) -> bytes:
        self._incoming.write(data)
        if not self.up:
            return b""
        words = bytearray()
        try:
            while part := tls.read(_READ_BYTES):
                words += part
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._end(error)
        return bytes(words)

    def _end(self, error: ssl.SSLError) -> None:
        reason = error.reason or str(error)
        alert = reason.partition(_ALERT)[2]
        words = (alert or reason).lower().replace("_", " ")
        self._ended = f"alert: {words}" if alert else f"no TLS: {words}"


def knock(address: Address, said: bytes, context: ssl.SSLContext | None = None) -> Heard:
    """Say something on a connection of its own; return what is heard. Raises: NotRefused."""
    with Peer(address, context) as peer:
        peer.say(said)
        return peer.hear()


def dribble(peer: Peer, data: bytes, pause_s: float = 0.05) -> int:
    """Send sealed bytes one by one until nobody listens; return how many went.

    Raises: NotRefused when all of it was taken.
    """
    for sent in range(len(data)):
        if not peer.throw(data[sent : sent + 1]) or _gone(peer.sock, pause_s):
            return sent
    raise NotRefused("it was waited for until the last byte")


def _gone(sock: socket.socket, wait_s: float) -> bool:
    hangs_up = select.poll()
    hangs_up.register(sock, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
    return bool(hangs_up.poll(wait_s * 1000))


def all_dropped(peers: list[Peer], patience_s: float) -> None:
    """Wait until all are hung up on. Raises: NotRefused."""
    hangs_up = select.poll()
    left = {peer.sock.fileno() for peer in peers}
    for descriptor in left:
        hangs_up.register(descriptor, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
    ends_s = time.monotonic() + patience_s
    while left:
        if time.monotonic() > ends_s:
            raise NotRefused(f"{len(left)} of {len(peers)} are open after {patience_s:g} s")
        for descriptor, _ in hangs_up.poll(500):
            hangs_up.unregister(descriptor)
            left.discard(descriptor)
