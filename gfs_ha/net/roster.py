"""Who the masters are, by the newest log of those that said so: more than any file may know."""

from __future__ import annotations

from gfs_ha.protocol.reports import MasterFacts


class Roster:
    """The members by the newest of what was heard. Its owner guards it.

    A master that was removed while it was away still believes in the members of then: whose log
    is newer knows better.
    """

    def __init__(self) -> None:
        self._heard = (0, 0, 0)
        self._names: frozenset[str] = frozenset()

    def hear(self, facts: MasterFacts) -> None:
        """Take what one master says of the members, unless a newer log has said it."""
        newness = (facts.incarnation, facts.term, facts.last_index)
        if facts.members and newness >= self._heard:
            self._heard = newness
            self._names = frozenset(one.name for one in facts.members)

    def left(self, name: str) -> bool:
        """Return whether a master is surely none of the members any more, or not yet."""
        return bool(self._names) and name not in self._names
