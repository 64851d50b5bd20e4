"""Looks at files below a path, page by page, and at all that their bytes rest on.

A page is one moment of the tables, so these cannot disagree because something changes; what servers
say may be a moment old, and whoever reports it looks again. A page costs as much as it has rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gfs_ha.errors import NotFound
from gfs_ha.ids import ChunkId, ContentId, InodeId, ServerId
from gfs_ha.master.names_walk import names_below
from gfs_ha.master.rules import breaks
from gfs_ha.master.state import tables
from gfs_ha.master.state.records import DEAD, SEALED, Chunk, Inode
from gfs_ha.master.state.tail_reads import tail_of
from gfs_ha.master.state.view import View
from gfs_ha.protocol.damage import MISSING, UNDER
from gfs_ha.protocol.fsck import (
    BROKEN,
    GROWING,
    MISPLACED,
    SEVERITIES,
    FilesScanned,
    FsckFinding,
    ScanFiles,
    ScannedExtent,
)
from gfs_ha.protocol.gone import blocks_of, unpack_blocks
from gfs_ha.protocol.metadata import DIRECTORY, FILE, Extent
from gfs_ha.protocol.reports import ChunkRow

_LIVE = "live"
_NO_CHUNK = ChunkId(0)

# A chunk's row for people, and its kinds of trouble: the same words as those of `chunks ls`.
Describe = Callable[[ChunkId, Chunk], ChunkRow]


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where a server stands."""

    rack: str
    machine: str


@dataclass(slots=True)
class FileScan:
    """One page under way."""

    view: View
    describe: Describe
    request: ScanFiles
    files: int = 0
    directories: int = 0
    length: int = 0
    rows: int = 0
    findings: list[FsckFinding] = field(default_factory=list)
    extents: list[ScannedExtent] = field(default_factory=list)
    _rows_of: dict[ChunkId, ChunkRow] = field(default_factory=dict)
    _spots: dict[ServerId, _Spot] = field(default_factory=dict)

    def page(self) -> FilesScanned:
        """Return what one page of files is like. Raises: NotFound, NotADirectory."""
        request = self.request
        if request.offset >= 0:
            stopped = self._file(request.after, request.offset)
            if stopped is not None:
                return self._done(request.after, stopped, more=True)
        after = request.after
        for path, inode_id, kind in names_below(self.view, request.path, request.after):
            if self.rows >= request.rows:
                return self._done(after, -1, more=True)
            after, self.rows = path, self.rows + 1
            if kind == DIRECTORY:
                self.directories += 1
                continue
            self.files += 1
            stopped = self._inode(path, inode_id, 0)
            if stopped is not None:
                return self._done(path, stopped, more=True)
        return self._done(after, -1, more=False)

    def _done(self, after: str, offset: int, more: bool) -> FilesScanned:
        counts = (self.files, self.directories, self.length)
        seen = tuple(self.extents)
        return FilesScanned(tuple(self.findings), *counts, after, offset, more, seen)

    def _file(self, path: str, offset: int) -> int | None:
        """Go on in a file, if it is still there."""
        try:
            found = self.view.resolve(path)
        except NotFound:
            return None
        return self._inode(path, found.inode_id, offset) if found.kind == FILE else None

    def _inode(self, path: str, inode_id: InodeId, offset: int) -> int | None:
        """Look at a file from an offset on; return where the page is full, None at its end."""
        inode = self.view.inode(inode_id)
        if inode is None:
            self._add(BROKEN, path, (0, 0), "the name leads to an inode that is not there")
            return None
        end = expected = offset
        count = 0
        if inode.content_id:
            for extent in self.view.extents(inode.content_id, offset):
                if self.rows >= self.request.rows and extent.file_offset > offset:
                    return extent.file_offset
                self.rows, count = self.rows + 1, count + 1
                # Of a file that changed meanwhile the place to go on may lie within an extent.
                if extent.file_offset > expected or (count > 1 and extent.file_offset < expected):
                    hole = (expected, abs(extent.file_offset - expected))
                    self._add(BROKEN, path, hole, "its extents have a hole or an overlap here")
                end = expected = extent.file_offset + extent.length
                self.length += extent.length
                self._extent(path, inode.content_id, extent)
        self._ended(path, inode, (offset, end, count))
        self._tail(path, inode_id)
        return None

    def _ended(self, path: str, inode: Inode, seen: tuple[int, int, int]) -> None:
        offset, end, count = seen
        if offset > inode.size:
            return  # It was cut short between two pages.
        if end != inode.size:
            why = f"its extents end at {end}, its size is {inode.size}"
            self._add(BROKEN, path, (min(end, inode.size), abs(inode.size - end)), why)
        if not offset and count != inode.extent_count:
            why = f"it has {count} extents, and counts {inode.extent_count}"
            self._add(BROKEN, path, (0, inode.size), why)

    def _tail(self, path: str, inode_id: InodeId) -> None:
        tail = tail_of(self.view, inode_id)
        if tail is None:
            return
        chunk = self.view.chunk(tail.chunk_id)
        place = (tail.file_offset, 0)
        if chunk is None or chunk.state == DEAD:
            self._add(BROKEN, path, place, "its open end is not there", tail.chunk_id)
            return
        self._add(GROWING, path, place, f"its end is {chunk.state}", tail.chunk_id)
        self._troubles(path, place, (tail.chunk_id, chunk))

    def _extent(self, path: str, content_id: ContentId, extent: Extent) -> None:
        place = (extent.file_offset, extent.length)
        chunk_id = extent.chunk_id
        key = (chunk_id, extent.chunk_offset, content_id, extent.file_offset)
        reference = self.view.rows.get(tables.REFERENCES, tables.reference_key(*key))
        if reference is None or reference.length != extent.length:
            self._add(BROKEN, path, place, "its reference row is not there, or differs", chunk_id)
        chunk = self.view.chunk(chunk_id)
        if chunk is None or chunk.state == DEAD:
            self._add(BROKEN, path, place, "its chunk is not there (any more)", chunk_id)
            return
        end = chunk.length if chunk.state == SEALED else chunk.published_end
        if extent.chunk_offset + extent.length > end:
            why = f"it needs bytes up to {extent.chunk_offset + extent.length} of {end}"
            self._add(BROKEN, path, place, why, chunk_id)
        if chunk.gone and unpack_blocks(chunk.gone) & blocks_of(extent.chunk_offset, extent.length):
            self._add(BROKEN, path, place, "blocks that it needs were given back", chunk_id)
        if chunk.state == SEALED and self.request.extents:
            self.extents.append(ScannedExtent(path, *place, chunk_id))
        self._troubles(path, place, (chunk_id, chunk))

    def _troubles(self, path: str, place: tuple[int, int], known: tuple[ChunkId, Chunk]) -> None:
        chunk_id, chunk = known
        row = self._rows_of.get(chunk_id)
        if row is None:
            row = self._rows_of[chunk_id] = self.describe(chunk_id, chunk)
        bad = tuple(one.name for one in row.replicas if one.health != _LIVE)
        for kind in row.troubles:
            if kind == UNDER and MISSING in row.troubles:
                continue
            why = row.blocked if kind == "blocked" else f"{row.copies} of {row.goal} copies"
            self._add(kind, path, place, why, chunk_id, bad)
        if chunk.state == SEALED and not row.troubles and self._misplaced(chunk, row):
            self._add(MISPLACED, path, place, f"against the rule {row.rule}", chunk_id)

    def _misplaced(self, chunk: Chunk, row: ChunkRow) -> bool:
        if not self._spots:
            servers = self.view.servers()
            alone = len({server.machine for _, server in servers}) == 1
            for server_id, server in servers:
                # All on one machine: that is how the cluster is, not where a chunk lies.
                self._spots[server_id] = _Spot(server.rack, "" if alone else server.machine)
        spots = [self._spots[one] for one in chunk.holders if one in self._spots]
        return breaks(row.rule, chunk.goal, spots) > 0

    def _add(
        self,
        kind: str,
        path: str,
        place: tuple[int, int],
        why: str,
        chunk_id: ChunkId = _NO_CHUNK,
        servers: tuple[str, ...] = (),
    ) -> None:
        finding = FsckFinding(kind, SEVERITIES[kind], path, *place, chunk_id, servers, why)
        self.findings.append(finding)
