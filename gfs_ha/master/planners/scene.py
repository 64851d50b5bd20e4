"""One moment as the planners of repair see it: which copies are there, who may copy, how fast."""

from __future__ import annotations

from gfs_ha.ids import ChunkId, DiskId, ServerId, incarnation_of_order
from gfs_ha.limits import PLACEMENT_RULE_DEFAULT, REPAIR_SERVER_BYTES_PER_S
from gfs_ha.master.census import Presence, lost_disks
from gfs_ha.master.observed import DAMAGED, DEAD, LIVE
from gfs_ha.master.placement import Candidate, CopyWanted
from gfs_ha.master.planners.plan import Cursors, Seen
from gfs_ha.master.planners.walk import TallyWalk
from gfs_ha.master.roster import roster
from gfs_ha.master.rules import breaks, faults
from gfs_ha.master.state.copies import USUAL_BUDGET
from gfs_ha.master.state.job_records import Job
from gfs_ha.master.state.jobs import get_job
from gfs_ha.master.state.records import Chunk, PlaceOrder, Replica, Server
from gfs_ha.master.state.view import View
from gfs_ha.protocol.control import CopyReplica, CopySource

SOURCES_MAX = 8
AT_SERVER_MAX = 16  # Copies that run or wait at one server...
SOON_BYTES = 32 << 20  # ...as long as they are so small together, or worth the budget of some time:
AHEAD_S = 2.5  # a plan, an order and news of progress take up to a second each.


class Scene:
    """Answers about one view and what was seen; lives as long as the view."""

    def __init__(self, view: View, seen: Seen) -> None:
        self._view = view
        self.seen = seen
        self.repair = seen.repair
        self.roster = roster(view, seen.now_s - seen.elected_s)
        self._resting = self.roster.in_maintenance()
        self.candidates = {one.server_id: one for one in seen.repair.candidates}
        self.budget = view.repair_budget() or USUAL_BUDGET
        self._left_behind = lost_disks(view)
        self._lost = self._left_behind | seen.repair.failed_disks
        settings = view.settings()
        self._default_rule = settings.rule if settings is not None else PLACEMENT_RULE_DEFAULT
        self._incarnation = settings.incarnation if settings is not None else 0
        self._servers: dict[ServerId, Server | None] = {}
        self._tally: TallyWalk | None = None
        self.presence = Presence(self.there, self._lost, seen.damaged | seen.repair.gone)

    @classmethod
    def of(cls, view: View, seen: Seen, cursors: Cursors) -> Scene:
        """Return the scene of a moment: the planners of one look share it."""
        known = cursors.scene
        if known is None or known._view is not view or known.seen is not seen:
            known = cursors.scene = cls(view, seen)
            known._tally = cursors.tally
        return known

    def there(self, server_id: ServerId) -> bool:
        """Return whether a server is not dead: a short silence begins no copy (G6)."""
        return self.repair.states.get(server_id) != DEAD

    def live(self, server_id: ServerId) -> bool:
        """Return whether a server beats."""
        return self.repair.states.get(server_id) == LIVE

    def lost(self, replica: Replica) -> bool:
        """Return whether the disk of a replica is gone or out of service."""
        return (replica.server_id, replica.disk_id) in self._lost

    def lost_for_good(self, replica: Replica) -> bool:
        """Return whether a server came back without the disk of a replica."""
        return (replica.server_id, replica.disk_id) in self._left_behind

    def bad(self, chunk_id: ChunkId, replica: Replica) -> str:
        """Return why a copy does not count although its server is there; else empty."""
        key = (chunk_id, replica.server_id)
        if key in self.repair.gone:
            return "it is not there"
        if key in self.seen.damaged:
            return "it is damaged"
        if self.lost(replica):
            return "its disk is lost"
        return ""

    def good(self, chunk_id: ChunkId, chunk: Chunk) -> list[ServerId]:
        """Return the holders whose copies are there and whole, in the order of the chain.

        One on a server that stands still in its time of maintenance counts, too, while at least
        two others are there: nothing is copied because of it.
        """
        whole = [
            replica.server_id
            for replica in chunk.replicas
            if replica.server_id in chunk.holders and not self.bad(chunk_id, replica)
        ]
        there = [one for one in whole if self.there(one)]
        if len(there) < 2 or len(there) == len(whole):
            return there
        return [one for one in whole if self.there(one) or one in self._resting]

    def vouched(self, chunk_id: ChunkId, chunk: Chunk, server_id: ServerId) -> bool:
        """Return whether a holder's word counts, by what its own tally says if that is needed.

        After masters went on from an older copy of theirs, the tables may be older than the disks:
        all that was sealed before then may have been moved since.
        """
        if self._tally is None or incarnation_of_order(chunk.sealed_index) >= self._incarnation:
            return True
        disk = (server_id, self.disk_of(chunk, server_id))
        return self._tally.holds(disk, chunk_id, chunk.length)

    def coming(self, chunk: Chunk) -> list[ServerId]:
        """Return the servers that are being given a copy, hold none, and are not dead."""
        ordered = [one.server_id for one in chunk.copying if self.there(one.server_id)]
        return [one for one in ordered if one not in chunk.holders]

    def disk_of(self, chunk: Chunk, server_id: ServerId) -> DiskId:
        """Return the disk of a place of the chunk."""
        return next(one.disk_id for one in chunk.replicas if one.server_id == server_id)

    def target_of(self, chunk: Chunk, order: PlaceOrder) -> Replica:
        """Return where the copy of an order is to lie."""
        server_id = order.server_id
        return Replica(server_id, order.disk_id or self.disk_of(chunk, server_id))

    def server(self, server_id: ServerId) -> Server | None:
        """Return a server's row, read once."""
        if server_id not in self._servers:
            self._servers[server_id] = self._view.server(server_id)
        return self._servers[server_id]

    def known(self, server_ids: list[ServerId]) -> tuple[Candidate, ...]:
        """Return servers as placement sees them."""
        return tuple(self.candidates[one] for one in server_ids if one in self.candidates)

    def leaves(self, chunk: Chunk, server_id: ServerId) -> bool:
        """Return whether the place of a chunk is on a server or disk that goes out of service."""
        if self.roster.leaving(server_id):
            return True
        return not self.roster.serves(server_id, self.disk_of(chunk, server_id))

    def job(self, number: int) -> Job | None:
        """Return a job; None when there is none (any more)."""
        return get_job(self._view, number)

    # The rule ---------------------------------------------------------------------------------

    def rule(self, chunk: Chunk) -> str:
        """Return the rule of placement of a chunk."""
        return chunk.rule or self._default_rule

    def breaks(self, chunk: Chunk, server_ids: list[ServerId]) -> int:
        """Return how much the rule has against copies of a chunk on these servers."""
        return breaks(self.rule(chunk), chunk.goal, self.known(server_ids))

    def faults(self, chunk: Chunk, server_ids: list[ServerId]) -> int:
        """Return how far copies of a chunk on these servers are from what the rule wants."""
        return faults(self.rule(chunk), chunk.goal, self.known(server_ids))

    def betters(self, chunk_id: ChunkId, chunk: Chunk, target: ServerId) -> bool:
        """Return whether a copy on a server lets another one go, and the rule is broken less."""
        good = [one for one in self.good(chunk_id, chunk) if one != target]
        now = self.breaks(chunk, good)
        if not now or len(good) > chunk.goal:
            return False
        return any(
            self.breaks(chunk, [*(one for one in good if one != out), target]) < now for out in good
        )

    def copy_wanted(self, chunk_id: ChunkId, chunk: Chunk, kept: list[ServerId]) -> CopyWanted:
        """Return what is asked of placement for one more copy beside those that are kept."""
        return CopyWanted(
            goal=chunk.goal,
            length=chunk.length,
            kept=self.known(kept),
            taken=frozenset((*(one.server_id for one in chunk.replicas), *kept)),
            failed=self.failed_targets(chunk_id),
            spread=chunk_id,
            rule=self.rule(chunk),
        )

    def failed_targets(self, chunk_id: ChunkId) -> frozenset[ServerId]:
        """Return the servers to which a chunk could not be copied lately, or which none reaches."""
        resting = self.repair.resting
        failed = (one for about, one in resting if about in (chunk_id, 0))
        return self.repair.unreached.union(failed)

    # Copies -----------------------------------------------------------------------------------

    def sources(self, chunk_id: ChunkId, chunk: Chunk, target: ServerId) -> list[ServerId]:
        """Return whom a target is to copy from: near ones first, of them those with least to do.

        Those that others do not reach come last. The target itself is one if nobody else is left.
        """
        to = self.server(target)

        def distance(server_id: ServerId) -> tuple[bool, int, int, int]:
            there, cut_off = self.server(server_id), server_id in self.repair.unreached
            if to is None or there is None:
                return cut_off, 3, 0, server_id
            near = 0 if there.machine == to.machine else 1 if there.rack == to.rack else 2
            return cut_off, near, self.repair.streams.get(server_id, 0), server_id

        good = self.good(chunk_id, chunk) or self.damaged(chunk_id, chunk)
        found = [one for one in good if self.live(one) and one != target]
        if not found and self._only_hope(chunk_id, chunk, target):
            return [target]
        return sorted(found, key=distance)[:SOURCES_MAX]

    def _only_hope(self, chunk_id: ChunkId, chunk: Chunk, target: ServerId) -> bool:
        """Return whether only a target may have a chunk of which nothing is left elsewhere.

        It gets a copy because it says that it has one that the tables do not know of; if that is
        whole, nothing has to come from anywhere.
        """
        holders = [one for one in chunk.replicas if one.server_id in chunk.holders]
        fresh = any(one.server_id == target and one.fresh for one in chunk.copying)
        return fresh and all(self.bad(chunk_id, one) for one in holders) and self.live(target)

    def damaged(self, chunk_id: ChunkId, chunk: Chunk) -> list[ServerId]:
        """Return the live servers whose copies are damaged and serve the blocks that are not (D3).

        A copy is made of the good blocks of several, and counts only if it has the digest.
        """
        found = []
        for replica in chunk.replicas:
            listed = self.repair.listed.get(replica.server_id, {}).get(chunk_id)
            if listed is None or listed.state != DAMAGED or listed.birth != chunk.birth:
                continue
            if self.live(replica.server_id) and not self.lost(replica):
                found.append(replica.server_id)
        return found

    def copy_order(self, chunk_id: ChunkId, chunk: Chunk, order: PlaceOrder) -> CopyReplica | None:
        """Return the order of a copy that is placed; None while nobody can be copied from."""
        sources = self.sources(chunk_id, chunk, order.server_id)
        if order.disk_id and self.live(order.server_id):
            sources = [order.server_id, *sources][:SOURCES_MAX]  # It has one itself.
        if not sources:
            return None
        reached = []
        for server_id in sources:
            server = self.server(server_id)
            assert server is not None, f"holder {server_id} is no server"
            reached.append(CopySource(server_id, server.host, server.port))
        return CopyReplica(
            chunk_id=chunk_id,
            birth=chunk.birth,
            order_index=order.order_index,
            length=chunk.length,
            digest=chunk.digest,
            disk_id=self.target_of(chunk, order).disk_id,
            kind=chunk.kind,
            durability=chunk.durability,
            capacity=chunk.capacity,
            sources=tuple(reached),
            bytes_per_s=self.budget.server_bytes_per_s,
            gone=chunk.gone,
        )

    def bytes_left(self, chunk_id: ChunkId, chunk: Chunk, order: PlaceOrder) -> int:
        """Return how much of a copy under way is still to be copied, as far as it was told."""
        if (chunk_id, order.server_id, order.order_index) in self.repair.copied:
            return 0
        told = self.repair.running.get((chunk_id, order.server_id))
        return max(0, chunk.length - (told.bytes_done if told is not None else 0))


class Load:
    """The copies under way by server, and whether one more may begin.

    A copy that is done, and not confirmed yet, takes nothing more.
    """

    def __init__(self, scene: Scene) -> None:
        self._budget = scene.budget
        self._counts: dict[ServerId, int] = {}
        self._bytes: dict[ServerId, int] = {}
        self._to_counts: dict[ServerId, int] = {}
        self._to_bytes: dict[ServerId, int] = {}
        self.copies = 0
        self.lacking = 0  # Chunks with a copy under way because they have too few.

    @classmethod
    def under_way(cls, view: View, scene: Scene, rows: int) -> Load:
        """Return what the copies under way take; the first source of each is taken to be used."""
        load = cls(scene)
        for chunk_id, chunk in view.busy_chunks(ChunkId(0), rows):
            if chunk.copying and len(scene.good(chunk_id, chunk)) < chunk.goal:
                load.lacking += 1
            for order in chunk.copying:
                if (chunk_id, order.server_id, order.order_index) in scene.repair.copied:
                    continue
                sources = scene.sources(chunk_id, chunk, order.server_id)
                left = scene.bytes_left(chunk_id, chunk, order)
                load.add(order.server_id, sources[0] if sources else None, left)
        return load

    def add(self, target: ServerId, source: ServerId | None, length: int) -> None:
        """Count a copy by the bytes that it still has to go."""
        self.copies += 1
        self._to_counts[target] = self._to_counts.get(target, 0) + 1
        self._to_bytes[target] = self._to_bytes.get(target, 0) + length
        for server_id in {target, source} - {None}:
            assert server_id is not None
            self._counts[server_id] = self._counts.get(server_id, 0) + 1
            self._bytes[server_id] = self._bytes.get(server_id, 0) + length

    @property
    def full(self) -> bool:
        """Return whether the cluster has all the copies at once that it may have.

        Nor is more begun than the budget can carry soon: a copy that crawls is taken for dead. What
        lies before one server counts no further than that server can carry it.
        """
        budget = self._budget
        if self.copies >= budget.copies:
            return True
        most = int(budget.server_bytes_per_s * AHEAD_S) or 1 << 62
        ahead = sum(min(most, left) for left in self._to_bytes.values())
        soon = max(1, int(budget.cluster_bytes_per_s * AHEAD_S))
        return bool(budget.cluster_bytes_per_s) and ahead >= soon

    def waiting(self, server_id: ServerId) -> bool:
        """Return whether as many copies go to a server as it makes at once: more would wait."""
        return self._to_counts.get(server_id, 0) >= self._budget.copies_per_server

    def free(self, server_id: ServerId, length: int) -> bool:
        """Return whether a server may take part in one more copy.

        Some more than it makes at once wait there, so that it never waits for the leader.
        """
        count = self._counts.get(server_id, 0)
        limit = self._budget.copies_per_server
        if count < limit:
            return True
        per_s = self._budget.server_bytes_per_s or REPAIR_SERVER_BYTES_PER_S
        soon = self._bytes.get(server_id, 0) + length <= max(SOON_BYTES, int(per_s * AHEAD_S))
        return limit > 0 and count < AT_SERVER_MAX and soon
