"""The links between members: who dials, when a link is up, and which of two is the one that counts.

The member with the greater id dials; the other one only after a while, as it may not be known to
the first as a member yet. A link is up after the handshake; a link that is up replaces
an older one to the same member, which is closed first: what was sent on it is never read again.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from gfs_ha.errors import GfsError, Overloaded, ProtocolError
from gfs_ha.limits import (
    RAFT_DIAL_PATIENCE_S,
    RAFT_FRAME_BYTES_MAX,
    RAFT_HANDSHAKE_S,
    RAFT_IDLE_S,
    RAFT_KEEPALIVE_S,
    RAFT_LINK_QUEUE_BYTES,
    RAFT_OUTSIDERS_MAX,
    RAFT_RECONNECT_S,
)
from gfs_ha.master.raft.contract import RaftConfig
from gfs_ha.master.raft.handshake import Handshake
from gfs_ha.master.raft.identity import Identity
from gfs_ha.master.raft.introductions import Introductions
from gfs_ha.master.raft.members import Address
from gfs_ha.master.raft.refusals import Refusals
from gfs_ha.master.raft.session import Session
from gfs_ha.net.links import Link, LinkOwner, Links
from gfs_ha.net.tcp_links import TcpLinks
from gfs_ha.net.tls import Credentials
from gfs_ha.runtime import Runtime

logger = logging.getLogger(__name__)

_STRANGERS_MAX = 32  # Accepted links whose handshake is not done.
_HOUSEKEEPING_S = 0.05


class TransportUser(Protocol):
    """The member above the transport."""

    def peer_up(self, peer: str) -> None: ...

    def peer_down(self, peer: str) -> None: ...

    def received(self, peer: str, frame: bytes) -> None:
        """Take one message. A ProtocolError that it raises closes the link."""
        ...

    def condemned(self, error: GfsError) -> None:
        """This member must stop for good: it is an old copy, or its incarnation is over."""
        ...


class RaftTransport(Protocol):
    """How a member reaches the others. Called by the loop's thread only, except `wake`."""

    def start(self, user: TransportUser, identity: Identity) -> None: ...

    def set_peers(self, peers: dict[str, Address]) -> None:
        """Hear whom to keep links to; who is not among them may still dial by itself."""
        ...

    def send(self, peer: str, frame: bytes) -> bool:
        """Queue a message in order; return False when there is no link to the peer."""
        ...

    def flush(self) -> None: ...

    def poll(self, wait_s: float, busy: Callable[[], bool]) -> None:
        """Wait at most `wait_s` (not at all when `busy()`), then hand out all that came."""
        ...

    def pending_bytes(self, peer: str) -> int: ...

    def committed(self) -> None:
        """Hear that everything noted in the identity is durable now."""
        ...

    def refusal(self, peer: str) -> str:
        """Return why the newest handshake with a peer failed, or ""."""
        ...

    def ended(self, peer: str) -> bool:
        """Return whether a peer said that it stops for good."""
        ...

    def refused_count(self) -> int:
        """Return how many handshakes failed here so far."""
        ...

    def introduced(self) -> bool:
        """Return whether whoever is known was heard, or not reached, since the start."""
        ...

    def wake(self) -> None: ...

    def close(self) -> None: ...


class LinkTransport:
    """A RaftTransport over Links. `peers` are the addresses of the other members."""

    def __init__(self, links: Links, peers: dict[str, Address], runtime: Runtime) -> None:
        self._links = links
        self._peers = dict(peers)
        self._runtime = runtime
        self._up: dict[str, Session] = {}
        self._dialling: dict[str, Session] = {}
        self._sessions: dict[Session, None] = {}  # Ordered, as runs must be repeatable.
        self._dialled_s: dict[str, float] = {}
        self._missing_s: dict[str, float] = {}  # Since when there is no link.
        self._refusals = Refusals()
        self._introductions = Introductions(peers)
        self._takes_part = False
        self._next_housekeeping_s = 0.0

    def start(self, user: TransportUser, identity: Identity) -> None:
        self._user = user
        self._identity = identity
        self._links.listen(self._accepted)

    def set_peers(self, peers: dict[str, Address]) -> None:
        now = self._runtime.monotonic_s()
        self._introductions.add(peers)
        self._peers = dict(peers)
        self._missing_s = {peer: self._missing_s.get(peer, now) for peer in peers}

    def send(self, peer: str, frame: bytes) -> bool:
        session = self._up.get(peer)
        if session is None or session.link is None:
            return False
        session.link.send(frame)
        session.sent_s = self._runtime.monotonic_s()
        return True

    def flush(self) -> None:
        self._links.flush()

    def poll(self, wait_s: float, busy: Callable[[], bool]) -> None:
        self._links.poll(wait_s, busy)
        # After the poll: a process that was stopped finds its peers' bytes before it judges them.
        now = self._runtime.monotonic_s()
        if now >= self._next_housekeeping_s:
            self._next_housekeeping_s = now + _HOUSEKEEPING_S
            self._close_silent(now)
            self._keep_alive(now)
            self._introduce(now)
            self._dial(now)

    def pending_bytes(self, peer: str) -> int:
        session = self._up.get(peer)
        return 0 if session is None or session.link is None else session.link.pending_bytes

    def committed(self) -> None:
        for session in list(self._sessions):
            session.noted()

    def refusal(self, peer: str) -> str:
        return self._refusals.reason(peer)

    def ended(self, peer: str) -> bool:
        return self._refusals.ended(peer)

    def refused_count(self) -> int:
        return self._refusals.count

    def introduced(self) -> bool:
        return self._introductions.done(self._runtime.monotonic_s())

    def wake(self) -> None:
        self._links.wake()

    def close(self) -> None:
        for session in list(self._sessions):
            session.close("shutting down")
        self._links.close()

    # What sessions report.

    def came_up(self, session: Session) -> None:
        peer = session.handshake.peer
        old = self._up.pop(peer, None)
        if old is not None:
            old.close("replaced by a newer connection")
            self._user.peer_down(peer)
        self._dialling.pop(peer, None)
        self._up[peer] = session
        self._refusals.forget(peer)
        logger.info("link up peer=%s remote=%s", peer, session.remote)
        self._user.peer_up(peer)

    def went_down(self, session: Session, reason: str) -> None:
        self._sessions.pop(session, None)
        peer = session.handshake.peer
        if self._dialling.get(peer) is session:
            del self._dialling[peer]
        if session.dialled and not session.heard:
            self._introductions.unreachable(peer)
        if self._up.get(peer) is session:
            del self._up[peer]
            if peer in self._peers:
                self._missing_s[peer] = self._runtime.monotonic_s()
            logger.info("link down peer=%s reason=%s", peer, reason)
            self._user.peer_down(peer)

    def refused(self, session: Session, error: GfsError) -> None:
        handshake = session.handshake
        self._introductions.heard(handshake.peer)
        name = handshake.peer or handshake.claimed
        self._refusals.note(name, session.remote, error, self._runtime.monotonic_s())

    def heard(self, session: Session) -> None:
        """Hear the first words of a peer that nothing is held against."""
        self._introductions.heard(session.handshake.peer)

    def close_outdated(self) -> None:
        """Close what was agreed on in an incarnation that this member has left since."""
        incarnation = self._identity.incarnation
        for session in list(self._sessions):
            if session.incarnation != incarnation:
                session.close("this member joins a newer incarnation")

    # Housekeeping.

    def _accepted(self, link: Link) -> LinkOwner:
        session = Session(self, self._user, Handshake(self._identity, self._admits))
        session.link = link
        sessions = self._sessions
        strangers = [one for one in sessions if not one.handshake.up and not one.dialled]
        if len(strangers) >= _STRANGERS_MAX:
            reason = "too many connections that do not say who they are"
            self._turn_away(_most_from_one_host(strangers), Overloaded(reason))
        self._sessions[session] = None
        return session

    def _introduce(self, now: float) -> None:
        """Ask whoever is known, also whose turn it is to dial: an own start is news to all."""
        for peer, address in self._introductions.due(now).items():
            if self._free(peer) and not (peer in self._peers and peer < self._identity.member_id):
                session = Session(self, self._user, Handshake(self._identity, self._admits, peer))
                session.asks_only = True
                self._sessions[session] = None
                session.link = self._links.dial(address, session)
        if not self._takes_part and self.introduced():
            self._takes_part = True
            for session in list(self._sessions):
                session.go_on()

    def _dial(self, now: float) -> None:
        for peer, address in self._peers.items():
            due = now - self._dialled_s.get(peer, -1e9) >= RAFT_RECONNECT_S
            turn = peer < self._identity.member_id or (
                now - self._missing_s.get(peer, now) >= RAFT_DIAL_PATIENCE_S
            )
            if turn and due and self._free(peer):
                self._dialled_s[peer] = now
                handshake = Handshake(self._identity, self._admits, peer)
                session = Session(self, self._user, handshake)
                self._sessions[session] = None
                self._dialling[peer] = session
                session.link = self._links.dial(address, session)

    def _admits(self, peer: str) -> bool:
        """Return whether a member may have a link, also one that one's own configuration lacks."""
        outsiders = [name for name in self._up if name not in self._peers and name != peer]
        known = peer in self._peers or len(outsiders) < RAFT_OUTSIDERS_MAX
        return known and self._identity.has_room_for(peer)

    def _free(self, peer: str) -> bool:
        return peer not in self._up and peer not in self._dialling

    def _close_silent(self, now: float) -> None:
        for session in list(self._sessions):
            if session.handshake.up and now - session.heard_s > RAFT_IDLE_S:
                session.close(f"silent for {now - session.heard_s:.1f} s")
            elif not session.handshake.up and now - session.began_s > RAFT_HANDSHAKE_S:
                late = ProtocolError(f"no handshake within {RAFT_HANDSHAKE_S:g} s")
                self._turn_away(session, late)

    def _turn_away(self, session: Session, error: GfsError) -> None:
        """Close a link that did not come up; whoever did not say who he is, is told of."""
        if not session.handshake.peer:
            self.refused(session, error)
        session.close(error.message)

    def _keep_alive(self, now: float) -> None:
        for session in self._up.values():
            if now - session.sent_s >= RAFT_KEEPALIVE_S and session.link is not None:
                session.sent_s = now
                session.link.send(b"")

    @property
    def incarnation(self) -> int:
        return self._identity.incarnation

    @property
    def runtime(self) -> Runtime:
        return self._runtime

    def note(self, session: Session) -> bool:
        """Note the proved start of a peer; return whether it is durable already."""
        start = session.handshake.peer_start
        assert start is not None
        return not self._identity.note_seen(session.handshake.peer, start)


def _most_from_one_host(strangers: list[Session]) -> Session:
    """Return the oldest of the host with the most: a flood from one keeps no other one out."""
    hosts = Counter(one.remote.rpartition(":")[0] for one in strangers)
    return max(strangers, key=lambda one: hosts[one.remote.rpartition(":")[0]])


def tcp_transport(
    config: RaftConfig, runtime: Runtime, credentials: Credentials | None = None
) -> LinkTransport:
    """Return the transport of a member, listening on its own address; in TLS with `credentials`.

    Raises: PortTaken, ConfigError.
    """
    links = TcpLinks(
        runtime,
        config.members[config.member_id],
        RAFT_FRAME_BYTES_MAX,
        RAFT_LINK_QUEUE_BYTES,
        credentials,
    )
    peers = {name: where for name, where in config.members.items() if name != config.member_id}
    return LinkTransport(links, peers, runtime)
