"""What the leader tells those who watch it of the whole cluster; no other master tells it.

Labels are few: servers, states, codes of findings. Never files, clients or chunks.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from gfs_ha.ids import ServerId
from gfs_ha.master.census import BUCKETS, bucketed
from gfs_ha.master.handlers.admin import health_of, server_rows
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.handlers.overview import lease_totals, repair_totals, server_totals
from gfs_ha.master.observed import DEAD, LIVE, SUSPECT
from gfs_ha.master.planner_guard import PlannerFault
from gfs_ha.master.state.jobs import running_jobs
from gfs_ha.master.state.records import Counters
from gfs_ha.master.state.view import View
from gfs_ha.metrics.exposition import Samples, counter, gauge
from gfs_ha.protocol.overview import LeaseTotals, RepairTotals, ServerTotals
from gfs_ha.protocol.reports import HealthReport

SERVERS_LISTED_MAX = 512  # With metrics of their own here; all have an endpoint of their own.
_STATES = {LIVE: 0, SUSPECT: 1, DEAD: 2}

HEALTHY = gauge("gfs_cluster_healthy", "1 while no finding that counts is an error, else 0.")
FINDINGS = gauge(
    "gfs_cluster_findings",
    "Findings of `gfsctl admin health` that count now; `gfsctl explain CODE` says what to do.",
    *("code", "severity"),
)
MUTED = gauge("gfs_cluster_findings_muted", "Findings that an operator muted.")
FILES = gauge("gfs_cluster_files", "Files of all users.")
DIRECTORIES = gauge("gfs_cluster_directories", "Directories, the root included.")
SESSIONS = gauge("gfs_cluster_sessions", "Sessions of clients.")
CHUNKS = gauge("gfs_cluster_chunks", "Chunks by state.", "state")
COPIES = gauge(
    "gfs_cluster_chunk_copies",
    "Chunks by goal and by copies that can be read, as of the last whole count.",
    *("goal", "copies"),
)
UNDER = gauge("gfs_cluster_chunks_under_goal", "Chunks with fewer live copies than their goal.")
LOST = gauge("gfs_cluster_chunks_lost", "Chunks without any good copy.")
MISPLACED = gauge("gfs_cluster_chunks_misplaced", "Chunks that lie against their placement rule.")
SERVERS = gauge("gfs_cluster_servers", "Chunkservers by liveness.", "state")
LEAVING = gauge("gfs_cluster_servers_leaving", "Chunkservers that are being emptied.")
MAINTENANCE = gauge("gfs_cluster_servers_in_maintenance", "Chunkservers in maintenance.")
SIZE = gauge(
    "gfs_cluster_size_bytes",
    "Size of the disks in service of the chunkservers that are not dead and neither leave nor are"
    " empty.",
)
FREE = gauge("gfs_cluster_free_bytes", "Free on these disks.")
TAILS = gauge("gfs_cluster_tails", "Open ends of files that are appended to.")
LEASES = gauge("gfs_cluster_leases", "Chunkservers that hold the right to order appends.")
ENDING = gauge("gfs_cluster_tails_lease_ending", "Tails whose lease ends within ten seconds.")
REPAIR_COPIES = gauge("gfs_cluster_repair_pending_copies", "Copies that repair has to make.")
REPAIR_BYTES = gauge("gfs_cluster_repair_pending_bytes", "The same in bytes.")
REPAIR_RATE = gauge("gfs_cluster_repair_bytes_per_second", "How fast copies are made now.")
REPAIR_HELD = gauge("gfs_cluster_repair_held", "1 while no copy is begun, for whatever reason.")
REPAIR_MADE = counter("gfs_cluster_repair_copies_total", "Copies made under this leader.")
JOBS = gauge("gfs_cluster_jobs_running", "Jobs that have not ended.")
PLANNER_FAULTS = counter(
    "gfs_cluster_planner_failures_total",
    "Failures of a duty of this leader by a mistake of gfs-ha.",
    "planner",
)
SERVER_STATE = gauge(
    "gfs_cluster_server_state",
    "A chunkserver as the leader hears it: 0 live, 1 suspect, 2 dead.",
    *("server", "rack"),
)
HEARTBEAT_AGE = gauge(
    "gfs_cluster_server_heartbeat_age_seconds",
    "Since the leader heard a chunkserver, at most since its election.",
    *("server", "rack"),
)


@dataclass(frozen=True, slots=True)
class SeenServer:
    """A chunkserver as the leader hears it."""

    name: str
    rack: str
    state: str
    age_s: float


@dataclass(frozen=True, slots=True)
class ClusterSeen:
    """What the leader knows at one moment."""

    totals: ServerTotals
    leases: LeaseTotals
    repair: RepairTotals
    goals: tuple[tuple[int, tuple[int, ...]], ...]  # Chunks by copies (BUCKETS), by their goal.
    jobs: int
    health: HealthReport
    under_count: int
    counters: Counters
    copies_made: int
    faults: tuple[PlannerFault, ...]
    servers: tuple[SeenServer, ...]


def see_cluster(desk: Desk) -> ClusterSeen | None:
    """Return what the leader knows now; None when this master does not lead. On the door's thread.

    What is dear is shared with screens and made anew no oftener than for them.
    """
    reign = desk.reign
    if reign is None:
        return None
    now_s, observed = desk.now_s(), reign.observed
    with desk.kv.read() as reader:
        view = View(reader)
        health, under = reign.board.health.get(
            desk.now_s, lambda: health_of(desk, view, server_rows(desk, view))
        )
        rows = view.servers()
        totals, leases, repair = reign.board.totals.get(
            desk.now_s,
            lambda: (
                server_totals(desk, view, rows),
                lease_totals(desk, view),
                repair_totals(desk, view),
            ),
        )

        def seen(server_id: ServerId, name: str, rack: str) -> SeenServer:
            state, age_s = observed.state(server_id, now_s), observed.age_s(server_id, now_s)
            return SeenServer(name, rack, state, age_s)

        return ClusterSeen(
            totals=totals,
            leases=leases,
            repair=repair,
            goals=tuple((goal, bucketed(counts)) for goal, counts in reign.census.goals.items()),
            jobs=sum(1 for _ in running_jobs(view)),
            health=health,
            under_count=under,
            counters=view.counters(),
            copies_made=reign.repairs.done_copies,
            faults=reign.guard.faults,
            servers=tuple(
                seen(server_id, one.name, one.rack) for server_id, one in rows[:SERVERS_LISTED_MAX]
            ),
        )


def add_cluster(samples: Samples, seen: ClusterSeen) -> None:
    """Add what the leader knows of the cluster."""
    _add_health(samples, seen)
    _add_counts(samples, seen)
    _add_servers(samples, seen)
    _add_repair(samples, seen)
    samples.set(JOBS, seen.jobs)
    for fault in seen.faults:
        samples.set(PLANNER_FAULTS, fault.count, fault.name)


def _add_health(samples: Samples, seen: ClusterSeen) -> None:
    samples.set(HEALTHY, seen.health.healthy)
    items = seen.health.items
    counted = Counter((one.code, one.severity) for one in items if not one.muted_ms)
    for (code, severity), count in counted.items():
        samples.set(FINDINGS, count, code, severity)
    samples.set(MUTED, sum(bool(one.muted_ms) for one in items))


def _add_counts(samples: Samples, seen: ClusterSeen) -> None:
    counters = seen.counters
    samples.set(FILES, counters.files)
    samples.set(DIRECTORIES, counters.directories)
    samples.set(SESSIONS, counters.sessions)
    for state, count in (
        ("open", counters.open_chunks),
        ("sealing", counters.sealing_chunks),
        ("sealed", counters.sealed_chunks),
        ("dead", counters.dead_chunks),
    ):
        samples.set(CHUNKS, count, state)
    for goal, chunks in sorted(seen.goals):
        for copies, count in zip(BUCKETS, chunks, strict=True):
            samples.set(COPIES, count, str(goal), copies)
    samples.set(UNDER, seen.under_count)
    samples.set(TAILS, seen.leases.tails)
    samples.set(LEASES, seen.leases.holders)
    samples.set(ENDING, seen.leases.ending)


def _add_servers(samples: Samples, seen: ClusterSeen) -> None:
    totals = seen.totals
    for state, count in ((LIVE, totals.live), (SUSPECT, totals.suspect), (DEAD, totals.dead)):
        samples.set(SERVERS, count, state)
    samples.set(LEAVING, totals.leaving)
    samples.set(MAINTENANCE, totals.maintenance)
    samples.set(SIZE, totals.total_bytes)
    samples.set(FREE, totals.free_bytes)
    for one in seen.servers:
        samples.set(SERVER_STATE, _STATES[one.state], one.name, one.rack)
        samples.set(HEARTBEAT_AGE, one.age_s, one.name, one.rack)


def _add_repair(samples: Samples, seen: ClusterSeen) -> None:
    repair = seen.repair
    samples.set(LOST, repair.lost)
    samples.set(MISPLACED, repair.misplaced)
    samples.set(REPAIR_COPIES, repair.copies)
    samples.set(REPAIR_BYTES, repair.lacking_bytes)
    samples.set(REPAIR_RATE, repair.bytes_per_s)
    samples.set(REPAIR_HELD, bool(repair.hold))
    samples.set(REPAIR_MADE, seen.copies_made)
