"""Reads what is appended to a file as it is committed: through seals, and through other primaries.

What the primary of a tail says is committed stays so for ever, so nothing is confirmed here; the
leader is asked now and then whether there is another tail, or another file under the name.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

from gfs_ha.client.cluster import ClusterCalls
from gfs_ha.client.complaints import Complaints
from gfs_ha.client.contents import PinnedContent
from gfs_ha.client.data_plane import DataPlane, primary_of
from gfs_ha.client.files import RemoteReader
from gfs_ha.client.locations import Locations
from gfs_ha.client.piece_stream import ReaderParts
from gfs_ha.errors import FileChanged, GfsError, IsADirectory, NotFound, Unreachable
from gfs_ha.protocol.metadata import (
    DIRECTORY,
    FileOpened,
    FileStatus,
    FileTail,
    OpenFile,
    ReadExtents,
)
from gfs_ha.runtime import Runtime

LOOK_S = 1.0  # How often the leader is asked while the primary answers.
LOOK_WITHOUT_TAIL_S = 0.25
POLL_FIRST_S = 0.01
POLL_MAX_S = 0.2

Write = Callable[[memoryview], object]


class News(enum.Enum):
    """What a look found besides bytes."""

    NOTHING = ""
    REMOVED = "removed"
    REPLACED = "replaced"
    CHANGED = "changed"  # Cut, or written over; one that is shorter now is told from its beginning.


class Follower:
    """Follows one path from a position on. Used by one thread."""

    def __init__(
        self,
        calls: ClusterCalls,
        plane: DataPlane,
        locations: Locations,
        complaints: Complaints,
        parts: ReaderParts,
        path: str,
    ) -> None:
        self._calls = calls
        self._plane = plane
        self._locations = locations
        self._complaints = complaints
        self._parts = parts
        self._runtime: Runtime = parts.runtime
        self._path = path
        self._status: FileStatus | None = None  # None: there was no such file.
        self._tail: FileTail | None = None
        self._looked_s = 0.0
        self._pause_s = POLL_FIRST_S
        self.position = 0

    def begin(self, status: FileStatus, position: int) -> None:
        """Start behind what was read of a file."""
        self._status = status
        self.position = position

    def wait(self) -> None:
        """Wait for a moment: short while bytes come, longer while none do."""
        self._runtime.sleep(self._pause_s)
        self._pause_s = min(POLL_MAX_S, self._pause_s * 1.5)

    def step(self, write: Write) -> News:
        """Hand what was committed since the last step to `write`, and return what else is new.

        Raises: NoLeader, ChunkUnavailable… ; what was written is not written again.
        """
        before = self.position
        age_s = self._runtime.monotonic_s() - self._looked_s
        try:
            if self._tail is not None and age_s < LOOK_S:
                self._read_tail(write)
                news = News.NOTHING
            elif self._tail is None and age_s < LOOK_WITHOUT_TAIL_S:
                return News.NOTHING
            else:
                news = self._look(write)
        except FileChanged:
            self._looked_s = 0.0  # Between two questions; the next look tells what it is now.
            news = News.NOTHING
        if self.position != before or news is not News.NOTHING:
            self._pause_s = POLL_FIRST_S
        return news

    def _read_tail(self, write: Write) -> None:
        """Ask the primary alone."""
        tail, status = self._tail, self._status
        assert tail is not None and status is not None
        length = self._length(tail)
        if length is None:
            self._tail = None
            self._looked_s = 0.0
        elif tail.file_offset + length > self.position:
            opened = FileOpened(status, (), (), False, tail)
            content = PinnedContent(
                *(self._calls, self._locations, self._runtime, self._path, opened),
                start=tail.file_offset,
            )
            content.pin_length(length)
            self._copy(content, write)

    def _look(self, write: Write) -> News:
        """Ask the leader what the path names now."""
        self._looked_s = self._runtime.monotonic_s()
        known = self._status
        try:
            opened = self._calls.ask(OpenFile(self._path, self.position), FileOpened)
        except NotFound:
            if known is None:
                return News.NOTHING
            self._drain(known, write)
            self._status = self._tail = None
            self.position = 0
            return News.REMOVED
        if opened.status.kind == DIRECTORY:
            raise IsADirectory(f"{self._path} is a directory")
        same = known is not None and opened.status.inode_id == known.inode_id
        if known is not None and same and opened.status.generation == known.generation:
            return self._take(opened, write, News.NOTHING)
        news = News.CHANGED if same else News.REPLACED
        if known is not None and not same:
            self._drain(known, write)
        if self.position and (not same or opened.status.size < self.position):
            self.position = 0
            opened = self._calls.ask(OpenFile(self._path), FileOpened)
        return self._take(opened, write, news)

    def _take(self, opened: FileOpened, write: Write, news: News) -> News:
        """Read what an answer of the leader shows."""
        self._status = opened.status
        start = self.position
        if opened.extents:
            start = opened.extents[0].file_offset
        elif opened.tail is not None:
            start = opened.tail.file_offset
        content = PinnedContent(
            *(self._calls, self._locations, self._runtime, self._path, opened), start=start
        )
        self._tail = None
        if content.growing:
            self._tail = tail = content.open_tail()
            if tail is None:
                self._looked_s = 0.0
                return news
            length = self._length(tail)
            if length is None:
                self._tail = None
            content.pin_length(tail.known_length if length is None else length)
        self._copy(content, write)
        return news

    def _drain(self, known: FileStatus, write: Write) -> None:
        """Read the rest of a file that is not under the name any more, as far as it is there."""
        request = ReadExtents(known.inode_id, known.content_id, known.generation, self.position)
        try:
            self._take(self._calls.ask(request, FileOpened), write, News.NOTHING)
        except (FileChanged, NotFound):
            return
        finally:
            self._tail = None

    def _length(self, tail: FileTail) -> int | None:
        try:
            return self._plane.tail_length(primary_of(tail), tail).length
        except GfsError as error:
            if isinstance(error, Unreachable):
                self._complaints.report(tail.chunk_id, tail.primary, error)
            return None

    def _copy(self, content: PinnedContent, write: Write) -> None:
        if content.size <= self.position:
            return

        def pass_on(data: memoryview) -> None:
            write(data)
            self.position += len(data)

        with RemoteReader(self._parts, content) as reader:
            reader.seek(self.position)
            reader.copy_to(pass_on)
