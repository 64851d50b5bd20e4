"""What garbage says of the health of a cluster: what only servers that are dead can delete."""

from __future__ import annotations

from collections.abc import Sequence

from gfs_ha.limits import MIB
from gfs_ha.master.quorum import WARNING
from gfs_ha.protocol.garbage import GarbageServerRow
from gfs_ha.protocol.reports import Finding

_NAMED_MAX = 8


def garbage_findings(held: Sequence[GarbageServerRow], more: bool) -> list[Finding]:
    """Return what is not as it should be. `held` are dead servers; `more`: it is more than that."""
    if not held:
        return []
    named = [
        f"{one.name} ({one.bytes / MIB:,.1f} MiB in {one.count:,} replicas)"
        for one in held[:_NAMED_MAX]
    ]
    others = f" and {len(held) - _NAMED_MAX} others" if len(held) > _NAMED_MAX else ""
    least = "at least " if more else ""
    return [
        Finding(
            "GARBAGE_HELD",
            WARNING,
            f"{least}{sum(one.bytes for one in held) / MIB:,.1f} MiB of deleted data lie on dead"
            f" chunkservers: {', '.join(named)}{others}",
            "start them: they delete it by themselves; whose disk is gone for good is started on an"
            " empty directory under its name (gfsctl admin gc status -o wide)",
        )
    ]
