"""What the planners of garbage know beyond the tables: answers of servers, strays, wishes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gfs_ha.ids import ChunkId, DiskId, ServerId
from gfs_ha.master.planners.seen import Answered

Place = tuple[ServerId, DiskId, ChunkId]


@dataclass(frozen=True, slots=True)
class GarbageSeen:
    """The leader's soft facts as of one moment; all of them count from its election.

    Fields:
        punched: orders to give blocks back that were answered, with what the disk got back.
        freed: the same of deletions, also of those that a plan has taken up.
        strays: replicas that servers have and the tables know no chunk of.
        compacted: compactions that are over, and why when one failed.
        wanted: a person wants everything done now that waits for nothing but its turn.
    """

    punched: Mapping[Answered, int] = field(default_factory=dict)
    freed: Mapping[Answered, int] = field(default_factory=dict)
    strays: tuple[Place, ...] = ()
    wanted: bool = False
    compacted: Mapping[Answered, str] = field(default_factory=dict)
