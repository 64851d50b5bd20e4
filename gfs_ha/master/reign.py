"""One leadership of this master: its epoch, and all soft state that begins and ends with it.

Everything here belongs to the door's thread. A new leadership starts with an empty one: what must
be done follows from the tables, what is alive is heard anew.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from gfs_ha.errors import GfsError, NotLeader
from gfs_ha.ids import ChunkId, DiskId, Epoch, ServerId, StartId
from gfs_ha.limits import DEAD_S, HEARTBEAT_PARK_S, LEASE_MS
from gfs_ha.master.census import Census
from gfs_ha.master.garbage_book import GarbageBook
from gfs_ha.master.handlers.call import Slot
from gfs_ha.master.live_board import LiveBoard
from gfs_ha.master.observed import LIVE, Observed
from gfs_ha.master.orders import OrderBook
from gfs_ha.master.planner_guard import PlannerGuard
from gfs_ha.master.planners.drain_walk import DrainWalks
from gfs_ha.master.planners.job_book import JobBook
from gfs_ha.master.planners.placing_walk import PlacingWalk
from gfs_ha.master.planners.queue import RepairQueue
from gfs_ha.master.planners.walk import TallyWalk
from gfs_ha.master.repairs import RepairBook
from gfs_ha.master.replica_checks import ReplicaChecks
from gfs_ha.master.ticket_office import TicketOffice
from gfs_ha.protocol.control import HeartbeatReply
from gfs_ha.protocol.damage import UNREACHABLE
from gfs_ha.protocol.repair import RepairAllowance
from gfs_ha.protocol.scrub import ScrubWanted

logger = logging.getLogger(__name__)

STRAYS_MAX = 10_000
DELETED_MAX = 10_000  # Acknowledged deletes that wait to be proposed; the rest is asked again.

Deleted = tuple[ChunkId, ServerId, DiskId]


class Ending(Protocol):
    """Something that others wait for, and that ends with the reign."""

    def end(self, error: GfsError) -> None:
        """Tell all who wait."""
        ...


@dataclass(slots=True)
class Parked:
    """A heartbeat that waits for orders."""

    slot: Slot
    since_s: float


class Reign:
    """What the leader of one epoch knows and owes."""

    def __init__(
        self,
        epoch: Epoch,
        elected_s: float,
        dead_s: float = DEAD_S,
        tickets: TicketOffice | None = None,
    ) -> None:
        self.epoch = epoch
        self.elected_s = elected_s
        self.observed = Observed(elected_s, dead_s, keys=tickets)
        self.orders = OrderBook()
        self._tickets = tickets  # Outlives the reign.
        self.repairs = RepairBook(elected_s)
        self.garbage = GarbageBook()
        self.checks = ReplicaChecks()
        self.queue = RepairQueue()  # The planner's, to be looked at by reports.
        self.placing = PlacingWalk()  # The same.
        self.drains = DrainWalks()  # The same.
        self.jobs = JobBook()  # The same.
        self.tally = TallyWalk()  # The same.
        self.foresight: Ending | None = None  # A plan of a rebalance that is played through.
        self.hold = ""  # Why no copy is begun now.
        self.census = Census()
        self.guard = PlannerGuard()
        self.board = LiveBoard()
        self.deleted: dict[Deleted, None] = {}
        self.strays: OrderedDict[tuple[ChunkId, ServerId], None] = OrderedDict()
        self.allowances: dict[ServerId, RepairAllowance] = {}
        self._scrub_news: dict[ServerId, ScrubWanted] = {}
        self._scrub_told: dict[ServerId, ScrubWanted] = {}
        self._leased_until_s: dict[ServerId, float] = {}
        self._introduced: dict[ServerId, StartId] = {}
        self._parked: dict[ServerId, Parked] = {}
        self._hung_up: set[ServerId] = set()

    def park(self, server_id: ServerId, slot: Slot, now_s: float) -> None:
        """Keep a heartbeat until there are orders; at once if there are. One per server."""
        self.release(server_id, now_s)
        self._hung_up.discard(server_id)
        self._parked[server_id] = Parked(slot, now_s)
        self.release_if_due(server_id, now_s)

    def note_lease(self, server_id: ServerId, until_s: float) -> None:
        """Note until when a server holds its lease, to be told with the next answer."""
        self._leased_until_s[server_id] = until_s

    def expect_lease(self, server_id: ServerId, now_s: float) -> None:
        """Tell a server that is to be a primary of the lease that comes with its tail.

        Else it would refuse the first records: the next heartbeat may come later than they do.
        Without a tail that is open, a lease allows nothing.
        """
        if self._leased_until_s.get(server_id, 0.0) <= now_s:
            self._leased_until_s[server_id] = now_s + LEASE_MS / 1000

    def forget_lease(self, server_id: ServerId) -> None:
        """Forget what an earlier start of a server held."""
        self._leased_until_s.pop(server_id, None)

    def tell_scrub(self, server_id: ServerId, wanted: ScrubWanted) -> bool:
        """Note how a server is to scrub, to be told with the next answer; False: it was told."""
        fresh = self._scrub_told.get(server_id) != wanted
        self._scrub_news[server_id] = self._scrub_told[server_id] = wanted
        return fresh

    def allow(self, server_id: ServerId, allowance: RepairAllowance, now_s: float) -> None:
        """Note what repair may take on a server: told at once if it changes much, else soon."""
        before = self.allowances.get(server_id, RepairAllowance())
        self.allowances[server_id] = allowance
        was, now = before.copies_bytes_per_s, allowance.copies_bytes_per_s
        much = abs(now - was) > max(was, now) // 20 or min(was, now) <= 0
        if (was != now and much) or before.server_bytes_per_s != allowance.server_bytes_per_s:
            self.release(server_id, now_s)

    def introduce(self, server_id: ServerId, start_id: StartId) -> bool:
        """Return whether this leader has not introduced itself to a start of a server before."""
        fresh = self._introduced.get(server_id) != start_id
        self._introduced[server_id] = start_id
        return fresh

    def hung_up(self, server_id: ServerId) -> bool:
        """Return whether the connection of a server's last heartbeat broke before its answer.

        So it does when the process is killed; one that lives is back in a moment.
        """
        parked = self._parked.get(server_id)
        return server_id in self._hung_up or (parked is not None and parked.slot.closed)

    def all_hung_up(self) -> frozenset[ServerId]:
        """Return the servers that have hung up and were not heard since."""
        closed = {one for one, parked in self._parked.items() if parked.slot.closed}
        return frozenset(self._hung_up | closed)

    def release_if_due(self, server_id: ServerId, now_s: float) -> None:
        """Answer a server's parked heartbeat if orders are due for it."""
        if server_id in self._parked and self.orders.has_due(server_id, now_s):
            self.release(server_id, now_s)

    def release(self, server_id: ServerId, now_s: float) -> None:
        """Answer a server's parked heartbeat, with the orders that are due."""
        parked = self._parked.pop(server_id, None)
        if parked is None:
            return
        if parked.slot.closed:
            self._hung_up.add(server_id)
            return
        orders = self.orders.due(server_id, now_s)
        if self._tickets is not None:
            orders = self._tickets.for_orders(server_id, orders)
        to_list = self.repairs.take_to_list(server_id)
        # It counts from when its heartbeat left, so what is said ends no later than the lease.
        left_s = max(0.0, self._leased_until_s.get(server_id, 0.0) - parked.since_s)
        lease_ms = int(left_s * 1000)
        reply = HeartbeatReply(
            self.epoch,
            orders,
            list_buckets=to_list,
            lease_ms=lease_ms,
            scrub=self._scrub_news.pop(server_id, None),
            repair=self.allowances.get(server_id),
        )
        parked.slot.reply(reply)

    def release_due(self, now_s: float) -> None:
        """Answer the heartbeats that have waited long enough, or that orders wait for."""
        self.checks.tick(now_s)
        for server_id, order in self.checks.unanswered():
            state = self.observed.state(server_id, now_s)
            if state == LIVE:
                self.orders.want(server_id, order)
            else:
                why = f"its server is {state}"
                self.checks.answered(order.chunk_id, server_id, UNREACHABLE, why)
        for server_id, parked in list(self._parked.items()):
            waited_s = now_s - parked.since_s
            if waited_s >= HEARTBEAT_PARK_S or self.orders.has_due(server_id, now_s):
                self.release(server_id, now_s)

    def note_deleted(self, chunk_id: ChunkId, server_id: ServerId, disks: list[DiskId]) -> None:
        """Note an acknowledged delete, to be proposed with others."""
        for disk_id in disks:
            if len(self.deleted) < DELETED_MAX:
                self.deleted[(chunk_id, server_id, disk_id)] = None

    def take_deleted(self, limit: int) -> tuple[Deleted, ...]:
        """Return and forget some acknowledged deletes; unproposed ones are ordered again."""
        taken = tuple(list(self.deleted)[:limit])
        for one in taken:
            del self.deleted[one]
        return taken

    def note_strays(self, strays: Iterable[tuple[ServerId, ChunkId]]) -> None:
        """Note sealed replicas of chunks without a row, for people; the oldest make room."""
        for server_id, chunk_id in strays:
            self.strays[chunk_id, server_id] = None
        while len(self.strays) > STRAYS_MAX:
            self.strays.popitem(last=False)

    def forget_stray(self, chunk_id: ChunkId, server_id: ServerId) -> None:
        """Note that a replica without a row was deleted."""
        self.strays.pop((chunk_id, server_id), None)

    def forget_strays_of(self, server_id: ServerId) -> None:
        """Forget what another run of a server held; it is compared anew."""
        for place in [one for one in self.strays if one[1] == server_id]:
            del self.strays[place]

    def end(self, error: NotLeader) -> None:
        """Answer everything that is parked: this master leads no more."""
        if self.foresight is not None:
            self.foresight.end(error)
        parked, self._parked = self._parked, {}
        for one in parked.values():
            one.slot.fail(error)
