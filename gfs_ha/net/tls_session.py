"""TLS on one connection without I/O: bytes of the wire in, words of the peer out, and back.

OpenSSL works on memory here and never on a socket, so that whoever owns the socket keeps all its
limits: epoll knows of everything that waits, a send that does not move leaves sealed bytes in the
owner's hand, and a handshake that stands still is a few KiB and no thread.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable

from gfs_ha.errors import Denied, GfsError, ProtocolError
from gfs_ha.limits import KIB, TLS_HANDSHAKE_BYTES_MAX
from gfs_ha.net.tls import Credentials
from gfs_ha.pki.names import Role
from gfs_ha.pki.peers import PeerCertificate

# The most that one record carries. Reading so much at once leaves nothing decrypted in OpenSSL;
# feeding and sealing no more at once keeps its buffers, which never shrink, at this size.
_RECORD_BYTES = 16 * KIB

# Reasons of OpenSSL that are not about certificates, in words.
_WORDS = {
    "WRONG_VERSION_NUMBER": "it does not speak TLS",
    "HTTP_REQUEST": "it speaks HTTP",
    "UNSUPPORTED_PROTOCOL": "it offers no TLS 1.3",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it takes no TLS 1.3",
    "NO_SHARED_CIPHER": "it offers no cipher of TLS 1.3",
}


class TlsSession:
    """One side of one connection; the handshake runs within `open`.

    Made by `accepted` or `dialled`. Not thread-safe: who reads and writes from two threads locks
    around both, as OpenSSL must not be in one session twice.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        identify: Callable[[ssl.SSLObject], PeerCertificate],
        host: str | None,
    ) -> None:
        """Args: `host` is the dialled one, which the peer's certificate must name; None accepts."""
        self.up = False  # The handshake is over.
        self.ended = False  # The peer said that nothing follows.
        self.distrusted = False  # The peer does not know the authority that certified us.
        self.partial = False  # A record has begun whose rest is still to come.
        self.peer: PeerCertificate | None = None  # Whoever it is, once it was found good.
        self.refusal: GfsError | None = None  # Why it was not, though its certificate is genuine.
        self._identify = identify
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=host is None, server_hostname=host
        )
        self._taken_bytes = 0  # Of the handshake.

    @classmethod
    def accepted(cls, credentials: Credentials, roles: frozenset[Role]) -> TlsSession:
        """Return the side of whoever was dialled; `roles` are those that may call."""
        return cls(credentials.server_context(), lambda tls: credentials.identify(tls, roles), None)

    @classmethod
    def dialled(cls, credentials: Credentials, roles: frozenset[Role], host: str) -> TlsSession:
        """Return the side of whoever dials; `roles` are those that may answer at `host`.

        `take` has its first words. Raises: ProtocolError for a host that no certificate can name.
        """
        try:
            session = cls(
                credentials.client_context(), lambda tls: credentials.identify(tls, roles), host
            )
        except (ValueError, TypeError) as error:
            raise ProtocolError(f"no certificate can name the host {host[:64]!r}") from error
        session._shake()
        return session

    @property
    def held_bytes(self) -> int:
        """Return what the peer makes this session hold for it, about."""
        if not self.up:
            return self._taken_bytes
        return _RECORD_BYTES if self.partial else 0

    def open(self, data: bytes | memoryview) -> bytes:
        """Take bytes of the wire; return what the peer says in them, b"" if that is not whole.

        What is to be sent meanwhile is in `take`, also after an error: it tells the peer why.

        Raises: Denied when a certificate is not good enough, ours or the peer's; ProtocolError.
        """
        parts: list[bytes] = []
        view = memoryview(data)
        for start in range(0, len(data), _RECORD_BYTES):
            self._incoming.write(view[start : start + _RECORD_BYTES])
            if not self.up:
                self._taken_bytes += min(_RECORD_BYTES, len(data) - start)
                self._shake()
            if self.up:
                self._read(parts)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def take(self) -> bytes:
        """Return what the session itself has to say: its part of the handshake, or an alert."""
        return self._outgoing.read() if self._outgoing.pending else b""

    def seal(self, data: bytes | memoryview) -> bytes:
        """Return the bytes of the wire for what is said to the peer; only once it is up.

        They must be sent, all of them and in this order: the next ones make no sense without.
        """
        length = len(data)
        if length <= _RECORD_BYTES:
            self._tls.write(data)
            return self._outgoing.read()
        parts: list[bytes] = []
        view = memoryview(data)
        for start in range(0, length, _RECORD_BYTES):
            self._tls.write(view[start : start + _RECORD_BYTES])
            parts.append(self._outgoing.read())
        return b"".join(parts)

    def _shake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            if self._taken_bytes > TLS_HANDSHAKE_BYTES_MAX:
                raise ProtocolError(
                    f"the peer's TLS handshake is longer than {TLS_HANDSHAKE_BYTES_MAX} bytes"
                ) from None
            return
        except ssl.SSLError as error:
            raise self._explain(error) from error
        self.up = True
        try:
            self.peer = self._identify(self._tls)
        except GfsError as error:
            self.refusal = error

    def _read(self, parts: list[bytes]) -> None:
        incoming, read = self._incoming, self._tls.read
        owed = self._outgoing.pending  # The end of the handshake.
        try:
            # OpenSSL takes record by record: when nothing waits, none of it is left inside.
            while incoming.pending and not self.ended:
                part = read(_RECORD_BYTES)
                self.partial = False
                if part:
                    parts.append(part)
                else:
                    self.ended = True
        except ssl.SSLWantReadError:
            self.partial = True
        except ssl.SSLZeroReturnError:
            self.ended = True
        except ssl.SSLError as error:
            raise self._explain(error) from error
        if self._outgoing.pending > owed:
            # New keys on demand are work that a peer could ask for without an end.
            raise ProtocolError("the peer asks for new keys of TLS; ours never do")

    def _explain(self, error: ssl.SSLError) -> GfsError:
        """Return what OpenSSL says, as whose fault it is."""
        reason = error.reason or str(error)
        if isinstance(error, ssl.SSLCertVerificationError):
            return Denied(f"the peer's certificate is not good: {error.verify_message}")
        if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
            return Denied("the peer shows no certificate")
        alert = reason.partition("_ALERT_")[2]
        self.distrusted = alert == "UNKNOWN_CA"
        if "CERTIFICATE" in alert or self.distrusted:
            return Denied(f"the peer refuses our certificate: {alert.replace('_', ' ').lower()}")
        words = _WORDS.get(reason, reason.replace("_", " ").lower())
        return ProtocolError(f"no TLS with the peer: {words}")
