"""Looks at all chunks, page by page: their places, and the way back to the files that need them.

Of the same nature as file_scan.py, which names by path what is wrong with the chunks of files.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gfs_ha.ids import NO_SESSION, ChunkId, ContentId
from gfs_ha.master.file_scan import Describe
from gfs_ha.master.state import tables
from gfs_ha.master.state.records import DEAD, Chunk
from gfs_ha.master.state.tables import below, id_key
from gfs_ha.master.state.view import View
from gfs_ha.protocol.damage import BLOCKED
from gfs_ha.protocol.fsck import (
    BROKEN,
    SEVERITIES,
    UNREFERENCED,
    ChunksScanned,
    FsckFinding,
    ScanChunks,
)

Inside = tuple[int, int, int]  # Of a reference of the chunk: offset, content, file offset.

_NOT_INSIDE: Inside = (0, 0, 0)  # No content has the number 0.


@dataclass(slots=True)
class ChunkScan:
    """One page under way."""

    view: View
    describe: Describe
    request: ScanChunks
    chunks: int = 0
    replicas: int = 0
    collecting: int = 0
    rows: int = 0
    findings: list[FsckFinding] = field(default_factory=list)

    def page(self) -> ChunksScanned:
        """Return what one page of chunks is like."""
        after, limit = self.request.after, self.request.rows
        if self.request.inside != _NOT_INSIDE:
            stopped = self._references(after, self.request.inside)
            if stopped is not None:
                return self._done(after, stopped, more=True)
        for chunk_id, row in self.view.chunks_after(after, limit):
            if self.rows >= limit:
                return self._done(after, _NOT_INSIDE, more=True)
            after, self.rows = chunk_id, self.rows + 1
            self.chunks += row.state != DEAD
            self.collecting += row.state == DEAD
            self._places(chunk_id, row)
            if row.state != DEAD:
                self._needed(chunk_id, row)
            stopped = self._references(chunk_id, _NOT_INSIDE)
            if stopped is not None:
                return self._done(chunk_id, stopped, more=True)
        more = bool(self.view.chunks_after(after, 1))
        return self._done(after, _NOT_INSIDE, more)

    def _done(self, after: ChunkId, inside: Inside, more: bool) -> ChunksScanned:
        counts = (self.chunks, self.replicas, self.collecting)
        return ChunksScanned(tuple(self.findings), *counts, after, inside, more)

    def _places(self, chunk_id: ChunkId, chunk: Chunk) -> None:
        self.replicas += len(chunk.replicas)
        for one in chunk.replicas:
            key = tables.replica_key(one.server_id, one.disk_id, chunk_id)
            if self.view.rows.get(tables.REPLICAS_BY_SERVER, key) is None:
                self._add(BROKEN, chunk_id, f"server {one.server_id} does not list its place")

    def _needed(self, chunk_id: ChunkId, chunk: Chunk) -> None:
        """What nobody names by a path: a chunk without need, one whose writer is gone."""
        if self.view.referenced(chunk_id):
            return
        if not (chunk.claimed_by != NO_SESSION or chunk.tail_of or chunk.unopened):
            self._add(UNREFERENCED, chunk_id, "no content, claim or tail needs it")
        if chunk.tail_of:
            return  # Its file is named by the look at files.
        row = self.describe(chunk_id, chunk)
        if BLOCKED in row.troubles:
            self._add(BLOCKED, chunk_id, row.blocked)

    def _references(self, chunk_id: ChunkId, inside: Inside) -> Inside | None:
        """Look whether references mirror extents; return where the page is full."""
        start, end = below(id_key(chunk_id))
        if inside != _NOT_INSIDE:
            offset, content, file_offset = inside
            start = tables.reference_key(chunk_id, offset, ContentId(content), file_offset) + b"\0"
        last = inside
        for key, row in self.view.rows.scan(tables.REFERENCES, start, end):
            if self.rows >= self.request.rows and last != inside:
                return last
            self.rows += 1
            _, offset, content_id, file_offset = tables.read_reference_key(key)
            last = (offset, content_id, file_offset)
            extent = self.view.rows.get(tables.EXTENTS, tables.extent_key(content_id, file_offset))
            found = extent and (extent.chunk_id, extent.chunk_offset, extent.length)
            if found != (chunk_id, offset, row.length):
                why = f"content {content_id} refers to it, and has other bytes at {file_offset}"
                self._add(BROKEN, chunk_id, why, (offset, row.length))
        return None

    def _add(self, kind: str, chunk_id: ChunkId, why: str, place: tuple[int, int] = (0, 0)) -> None:
        self.findings.append(FsckFinding(kind, SEVERITIES[kind], "", *place, chunk_id, (), why))
