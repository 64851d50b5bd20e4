"""Whose a session is: of the certificate that opened it, and of no other one.

The leader writes the owner into the session's row, before the name that the client gives itself: so
it is the same for every leader, and a certificate that is renewed under its name goes on. Sessions
of open clusters are nobody's. All of it runs on the door's thread.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any

from msgspec.structs import replace

from gfs_ha.errors import Denied, ProtocolError, SessionExpired
from gfs_ha.ids import NO_SESSION, SessionId
from gfs_ha.master.handlers.call import Slot
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.state.bounds import fitting_text
from gfs_ha.master.state.records import Session
from gfs_ha.master.state.tables import SESSION_KEYS
from gfs_ha.master.state.view import View
from gfs_ha.pki.names import PeerName
from gfs_ha.protocol.codec import Failure, Word, decode, prepare
from gfs_ha.protocol.metadata import OpenSession, SessionOpened

_KNOWN_MAX = 100_000
_CLIENT_BYTES_MAX = 255  # What a row takes.
_STAMP = re.compile(r"\[([a-z]+ [A-Za-z0-9._-]+)\] ")
_OpenedOrNot = Failure | SessionOpened


def owner_of(session: Session) -> str:
    """Return the certificate's name that a session belongs to; empty: nobody's."""
    found = _STAMP.match(session.client)
    return "" if found is None else found.group(1)


def check_owner(session: Session, session_id: SessionId, slot: Slot) -> None:
    """Raise Denied unless who asks opened the session, or it is nobody's."""
    _compare(owner_of(session), session_id, slot.peer)


def _compare(owner: str, session_id: SessionId, peer: PeerName | None) -> None:
    if owner and peer is not None and str(peer) != owner:
        raise Denied(
            f"session {session_id:#x} is not that of {peer}: another certificate opened it; open"
            " one of your own",
            sent=0,
        )


class SessionOwners:
    """What this master has seen of them: a session is looked up in the table once."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._known: OrderedDict[SessionId, str] = OrderedDict()

    def admits(self, slot: Slot) -> bool:
        """Return whether a request may use its session; False: there is no such one yet.

        Then it is looked for again once all is visible that was acknowledged. Raises: Denied.
        """
        peer, session_id = slot.peer, slot.session_id
        if peer is None or session_id == NO_SESSION:
            return True
        owner = self._known.get(session_id)
        if owner is None:
            with self._desk.kv.read() as reader:
                row = View(reader).session(session_id)
            if row is None:
                return False
            owner = owner_of(row)
            self._note(session_id, owner)
        _compare(owner, session_id, peer)
        return True

    def check(self, slot: Slot) -> None:
        """Raise unless the session is there and that of who asks: Denied, SessionExpired.

        Nothing is proposed for one that is not there: it may be opened before that is applied, and
        for somebody else.
        """
        if not self.admits(slot):
            raise SessionExpired(f"session {slot.session_id:#x} is unknown or expired")

    def stamp(self, request: Any, slot: Slot) -> Any:
        """Return a request with its sender's certificate in it, if it opens a session.

        Raises: Denied where its key is that of another one's session.
        """
        if not isinstance(request, OpenSession) or slot.peer is None:
            return request
        peer = slot.peer
        if request.key:
            self._check_key(request.key, slot)
        else:
            slot.dress = lambda reply: self._opened(reply, str(peer))
        said = f"[{peer}] {request.client}"
        return replace(request, client=fitting_text(said, _CLIENT_BYTES_MAX))

    def _check_key(self, key: str, slot: Slot) -> None:
        with self._desk.kv.read() as reader:
            view = View(reader)
            borne = view.rows.get(SESSION_KEYS, key.encode())
            row = None if borne is None else view.session(borne.session_id)
        if row is not None and owner_of(row) not in ("", str(slot.peer)):
            raise Denied(
                f"the key {key!r} is that of another certificate's session; take one of your own",
                sent=0,
            )

    def _opened(self, reply: bytes, owner: str) -> bytes:
        """Note whose a new session is, before anybody hears of it."""
        try:
            told: Word = decode(_OpenedOrNot, reply)  # type: ignore[arg-type]
        except ProtocolError:
            return reply
        if isinstance(told, SessionOpened):
            session_id = told.session_id
            self._desk.post_quietly(lambda: self._note(session_id, owner))
        return reply

    def _note(self, session_id: SessionId, owner: str) -> None:
        self._known[session_id] = owner
        while len(self._known) > _KNOWN_MAX:
            self._known.popitem(last=False)


prepare(_OpenedOrNot)
