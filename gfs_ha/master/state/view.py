"""Typed reads of the replicated state, for steps, handlers and planners; one moment of it.

Every list is bounded by a `limit` and goes on `after` the last key, so that nobody scans for long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

from gfs_ha.errors import FileChanged, InvalidArgument, IsADirectory, NotADirectory
from gfs_ha.ids import NO_SESSION, ChunkId, ContentId, DiskId, InodeId, ServerId, SessionId
from gfs_ha.kv.ordered import Reader
from gfs_ha.limits import LIST_PAGE_MAX
from gfs_ha.master.state import names, tables
from gfs_ha.master.state.garbage_records import Orphan, Reclaimed
from gfs_ha.master.state.locations import LocationReader
from gfs_ha.master.state.records import (
    Chunk,
    Counters,
    Inode,
    InternalErrors,
    LedTermRow,
    RepairBudget,
    Server,
    Session,
    Settings,
    StateCheck,
)
from gfs_ha.master.state.rows import Rows
from gfs_ha.master.state.server_mode_records import IN_SERVICE_ROW, DiskMode, ServerMode
from gfs_ha.master.state.tables import RowTable, below, extent_key, id_key, read_id
from gfs_ha.protocol.metadata import (
    DIRECTORY,
    FILE,
    ChunkLocations,
    DirectoryEntry,
    Extent,
    FileOpened,
    FileStatus,
    Listing,
    Location,
)
from gfs_ha.protocol.reports import LedTerm

Row = TypeVar("Row")
Id = TypeVar("Id", bound=int)

OrphanPlace = tuple[ServerId, DiskId, ChunkId]


class View:
    """One moment of the state. Not thread-safe; lives no longer than its read transaction."""

    __slots__ = ("_goal", "rows")

    def __init__(self, source: Reader | Rows) -> None:
        self.rows = source if isinstance(source, Rows) else Rows(source)
        self._goal = 0

    # The cluster ------------------------------------------------------------------------------

    def settings(self) -> Settings | None:
        """Return the replicated settings; None before InitCluster."""
        return self.rows.get(tables.SETTINGS, tables.ONLY)

    def counters(self) -> Counters:
        """Return what is counted: files, chunks by state and copies, sessions, cluster time."""
        return self.rows.get(tables.COUNTERS, tables.ONLY) or Counters()

    def internal_errors(self) -> InternalErrors | None:
        """Return how often a step failed by our own mistake; None = never."""
        return self.rows.get(tables.INTERNAL_ERRORS, tables.ONLY)

    def state_check(self) -> StateCheck | None:
        """Return how the newest comparison of the masters' states ended; None = never done."""
        return self.rows.get(tables.STATE_CHECKS, tables.ONLY)

    def led_terms(self, limit: int) -> list[LedTerm]:
        """Return the newest terms that led, newest first."""
        found = self.rows.scan(tables.LED_TERMS, reverse=True)
        return [_led_term(key, row) for key, row in islice(found, limit)]

    def led_term_count(self) -> int:
        """Return how many terms that led are recorded."""
        return sum(1 for _ in self.rows.scan(tables.LED_TERMS))

    def led_since(self, since_ns: int) -> int:
        """Return how many of the recorded terms were led since then, by the leaders' clocks."""
        found = self.rows.scan(tables.LED_TERMS)
        return sum(row.since_wall_ns >= since_ns for _, row in found)  # Their clocks may differ.

    # Names and contents -----------------------------------------------------------------------

    def resolve(self, path: str) -> names.Found:
        """Return (inode_id, kind) of a path. Raises: NotFound, NotADirectory, InvalidPath."""
        return names.resolve(self.rows, path)

    def inode(self, inode_id: InodeId) -> Inode | None:
        return self.rows.get(tables.INODES, id_key(inode_id))

    def status(self, path: str) -> FileStatus:
        """Return the facts of a path. Raises: NotFound, NotADirectory, InvalidPath."""
        inode_id = self.resolve(path).inode_id
        found = self.status_of(inode_id)
        assert found is not None, f"a name without inode {inode_id}"
        return found

    def status_of(self, inode_id: InodeId) -> FileStatus | None:
        """Return the facts of an inode; None when there is none (any more)."""
        row = self.inode(inode_id)
        return None if row is None else self.describe(inode_id, row)

    def describe(self, inode_id: InodeId, row: Inode) -> FileStatus:
        """Return an inode's row as it is told to clients."""
        goal = row.goal
        if not goal and row.kind == FILE:
            goal = self._default_goal()
        return FileStatus(
            inode_id=inode_id,
            kind=row.kind,
            size=row.size,
            mode=row.mode,
            owner=row.owner,
            group=row.group,
            mtime_ns=row.mtime_ns,
            content_id=row.content_id,
            generation=row.generation,
            goal=goal,
            entry_count=row.entry_count,
        )

    def _default_goal(self) -> int:
        if not self._goal:
            settings = self.settings()
            self._goal = settings.goal if settings else 0
        return self._goal

    def list_page(self, path: str, after: str, limit: int) -> Listing:
        """Return at most `limit` names above `after`, in byte order. A file is NotADirectory."""
        if not 1 <= limit <= LIST_PAGE_MAX:
            raise InvalidArgument(f"a page has 1 to {LIST_PAGE_MAX} entries, not {limit}")
        found = self.resolve(path)
        if found.kind != DIRECTORY:
            raise NotADirectory(f"{path} is a file, not a directory")
        page = list(islice(self.entries(found.inode_id, after), limit + 1))
        listed = []
        for name, inode_id in page[:limit]:
            status = self.status_of(inode_id)
            assert status is not None, f"name {name!r} without inode {inode_id}"
            listed.append(DirectoryEntry(name, status))
        return Listing(tuple(listed), more=len(page) > limit)

    def entries(self, directory: InodeId, after: str = "") -> Iterator[tuple[str, InodeId]]:
        """Yield (name, inode) of a directory above `after`; not to be used while writing."""
        start, end = below(id_key(directory))
        if after:
            start = tables.dentry_key(directory, after) + b"\0"
        for key, row in self.rows.scan(tables.DENTRIES, start, end):
            yield tables.dentry_name(key), row.inode_id

    def open_file(self, path: str, offset: int, limit: int) -> FileOpened:
        """Return the file's status and its extents from `offset` on (F3).

        Raises: NotFound, NotADirectory, IsADirectory, InvalidPath.
        """
        found = self.resolve(path)
        row = self.inode(found.inode_id)
        assert row is not None, f"a name without inode {found.inode_id}"
        if row.kind != FILE:
            raise IsADirectory(f"{path} is a directory")
        return self._opened(found.inode_id, row, offset, limit)

    def read_extents(
        self, inode_id: InodeId, pinned: tuple[ContentId, int], offset: int, limit: int
    ) -> FileOpened:
        """Return the next extents of a pinned (content, generation). Raises: FileChanged."""
        row = self.inode(inode_id)
        if row is None or (row.content_id, row.generation) != pinned:
            raise FileChanged("the file was replaced or removed while it was read; start over")
        return self._opened(inode_id, row, offset, limit)

    def _opened(self, inode_id: InodeId, row: Inode, offset: int, limit: int) -> FileOpened:
        if not 1 <= limit <= LIST_PAGE_MAX or not 0 <= offset < 1 << 63:
            raise InvalidArgument(f"offset {offset} or limit {limit} is out of range")
        found = list(islice(self.extents(row.content_id, offset), limit + 1))
        chosen = found[:limit]
        locations = self.locate(dict.fromkeys(extent.chunk_id for extent in chosen))
        return FileOpened(
            self.describe(inode_id, row), tuple(chosen), tuple(locations), more=len(found) > limit
        )

    def extents(self, content_id: ContentId, offset: int = 0) -> Iterator[Extent]:
        """Yield the extents of a content in order, from the one that holds `offset` on."""
        start = extent_key(content_id, offset)
        low, end = below(id_key(content_id))
        if offset:
            for key, row in self.rows.scan(tables.EXTENTS, low, start, reverse=True):
                if tables.read_pair(key)[1] + row.length > offset:
                    start = key
                break
        for key, row in self.rows.scan(tables.EXTENTS, start, end):
            file_offset = tables.read_pair(key)[1]
            yield Extent(file_offset, row.chunk_id, row.chunk_offset, row.length, row.crc)

    # Chunks -----------------------------------------------------------------------------------

    def chunk(self, chunk_id: ChunkId) -> Chunk | None:
        return self.rows.get(tables.CHUNKS, id_key(chunk_id))

    def locate(self, chunk_ids: Iterable[ChunkId]) -> list[ChunkLocations]:
        """Return where the chunks lie that are alive: holders once sealed, else the whole set."""
        reader = LocationReader(self.rows)
        found = (reader.locate(chunk_id) for chunk_id in chunk_ids)
        return [locations for locations in found if locations is not None]

    def chunks_after(self, after: ChunkId, limit: int) -> list[tuple[ChunkId, Chunk]]:
        """Return chunks with an id above `after`, dead ones too."""
        return self._page(tables.CHUNKS, ChunkId, after, limit)

    def under_goal(self, after: ChunkId, limit: int) -> list[tuple[ChunkId, Chunk]]:
        """Return alive chunks with fewer recorded copies than their goal, above `after`."""
        return self._indexed(tables.UNDER_CHUNKS, after, limit)

    def open_or_sealing(self, after: ChunkId, limit: int) -> list[tuple[ChunkId, Chunk]]:
        """Return the chunks that are not sealed yet, above `after`."""
        return self._indexed(tables.UNSEALED_CHUNKS, after, limit)

    def dead_chunks(self, after: ChunkId, limit: int) -> list[tuple[ChunkId, Chunk]]:
        """Return the dead chunks of which a replica may still exist, above `after`."""
        return self._indexed(tables.DEAD_CHUNKS, after, limit)

    def busy_chunks(self, after: ChunkId, limit: int) -> list[tuple[ChunkId, Chunk]]:
        """Return the chunks that are being copied, or of which a copy is deleted, above `after`."""
        return self._indexed(tables.BUSY_CHUNKS, after, limit)

    def surplus_chunks(self, after: ChunkId, limit: int) -> list[tuple[ChunkId, Chunk]]:
        """Return sealed chunks with more copies than wanted, or places that do not count."""
        return self._indexed(tables.SURPLUS_CHUNKS, after, limit)

    def leaving_chunks(self, after: ChunkId, limit: int) -> list[tuple[ChunkId, Chunk]]:
        """Return chunks of which a copy of a job is made and who leaves for it is there still."""
        return self._indexed(tables.LEAVING_CHUNKS, after, limit)

    def punching_chunks(self, after: ChunkId, limit: int) -> list[tuple[ChunkId, Chunk]]:
        """Return chunks whose holders still have to give blocks back, above `after` (G8)."""
        return self._indexed(tables.PUNCHING_CHUNKS, after, limit)

    def compacting_chunks(self, after: ChunkId, limit: int) -> list[tuple[ChunkId, Chunk]]:
        """Return chunks of which what lives is being copied into another one, above `after`."""
        return self._indexed(tables.COMPACTING_CHUNKS, after, limit)

    def orphan(self, server_id: ServerId, disk_id: DiskId, chunk_id: ChunkId) -> Orphan | None:
        """Return what is known of a replica without a chunk; None = it was not noted."""
        return self.rows.get(tables.ORPHANS, tables.replica_key(server_id, disk_id, chunk_id))

    def orphans(self, after: OrphanPlace | None, limit: int) -> list[tuple[OrphanPlace, Orphan]]:
        """Return noted replicas without a chunk above `after`, by server and disk."""
        start = b"" if after is None else tables.replica_key(*after) + b"\0"
        found = islice(self.rows.scan(tables.ORPHANS, start), limit)
        return [(tables.read_replica_key(key), row) for key, row in found]

    def reclaimed(self) -> dict[str, Reclaimed]:
        """Return what disks got back, by reason."""
        return {key.decode(): row for key, row in self.rows.scan(tables.RECLAIMED)}

    def repair_budget(self) -> RepairBudget | None:
        """Return what an operator allowed repair to take; None = the usual."""
        return self.rows.get(tables.REPAIR_BUDGET, tables.ONLY)

    def replicas_of(
        self, server_id: ServerId, after: tuple[DiskId, ChunkId] | None, limit: int
    ) -> list[tuple[DiskId, ChunkId]]:
        """Return (disk, chunk) of a server's replicas above `after`, in that order."""
        start, end = below(id_key(server_id))
        if after is not None:
            start = tables.replica_key(server_id, *after) + b"\0"
        found = self.rows.scan(tables.REPLICAS_BY_SERVER, start, end)
        return [tables.read_replica_key(key)[1:] for key, _ in islice(found, limit)]

    def replica_count(self, server_id: ServerId) -> int:
        """Return how many replicas the chunk table places on a server."""
        row = self.rows.get(tables.REPLICA_COUNTS, id_key(server_id))
        return 0 if row is None else row.count

    def referenced(self, chunk_id: ChunkId) -> bool:
        """Return whether any content refers to bytes of the chunk (F4)."""
        found = self.rows.scan(tables.REFERENCES, *below(id_key(chunk_id)))
        return next(found, None) is not None

    # Servers ----------------------------------------------------------------------------------

    def servers(self) -> list[tuple[ServerId, Server]]:
        """Return all registered servers; there are at most SERVERS_MAX."""
        found = self.rows.scan(tables.SERVERS)
        return [(ServerId(read_id(key)), row) for key, row in found]

    def server(self, server_id: ServerId) -> Server | None:
        return self.rows.get(tables.SERVERS, id_key(server_id))

    def server_mode(self, server_id: ServerId) -> ServerMode:
        """Return how a server stands; in service without a row."""
        return self.rows.get(tables.SERVER_MODES, id_key(server_id)) or IN_SERVICE_ROW

    def disk_mode(self, server_id: ServerId, disk_id: DiskId) -> DiskMode | None:
        """Return how a disk stands that is on its way out; None = it is in service."""
        return self.rows.get(tables.DISK_MODES, tables.pair_key(server_id, disk_id))

    def location(self, server_id: ServerId) -> Location | None:
        """Return how to reach a server; None when there is no such one."""
        return LocationReader(self.rows).location(server_id)

    # Sessions ---------------------------------------------------------------------------------

    def session(self, session_id: SessionId) -> Session | None:
        return self.rows.get(tables.SESSIONS, id_key(session_id))

    def sessions_after(self, after: SessionId, limit: int) -> list[tuple[SessionId, Session]]:
        """Return sessions with an id above `after`."""
        return self._page(tables.SESSIONS, SessionId, after, limit)

    def sessions_idle(
        self, before_ms: int, after: SessionId = NO_SESSION, limit: int = 1000
    ) -> tuple[list[tuple[SessionId, int]], SessionId]:
        """Return (session, last_ms) of those without a claim and silent since `before_ms`.

        Looks at `limit` sessions above `after`; the second value is where to go on (0: the end).
        """
        page = self.sessions_after(after, limit)
        idle = [
            (session_id, row.last_ms)
            for session_id, row in page
            if not row.claim_count and row.last_ms < before_ms
        ]
        return idle, page[-1][0] if len(page) == limit else NO_SESSION

    def claims(
        self, after: tuple[SessionId, ChunkId] | None, limit: int
    ) -> list[tuple[SessionId, ChunkId]]:
        """Return the claims above `after`, by session."""
        start = b"" if after is None else tables.pair_key(*after) + b"\0"
        found = [tables.read_pair(key) for key, _ in islice(self._claims(start), limit)]
        return [(SessionId(session_id), ChunkId(chunk_id)) for session_id, chunk_id in found]

    def claims_of(self, session_id: SessionId) -> list[ChunkId]:
        """Return the chunks that a session claims; at most CLAIMS_PER_SESSION_MAX."""
        found = self.rows.scan(tables.CLAIMS, *below(id_key(session_id)))
        return [ChunkId(tables.read_pair(key)[1]) for key, _ in found]

    def _claims(self, start: bytes) -> Iterator[tuple[bytes, object]]:
        yield from self.rows.scan(tables.CLAIMS, start)

    def _page(
        self, table: RowTable[Row], make: Callable[[int], Id], after: int, limit: int
    ) -> list[tuple[Id, Row]]:
        found = islice(self.rows.scan(table, id_key(after + 1)), limit)
        return [(make(read_id(key)), row) for key, row in found]

    def _indexed(
        self, table: RowTable[Row], after: ChunkId, limit: int
    ) -> list[tuple[ChunkId, Chunk]]:
        listed = []
        for key, _ in islice(self.rows.scan(table, id_key(after + 1)), limit):
            row = self.rows.get(tables.CHUNKS, key)
            assert row is not None, (
                f"{table.name} lists chunk {read_id(key):#x}, which is not there"
            )
            listed.append((ChunkId(read_id(key)), row))
        return listed


def _led_term(key: bytes, row: LedTermRow) -> LedTerm:
    incarnation, term = tables.read_pair(key)
    return LedTerm(
        term=term,
        incarnation=incarnation,
        member=row.member,
        since_ms=row.since_wall_ns // 1_000_000,
        index=row.index,
    )
