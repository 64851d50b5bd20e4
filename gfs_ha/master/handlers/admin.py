"""What operators ask: reports from the tables, and from what the leader has heard."""

from __future__ import annotations

from itertools import islice

from gfs_ha.errors import InvalidArgument, NotInitialized
from gfs_ha.ids import ChunkId, ServerId, format_id
from gfs_ha.limits import LIST_PAGE_MAX, REPAIR_COPIES_MAX
from gfs_ha.master.census import Presence, counted, lost_disks, under_goal
from gfs_ha.master.handlers.call import Slot
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.handlers.growing import known_length, with_growth
from gfs_ha.master.handlers.masters import FAILOVERS_SHOWN, TERMS_SHOWN, master_rows
from gfs_ha.master.handlers.repair import repair_report
from gfs_ha.master.health import Symptoms, examine
from gfs_ha.master.observed import LIVE
from gfs_ha.master.placement import RULE
from gfs_ha.master.reign import Reign
from gfs_ha.master.state.records import DEAD, SEALED, Chunk, Replica, Server
from gfs_ha.master.state.tail_reads import tail_of
from gfs_ha.master.state.view import View
from gfs_ha.protocol.reports import (
    ChunkReport,
    ChunkRow,
    DiskRow,
    GetChunks,
    GetHealth,
    GetPlacement,
    GetServers,
    GetStatus,
    HealthReport,
    PlacedExtent,
    PlacementReport,
    ReplicaRow,
    ServerReport,
    ServerRow,
    StatusReport,
)

_UNDER_COUNTED_MAX = 1_000


def get_servers(desk: Desk, view: View, request: GetServers, slot: Slot) -> ServerReport:
    """Return the chunkservers."""
    return ServerReport(_server_rows(desk, view))


def get_chunks(desk: Desk, view: View, request: GetChunks, slot: Slot) -> ChunkReport:
    """Return one page of chunks; all, or those with fewer live copies than their goal."""
    _check_limit(request.limit)
    describer = _Describer(desk, view)
    if request.under:
        found, more = under_goal(view, describer.presence, request.after, request.limit)
    else:
        page = view.chunks_after(request.after, request.limit + 1)
        found, more = page[: request.limit], len(page) > request.limit
    return ChunkReport(tuple(describer.row(*one) for one in found), more)


def get_placement(desk: Desk, view: View, request: GetPlacement, slot: Slot) -> PlacementReport:
    """Return where the bytes of one file lie."""
    _check_limit(request.limit)
    status = view.open_file(request.path, 0, 1).status
    describer = _Describer(desk, view)
    items: list[PlacedExtent] = []
    more = False
    for extent in islice(view.extents(status.content_id, request.offset), request.limit + 1):
        if len(items) == request.limit:
            more = True
            break
        chunk = view.chunk(extent.chunk_id)
        assert chunk is not None, f"an extent in chunk {extent.chunk_id:#x}, which is not there"
        items.append(
            PlacedExtent(
                file_offset=extent.file_offset,
                length=extent.length,
                chunk_offset=extent.chunk_offset,
                chunk=describer.row(extent.chunk_id, chunk),
            )
        )
    tail = None if more else tail_of(view, status.inode_id)
    if tail is not None:
        chunk = view.chunk(tail.chunk_id)
        assert chunk is not None, f"the tail {tail.chunk_id:#x} is not there"
        row = describer.row(tail.chunk_id, chunk)
        items.append(PlacedExtent(tail.file_offset, row.length, 0, row))
    size = with_growth(desk, view, status).size
    return PlacementReport(request.path, size, RULE, tuple(items), more)


def get_health(desk: Desk, view: View, request: GetHealth, slot: Slot) -> HealthReport:
    """Return what is not as it should be."""
    return _health(desk, view, _server_rows(desk, view))[0]


def get_status(desk: Desk, view: View, request: GetStatus, slot: Slot) -> StatusReport:
    """Return the cluster on one screen."""
    reign = desk.leading()
    settings = view.settings()
    if settings is None:
        raise NotInitialized("the cluster has no settings yet; its first leader writes them")
    counters = view.counters()
    raft = desk.proposer.status()
    servers = _server_rows(desk, view)
    health, under_count = _health(desk, view, servers)
    return StatusReport(
        cluster_id=settings.cluster_id,
        cluster_name=settings.cluster_name,
        leader=desk.name,
        term=reign.epoch.term,
        incarnation=reign.epoch.incarnation,
        leader_age_ms=int((desk.now_s() - reign.elected_s) * 1000),
        applied_index=raft.applied,
        masters=master_rows(desk),
        servers=servers,
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
        failover_count=max(0, view.led_term_count() - 1),  # The first term was no failover.
    )


class _Describer:
    """Turns chunks into rows for people; each server is looked up once."""

    def __init__(self, desk: Desk, view: View) -> None:
        self._view = view
        self._desk = desk
        self._reign = desk.leading()
        self._now_s = desk.now_s()
        self._servers: dict[ServerId, Server | None] = {}
        self._blocked = desk.sealing().blocked()
        self.presence = Presence(
            self._live, lost_disks(view), frozenset(self._reign.observed.damage)
        )

    def _live(self, server_id: ServerId) -> bool:
        return self._reign.observed.state(server_id, self._now_s) == LIVE

    def row(self, chunk_id: ChunkId, chunk: Chunk) -> ChunkRow:
        """Return a chunk as operators see it."""
        counting = counted(chunk)
        return ChunkRow(
            chunk_id=chunk_id,
            state=chunk.state,
            length=chunk.length if chunk.state == SEALED else self._length(chunk),
            goal=chunk.goal,
            copies=self.presence.copies(chunk_id, chunk),
            durability=chunk.durability,
            kind=chunk.kind,
            claimed_by=chunk.claimed_by,
            replicas=tuple(
                ReplicaRow(
                    server_id=replica.server_id,
                    name=self._server_text(replica.server_id, "name"),
                    rack=self._server_text(replica.server_id, "rack"),
                    health=self._health(chunk_id, chunk, replica),
                    disk_id=replica.disk_id,
                )
                for replica in chunk.replicas
                if replica.server_id in counting
                or any(replica.server_id == one.server_id for one in chunk.copying + chunk.deleting)
                or self._reign.observed.quarantined(chunk_id, replica.server_id)
            ),
            blocked=self._blocked.get(chunk_id, ""),
        )

    def _length(self, chunk: Chunk) -> int:
        """Return how long a chunk is that is not sealed, as far as is known here."""
        tail = tail_of(self._view, chunk.tail_of) if chunk.tail_of else None
        return chunk.published_end if tail is None else known_length(self._desk, tail)

    def _server_text(self, server_id: ServerId, field: str) -> str:
        if server_id not in self._servers:
            self._servers[server_id] = self._view.server(server_id)
        server = self._servers[server_id]
        if server is None:
            return f"#{server_id}" if field == "name" else ""
        return server.name if field == "name" else server.rack

    def _health(self, chunk_id: ChunkId, chunk: Chunk, replica: Replica) -> str:
        server_id = replica.server_id
        if (server_id, replica.disk_id) in self.presence.lost:
            return "dead"
        if chunk.state == DEAD:
            return "deleting"
        if any(server_id == one.server_id for one in chunk.copying):
            return "copying"
        if any(server_id == one.server_id for one in chunk.deleting):
            return "deleting"
        if self._reign.observed.quarantined(chunk_id, server_id):
            return "quarantined"
        if (chunk_id, server_id) in self._reign.observed.damage:
            return "damaged"
        return self._reign.observed.state(server_id, self._now_s)


def _server_rows(desk: Desk, view: View) -> tuple[ServerRow, ...]:
    reign = desk.leading()
    now_s = desk.now_s()
    return tuple(
        _server_row(reign, view, server_id, server, now_s) for server_id, server in view.servers()
    )


def _server_row(
    reign: Reign, view: View, server_id: ServerId, server: Server, now_s: float
) -> ServerRow:
    facts = reign.observed.servers.get(server_id)
    heard = facts is not None and facts.beat > 0
    return ServerRow(
        server_id=server_id,
        name=server.name,
        host=server.host,
        port=server.port,
        rack=server.rack,
        machine=server.machine,
        state=reign.observed.state(server_id, now_s),
        disk_usage=facts.disk_usage if facts else 0.0,
        chunk_count=facts.chunk_count if facts else 0,
        replica_count=view.replica_count(server_id),
        free_bytes=facts.free_bytes if facts else 0,
        total_bytes=facts.total_bytes if facts else 0,
        heartbeat_age_ms=int(reign.observed.age_s(server_id, now_s) * 1000) if heard else -1,
        timestamp=facts.timestamp if facts else 0,
        disks=tuple(
            DiskRow(disk.disk_id, disk.total_bytes, disk.free_bytes, disk.chunk_count, disk.failed)
            for disk in (facts.disks if facts else ())
        ),
    )


def _health(desk: Desk, view: View, servers: tuple[ServerRow, ...]) -> tuple[HealthReport, int]:
    """Return the findings, and how many chunks have too few copies (at least, if very many)."""
    reign = desk.leading()
    describer = _Describer(desk, view)
    under, more = under_goal(view, describer.presence, ChunkId(0), _UNDER_COUNTED_MAX)
    stats = desk.kv.stats()
    settings = desk.config.settings
    observed = reign.observed
    free_bytes, total_bytes = desk.disk_room()
    report = examine(
        Symptoms(
            raft=desk.proposer.status(),
            settings=view.settings(),
            file_settings=(settings.chunk_bytes, settings.goal, settings.min_copies),
            servers=servers,
            clocks_ahead_ms={
                server.name: observed.servers[server.server_id].clock_ahead_ms
                for server in servers
                if server.server_id in observed.servers
            },
            under_count=len(under),
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
            led_since_ms=tuple(term.since_ms for term in view.led_terms(TERMS_SHOWN)),
        )
    )
    return report, len(under)


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


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= LIST_PAGE_MAX:
        raise InvalidArgument(f"a page has 1 to {LIST_PAGE_MAX} rows, not {limit}")
