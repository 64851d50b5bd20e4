"""A cluster under siege: plans are carried out late, leaders change between any two steps.

All planners look at the same moment, as they do in a leader. What they propose is committed in its
order, but later, and each command is judged by the tables of then; orders arrive later still, also
those of a leader that fell. Every deletion that is obeyed is checked against what really lies on
all disks.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field, replace

from fleet_house import Fleet
from repair_house import LENGTH

from gfs_ha.errors import GfsError
from gfs_ha.ids import ChunkId, DiskId, ServerId
from gfs_ha.master.observed import LIVE
from gfs_ha.master.placement import Candidate
from gfs_ha.master.planners.copies import plan_copies
from gfs_ha.master.planners.drain import plan_drain
from gfs_ha.master.planners.goals import plan_goals
from gfs_ha.master.planners.pauses import plan_pauses
from gfs_ha.master.planners.placing import plan_placing
from gfs_ha.master.planners.plan import Cursors, Plan, Seen
from gfs_ha.master.planners.rebalance import plan_rebalance
from gfs_ha.master.planners.replication import plan_replication
from gfs_ha.master.planners.surplus import plan_surplus
from gfs_ha.master.planners.tally import plan_tally
from gfs_ha.master.planners.walk import NUMBERS
from gfs_ha.master.roster import Roster, roster
from gfs_ha.master.state.commands import Command
from gfs_ha.master.state.invariants import check_all
from gfs_ha.master.state.records import SEALED
from gfs_ha.protocol.control import BucketListing, CompareReplica, DeleteReplica, Order
from gfs_ha.protocol.tally import BUCKETS, bucket_of, replica_hash

DUTIES = (
    plan_copies,
    plan_replication,
    plan_drain,
    plan_pauses,
    plan_goals,
    plan_placing,
    plan_rebalance,
    plan_surplus,
    plan_tally,
)
SETTLED_S = 5.0
YOUNG_S = 3.0
BEGAN_S = 900.0  # When time begins.


def _trouble(known: Roster, one: Candidate) -> str:
    out = "" if known.serves(one.server_id, one.disk_id) else "is left without a disk"
    return known.trouble(one.server_id) or out


@dataclass
class Siege(Fleet):
    """Time goes on by a quarter of a second with each look of the planners."""

    seed: int = 0
    elected_s: float = BEGAN_S
    now_s: float = 1000.0
    since_s: dict[int, float] = field(default_factory=dict)  # Since when a server beats.
    log: deque[Command] = field(default_factory=deque)  # Proposed, not committed.
    wire: list[tuple[ServerId, Order]] = field(default_factory=list)  # Ordered, not arrived.
    obeyed: dict[tuple[int, int], int] = field(default_factory=dict)
    asked: list[tuple[ServerId, DiskId, int]] = field(default_factory=list)
    deletions: int = 0
    refused: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.chance = random.Random(self.seed)

    # What the leader sees ---------------------------------------------------------------------

    def seen(self) -> Seen:
        found = super().seen()
        led_s = self.now_s - self.elected_s
        with self.tables.view() as view:
            known, servers = roster(view, led_s), view.servers()
        live = {one for one, state in found.repair.states.items() if state == LIVE}
        settled = {
            one for one in live if self.now_s - max(self.elected_s, self._since(one)) >= SETTLED_S
        }
        candidates = tuple(
            replace(
                one, trouble=_trouble(known, one) or ("" if one.server_id in live else "is away")
            )
            for one in found.repair.candidates
        )
        disks = {
            one: next(disk.disk_id for disk in row.disks if not disk.lost) for one, row in servers
        }
        listings = tuple(
            (server, self._listing(server, disk, bucket))
            for server, disk, bucket in self.asked
            if server in live and disks[server] == disk
        )
        self.asked = []
        repair = replace(
            found.repair,
            candidates=candidates,
            settled=frozenset(settled),
            tallies={(one, disks[one]): self._tally(one) for one in live},
            listings=listings,
            starts={one: int(self._since(one)) for one in live},
            young=led_s < YOUNG_S,
            hold="new" if led_s < YOUNG_S else "",
        )
        return replace(found, elected_s=self.elected_s, now_s=self.now_s, repair=repair)

    def _since(self, server: int) -> float:
        return self.since_s.get(server, BEGAN_S)

    def _tally(self, server: int) -> bytes:
        numbers = [0] * BUCKETS
        for chunk_id in self.on_disk.get(server, ()):
            hashed = replica_hash(ChunkId(chunk_id), LENGTH)
            numbers[bucket_of(hashed)] ^= hashed
        return NUMBERS.pack(*numbers)

    def _listing(self, server: int, disk: DiskId, bucket: int) -> BucketListing:
        here = sorted(self.on_disk.get(server, ()))
        inside = [one for one in here if bucket_of(replica_hash(ChunkId(one), LENGTH)) == bucket]
        return BucketListing(disk, bucket, tuple((ChunkId(one), LENGTH, False) for one in inside))

    # What happens -----------------------------------------------------------------------------

    def look(self) -> None:
        """Have the leader plan; nothing of it is done yet."""
        self.now_s += 0.25
        self.tables.elapsed_ms = int((self.now_s - BEGAN_S) * 1000)
        seen = self.seen()
        self.failed.clear()
        with self.tables.view() as view:
            plans = [planner(view, seen, self.limits, self.cursors) for planner in DUTIES]
        for made in plans:
            self._hand_out(made)

    def _hand_out(self, made: Plan) -> None:
        self.log.extend(made.proposals)
        self.wire += made.orders
        self.asked += made.listings
        self.doubted |= set(made.doubts)

    def commit(self, most: int) -> None:
        """Commit some of what was proposed, in its order; what does not fit any more is refused."""
        for _ in range(min(most, len(self.log))):
            self.tried(self.log.popleft())

    def tried(self, command: Command, session: int = 0) -> bool:
        """Commit a command; return whether the tables took it."""
        try:
            self.tables.do(command, session)
        except (AssertionError, GfsError):
            self.refused += 1
            return False
        return True

    def deliver(self, most: int) -> None:
        """Let some orders arrive, in any order, maybe twice; the dead and the deaf miss theirs."""
        for _ in range(min(most, len(self.wire))):
            at = self.chance.randrange(len(self.wire))
            server_id, order = self.wire[at]
            if self.chance.random() < 0.9:
                self.wire.pop(at)
            key = (server_id, order.chunk_id)
            if server_id in self.dead | self.suspect | self.deaf:
                continue
            if not isinstance(order, CompareReplica):
                if order.order_index < self.obeyed.get(key, 0):
                    continue  # It obeyed a newer one. To compare is never too late.
                self.obeyed[key] = order.order_index
            if isinstance(order, DeleteReplica):
                self._check_deletion(server_id, order)
            self._obey(server_id, order)
        del self.wire[:-400]

    def _check_deletion(self, server_id: ServerId, order: DeleteReplica) -> None:
        with self.tables.view() as view:
            chunk = view.chunk(order.chunk_id)
        if chunk is None or chunk.state != SEALED:
            return
        if order.chunk_id not in self.on_disk.get(server_id, ()):
            return
        self.deletions += 1
        left = self.real(order.chunk_id) - {server_id}
        # One that came back with an older disk is believed until its tally was compared (G7): that
        # is one loss, which the others bear.
        lies = set(chunk.holders) - left - {server_id}
        assert len(left) >= max(1, min(2, chunk.goal) - len(lies)), (server_id, order, chunk, left)

    def real(self, chunk_id: int) -> set[int]:
        """Return who has good bytes of a chunk, whatever anybody knows of it, the dead too."""
        return {
            server
            for server, held in self.on_disk.items()
            if chunk_id in held and (chunk_id, server) not in self.damaged
        }

    def elect(self) -> None:
        """Another leader; orders are still on their way, proposals are lost or not."""
        self.cursors = Cursors()
        for notes in (self.copied, self.kept, self.deleted, self.running):
            notes.clear()
        self.failed.clear()
        self.asked = []
        self.elected_s = self.now_s
        while self.log and self.chance.random() < 0.5:
            self.log.pop()

    def die(self, server: int) -> None:
        self.dead.add(server)

    def back(self, server: int) -> None:
        """A server comes back, with what it had."""
        if server in self.dead:
            self.dead.discard(server)
            self.since_s[server] = self.now_s
            self.gone = {one for one in self.gone if one[1] != server}

    def whole(self) -> bool:
        """Return whether every chunk has all its copies, so that it can bear a loss."""
        with self.tables.view() as view:
            return all(
                len(self.real(chunk_id) - self.dead) >= chunk.goal
                for chunk_id, chunk in view.chunks_after(ChunkId(0), 1000)
                if chunk.state == SEALED
            )

    def settle(self, looks: int) -> bool:
        """Let time go on without trouble; return whether nothing is left to do."""
        idle = 0
        for _ in range(looks):
            self.look()
            busy = bool(self.log) or bool(self.wire)
            self.commit(len(self.log))
            self.wire = self._distinct()
            self.deliver(2 * len(self.wire))
            idle = 0 if busy else idle + 1
            if idle > 80:
                return True
        return False

    def _distinct(self) -> list[tuple[ServerId, Order]]:
        return list(dict.fromkeys(self.wire))

    def check(self) -> None:
        with self.tables.view() as view:
            assert check_all(view) == []
