"""The cluster as it is now, for screens that are refreshed: what it costs does not grow with them.

What concerns all servers is made anew at most so often that it takes a small share of the door's
time; what is asked for beside it is a page. A master that does not lead tells what its tables say.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from gfs_ha.errors import InvalidArgument, NotInitialized
from gfs_ha.ids import ServerId
from gfs_ha.master.disk_room import Modes, Room, room_of
from gfs_ha.master.handlers.admin import health_of, server_rows, status_of
from gfs_ha.master.handlers.call import Slot
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.handlers.masters import FAILOVERS_SHOWN, master_rows, week_failovers
from gfs_ha.master.handlers.overview import ending_leases, job_rows, overview_of
from gfs_ha.master.observed import DEAD, LIVE, SUSPECT
from gfs_ha.master.planners.plan import cluster_ms
from gfs_ha.master.reign import Reign
from gfs_ha.master.state.jobs import jobs_below, running_jobs
from gfs_ha.master.state.records import Server
from gfs_ha.master.state.server_mode_records import ServerMode
from gfs_ha.master.state.server_modes import disk_modes
from gfs_ha.master.state.view import View
from gfs_ha.protocol.jobs import JobRow
from gfs_ha.protocol.live import (
    APPEND,
    CHUNKS,
    FILTER_BYTES_MAX,
    HEARTBEAT,
    LATENCY,
    LISTED_MAX,
    NAME,
    QUEUE,
    RACK,
    READ,
    SERVERS_PAGE_MAX,
    SORTS,
    STATE,
    UNHEARD,
    USED,
    WRITE,
    GetLive,
    LiveReport,
    LiveServer,
)
from gfs_ha.protocol.overview import Overview, ServerTotals
from gfs_ha.protocol.reports import HealthReport, StatusReport
from gfs_ha.protocol.server_modes import EMPTY, IN_SERVICE

_OFFSET_MAX = 1 << 20
_NUMBERS = re.compile(r"([0-9]+)")

_Found = tuple[ServerId, Server, ServerMode]


def get_live(desk: Desk, view: View, request: GetLive, slot: Slot) -> LiveReport:
    """Return the cluster as it is now, and a page of its servers."""
    _check(request)
    reign = desk.reign
    if reign is None:
        return _of_follower(desk, view, request)
    board = reign.board
    health, under_count = board.health.get(
        desk.now_s, lambda: health_of(desk, view, server_rows(desk, view))
    )
    overview = board.overview.get(desk.now_s, lambda: overview_of(desk, view))
    found = _fitting(desk, view, request.wanted)
    modes = disk_modes(view)
    page = _sorted(desk, found, request, modes)[request.offset : request.offset + request.limit]
    return LiveReport(
        status=status_of(desk, view, health, under_count),
        overview=overview,
        servers=tuple(_row(desk, view, one, modes) for one in page),
        matching=len(found),
        leases=tuple(ending_leases(desk, view, LISTED_MAX)),
        jobs=tuple(_jobs(desk, view)),
        answered_by=desk.name,
        leads=True,
    )


def _check(request: GetLive) -> None:
    if request.sort not in SORTS:
        raise InvalidArgument(f"servers are sorted by {', '.join(SORTS)}, not {request.sort!r}")
    if not 0 <= request.limit <= SERVERS_PAGE_MAX:
        raise InvalidArgument(f"a page has 0 to {SERVERS_PAGE_MAX} servers, not {request.limit}")
    if not 0 <= request.offset <= _OFFSET_MAX:
        raise InvalidArgument(f"a page begins at 0 to {_OFFSET_MAX}, not {request.offset}")
    if len(request.wanted.encode()) > FILTER_BYTES_MAX:
        raise InvalidArgument(f"a filter has at most {FILTER_BYTES_MAX} bytes")


def _fitting(desk: Desk, view: View, wanted: str) -> list[_Found]:
    """Return the servers that fit all words of a filter."""
    words = wanted.lower().split()
    found = []
    for server_id, server in view.servers():
        mode = view.server_mode(server_id)
        one = (server_id, server, mode)
        if words:
            facts = f"{server.name} {server.rack} {server.machine} {_state(desk, server_id)}"
            told = f"{facts} {mode.mode if mode.mode != IN_SERVICE else ''}".lower()
            if not all(word in told for word in words):
                continue
        found.append(one)
    return found


def _state(desk: Desk, server_id: ServerId) -> str:
    reign = desk.reign
    return UNHEARD if reign is None else reign.observed.state(server_id, desk.now_s())


def _sorted(desk: Desk, found: list[_Found], request: GetLive, modes: Modes) -> list[_Found]:
    """Return the servers in their order: numbers begin with the greatest, words with the first."""
    by_name = sorted(found, key=lambda one: natural_key(one[1].name))
    if request.sort == USED:
        by_name.sort(key=lambda one: _room(desk, one, modes).usage, reverse=True)
    elif request.sort != NAME:
        key = partial(_KEYS[request.sort], desk)
        by_name.sort(key=lambda one: key(one), reverse=request.sort not in _WORDS)
    return by_name[::-1] if request.reverse else by_name


def _room(desk: Desk, one: _Found, modes: Modes) -> Room:
    if desk.reign is None:
        return Room()
    return room_of(one[:2], desk.reign.observed, modes, one[2].mode)


def _row(desk: Desk, view: View, one: _Found, modes: Modes) -> LiveServer:
    server_id, server, mode = one
    room = _room(desk, one, modes)
    reign, now_s = desk.reign, desk.now_s()
    facts = None if reign is None else reign.observed.servers.get(server_id)
    if reign is None or facts is None:
        age_ms, rates, reason, maintenance = -1, None, "", bool(mode.maintenance_until_ms)
    else:
        age_ms = int(reign.observed.age_s(server_id, now_s) * 1000) if facts.beat else -1
        rates = reign.observed.loads.rates(server_id, now_s)
        now_ms = cluster_ms(view.counters(), now_s - reign.elected_s)
        maintenance = mode.in_maintenance(now_ms)
        reason = reign.observed.reason(server_id, now_s, maintenance, mode.mode in EMPTY)
    return LiveServer(
        server_id=server_id,
        name=server.name,
        rack=server.rack,
        state=_state(desk, server_id),
        mode=mode.mode,
        maintenance=maintenance,
        reason=reason,
        disk_usage=room.usage,
        free_bytes=room.free_bytes,
        total_bytes=room.total_bytes,
        chunk_count=facts.chunk_count if facts else 0,
        heartbeat_age_ms=age_ms,
        disk_count=len(server.disks),
        failed_disks=sum(bool(disk.failed) for disk in facts.disks) if facts else 0,
        rates=rates,
        disk_counts=room.disks,
    )


def natural_key(name: str) -> tuple[str | int, ...]:
    """Return what sorts cs2 before cs10."""
    parts = _NUMBERS.split(name)
    # Text and numbers take turns, so that like is compared with like.
    return tuple(int(part) if at % 2 else part for at, part in enumerate(parts))


def _amount(at: int, desk: Desk, one: _Found) -> float:
    reign = desk.reign
    return 0.0 if reign is None else reign.observed.loads.amounts(one[0], desk.now_s())[at]


def _latency(desk: Desk, one: _Found) -> float:
    reign = desk.reign
    if reign is None:
        return -1.0
    known = reign.board.latencies.get(desk.now_s, lambda: _latencies(reign, desk.now_s()))
    return known.get(one[0], -1.0)


def _latencies(reign: Reign, now_s: float) -> dict[ServerId, float]:
    """Return within which time 99 of 100 operations of each server end now."""
    found = {}
    for server_id in reign.observed.servers:
        rates = reign.observed.loads.rates(server_id, now_s)
        if rates is not None:
            kinds = (rates.read, rates.write, rates.append)
            found[server_id] = float(max(one.p99_us or -1 for one in kinds))
    return found


def _chunks(desk: Desk, one: _Found) -> int:
    reign = desk.reign
    facts = None if reign is None else reign.observed.servers.get(one[0])
    return -1 if facts is None else facts.chunk_count


def _age(desk: Desk, one: _Found) -> float:
    reign = desk.reign
    return 0.0 if reign is None else reign.observed.age_s(one[0], desk.now_s())


_STATES = (DEAD, SUSPECT, LIVE, UNHEARD)  # What wants a look comes first.
_WORDS = (RACK, STATE)
_KEYS: dict[str, Callable[[Desk, _Found], Any]] = {
    RACK: lambda desk, one: natural_key(one[1].rack),
    STATE: lambda desk, one: (_STATES.index(_state(desk, one[0])), one[2].mode == IN_SERVICE),
    HEARTBEAT: _age,
    CHUNKS: _chunks,
    READ: partial(_amount, 0),
    WRITE: partial(_amount, 1),
    APPEND: partial(_amount, 2),
    QUEUE: partial(_amount, 3),
    LATENCY: _latency,
}


def _of_follower(desk: Desk, view: View, request: GetLive) -> LiveReport:
    """Return what this master knows without leading: tables, and that it has heard nobody."""
    settings = view.settings()
    if settings is None:
        raise NotInitialized("the cluster has no settings yet; its first leader writes them")
    counters, raft = view.counters(), desk.proposer.status()
    status = StatusReport(
        cluster_id=settings.cluster_id,
        cluster_name=settings.cluster_name,
        leader=raft.leader or "",
        term=raft.term,
        incarnation=desk.incarnation,
        leader_age_ms=desk.leader_age_ms(raft),
        applied_index=raft.applied,
        masters=master_rows(desk),
        servers=(),
        chunks_by_copies={},
        chunk_count=counters.chunks,
        under_count=0,
        open_count=counters.open_chunks,
        sealing_count=counters.sealing_chunks,
        dead_count=counters.dead_chunks,
        file_count=counters.files,
        directory_count=counters.directories,
        session_count=counters.sessions,
        goal=settings.goal,
        chunk_bytes=settings.chunk_bytes,
        health=HealthReport(False, ()),
        failovers=tuple(view.led_terms(FAILOVERS_SHOWN)),
        failover_count=max(0, view.led_term_count() - 1),
        week_failovers=week_failovers(desk, view),
    )
    found = _fitting(desk, view, request.wanted)
    modes = disk_modes(view)
    page = _sorted(desk, found, request, modes)[request.offset : request.offset + request.limit]
    servers = view.servers()
    totals = ServerTotals(count=len(servers), racks=len({one.rack for _, one in servers}))
    return LiveReport(
        status=status,
        overview=Overview(wall_ns=desk.runtime.wall_ns(), servers=totals),
        servers=tuple(_row(desk, view, one, modes) for one in page),
        matching=len(found),
        leases=(),
        jobs=(),
        answered_by=desk.name,
        leads=False,
        age_ms=desk.proposer.freshness().age_ms(desk.now_s()),
    )


def _jobs(desk: Desk, view: View) -> list[JobRow]:
    """Return the jobs that have not ended, the newest first, and then those that ended last."""
    running = sorted(running_jobs(view), reverse=True)[:LISTED_MAX]
    rows = list(running)
    for number, job in jobs_below(view, 0):
        if len(rows) >= LISTED_MAX:
            break
        if job.ended:
            rows.append((number, job))
    return job_rows(desk, view, rows)
