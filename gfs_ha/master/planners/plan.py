"""What a planner sees and what it asks for; planners are pure, one duty each (G5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gfs_ha.ids import NO_SESSION, ChunkId, DiskId, InodeId, ServerId, SessionId
from gfs_ha.limits import CLAIM_SILENCE_S, SESSION_LIFE_MS
from gfs_ha.master.planners.drain_walk import DrainWalks
from gfs_ha.master.planners.garbage_seen import GarbageSeen, Place
from gfs_ha.master.planners.garbage_walk import DeadWalk
from gfs_ha.master.planners.job_book import JobBook
from gfs_ha.master.planners.news import News
from gfs_ha.master.planners.placing_walk import PlacingWalk
from gfs_ha.master.planners.primaries import TailsSeen
from gfs_ha.master.planners.queue import RepairQueue
from gfs_ha.master.planners.rebalance_walk import RebalanceWalk
from gfs_ha.master.planners.seen import RepairSeen
from gfs_ha.master.planners.walk import TallyWalk
from gfs_ha.master.state.commands import LeaderCommand
from gfs_ha.master.state.records import Chunk, Counters
from gfs_ha.master.state.view import View
from gfs_ha.protocol.control import DeleteReplica, Order
from gfs_ha.protocol.repair import RepairAllowance

if TYPE_CHECKING:
    from gfs_ha.master.planners.scene import Scene

NO_CHUNK = ChunkId(0)  # Below every id.
NO_INODE = InodeId(0)


@dataclass(frozen=True, slots=True)
class PlanLimits:
    """How much one plan looks at and asks for."""

    rows: int = 500  # Rows of each table that are looked at.
    busy_rows: int = 8_192  # Chunks with copies or deletions under way: these are bounded.
    items: int = 100  # Of one proposal; a chunk that dies changes about a dozen rows (F5).
    reap_rows: int = 1_000
    references: int = 4_000  # That are looked at for dead blocks: about 8 ms.
    claim_silence_s: float = CLAIM_SILENCE_S
    session_life_ms: int = SESSION_LIFE_MS


@dataclass(frozen=True, slots=True)
class Seen:
    """What the leader has heard, as of `now_s`. Ages count from its election at most."""

    now_s: float
    elected_s: float
    sessions: Mapping[SessionId, float]  # When each was heard last.
    deleted: tuple[tuple[ChunkId, ServerId, int], ...] = ()  # Acknowledged deletes.
    live: frozenset[ServerId] = frozenset()
    damaged: frozenset[tuple[ChunkId, ServerId]] = frozenset()
    repair: RepairSeen = field(default_factory=RepairSeen)
    tails: TailsSeen = field(default_factory=TailsSeen)
    garbage: GarbageSeen = field(default_factory=GarbageSeen)
    news: News | None = None  # Not looked for at every tick.
    day_minute: int = 0  # Of the leader's own day: windows of jobs go by it.

    def cluster_ms(self, counters: Counters) -> int:
        """Return the cluster's time as this leader would stamp a command now (M6)."""
        return cluster_ms(counters, self.now_s - self.elected_s)

    def session_silence_s(self, session_id: SessionId) -> float:
        """Return for how long a session has been silent."""
        return max(0.0, self.now_s - self.sessions.get(session_id, self.elected_s))


@dataclass(slots=True)
class Cursors:
    """Where the walks over the long tables go on; they start over at the end."""

    claims: tuple[SessionId, ChunkId] | None = None
    sessions: SessionId = NO_SESSION
    unsealed: ChunkId = NO_CHUNK
    dead: ChunkId = NO_CHUNK
    busy: ChunkId = NO_CHUNK
    surplus: ChunkId = NO_CHUNK
    leaving: ChunkId = NO_CHUNK
    tails: ChunkId = NO_CHUNK
    unopened: ChunkId = NO_CHUNK
    goals: ChunkId = NO_CHUNK
    unopened_met: frozenset[ChunkId] = frozenset()
    holds: InodeId = NO_INODE
    results: InodeId = NO_INODE
    queue: RepairQueue = field(default_factory=RepairQueue)
    placing: PlacingWalk = field(default_factory=PlacingWalk)
    tally: TallyWalk = field(default_factory=TallyWalk)
    drains: DrainWalks = field(default_factory=DrainWalks)
    jobs: JobBook = field(default_factory=JobBook)
    rebalance: RebalanceWalk = field(default_factory=RebalanceWalk)
    orphans: Place | None = None
    scene: Scene | None = None  # Of the newest look: what all its planners see is read once.
    hurry: bool = False  # A person wants what is reapable to be gone.
    dead_blocks: DeadWalk = field(default_factory=DeadWalk)


@dataclass(slots=True)
class Plan:
    """Proposals for the log, orders for servers, chunks to be sealed. Empty = nothing to do."""

    proposals: list[LeaderCommand] = field(default_factory=list)
    deletes: list[tuple[ServerId, DeleteReplica]] = field(default_factory=list)
    sealing: list[tuple[ChunkId, Chunk]] = field(default_factory=list)
    orders: list[tuple[ServerId, Order]] = field(default_factory=list)
    listings: list[tuple[ServerId, DiskId, int]] = field(default_factory=list)  # Buckets to list.
    doubts: list[tuple[ChunkId, ServerId]] = field(default_factory=list)  # To compare themselves.
    strays: list[Place] = field(default_factory=list)  # Replicas of chunks without a row.
    ahead: list[InodeId] = field(default_factory=list)  # Files that need their next tail soon.
    waits: dict[ChunkId, str] = field(default_factory=dict)  # Why a chunk is not repaired now.
    stuck: set[ChunkId] = field(default_factory=set)  # Of these, what waits for a person.
    allowances: dict[ServerId, RepairAllowance] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Return whether there is nothing to do."""
        wanted = (self.proposals, self.deletes, self.sealing, self.orders, self.listings)
        return not any(wanted) and not self.strays


def cluster_ms(counters: Counters, led_s: float) -> int:
    """Return the cluster's time after a leader has led for so long (M6)."""
    return max(counters.cluster_ms, counters.stamp_base_ms + int(led_s * 1000))


Planner = Callable[[View, Seen, PlanLimits, Cursors], Plan]
