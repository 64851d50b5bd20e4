"""The content of a file, pinned at open: its extents in order, in pages from the leader (F3)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from gfs_ha.client.cluster import ClusterCalls
from gfs_ha.client.locations import Locations
from gfs_ha.errors import FileChanged, GfsError, IsADirectory, NotFound, ProtocolError
from gfs_ha.protocol.calls import Asked
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.metadata import (
    DIRECTORY,
    Extent,
    FileOpened,
    FileStatus,
    OpenFile,
    ReadExtents,
)
from gfs_ha.runtime import Runtime

EXTENTS_PER_CALL = 500  # With their locations well below the size of a frame; more come in pages.
EXTENTS_PER_FILE_MIN = 4


class PinnedContent:
    """One content of one file, whatever becomes of the name. Thread-safe.

    Later pages and refreshes ask for the very same content; FileChanged says that it is gone.
    """

    def __init__(
        self,
        calls: ClusterCalls,
        locations: Locations,
        runtime: Runtime,
        path: str,
        opened: FileOpened,
    ) -> None:
        self._calls = calls
        self._locations = locations
        self._lock = runtime.lock()
        self.path = path
        self.status: FileStatus = opened.status
        self._extents: list[Extent] = []
        self._starts: list[int] = []
        self._end = 0
        self._more = False
        self._add(opened)

    @property
    def size(self) -> int:
        return self.status.size

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
            self._extents.append(extent)
            self._starts.append(extent.file_offset)
            self._end += extent.length
        self._more = opened.more
        if not self._more and self._end != self.size:
            raise ProtocolError(f"{self.path}: extents for {self._end} of {self.size} bytes")


def open_contents(
    calls: ClusterCalls, locations: Locations, runtime: Runtime, paths: Sequence[str]
) -> list[PinnedContent | GfsError]:
    """Return each file's content as of one moment each, or why not; one call for all of them."""
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


def open_content(
    calls: ClusterCalls, locations: Locations, runtime: Runtime, path: str
) -> PinnedContent:
    """Return the file's content as it is now. Raises: NotFound, IsADirectory…"""
    opened = open_contents(calls, locations, runtime, (path,))[0]
    if isinstance(opened, GfsError):
        raise opened
    return opened
