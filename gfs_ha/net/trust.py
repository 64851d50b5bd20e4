"""Whom the owner of connections lets in by TLS, and when those that are in are judged again."""

from __future__ import annotations

from gfs_ha.errors import Denied
from gfs_ha.limits import TRUST_JUDGE_S, TRUST_LOOK_S
from gfs_ha.net.tls import Credentials
from gfs_ha.net.tls_session import TlsSession
from gfs_ha.pki.names import Role


class TrustWatch:
    """Asks the credentials of one process on behalf of one owner of connections."""

    def __init__(self, credentials: Credentials | None, now_s: float) -> None:
        self._credentials = credentials
        self._generation = 0 if credentials is None else credentials.generation
        self._look_s = now_s + TRUST_LOOK_S
        self._judge_s = now_s + TRUST_JUDGE_S

    def accepted(self, roles: frozenset[Role]) -> TlsSession | None:
        """Return the session for a connection that was accepted; None without credentials."""
        return None if self._credentials is None else TlsSession.accepted(self._credentials, roles)

    def dialled(self, roles: frozenset[Role], host: str) -> TlsSession | None:
        """Return the session for a connection to a host; None without credentials.

        Raises: ProtocolError for a host that no certificate can name.
        """
        if self._credentials is None:
            return None
        return TlsSession.dialled(self._credentials, roles, host)

    def due(self, now_s: float) -> bool:
        """Return whether all peers are to be judged now; never without credentials."""
        if self._credentials is None or now_s < self._look_s:
            return False
        self._look_s = now_s + TRUST_LOOK_S
        generation = self._credentials.generation
        if generation == self._generation and now_s < self._judge_s:
            return False
        self._generation = generation
        self._judge_s = now_s + TRUST_JUDGE_S
        return True

    def judge(self, session: TlsSession | None) -> Denied | None:
        """Return why the peer of a session is trusted no more; None while it is, or is unknown."""
        if self._credentials is None or session is None or session.peer is None:
            return None
        if self._credentials.still_good(session.peer):
            return None
        return Denied(f"the certificate of {session.peer.name} is revoked, expired or distrusted")
