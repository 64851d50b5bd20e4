"""What the planners of repair know beyond the tables: servers, answers, copies under way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gfs_ha.ids import ChunkId, DiskId, LogIndex, ServerId, StartId
from gfs_ha.master.placement import Candidate
from gfs_ha.protocol.control import BucketListing, CopyProgress, DiskFacts, OpenReplica
from gfs_ha.protocol.repair import RepairFacts

Answered = tuple[ChunkId, ServerId, LogIndex]  # An order and who answered it.


@dataclass(frozen=True, slots=True)
class RepairSeen:
    """The leader's soft facts as of one moment; all of them count from its election.

    Fields:
        states: "live", "suspect" or "dead" of every server that is registered.
        settled: servers that are live and have been for a while: only they are evidence (G3).
        failed_disks: disks that their servers say are out of service.
        disks: how full the disks of servers are that are not dead, as they told last.
        listed: replicas that servers list as not settled.
        running: copies under way, as their targets tell.
        facts: what holds for repair on servers, and how their clients fare, as they tell.
        copied: copies that were answered as done, of this reign; so a plan never orders one anew.
        kept, deleted: orders of that kind that were answered as done, each told to one plan.
        failed: copies that failed, or make no progress, and why.
        resting: where a copy of a chunk failed lately.
        gone: replicas that their servers say are not there.
        tallies, listings: what servers say is sealed on their disks (G7).
        starts: which run of a server says so; what an earlier one said settles nothing.
        unreached: servers that beat and that others do not reach: no targets, the last as sources.
        doubted: copies of holders that somebody could not read: they are to compare themselves.
    """

    candidates: tuple[Candidate, ...] = ()
    states: Mapping[ServerId, str] = field(default_factory=dict)
    settled: frozenset[ServerId] = frozenset()
    failed_disks: frozenset[tuple[ServerId, DiskId]] = frozenset()
    disks: Mapping[tuple[ServerId, DiskId], DiskFacts] = field(default_factory=dict)
    streams: Mapping[ServerId, int] = field(default_factory=dict)
    listed: Mapping[ServerId, Mapping[ChunkId, OpenReplica]] = field(default_factory=dict)
    running: Mapping[tuple[ChunkId, ServerId], CopyProgress] = field(default_factory=dict)
    facts: Mapping[ServerId, RepairFacts] = field(default_factory=dict)
    copied: frozenset[Answered] = frozenset()
    kept: frozenset[Answered] = frozenset()
    deleted: frozenset[Answered] = frozenset()
    failed: Mapping[Answered, str] = field(default_factory=dict)
    resting: frozenset[tuple[ChunkId, ServerId]] = frozenset()
    gone: frozenset[tuple[ChunkId, ServerId]] = frozenset()
    doubted: frozenset[tuple[ChunkId, ServerId]] = frozenset()
    unreached: frozenset[ServerId] = frozenset()
    tallies: Mapping[tuple[ServerId, DiskId], bytes] = field(default_factory=dict)
    listings: tuple[tuple[ServerId, BucketListing], ...] = ()
    starts: Mapping[ServerId, StartId] = field(default_factory=dict)
    young: bool = False  # This leader has not had the time to hear everybody.
    hold: str = ""  # Why no copy is begun now, else empty.
