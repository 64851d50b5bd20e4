"""Who the masters are by what they say of themselves, when no leader is asked (pure)."""

from __future__ import annotations

from collections.abc import Iterable

from gfs_ha.protocol.reports import MasterFacts, MemberPlace


def newest_members(said: Iterable[MasterFacts]) -> tuple[MemberPlace, ...]:
    """Return the members by the newest log of these masters; of a new one that is its file."""
    newest = max(said, key=lambda one: (one.incarnation, one.term, one.last_index), default=None)
    return () if newest is None else newest.members
