"""What operators ask about chunks and their replicas: which there are, how they are, and why."""

from __future__ import annotations

from functools import cached_property
from itertools import chain

from gfs_ha.errors import InvalidArgument, UnknownChunk
from gfs_ha.ids import ChunkId, DiskId, ServerId, format_id
from gfs_ha.limits import LIST_PAGE_MAX, ORPHANS_MAX
from gfs_ha.master.census import Presence, counted, lost_disks
from gfs_ha.master.handlers.call import Slot
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.handlers.growing import known_length
from gfs_ha.master.observed import LIVE
from gfs_ha.master.repairing import failed_disks
from gfs_ha.master.state.records import DEAD, SEALED, Chunk, Replica, Server
from gfs_ha.master.state.tail_reads import tail_of
from gfs_ha.master.state.view import View
from gfs_ha.master.troubles import (
    Heard,
    Strays,
    chunks_in_trouble,
    is_short,
    listed_by_chunk,
    strays_by_chunk,
    troubles_of,
)
from gfs_ha.protocol.control import OpenReplica
from gfs_ha.protocol.damage import (
    SHOWN_MAX,
    TROUBLES,
    UNDER,
    UNKNOWN,
    ChunkDetail,
    ChunkDetails,
    ShowChunks,
)
from gfs_ha.protocol.reports import ChunkReport, ChunkRow, GetChunks, ReplicaRow

_COUNTS_NOT = "does not count: it came late, or was lost before"
_NO_ROW = "the tables place no copy there"
_OPEN = ("open", "fenced")


def get_chunks(desk: Desk, view: View, request: GetChunks, slot: Slot) -> ChunkReport:
    """Return one page of chunks; all, or those in some kind of trouble."""
    check_limit(request.limit)
    describer = Describer(desk, view)
    wanted = {*request.kinds, *((UNDER,) if request.under else ())}
    strange = wanted.difference(TROUBLES)
    if strange:
        raise InvalidArgument(f"{', '.join(sorted(strange))}: there is {', '.join(TROUBLES)}")
    found: list[tuple[ChunkId, Chunk | None]]
    if wanted:
        known = (describer.presence, describer.heard)
        place = (request.after, request.limit)
        found, after, more = chunks_in_trouble(view, wanted, known, place)
    else:
        page = view.chunks_after(request.after, request.limit + 1)
        more = len(page) > request.limit
        found = [*page[: request.limit]]
        after = found[-1][0] if found else request.after
    rows = tuple(describer.row_of(chunk_id, chunk) for chunk_id, chunk in found)
    return ChunkReport(rows, more, after)


def show_chunks(desk: Desk, view: View, request: ShowChunks, slot: Slot) -> ChunkDetails:
    """Return all that is known of some chunks. Raises: UnknownChunk."""
    if not 1 <= len(request.chunk_ids) <= SHOWN_MAX:
        raise InvalidArgument(f"1 to {SHOWN_MAX} chunks, not {len(request.chunk_ids)}")
    describer = Describer(desk, view)
    return ChunkDetails(tuple(describer.detail(chunk_id) for chunk_id in request.chunk_ids))


def check_limit(limit: int) -> None:
    """Raise InvalidArgument unless a page may have so many rows."""
    if not 1 <= limit <= LIST_PAGE_MAX:
        raise InvalidArgument(f"a page has 1 to {LIST_PAGE_MAX} rows, not {limit}")


class Describer:
    """Turns chunks into rows for people; each server is looked up once."""

    def __init__(self, desk: Desk, view: View) -> None:
        self._view = view
        self._desk = desk
        self._reign = desk.leading()
        self._now_s = desk.now_s()
        settings = view.settings()
        self._usual_rule = "" if settings is None else settings.rule
        self._servers: dict[ServerId, Server | None] = {}
        observed = self._reign.observed
        self._left_behind = lost_disks(view)
        lost = self._left_behind | failed_disks(observed.servers)
        self.presence = Presence(self._live, lost, frozenset(observed.damage))

    @cached_property
    def heard(self) -> Heard:
        """Return what was heard beyond the tables; who only counts copies needs none of it."""
        servers = self._reign.observed.servers.items()
        return Heard(
            listed_by_chunk({one: facts.unsettled for one, facts in servers}),
            self._desk.sealing().blocked(),
            lambda: self._strays,
        )

    @cached_property
    def _strays(self) -> Strays:
        orphans = ((place[2], place[0]) for place, _ in self._view.orphans(None, ORPHANS_MAX))
        return strays_by_chunk(chain(orphans, self._reign.strays))

    def _live(self, server_id: ServerId) -> bool:
        return self._reign.observed.state(server_id, self._now_s) == LIVE

    def row_of(self, chunk_id: ChunkId, chunk: Chunk | None) -> ChunkRow:
        """Return a chunk, or what servers hold of one without a row, as operators see it."""
        if chunk is not None:
            return self.row(chunk_id, chunk)
        replicas = self._others(chunk_id, None, set())
        ends = [replica.end for _, replica in self.heard.listed.get(chunk_id, ())]
        troubles = troubles_of(chunk_id, None, self.presence, self.heard)
        facts = (chunk_id, UNKNOWN, max(ends, default=0), 0, 0)
        return ChunkRow(*facts, "", "", 0, replicas, troubles=troubles)

    def row(self, chunk_id: ChunkId, chunk: Chunk, every_replica: bool = False) -> ChunkRow:
        """Return a chunk as operators see it; with the places that do not count if so wanted."""
        shown = [
            replica
            for replica in chunk.replicas
            if every_replica or self._worth_showing(chunk_id, chunk, replica)
        ]
        replicas = [self._replica_row(chunk_id, chunk, replica) for replica in shown]
        if every_replica or chunk.state == DEAD:
            replicas += self._others(chunk_id, chunk, {one.server_id for one in shown})
        return ChunkRow(
            chunk_id=chunk_id,
            state=chunk.state,
            length=chunk.length if chunk.state == SEALED else self._length(chunk),
            goal=chunk.goal,
            copies=self.presence.copies(chunk_id, chunk),
            durability=chunk.durability,
            kind=chunk.kind,
            claimed_by=chunk.claimed_by,
            replicas=tuple(replicas),
            blocked=self.heard.blocked.get(chunk_id, ""),
            troubles=troubles_of(chunk_id, chunk, self.presence, self.heard),
            rule=chunk.rule or self._usual_rule,
        )

    def detail(self, chunk_id: ChunkId) -> ChunkDetail:
        """Return all that is known of a chunk. Raises: UnknownChunk."""
        chunk = self._view.chunk(chunk_id)
        if chunk is None:
            row = self.row_of(chunk_id, None)
            if not row.replicas:
                raise UnknownChunk(f"there is no chunk {format_id(chunk_id)}")
            return ChunkDetail(row, "", 0, 0, 0, 0, 0, 0, "", False)
        tail = tail_of(self._view, chunk.tail_of) if chunk.tail_of else None
        return ChunkDetail(
            row=self.row(chunk_id, chunk, every_replica=True),
            birth=str(chunk.birth),
            capacity=chunk.capacity,
            min_copies=chunk.min_copies,
            published_end=chunk.published_end,
            digest=chunk.digest,
            sealed_index=chunk.sealed_index,
            begin_index=chunk.begin_index,
            reason=chunk.reason,
            referenced=self._view.referenced(chunk_id),
            path=tail.path if tail is not None else "",
        )

    def _worth_showing(self, chunk_id: ChunkId, chunk: Chunk, replica: Replica) -> bool:
        server_id = replica.server_id
        busy = any(server_id == one.server_id for one in chunk.copying + chunk.deleting)
        damaged = (chunk_id, server_id) in self.presence.damaged
        short = self._short(chunk_id, chunk, server_id) is not None
        return server_id in counted(chunk) or busy or damaged or short

    def _replica_row(self, chunk_id: ChunkId, chunk: Chunk, replica: Replica) -> ReplicaRow:
        health, why = self._health(chunk_id, chunk, replica)
        server_id = replica.server_id
        name, rack = self._server_text(server_id)
        return ReplicaRow(server_id, name, rack, health, replica.disk_id, why)

    def _others(
        self, chunk_id: ChunkId, chunk: Chunk | None, but: set[ServerId]
    ) -> tuple[ReplicaRow, ...]:
        """Return the replicas that servers hold although the tables place none there."""
        found: dict[ServerId, tuple[str, DiskId]] = {}
        for server_id in self.heard.strays().get(chunk_id, ()):
            found[server_id] = ("sealed", DiskId(0))
        for server_id, replica in self.heard.listed.get(chunk_id, ()):
            found[server_id] = (replica.state, replica.disk_id)
        rows = []
        for server_id in sorted(found.keys() - but):
            state, disk_id = found[server_id]
            why = "no such chunk is in the tables" if chunk is None else _NO_ROW
            rows.append(ReplicaRow(server_id, *self._server_text(server_id), state, disk_id, why))
        return tuple(rows)

    def _length(self, chunk: Chunk) -> int:
        """Return how long a chunk is that is not sealed, as far as is known here."""
        tail = tail_of(self._view, chunk.tail_of) if chunk.tail_of else None
        return chunk.published_end if tail is None else known_length(self._desk, tail)

    def _server_text(self, server_id: ServerId) -> tuple[str, str]:
        if server_id not in self._servers:
            self._servers[server_id] = self._view.server(server_id)
        server = self._servers[server_id]
        return (f"#{server_id}", "") if server is None else (server.name, server.rack)

    def _short(self, chunk_id: ChunkId, chunk: Chunk, server_id: ServerId) -> OpenReplica | None:
        """Return what a server lists of a sealed chunk, if it has fewer bytes."""
        for one, replica in self.heard.listed.get(chunk_id, ()):
            if one == server_id and is_short(chunk, one, replica):
                return replica
        return None

    def _health(self, chunk_id: ChunkId, chunk: Chunk, replica: Replica) -> tuple[str, str]:
        """Return the state of a replica, and what is to be said about it."""
        server_id = replica.server_id
        observed = self._reign.observed
        if (server_id, replica.disk_id) in self._left_behind:
            return "dead", "its server came back without the disk"
        if (server_id, replica.disk_id) in self.presence.lost:
            return "dead", "its disk failed and is out of service"
        if chunk.state == DEAD:
            return "deleting", "the chunk is dead"
        copying = next((one for one in chunk.copying if one.server_id == server_id), None)
        if copying is not None and server_id not in chunk.holders:
            return "copying", self._progress(chunk_id, chunk, server_id)
        if any(server_id == one.server_id for one in chunk.deleting):
            return "deleting", "there are enough copies elsewhere"
        problem = observed.damage.get((chunk_id, server_id))
        if observed.quarantined(chunk_id, server_id):
            return "quarantined", "it has other bytes than the chunk: kept, and never served"
        if problem is not None:
            return "damaged", problem
        short = self._short(chunk_id, chunk, server_id)
        if short is not None:
            return "short", f"{short.end} of {chunk.length} bytes are there"
        state = observed.state(server_id, self._now_s)
        if state != LIVE:
            age_s = observed.age_s(server_id, self._now_s)
            return state, f"its server has been silent for {age_s:.0f} s"
        if server_id not in counted(chunk):
            return "late", _COUNTS_NOT
        return state, self._remark(chunk_id, chunk, server_id)

    def _progress(self, chunk_id: ChunkId, chunk: Chunk, server_id: ServerId) -> str:
        facts = self._reign.observed.servers.get(server_id)
        for copy in facts.copies if facts is not None else ():
            if copy.chunk_id == chunk_id:
                return f"{copy.bytes_done} of {chunk.length} bytes are copied"
        return "the copy is ordered and has not begun"

    def _remark(self, chunk_id: ChunkId, chunk: Chunk, server_id: ServerId) -> str:
        """Return what is to be said of a copy that counts."""
        trouble = self._reign.observed.problems.get((chunk_id, server_id), "")
        if trouble:
            return f"somebody said: {trouble}"
        for one, replica in self.heard.listed.get(chunk_id, ()):
            if one == server_id and chunk.state == SEALED and replica.state in _OPEN:
                return "its server has not stamped it as sealed yet"
        return ""
