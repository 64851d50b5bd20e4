"""The cluster in a few numbers: what the leader has heard of servers, and what tables count."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gfs_ha.ids import InodeId, ServerId
from gfs_ha.limits import REPAIR_COPIES_MAX
from gfs_ha.master.census import bucketed
from gfs_ha.master.disk_room import room_of
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.handlers.jobs import job_row
from gfs_ha.master.handlers.leases import lease_row
from gfs_ha.master.handlers.repair import repair_report
from gfs_ha.master.observed import DEAD, LIVE, SUSPECT
from gfs_ha.master.planners.plan import cluster_ms
from gfs_ha.master.state.job_records import Job
from gfs_ha.master.state.jobs import running_jobs
from gfs_ha.master.state.records import Server
from gfs_ha.master.state.server_modes import disk_modes
from gfs_ha.master.state.tail_reads import leases, tails_of_server
from gfs_ha.master.state.view import View
from gfs_ha.protocol.append import LeaseRow
from gfs_ha.protocol.disk_counts import DiskCounts
from gfs_ha.protocol.jobs import JobRow
from gfs_ha.protocol.overview import (
    LEASE_ENDS_SOON_MS,
    GoalRow,
    LeaseTotals,
    Overview,
    RepairTotals,
    ServerTotals,
)
from gfs_ha.protocol.server_modes import EMPTY, LEAVING

_SILENT_NAMED = 6
_JOBS_SHOWN = 8
_FIRST = InodeId(0)


def overview_of(desk: Desk, view: View) -> Overview:
    """Return the cluster in a few numbers, as the leader knows it. Raises: NotLeader."""
    reign, now_s = desk.leading(), desk.now_s()
    servers = view.servers()
    load, measured = reign.observed.loads.together((one for one, _ in servers), now_s)
    counts = sorted(reign.census.goals.items())
    running = sorted(running_jobs(view), reverse=True)
    return Overview(
        wall_ns=desk.runtime.wall_ns(),
        servers=server_totals(desk, view, servers),
        load=load,
        measured=measured,
        goals=tuple(GoalRow(goal, bucketed(chunks), tuple(chunks)) for goal, chunks in counts),
        leases=lease_totals(desk, view),
        repair=repair_totals(desk, view),
        jobs=len(running),
        running=tuple(job_rows(desk, view, running[:_JOBS_SHOWN])),
    )


def server_totals(desk: Desk, view: View, servers: list[tuple[ServerId, Server]]) -> ServerTotals:
    """Return the chunkservers by state and mode, and their room. Raises: NotLeader."""
    reign, now_s = desk.leading(), desk.now_s()
    observed = reign.observed
    now_ms = cluster_ms(view.counters(), now_s - reign.elected_s)
    states = dict.fromkeys((LIVE, SUSPECT, DEAD), 0)
    leaving = left = maintenance = total = free = unheard = 0
    silent: dict[str, list[str]] = {SUSPECT: [], DEAD: []}
    usages: list[tuple[float, str]] = []
    modes, disks = disk_modes(view), DiskCounts()
    for server_id, server in servers:
        state = observed.state(server_id, now_s)
        states[state] += 1
        if state != LIVE:
            silent[state].append(server.name)
        mode = view.server_mode(server_id)
        leaving += mode.mode in LEAVING
        left += mode.mode in EMPTY
        maintenance += mode.in_maintenance(now_ms)
        facts = observed.servers.get(server_id)
        if facts is not None and facts.disks and state != DEAD:  # To the next leader it has none.
            room = room_of((server_id, server), observed, modes, mode.mode)
            disks += room.disks
            total += room.total_bytes
            free += room.free_bytes
            if room.total_bytes:
                usages.append((room.usage, server.name))
        else:
            unheard += state != DEAD
    low, high = min(usages, default=(0.0, "")), max(usages, default=(0.0, ""))
    return ServerTotals(
        count=len(servers),
        live=states[LIVE],
        suspect=states[SUSPECT],
        dead=states[DEAD],
        leaving=leaving,
        left=left,
        maintenance=maintenance,
        racks=len({server.rack for _, server in servers}),
        total_bytes=total,
        free_bytes=free,
        low=low[1],
        low_usage=low[0],
        high=high[1],
        high_usage=high[0],
        suspects=tuple(silent[SUSPECT][:_SILENT_NAMED]),
        gone=tuple(silent[DEAD][:_SILENT_NAMED]),
        unheard=unheard,
        disks=disks,
    )


def job_rows(desk: Desk, view: View, jobs: Iterable[tuple[int, Job]]) -> list[JobRow]:
    """Return jobs as operators see them, without what blocks them."""
    return [
        msgspec.structs.replace(job_row(desk, view, number, job), blockers=())
        for number, job in jobs
    ]


def lease_totals(desk: Desk, view: View) -> LeaseTotals:
    """Return how many may order appends now. Raises: NotLeader."""
    held = leases_by_end(desk, view)
    return LeaseTotals(
        tails=view.counters().tails,
        holders=len(held),
        ending=sum(count for left, _, count in held if left < LEASE_ENDS_SOON_MS),
    )


def leases_by_end(desk: Desk, view: View) -> list[tuple[int, ServerId, int]]:
    """Return all leases, those that end first before others: ms left, who, of how many tails."""
    now_ms = cluster_ms(view.counters(), desk.now_s() - desk.leading().elected_s)
    return sorted(
        (max(0, lease.until_ms - now_ms), server_id, lease.tail_count)
        for server_id, lease in leases(view)
    )


def ending_leases(desk: Desk, view: View, limit: int) -> list[LeaseRow]:
    """Return the tails whose leases end first."""
    rows: list[LeaseRow] = []
    for _, server_id, _ in leases_by_end(desk, view):
        found = tails_of_server(view, server_id, _FIRST, limit - len(rows))
        rows += [lease_row(desk, view, inode_id, tail) for inode_id, tail in found]
        if len(rows) >= limit:
            break
    return rows


def repair_totals(desk: Desk, view: View) -> RepairTotals:
    """Return what repair still has to do. Raises: NotLeader."""
    report = repair_report(desk, view, REPAIR_COPIES_MAX)
    return RepairTotals(
        chunks=report.chunk_count,
        copies=report.copy_count,
        lacking_bytes=report.lacking_bytes,
        lost=report.lost_count,
        bytes_per_s=report.bytes_per_s,
        eta_ms=report.eta_ms,
        hold=report.hold,
        misplaced=report.misplaced_count,
        unplaced=report.unplaced_copies,
    )
