"""Tells the users of a member when it begins and ceases to lead."""

from __future__ import annotations

from collections.abc import Callable

from gfs_ha.master.raft.contract import FOLLOWER, LEADER

RoleListener = Callable[[str, int], None]
Call = Callable[..., None]


class Announcer:
    """The role that was told last. `call` shields the loop from what listeners raise."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._listeners: list[RoleListener] = []
        self._told = (FOLLOWER, 0)

    @property
    def leading(self) -> bool:
        """Return whether the users were told that this member leads."""
        return self._told[0] == LEADER

    def add(self, listener: RoleListener) -> None:
        self._listeners.append(listener)

    def announce(self, leading: bool, term: int) -> bool:
        """Tell what changed; return whether anything did."""
        role = LEADER if leading else FOLLOWER
        if role == self._told[0] and (role == FOLLOWER or term == self._told[1]):
            return False
        if leading and self.leading:
            self._tell(FOLLOWER, self._told[1])  # It led, lost it and leads again in one tick.
        self._tell(role, term)
        return True

    def _tell(self, role: str, term: int) -> None:
        self._told = (role, term)
        for listener in self._listeners:
            self._call(listener, role, term)
