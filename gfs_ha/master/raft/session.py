"""One link between members from its first byte to its end: the handshake, then messages."""

from __future__ import annotations

from typing import Protocol

from gfs_ha.errors import Denied, GfsError, ProtocolError
from gfs_ha.limits import RAFT_FRAME_BYTES_MAX
from gfs_ha.master.raft.handshake import FRAME_BYTES_MAX, Condemned, Handshake
from gfs_ha.net.links import Link
from gfs_ha.runtime import Runtime


class SessionUser(Protocol):
    """Who takes the messages of a link that is up."""

    def received(self, peer: str, frame: bytes) -> None: ...

    def condemned(self, error: GfsError) -> None: ...


class SessionKeeper(Protocol):
    """Who has all sessions of a member."""

    @property
    def incarnation(self) -> int: ...

    @property
    def runtime(self) -> Runtime: ...

    def came_up(self, session: Session) -> None: ...

    def went_down(self, session: Session, reason: str) -> None: ...

    def refused(self, session: Session, error: GfsError) -> None: ...

    def heard(self, session: Session) -> None:
        """Hear the first words of a peer that nothing is held against."""
        ...

    def close_outdated(self) -> None: ...

    def introduced(self) -> bool: ...

    def note(self, session: Session) -> bool:
        """Note the proved start of a peer; return whether it is durable already."""
        ...

    def flush(self) -> None: ...


class Session:
    """One link. What it hears of it comes from the links, what it does goes to the keeper."""

    def __init__(self, transport: SessionKeeper, user: SessionUser, handshake: Handshake) -> None:
        self.handshake = handshake
        self.incarnation = transport.incarnation
        self.link: Link | None = None
        self.dialled = bool(handshake.peer)
        self.asks_only = False  # It ends with the first words of the peer.
        self.heard = False  # The peer said something.
        self.began_s = self.heard_s = self.sent_s = transport.runtime.monotonic_s()
        self._transport = transport
        self._user = user
        self._noting = False
        self._noted = False

    @property
    def remote(self) -> str:
        return "?" if self.link is None else self.link.remote

    def opened(self, link: Link) -> None:
        self.link = link
        link.limit_frames(FRAME_BYTES_MAX)
        if link.certificate is not None:
            self.handshake.certified = link.certificate.name
        if self.handshake.peer:
            link.send(self.handshake.hello())

    def received(self, link: Link, frame: bytes) -> None:
        self.heard_s = self._transport.runtime.monotonic_s()
        if self.handshake.up:
            if frame:
                self._user.received(self.handshake.peer, frame)
        elif frame:
            self._greet(link, frame)

    def refused(self, link: Link, error: GfsError) -> None:
        if self.handshake.up:
            return  # It is told of as the end of a link.
        self._transport.refused(self, error)
        if not self.dialled:  # Who dialled the wrong one has nothing to say to it.
            self._refuse(link, error)

    def closed(self, link: Link, reason: str) -> None:
        self.link = None
        self._transport.went_down(self, reason)

    def close(self, reason: str) -> None:
        if self.link is not None:
            self.link.close(reason)
        else:
            self._transport.went_down(self, reason)

    def noted(self) -> None:
        """Hear that the start of the peer is durable here."""
        if self._noting:
            self._noting, self._noted = False, True
            self.go_on()

    def go_on(self) -> None:
        """Say that this side is ready, if it is; nothing is voted or acknowledged before."""
        if self.link is not None and self._noted and self._transport.introduced():
            self._noted = False
            self.link.send(self.handshake.ready())
            if self.handshake.up:
                self._come_up(self.link)

    def _greet(self, link: Link, frame: bytes) -> None:
        proved, self.heard = self.handshake.proved, True
        try:
            answers = self.handshake.receive(frame)
        except Condemned as condemned:
            self._refuse(link, condemned.error)
            self._user.condemned(condemned.error)
            return
        except (Denied, ProtocolError) as error:
            self._transport.refused(self, error)
            self._refuse(link, error)
            self._transport.close_outdated()
            return
        self._transport.heard(self)
        if self.asks_only:
            link.close("it was heard")
            return
        for answer in answers:
            link.send(answer)
        if self.handshake.proved and not proved:
            self._noted = self._transport.note(self)
            self._noting = not self._noted
            self.go_on()
        elif self.handshake.up:
            self._come_up(link)

    def _come_up(self, link: Link) -> None:
        link.limit_frames(RAFT_FRAME_BYTES_MAX)
        self._transport.came_up(self)

    def _refuse(self, link: Link, error: GfsError) -> None:
        link.send(self.handshake.refusal(error))
        self._transport.flush()
        link.close(error.message)
