"""The content of a file, pinned at open: its extents in order, in pages from the leader (F3).

Of a file with an open tail its length is pinned, too: what comes behind it later is not part of it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from msgspec.structs import replace

from gfs_ha.client.cluster import ClusterCalls
from gfs_ha.client.locations import Locations
from gfs_ha.errors import FileChanged, GfsError, IsADirectory, NotFound, ProtocolError
from gfs_ha.ids import ServerId
from gfs_ha.protocol.calls import Asked
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.metadata import (
    DIRECTORY,
    ChunkLocations,
    Extent,
    FileOpened,
    FileStatus,
    FileTail,
    OpenFile,
    ReadExtents,
)
from gfs_ha.runtime import Runtime

EXTENTS_PER_CALL = 500  # With their locations well below the size of a frame; more come in pages.
EXTENTS_PER_FILE_MIN = 4


class PinnedContent:
    """One content of one file, whatever becomes of the name. Thread-safe.

    Later pages and refreshes ask for the very same content; FileChanged says that it is gone. One
    that is growing has a size once `pin_length` gave it one.
    """

    def __init__(
        self,
        calls: ClusterCalls,
        locations: Locations,
        runtime: Runtime,
        path: str,
        opened: FileOpened,
        start: int = 0,
    ) -> None:
        """Args: `start` is where the first extent begins, for who needs only what follows."""
        self._calls = calls
        self._locations = locations
        self._lock = runtime.lock()
        self.path = path
        self.status: FileStatus = opened.status
        self._extents: list[Extent] = []
        self._starts: list[int] = []
        self._end = start
        self._more = False
        self._tail: FileTail | None = None
        self._pinned = not opened.status.growing
        self._add(opened)

    @property
    def size(self) -> int:
        return self.status.size

    @property
    def growing(self) -> bool:
        """Return whether the file had an open tail when it was looked at."""
        return self.status.growing

    @property
    def asked_first(self) -> ServerId:
        """Return the server that knows the open tail best, 0 without one."""
        return ServerId(0) if self._tail is None else self._tail.primary

    def open_tail(self) -> FileTail | None:
        """Return the tail of a file that grows, or None when it was sealed by now. Asks for pages.

        Raises: FileChanged.
        """
        with self._lock:
            while self._more:
                self._add(self._page(self._end))
            return self._tail

    def pin_length(self, tail_length: int) -> None:
        """Settle the size of a file that grows: so much of its tail belongs to this content."""
        with self._lock:
            self.status = replace(self.status, size=self._end + tail_length)
            self._pinned = True
            self._add_tail()

    def extent_at(self, offset: int) -> Extent:
        """Return the extent that holds the byte at `offset`. Raises: FileChanged."""
        assert 0 <= offset < self.size, offset
        with self._lock:
            while self._end <= offset and self._more:
                self._add(self._page(self._end))
            index = bisect_right(self._starts, offset) - 1
            if index < 0 or offset >= self._end:
                raise ProtocolError(f"{self.path}: no extent holds byte {offset} of {self.size}")
            return self._extents[index]

    def refresh(self, offset: int) -> None:
        """Ask the leader where the bytes from `offset` on lie now. Raises: FileChanged."""
        with self._lock:
            index = max(0, bisect_right(self._starts, offset) - 1)
            start = self._starts[index] if self._starts else 0
            del self._extents[index:], self._starts[index:]
            self._end = start
            self._add(self._page(start, led=True))

    def _page(self, offset: int, led: bool = False) -> FileOpened:
        status = self.status
        request = ReadExtents(status.inode_id, status.content_id, status.generation, offset)
        try:
            ask = self._calls.ask if led else self._calls.read
            return ask(request, FileOpened)
        except (FileChanged, NotFound) as error:
            raise FileChanged(f"{self.path} was changed or removed while it was read") from error

    def _add(self, opened: FileOpened) -> None:
        self._locations.learn(opened.chunks)
        for extent in opened.extents:
            if extent.file_offset != self._end or extent.length <= 0:
                raise ProtocolError(
                    f"{self.path}: an extent at {extent.file_offset} instead of {self._end}"
                )
            self._append(extent)
        self._more = opened.more
        if opened.more:
            return
        self._tail = opened.tail
        if self._pinned:
            self._add_tail()
            # A file that was appended to since then has more extents than belong to this content.
            if self._end < self.size:
                raise ProtocolError(f"{self.path}: extents for {self._end} of {self.size} bytes")

    def _append(self, extent: Extent) -> None:
        self._extents.append(extent)
        self._starts.append(extent.file_offset)
        self._end += extent.length

    def _add_tail(self) -> None:
        """Let what belongs to this content of the open tail be read like an extent."""
        tail = self._tail
        length = self.size - self._end
        if tail is None or length <= 0:
            return
        if tail.file_offset != self._end:
            raise ProtocolError(f"{self.path}: a tail at {tail.file_offset}, not {self._end}")
        places = ChunkLocations(
            *(tail.chunk_id, tail.birth, False, length, 0, tail.replicas), pass_=tail.pass_
        )
        self._locations.learn((places,))
        self._append(Extent(tail.file_offset, tail.chunk_id, 0, length))


def open_contents(
    calls: ClusterCalls, locations: Locations, runtime: Runtime, paths: Sequence[str]
) -> list[PinnedContent | GfsError]:
    """Return each file's content as of one moment each, or why not; one call for all of them.

    One that is growing has no size yet.
    """
    found: list[PinnedContent | GfsError] = []
    limit = max(EXTENTS_PER_FILE_MIN, EXTENTS_PER_CALL // max(1, len(paths)))
    asked = [Asked(OpenFile(path, limit=limit)) for path in paths]
    for path, reply in zip(paths, calls.read_all(asked), strict=True):
        if isinstance(reply, Failure):
            found.append(reply.raised())
        elif not isinstance(reply, FileOpened):
            found.append(ProtocolError(f"the master answered {type(reply).__name__}"))
        elif reply.status.kind == DIRECTORY:
            found.append(IsADirectory(f"{path} is a directory"))
        else:
            found.append(PinnedContent(calls, locations, runtime, path, reply))
    return found
