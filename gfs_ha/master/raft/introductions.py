"""Whom a member has to hear, or fail to reach, after its start before it takes part.

While it was away the others may have gone on in a newer incarnation. Whoever it knows is asked
first: one answer of a newer incarnation ends it, before it has voted or acknowledged anything.
"""

from __future__ import annotations

from gfs_ha.limits import RAFT_DIAL_PATIENCE_S, RAFT_INTRODUCTION_S, RAFT_RECONNECT_S
from gfs_ha.master.raft.members import Address


class Introductions:
    """What is known of the members since the start of this one."""

    def __init__(self, known: dict[str, Address]) -> None:
        self._known = dict(known)  # Also those of the file that are no members any more.
        self._unheard = dict.fromkeys(known)
        self._silent = dict.fromkeys(known)  # Nobody answered there yet.
        self._asked_s: dict[str, float] = {}
        self._failed: set[str] = set()
        self._began_s: float | None = None

    def add(self, known: dict[str, Address]) -> None:
        """Hear whom the log names; before anybody is asked."""
        if self._began_s is None:
            self._known.update(known)
            self._unheard = dict.fromkeys(self._known)
            self._silent = dict.fromkeys(self._known)

    def heard(self, name: str) -> None:
        """Hear that a member said its first words, or refused ours."""
        self._silent.pop(name, None)
        self._unheard.pop(name, None)

    def unreachable(self, name: str) -> None:
        """Hear that an attempt failed. One is not enough: the name may not be looked up yet."""
        if name in self._failed:
            self._unheard.pop(name, None)
        self._failed.add(name)

    def done(self, now: float) -> bool:
        """Return whether this member may take part."""
        if self._began_s is None:
            self._began_s = now
        return not self._unheard or now - self._began_s >= RAFT_INTRODUCTION_S

    def due(self, now: float) -> dict[str, Address]:
        """Return whom to ask now: who is silent, again and again until it would be dialled anyway.

        One that is being started does not listen yet.
        """
        if not self._silent or self._began_s is None:
            return {}
        if now - self._began_s >= RAFT_DIAL_PATIENCE_S:
            self._silent.clear()
            return {}
        names = [
            name for name in self._silent if now - self._asked_s.get(name, -1e9) >= RAFT_RECONNECT_S
        ]
        self._asked_s.update(dict.fromkeys(names, now))
        return {name: self._known[name] for name in names}
