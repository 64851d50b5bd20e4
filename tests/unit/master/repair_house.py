"""A cluster for the planners of repair: real tables, and servers that obey in an instant."""

from __future__ import annotations

from dataclasses import dataclass, field

from master_tables import Tables

from gfs_ha.ids import ChunkId, DiskId, ServerId
from gfs_ha.limits import GIB
from gfs_ha.master.observed import DEAD, LIVE
from gfs_ha.master.placement import Candidate
from gfs_ha.master.planners.copies import plan_copies
from gfs_ha.master.planners.goals import plan_goals
from gfs_ha.master.planners.placing import plan_placing
from gfs_ha.master.planners.plan import Cursors, Plan, PlanLimits, Planner, Seen
from gfs_ha.master.planners.replication import plan_replication
from gfs_ha.master.planners.seen import Answered, RepairSeen
from gfs_ha.master.planners.surplus import plan_surplus
from gfs_ha.master.roster import Roster, roster
from gfs_ha.master.state.commands import PlaceCopy
from gfs_ha.master.state.invariants import check_all
from gfs_ha.master.state.records import Chunk, Server
from gfs_ha.protocol.control import (
    CompareReplica,
    CopyProgress,
    CopyReplica,
    DeleteReplica,
    KeepReplica,
    OpenReplica,
    Order,
)
from gfs_ha.protocol.metadata import FinishChunk
from gfs_ha.protocol.repair import RepairFacts

LENGTH, DIGEST = 1000, 5
PLANNERS = (plan_copies, plan_replication, plan_goals, plan_placing, plan_surplus)


def serving_disk(known: Roster, server_id: ServerId, server: Server) -> DiskId:
    """Return the disk that gets what comes to a server: the last one that serves."""
    there = [disk.disk_id for disk in server.disks if not disk.lost]
    return (serves(known, server_id, server) or there)[-1]


def serves(known: Roster, server_id: ServerId, server: Server) -> list[DiskId]:
    """Return the disks of a server that serve."""
    there = [disk.disk_id for disk in server.disks if not disk.lost]
    return [disk_id for disk_id in there if known.serves(server_id, disk_id)]


@dataclass
class House:
    """Servers 1.. in racks r1, r1, r2, r2, r3…; `disks` says on which replicas lie."""

    server_count: int = 4
    tables: Tables = field(default_factory=Tables)
    dead: set[int] = field(default_factory=set)
    suspect: set[int] = field(default_factory=set)
    damaged: set[tuple[int, int]] = field(default_factory=set)
    gone: set[tuple[int, int]] = field(default_factory=set)
    doubted: set[tuple[int, int]] = field(default_factory=set)
    unreached: set[int] = field(default_factory=set)
    resting: set[tuple[int, int]] = field(default_factory=set)
    listed: dict[int, dict[int, OpenReplica]] = field(default_factory=dict)
    streams: dict[int, int] = field(default_factory=dict)
    facts: dict[int, RepairFacts] = field(default_factory=dict)
    running: dict[tuple[int, int], CopyProgress] = field(default_factory=dict)
    salvageable: set[int] = field(default_factory=set)  # Each block is good in some copy.
    failing: dict[int, str] = field(default_factory=dict)  # Targets that fail to copy, and why.
    deaf: set[int] = field(default_factory=set)
    hold: str = ""
    young: bool = False
    copied: set[Answered] = field(default_factory=set)
    kept: set[Answered] = field(default_factory=set)
    deleted: set[Answered] = field(default_factory=set)
    failed: dict[Answered, str] = field(default_factory=dict)
    on_disk: dict[int, set[int]] = field(default_factory=dict)  # Good replicas by server.
    cursors: Cursors = field(default_factory=Cursors)
    limits: PlanLimits = field(default_factory=PlanLimits)
    copies_made: int = 0
    racks: dict[int, str] = field(default_factory=dict)  # Of servers that are elsewhere.
    machines: dict[int, str] = field(default_factory=dict)  # h1… unless told otherwise.
    full: set[int] = field(default_factory=set)  # Above the high-water mark.

    def __post_init__(self) -> None:
        for number in range(1, self.server_count + 1):
            if number > 4 or number in self.racks:
                self.tables.enroll(number, rack=self.racks.get(number, ""))
        self.session = self.tables.session()

    def chunk(
        self,
        servers: tuple[int, ...] = (1, 2, 3),
        holders: tuple[int, ...] = (),
        **how: object,
    ) -> int:
        """Return a chunk sealed on servers, held by all of them or by some."""
        chunk_id = self.tables.chunk(self.session, servers, **how).chunk_id
        self.tables.do(FinishChunk(chunk_id, LENGTH, DIGEST, holders or servers), self.session)
        for server in holders or servers:
            self.on_disk.setdefault(server, set()).add(chunk_id)
        return chunk_id

    def file(self, chunk_id: int, path: str) -> None:
        """Make a file of a chunk's bytes."""
        self.tables.publish(self.session, chunk_id, path, LENGTH)

    def row(self, chunk_id: int) -> Chunk:
        with self.tables.view() as view:
            chunk = view.chunk(ChunkId(chunk_id))
        assert chunk is not None
        return chunk

    def seen(self) -> Seen:
        with self.tables.view() as view:
            servers, known = view.servers(), roster(view, 100.0)
        states = {
            one: DEAD if one in self.dead else "suspect" if one in self.suspect else LIVE
            for one, _ in servers
        }
        candidates = [
            Candidate(
                server_id=one,
                disk_id=serving_disk(known, one, row),
                name=row.name,
                rack=row.rack,
                machine=self.machines.get(one, f"h{one}"),
                used_share=0.99 if one in self.full else 0.1,
                free_bytes=10 * GIB,
                total_bytes=100 * GIB,
                trouble=known.trouble(one)
                or ("" if states[one] == LIVE else f"is {states[one]} (no heartbeat for 7 s)")
                or ("" if serves(known, one, row) else "is left without a disk: all are drained"),
                passing=not known.leaving(one)
                and (one in known.in_maintenance() or states[one] == "suspect"),
            )
            for one, row in servers
        ]
        repair = RepairSeen(
            candidates=tuple(candidates),
            states=states,
            settled=frozenset(one for one, state in states.items() if state == LIVE),
            streams=self.streams,
            listed=self.listed,
            running=self.running,
            facts=self.facts,
            copied=frozenset(self.copied),
            kept=frozenset(self.kept),
            deleted=frozenset(self.deleted),
            failed=dict(self.failed),
            resting=frozenset(self.resting),
            gone=frozenset(self.gone),
            doubted=frozenset(self.doubted),
            unreached=frozenset(self.unreached),
            young=self.young,
            hold=self.hold,
        )
        return Seen(1000.0, 900.0, {}, damaged=frozenset(self.damaged), repair=repair)

    def plan(self, planner: Planner) -> Plan:
        with self.tables.view() as view:
            return planner(view, self.seen(), self.limits, self.cursors)

    def apply(self, made: Plan) -> None:
        """Commit what a plan proposes; the tables take all of it, and it is in order."""
        for command in made.proposals:
            self.tables.do(command)
            self.copies_made += isinstance(command, PlaceCopy)
        with self.tables.view() as view:
            assert check_all(view) == []

    def obey(self, made: Plan) -> None:
        """Have the live servers do what they are ordered."""
        for server_id, order in made.orders:
            if server_id not in self.dead | self.suspect | self.deaf:
                self._obey(server_id, order)

    def _obey(self, server_id: ServerId, order: Order) -> None:
        chunk_id = order.chunk_id
        answered = (chunk_id, server_id, order.order_index)
        here = self.on_disk.setdefault(server_id, set())
        if isinstance(order, CopyReplica):
            if server_id in self.failing:
                self.failed[answered] = self.failing[server_id]
                self.resting.add((chunk_id, server_id))
                return
            good = [
                one.server_id
                for one in order.sources
                if chunk_id in self.on_disk.get(one.server_id, ())
                and (chunk_id, one.server_id) not in self.damaged
            ]
            if not good and chunk_id not in self.salvageable:
                self.failed[answered] = "no source has it"
                self.doubted |= {(chunk_id, one.server_id) for one in order.sources}
                return
            here.add(chunk_id)
            self.damaged.discard((chunk_id, server_id))
            self.gone.discard((chunk_id, server_id))
            self.listed.get(server_id, {}).pop(chunk_id, None)
            self.copied.add(answered)
        elif isinstance(order, DeleteReplica):
            here.discard(chunk_id)
            self.damaged.discard((chunk_id, server_id))
            self.gone.discard((chunk_id, server_id))
            self.listed.get(server_id, {}).pop(chunk_id, None)
            self.deleted.add(answered)
        elif isinstance(order, KeepReplica):
            # What was deleted before cannot be kept: UnknownReplica says that it is gone.
            (self.kept if chunk_id in here else self.deleted).add(answered)
        elif isinstance(order, CompareReplica):
            self.doubted.discard((chunk_id, server_id))
            if chunk_id not in here:
                self.gone.add((chunk_id, server_id))

    def tick(self) -> bool:
        """Run every planner once and do what comes of it; return whether anything did."""
        busy = False
        for planner in PLANNERS:
            made = self.plan(planner)
            busy |= not made.empty
            self.apply(made)
            self.obey(made)
        return busy

    def rest(self, ticks: int = 60) -> None:
        """Tick until nothing is left to do."""
        for _ in range(ticks):
            if not self.tick():
                return
        raise AssertionError("the planners do not come to rest")

    def good(self, chunk_id: int) -> set[int]:
        """Return the live holders whose bytes are there and whole."""
        chunk = self.row(chunk_id)
        lost = set()
        with self.tables.view() as view:
            for one, server in view.servers():
                lost |= {(one, disk.disk_id) for disk in server.disks if disk.lost}
        places = {(one.server_id, DiskId(one.disk_id)) for one in chunk.replicas}
        return {
            server
            for server, disk in places
            if server in chunk.holders
            and server not in self.dead
            and (server, disk) not in lost
            and chunk_id in self.on_disk.get(server, ())
            and (chunk_id, server) not in self.damaged
        }
