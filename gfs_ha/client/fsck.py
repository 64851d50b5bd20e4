"""A look at every file below a path and at all that its bytes rest on, while the cluster works.

Pages of names come from the leader, the next one after the last name, so a new leader goes on where
the old one ended and nothing is held that grows with the files. A finding is told only when it is
there at a second look: what servers said a moment ago may just have changed.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from gfs_ha.client.cluster import ClusterCalls
from gfs_ha.client.fsck_deep import DeepLook
from gfs_ha.client.fsck_tallies import TallyLook
from gfs_ha.ids import ChunkId, DiskId, ServerId, format_id
from gfs_ha.protocol.calls import Asked
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.damage import MISSING, ORPHAN, UNDER, UNKNOWN, ChunkDetails, ShowChunks
from gfs_ha.protocol.fsck import (
    BROKEN,
    NOTE,
    SCAN_ROWS,
    SEVERITIES,
    UNREAD,
    ChunksScanned,
    FilesScanned,
    FsckFinding,
    FsckRequest,
    PlacesScanned,
    ScanChunks,
    ScanFiles,
    ScanPlaces,
)
from gfs_ha.protocol.reports import ChunkReport, ChunkRow, GetChunks

LOOK_AGAIN_S = 3.0  # After which every server has said how it is at least once more.
# Findings that wait for their second look: some 10 MiB. Of a server with a million files that is
# dead there are so many that each waits for its turn, three seconds for so many.
PENDING_MAX = 20_000
_AGAIN_TOGETHER = 50
_ORPHANS_PAGE = 200


@dataclass(slots=True)
class FsckSummary:
    """What was looked at, and how many findings of which kind were told."""

    files: int = 0
    directories: int = 0
    length: int = 0
    chunks: int = 0
    replicas: int = 0
    places: int = 0  # Of replicas, by the tables of servers.
    collecting: int = 0  # Dead chunks whose replicas are being deleted.
    read: int = 0  # Chunks whose copies were to be read.
    unread: Counter[str] = field(default_factory=Counter)  # Copies that could not be, by server.
    tallies: Counter[str] = field(default_factory=Counter)  # Disks, by how their tallies compare.
    over: int = 0  # Findings that were gone at the second look.
    kinds: Counter[str] = field(default_factory=Counter)
    severities: Counter[str] = field(default_factory=Counter)


class Fsck:
    """One run. `findings` is to be read to its end once.

    Args: `deep` has every copy of every chunk below the path read from its disk; `on_progress` is
    called with the summary after each page.
    """

    def __init__(
        self,
        calls: ClusterCalls,
        path: str,
        deep: bool = False,
        on_progress: Callable[[FsckSummary], None] = lambda summary: None,
    ) -> None:
        self.summary = FsckSummary()
        self._calls = calls
        self._path = path
        self._deep = DeepLook(calls) if deep else None
        self._on_progress = on_progress
        self._pending: deque[tuple[float, FsckFinding]] = deque()

    def findings(self) -> Iterator[FsckFinding]:
        """Yield what is wrong, found twice. Raises: NotFound, NotADirectory, NoLeader…"""
        yield from self._files()
        if self._path == "/":
            yield from self._chunks()
            yield from self._places()
            yield from self._orphans()
        while self._pending:
            yield from self._again(wait=True)
        if self._path == "/":
            # These were looked at twice already, and so long apart.
            for finding in TallyLook(self._calls).look(self.summary.tallies, self._tell_progress):
                yield self._tell(finding)
        self._on_progress(self.summary)

    def _tell_progress(self) -> None:
        self._on_progress(self.summary)

    def _files(self) -> Iterator[FsckFinding]:
        request = ScanFiles(self._path, extents=self._deep is not None)
        while True:
            page = self._calls.ask(request, FilesScanned)
            self.summary.files += page.files
            self.summary.directories += page.directories
            self.summary.length += page.length
            yield from self._take(page.findings)
            if self._deep is not None:
                for finding in self._deep.look(page.extents):
                    if finding.kind == UNREAD:
                        yield from self._take((finding,))
                    else:
                        yield self._tell(finding)
                self.summary.read, self.summary.unread = self._deep.read, self._deep.unread
            self._on_progress(self.summary)
            if not page.more:
                return
            request = ScanFiles(self._path, page.after, page.offset, extents=self._deep is not None)

    def _chunks(self) -> Iterator[FsckFinding]:
        request = ScanChunks()
        while True:
            page = self._calls.ask(request, ChunksScanned)
            self.summary.chunks += page.chunks
            self.summary.replicas += page.replicas
            self.summary.collecting += page.collecting
            yield from self._take(page.findings)
            self._on_progress(self.summary)
            if not page.more:
                return
            request = ScanChunks(page.after, page.inside)

    def _places(self) -> Iterator[FsckFinding]:
        request = ScanPlaces()
        while True:
            page = self._calls.ask(request, PlacesScanned)
            self.summary.places += page.places
            yield from self._take(page.findings)
            self._on_progress(self.summary)
            if not page.more:
                return
            request = ScanPlaces(page.after)

    def _orphans(self) -> Iterator[FsckFinding]:
        after = ChunkId(0)
        while True:
            asked = GetChunks(after=after, limit=_ORPHANS_PAGE, kinds=(ORPHAN,))
            page = self._calls.ask(asked, ChunkReport)
            yield from self._take(_orphan(row) for row in page.items if row.state == UNKNOWN)
            if not page.more or page.after <= after:
                return
            after = page.after

    # The second look ------------------------------------------------------------------------------

    def _take(
        self, found: Iterator[FsckFinding] | tuple[FsckFinding, ...]
    ) -> Iterator[FsckFinding]:
        """Keep what is found for a second look, and yield what had it by now."""
        for finding in found:
            if finding.severity == NOTE:
                yield self._tell(finding)
                continue
            while len(self._pending) >= PENDING_MAX:
                yield from self._again(wait=True)
            due_s = self._calls.runtime.monotonic_s() + LOOK_AGAIN_S
            self._pending.append((due_s, finding))
        yield from self._again(wait=False)

    def _again(self, wait: bool) -> Iterator[FsckFinding]:
        """Look again at findings that are due; with `wait` at the next ones at least."""
        if not self._pending:
            return
        now_s = self._calls.runtime.monotonic_s()
        if wait and self._pending[0][0] > now_s:
            self._calls.runtime.sleep(self._pending[0][0] - now_s)
            now_s = self._calls.runtime.monotonic_s()
        while True:
            due = [one for when, one in islice(self._pending, _AGAIN_TOGETHER) if when <= now_s]
            if not due:
                return
            for _ in due:
                self._pending.popleft()
            unread = [one for one in due if one.kind == UNREAD]
            others = [one for one in due if one.kind != UNREAD]
            if unread:
                yield from self._read_again(unread)
            if others:
                yield from self._ask_again(others)

    def _read_again(self, due: list[FsckFinding]) -> Iterator[FsckFinding]:
        """Read copies again that could not be read, and tell what is wrong with them now."""
        assert self._deep is not None, "nothing else reads copies"
        for found in self._deep.again(due):
            self.summary.over += not found
            for finding in found:
                yield self._tell(finding)
        self.summary.read, self.summary.unread = self._deep.read, self._deep.unread

    def _ask_again(self, due: list[FsckFinding]) -> Iterator[FsckFinding]:
        replies = self._calls.settle([Asked(_question(one)) for one in due])
        for finding, reply in zip(due, replies, strict=True):
            confirmed = next((one for one in _told(reply) if _same(finding, one)), None)
            if confirmed is None:
                self.summary.over += 1
            else:
                yield self._tell(confirmed)

    def _tell(self, finding: FsckFinding) -> FsckFinding:
        self.summary.kinds[finding.kind] += 1
        self.summary.severities[finding.severity] += 1
        return finding


def _question(finding: FsckFinding) -> FsckRequest | ShowChunks:
    """Return the request that looks at the place of a finding alone."""
    before = ChunkId(finding.chunk_id - 1)
    if finding.server_id:
        return ScanPlaces((finding.server_id, finding.disk_id, before), rows=1)
    if finding.path:
        rows = SCAN_ROWS if finding.kind == BROKEN else 1
        return ScanFiles(finding.path, finding.path, finding.offset, rows)
    if finding.kind == ORPHAN:
        return ShowChunks((finding.chunk_id,))
    return ScanChunks(before, rows=2)


def _told(reply: object) -> Iterator[FsckFinding]:
    """Yield the findings of a second look; of what is gone there are none."""
    if isinstance(reply, FilesScanned | ChunksScanned | PlacesScanned):
        yield from reply.findings
    elif isinstance(reply, ChunkDetails):
        for one in reply.items:
            if one.row.state == UNKNOWN and ORPHAN in one.row.troubles:
                yield _orphan(one.row)
    elif isinstance(reply, Failure) and reply.error not in ("NotFound", "UnknownChunk"):
        raise reply.raised()


def _same(first: FsckFinding, second: FsckFinding) -> bool:
    return _key(first) == _key(second)


def _key(finding: FsckFinding) -> tuple[str, str, int, ChunkId, ServerId, DiskId]:
    # What had no copy at the first look and has one at the second is still to be told.
    kind = UNDER if finding.kind == MISSING else finding.kind
    place = (finding.chunk_id, finding.server_id, finding.disk_id)
    return kind, finding.path, finding.offset, *place


def _orphan(row: ChunkRow) -> FsckFinding:
    servers = tuple(one.name for one in row.replicas)
    why = f"a replica of {format_id(row.chunk_id)}, which is in no table"
    return FsckFinding(ORPHAN, SEVERITIES[ORPHAN], "", 0, row.length, row.chunk_id, servers, why)
