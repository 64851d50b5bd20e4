"""What the disks got back, added up by reason as the servers acknowledge it."""

from __future__ import annotations

import msgspec

from gfs_ha.master.state.bounds import SIZE_MAX, check_range
from gfs_ha.master.state.draft import Draft
from gfs_ha.master.state.garbage_records import Reclaimed
from gfs_ha.master.state.tables import RECLAIMED

# The reasons.
DEAD_CHUNKS = "dead"
SURPLUS = "surplus"
ORPHANS = "orphans"
PUNCHED = "punched"


def reclaim(draft: Draft, reason: str, freed: int) -> None:
    """Add what one replica gave back. Raises: InvalidArgument."""
    check_range("bytes given back", freed, 0, SIZE_MAX)
    key, now_ns = reason.encode(), draft.stamp.wall_ns
    before = draft.rows.get(RECLAIMED, key) or Reclaimed(0, 0, now_ns, now_ns)
    added = msgspec.structs.replace(
        before,
        bytes=before.bytes + freed,
        count=before.count + 1,
        last_wall_ns=now_ns,
    )
    draft.rows.put(RECLAIMED, key, added)


def freed_of(freed: tuple[int, ...], position: int) -> int:
    """Return what a command says of one of its items; an older one says nothing."""
    return freed[position] if position < len(freed) else 0
