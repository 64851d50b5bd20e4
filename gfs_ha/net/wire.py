"""The client's end of a connection, in the clear or in TLS: connected and greeted in time."""

from __future__ import annotations

import select
import socket
import threading

from gfs_ha.errors import Denied, GfsError, ProtocolError, Unreachable
from gfs_ha.limits import KIB
from gfs_ha.net.network import Address
from gfs_ha.net.rpc import FrameReader, Reply
from gfs_ha.net.sockets import SEND_FLAGS, connect, format_address, wait_for
from gfs_ha.net.tls import Credentials
from gfs_ha.net.tls_session import TlsSession
from gfs_ha.net.trust import TrustWatch
from gfs_ha.pki.names import PeerName, Role
from gfs_ha.runtime import Runtime

_SERVERS = frozenset({Role.MASTER})  # Who has a door.

_SHAKE_BYTES = 16 * KIB
_TLS, _HELLO = "TLS handshake", "hello"
# What a port does to a peer whose `security` is not its own.
_HINTS = {
    _TLS: " (as a port without TLS does)",
    _HELLO: " (at a port with TLS, peers without it are reset)",
}


class Wire:
    """A connected socket. One thread may read while another one, at a time, seals and sends.

    Raises: Unreachable (sent=0) when nobody who is good answers before `timeout_s`; Denied when our
    certificate is not good there.
    """

    def __init__(
        self,
        address: Address,
        runtime: Runtime,
        timeout_s: float,
        credentials: Credentials | None = None,
    ) -> None:
        now_s = runtime.monotonic_s()
        self._runtime = runtime
        self._where = format_address(address)
        self._deadline_s = now_s + timeout_s  # Of everything before the first call.
        self._trust = TrustWatch(credentials, now_s)
        self._tls: TlsSession | None = None
        self._tls_lock = threading.Lock()  # OpenSSL must not be in one session twice.
        self._early = b""  # What the peer said together with the end of its handshake.
        self.socket = connect(address, runtime, timeout_s)
        try:
            self._tls = self._trust.dialled(_SERVERS, address[0])
            if self._tls is not None:
                self._shake(self._tls)
        except ProtocolError as error:
            self.socket.close()
            raise Unreachable(f"{self._where}: {error.message}", sent=0) from error
        except BaseException:
            self.socket.close()
            raise

    @property
    def certificate(self) -> PeerName | None:
        """Return who the server is by its certificate; None in the clear."""
        tls = self._tls
        return None if tls is None or tls.peer is None else tls.peer.name

    @property
    def partial(self) -> bool:
        """Return True while a record of TLS is not whole."""
        return self._tls is not None and self._tls.partial

    @property
    def secured(self) -> bool:
        return self._tls is not None

    def receive(self, size: int) -> bytes | None:
        """Return what the peer said, b"" at its end, None if that is nothing yet.

        Raises: OSError, ProtocolError, Denied.
        """
        if self._early:
            data, self._early = self._early, b""
            return data
        try:
            data = self.socket.recv(size)
        except BlockingIOError:
            return None
        if self._tls is None or not data:
            return data
        with self._tls_lock:
            opened = self._tls.open(data)
            return opened or (b"" if self._tls.ended else None)

    def seal(self, frame: bytes) -> bytes:
        """Return what to send for a frame. In TLS it must be sent whole, or the connection ends."""
        if self._tls is None:
            return frame
        with self._tls_lock:
            return self._tls.seal(frame)

    def send(self, data: memoryview) -> int:
        """Return how much of it the socket took. Raises: OSError, BlockingIOError."""
        return self.socket.send(data, SEND_FLAGS)

    def check_trust(self, now_s: float) -> None:
        """Raises: Denied when the server's certificate is no more trusted."""
        if self._trust.due(now_s):
            error = self._trust.judge(self._tls)
            if error is not None:
                raise error

    def greet(self, frame: bytes, reader: FrameReader) -> Reply:
        """Say hello and return the first answer. Raises: Unreachable (sent=0), Denied."""
        try:
            self._send_all(self.seal(frame), _HELLO)
            while (reply := reader.next_reply()) is None:
                reader.feed(self._hear(reader.wants, _HELLO))
        except OSError as error:
            raise self._hung_up(_HELLO, error) from error
        except ProtocolError as error:
            raise Unreachable(
                f"{self._where} is no gfs-ha port: {error.message}", sent=0
            ) from error
        except Denied as error:
            if self._tls is not None and self._tls.distrusted:
                # We trust its authority: that is a rotation which has not come to it yet.
                raise Unreachable(f"{self._where}: {error.message}", sent=0) from error
            raise
        return reply

    def shut(self) -> None:
        """End both directions; wakes who waits for the socket. Never blocks."""
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # The peer was faster.

    def close(self) -> None:
        self.socket.close()

    def _shake(self, tls: TlsSession) -> None:
        """Run the handshake. A server that is not good is as one that is not there: others may be.

        Whether the server finds us good is in its answer to what we say next.
        """
        try:
            self._send_all(tls.take(), _TLS)
            while not tls.up:
                data = self._hear(_SHAKE_BYTES, _TLS)
                try:
                    self._early += tls.open(data)
                except GfsError:
                    self._tell(tls)
                    raise
                self._send_all(tls.take(), _TLS)
        except OSError as error:
            raise self._hung_up(_TLS, error) from error
        except Denied as error:
            raise Unreachable(
                f"{self._where} is not to be trusted: {error.message}", sent=0
            ) from error
        if tls.refusal is not None:
            raise Unreachable(f"{self._where} is not to be trusted: {tls.refusal.message}", sent=0)

    def _tell(self, tls: TlsSession) -> None:
        """Tell the server why, as far as it takes it."""
        try:
            self.socket.send(tls.take(), SEND_FLAGS)
        except OSError:
            pass  # It has gone already.

    def _hear(self, size: int, what: str) -> bytes:
        """Return what the server says next, before the deadline; never nothing."""
        while True:
            if not self._early and not self._wait(select.POLLIN):
                raise Unreachable(f"{self._where} does not answer the {what}", sent=0)
            data = self._receive_sealed(size) if what == _TLS else self.receive(size)
            if data == b"":
                raise self._hung_up(what, None)
            if data is not None:
                return data

    def _receive_sealed(self, size: int) -> bytes | None:
        try:
            return self.socket.recv(size)
        except BlockingIOError:
            return None

    def _send_all(self, data: bytes, what: str) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[self.send(view) :]
            except BlockingIOError:
                if not self._wait(select.POLLOUT):
                    raise Unreachable(f"{self._where} takes no {what}", sent=0) from None

    def _wait(self, event: int) -> bool:
        left_s = self._deadline_s - self._runtime.monotonic_s()
        return left_s > 0 and wait_for(self.socket, event, left_s)

    def _hung_up(self, what: str, error: OSError | None) -> Unreachable:
        reason = "" if error is None else f": {error.strerror or error}"
        hint = ""
        if isinstance(error, ConnectionResetError) and (what == _TLS or self._tls is None):
            hint = _HINTS[what]
        return Unreachable(f"{self._where} hung up on the {what}{reason}{hint}", sent=0)
