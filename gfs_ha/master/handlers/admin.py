"""What operators ask: reports from the tables, and from what the leader has heard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice

import msgspec

from gfs_ha.errors import NotInitialized
from gfs_ha.ids import ChunkId, ServerId, format_id
from gfs_ha.limits import REPAIR_COPIES_MAX
from gfs_ha.master.census import Presence, under_goal
from gfs_ha.master.certificate_health import TlsSymptoms
from gfs_ha.master.disk_room import Modes, room_of
from gfs_ha.master.garbage_count import GarbageCount
from gfs_ha.master.handlers.call import Slot
from gfs_ha.master.handlers.chunk_reports import Describer
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.handlers.masters import FAILOVERS_SHOWN, TERMS_SHOWN, master_rows, week_failovers
from gfs_ha.master.handlers.overview import overview_of
from gfs_ha.master.handlers.repair import repair_report
from gfs_ha.master.handlers.scrub import scrub_report
from gfs_ha.master.health import Symptoms, examine
from gfs_ha.master.muting import told
from gfs_ha.master.observed import Observed
from gfs_ha.master.planners.plan import cluster_ms
from gfs_ha.master.planners.queue import Tally
from gfs_ha.master.reign import Reign
from gfs_ha.master.repairing import failed_disks
from gfs_ha.master.roster import roster
from gfs_ha.master.scrub_health import summarise
from gfs_ha.master.server_health import GoneDisk
from gfs_ha.master.standing import standing_of
from gfs_ha.master.standing_health import BlockedJob
from gfs_ha.master.state.events import all_noted
from gfs_ha.master.state.jobs import running_jobs
from gfs_ha.master.state.mutes import all_mutes
from gfs_ha.master.state.records import DEAD, Chunk, Server
from gfs_ha.master.state.server_mode_records import DiskMode
from gfs_ha.master.state.server_modes import disk_modes
from gfs_ha.master.state.tail_reads import tail_of
from gfs_ha.master.state.view import View
from gfs_ha.protocol.control import DiskFacts
from gfs_ha.protocol.disks import PLACES_COUNTED_MAX
from gfs_ha.protocol.jobs import RUNNING, job_id, ways_together
from gfs_ha.protocol.reports import (
    DiskRow,
    GetHealth,
    GetServers,
    GetStatus,
    HealthReport,
    ServerReport,
    ServerRow,
    StatusReport,
)
from gfs_ha.protocol.server_modes import EMPTY, IN_SERVICE

_UNDER_COUNTED_MAX = 1_000
_GONE_DISKS_MAX = 20  # Disks that failed or are lost, and are named.


def get_servers(desk: Desk, view: View, request: GetServers, slot: Slot) -> ServerReport:
    """Return the chunkservers."""
    return ServerReport(server_rows(desk, view))


def get_health(desk: Desk, view: View, request: GetHealth, slot: Slot) -> HealthReport:
    """Return what is not as it should be."""
    return health_of(desk, view, server_rows(desk, view))[0]


def get_status(desk: Desk, view: View, request: GetStatus, slot: Slot) -> StatusReport:
    """Return the cluster on one screen."""
    servers = server_rows(desk, view)
    health, under_count = health_of(desk, view, servers)
    status = status_of(desk, view, health, under_count)
    return msgspec.structs.replace(status, servers=servers, overview=overview_of(desk, view))


def status_of(desk: Desk, view: View, health: HealthReport, under_count: int) -> StatusReport:
    """Return the status without its servers. Raises: NotLeader, NotInitialized."""
    reign = desk.leading()
    settings = view.settings()
    if settings is None:
        raise NotInitialized("the cluster has no settings yet; its first leader writes them")
    counters = view.counters()
    raft = desk.proposer.status()
    return StatusReport(
        cluster_id=settings.cluster_id,
        cluster_name=settings.cluster_name,
        leader=desk.name,
        term=reign.epoch.term,
        incarnation=reign.epoch.incarnation,
        leader_age_ms=int((desk.now_s() - reign.elected_s) * 1000),
        applied_index=raft.applied,
        masters=master_rows(desk),
        servers=(),
        chunks_by_copies=dict(reign.census.result),
        chunk_count=counters.chunks,
        under_count=under_count,
        open_count=counters.open_chunks,
        sealing_count=counters.sealing_chunks,
        dead_count=counters.dead_chunks,
        file_count=counters.files,
        directory_count=counters.directories,
        session_count=counters.sessions,
        goal=settings.goal,
        chunk_bytes=settings.chunk_bytes,
        health=health,
        failovers=tuple(view.led_terms(FAILOVERS_SHOWN)),
        scrub=summarise(scrub_report(desk, view)),
        failover_count=max(0, view.led_term_count() - 1),  # The first term was no failover.
        week_failovers=week_failovers(desk, view),
    )


def server_rows(desk: Desk, view: View) -> tuple[ServerRow, ...]:
    """Return the chunkservers as operators see them."""
    reign = desk.leading()
    now_s, modes = desk.now_s(), disk_modes(view)
    return tuple(server_row(reign, view, one, now_s, modes) for one in view.servers())


def server_row(
    reign: Reign, view: View, about: tuple[ServerId, Server], now_s: float, modes: Modes
) -> ServerRow:
    """Return a chunkserver as operators see it."""
    server_id, server = about
    facts = reign.observed.servers.get(server_id)
    heard = facts is not None and facts.beat > 0
    standing = standing_of(view, server_id, now_s - reign.elected_s)
    room = room_of(about, reign.observed, modes, standing.mode)
    return ServerRow(
        server_id=server_id,
        name=server.name,
        host=server.host,
        port=server.port,
        rack=server.rack,
        machine=server.machine,
        state=reign.observed.state(server_id, now_s),
        disk_usage=room.usage,
        chunk_count=facts.chunk_count if facts else 0,
        replica_count=view.replica_count(server_id),
        free_bytes=room.free_bytes,
        total_bytes=room.total_bytes,
        heartbeat_age_ms=int(reign.observed.age_s(server_id, now_s) * 1000) if heard else -1,
        timestamp=facts.timestamp if facts else 0,
        disks=tuple(
            disk_row(disk, modes.get((server_id, disk.disk_id)))
            for disk in (facts.disks if facts else ())
        ),
        reason=reign.observed.reason(
            server_id, now_s, bool(standing.maintenance_left_ms), standing.mode in EMPTY
        ),
        mode=standing.mode,
        job=standing.job,
        job_share=standing.job_share,
        maintenance_left_ms=standing.maintenance_left_ms,
        labels=standing.labels,
        disk_counts=room.disks,
    )


def disk_row(disk: DiskFacts, mode: DiskMode | None) -> DiskRow:
    """Return a disk as operators see it."""
    return DiskRow(
        disk_id=disk.disk_id,
        total_bytes=disk.total_bytes,
        free_bytes=disk.free_bytes,
        chunk_count=disk.chunk_count,
        failed=disk.failed,
        journal_bytes=disk.journal_bytes,
        journal_used_bytes=disk.journal_used_bytes,
        journal_trouble=disk.journal_trouble,
        directory=disk.directory,
        mode=mode.mode if mode is not None else IN_SERVICE,
    )


def health_of(desk: Desk, view: View, servers: tuple[ServerRow, ...]) -> tuple[HealthReport, int]:
    """Return the findings, and how many chunks have too few copies (at least, if very many)."""
    reign = desk.leading()
    describer = Describer(desk, view)
    pausing = roster(view, desk.now_s() - reign.elected_s).in_maintenance()
    under, more = under_now(view, describer.presence, pausing, reign.queue.newest)
    stats = desk.kv.stats()
    settings = desk.config.settings
    observed = reign.observed
    free_bytes, total_bytes = desk.disk_room()
    garbage = GarbageCount(view, reign, desk.now_s())
    # Without a dead server nothing is held for long, and counting would be in vain.
    held = garbage.held() if any(server.state == "dead" for server in servers) else []
    heard = {
        server.name: observed.servers[server.server_id]
        for server in servers
        if server.server_id in observed.servers
    }
    symptoms = Symptoms(
        raft=desk.proposer.status(),
        settings=view.settings(),
        file_settings=settings,
        servers=servers,
        clocks_ahead_ms={name: facts.clock_ahead_ms for name, facts in heard.items()},
        under_count=under,
        under_more=more,
        blocked=_blocked(desk, view),
        damaged=_damaged(view, reign),
        internal_errors=view.internal_errors(),
        wall_ns=desk.runtime.wall_ns(),
        disk_free_bytes=free_bytes,
        disk_total_bytes=total_bytes,
        state_bytes=stats.used_bytes,
        map_bytes=stats.map_bytes,
        state_check=view.state_check(),
        repair=repair_report(desk, view, REPAIR_COPIES_MAX),
        scrub=scrub_report(desk, view),
        garbage_held=tuple(held),
        garbage_more=garbage.more,
        blocked_jobs=tuple(_blocked_jobs(view, reign)),
        led_since_ms=tuple(term.since_ms for term in view.led_terms(TERMS_SHOWN)),
        planner_faults=reign.guard.faults,
        now_s=desk.now_s(),
        gone_disks=tuple(islice(_gone_disks(view, reign), _GONE_DISKS_MAX)),
        tls=_tls(desk, servers, observed),
        listening={name: facts.listening for name, facts in heard.items()},
    )
    found = told(
        examine(symptoms),
        all_noted(view),
        all_mutes(view),
        cluster_ms(view.counters(), desk.now_s() - reign.elected_s),
    )
    return found, under


def under_now(
    view: View,
    presence: Presence,
    pausing: frozenset[ServerId],
    newest: Tally,
    counted_max: int = _UNDER_COUNTED_MAX,
) -> tuple[int, bool]:
    """Return how many chunks have too few copies, and whether there may be more.

    Those that wait for a server in maintenance do not count. Where so many are looked at in vain
    that the rest is not, at least as many count as the walk of repair found last (`newest`).
    """
    listed, more = under_goal(view, presence, ChunkId(0), counted_max)
    count = sum(not _excused(presence, one, pausing) for one in listed)
    return (max(count, newest.chunks) if more else count), more


def _gone_disks(view: View, reign: Reign) -> Iterator[GoneDisk]:
    """Yield the disks that failed or are lost, with what the tables place there."""
    failed = failed_disks(reign.observed.servers)
    coming: Counter[ServerId] | None = None
    for server_id, server in view.servers():
        for disk in server.disks:
            if disk.lost or (server_id, disk.disk_id) in failed:
                page = view.replicas_of(server_id, (disk.disk_id, ChunkId(0)), PLACES_COUNTED_MAX)
                places = sum(one == disk.disk_id for one, _ in page)
                coming = _coming(view) if coming is None else coming
                told = (server.name, disk.disk_id, places, disk.lost, coming[server_id])
                yield GoneDisk(*told)


def _coming(view: View) -> Counter[ServerId]:
    """Return of how many chunks below their goal each server is being given a copy."""
    busy = view.busy_chunks(ChunkId(0), PLACES_COUNTED_MAX)
    return Counter(
        order.server_id
        for _, chunk in busy
        if len(chunk.holders) < chunk.goal
        for order in chunk.copying
    )


def _tls(desk: Desk, servers: tuple[ServerRow, ...], observed: Observed) -> TlsSymptoms | None:
    if desk.certificates is None:
        return None
    heard = ((one.name, observed.servers.get(one.server_id)) for one in servers)
    return desk.certificates.symptoms(
        (name, facts.certificate_until_ms) for name, facts in heard if facts is not None
    )


def _excused(
    presence: Presence, known: tuple[ChunkId, Chunk], pausing: frozenset[ServerId]
) -> bool:
    """Return whether a chunk lacks only copies of servers in maintenance, and has two others."""
    chunk_id, chunk = known
    copies = presence.copies(chunk_id, chunk)
    waited_for = sum(one in pausing and not presence.live(one) for one in chunk.holders)
    return copies >= 2 and copies + waited_for >= chunk.goal


def _blocked_jobs(view: View, reign: Reign) -> Iterator[BlockedJob]:
    for number, job in running_jobs(view):
        left = reign.jobs.of(number)
        if job.phase == RUNNING and job.server_id and left.blockers:
            server = view.server(job.server_id)
            name = server.name if server is not None else f"#{job.server_id}"
            first = left.blockers[0]
            yield BlockedJob(
                job_id(job.kind, number),
                name,
                left.blocked,
                first.why,
                ways_together(left.blockers),
                format_id(job.disk_id) if job.disk_id else "",
            )


def _blocked(desk: Desk, view: View) -> dict[str, str]:
    """Return why which chunks cannot be sealed; of a tail, to which file nobody can append."""
    found = {}
    for chunk_id, why in desk.sealing().blocked().items():
        chunk = view.chunk(chunk_id)
        tail = tail_of(view, chunk.tail_of) if chunk is not None and chunk.tail_of else None
        found[format_id(chunk_id)] = why if tail is None else f"{why} (the end of {tail.path})"
    return found


def _damaged(view: View, reign: Reign) -> dict[str, str]:
    """Return what is wrong with which replicas, by chunk id."""
    found: dict[str, list[str]] = {}
    for (chunk_id, server_id), problem in reign.observed.damage.items():
        chunk = view.chunk(chunk_id)
        if chunk is None or chunk.state == DEAD:
            continue
        # Also of a place that counts no more: its disk is still to be looked at.
        if any(replica.server_id == server_id for replica in chunk.replicas):
            server = view.server(server_id)
            name = server.name if server else f"#{server_id}"
            found.setdefault(format_id(chunk_id), []).append(f"{name}: {problem}")
    return {chunk: ", ".join(problems) for chunk, problems in found.items()}
