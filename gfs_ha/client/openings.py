"""Files opened for reading, also while they grow: their primary says how long they are (C10).

The primary knows exactly what every replica acknowledged, and the leader that it still is the one
to ask; so nothing that was acknowledged before is missing. Reads that need not be linearizable ask
the primary alone, local ones any replica when it does not answer.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from gfs_ha.client.cluster import ClusterCalls
from gfs_ha.client.complaints import Complaints
from gfs_ha.client.contents import PinnedContent, open_contents
from gfs_ha.client.data_plane import DataPlane, primary_of
from gfs_ha.client.locations import Locations
from gfs_ha.client.retry import Deadline
from gfs_ha.errors import ChunkUnavailable, FileChanged, GfsError, Unreachable
from gfs_ha.ids import InodeId
from gfs_ha.protocol.append import ConfirmTail
from gfs_ha.protocol.calls import LOCAL
from gfs_ha.protocol.metadata import Done, FileStatus, FileTail
from gfs_ha.runtime import Runtime

logger = logging.getLogger(__name__)

PAUSE_FIRST_S = 0.02
PAUSE_MAX_S = 0.5


class Openings:
    """Opens files. Thread-safe."""

    def __init__(
        self,
        calls: ClusterCalls,
        plane: DataPlane,
        locations: Locations,
        complaints: Complaints,
        runtime: Runtime,
    ) -> None:
        self._calls = calls
        self._plane = plane
        self._locations = locations
        self._complaints = complaints
        self._runtime = runtime

    def open(self, path: str) -> PinnedContent:
        """Return the file's content as it is now. Raises: NotFound, ChunkUnavailable…"""
        content = self.open_all((path,))[0]
        if isinstance(content, GfsError):
            raise content
        return content

    def open_all(self, paths: Sequence[str]) -> list[PinnedContent | GfsError]:
        """Return the contents of several files, or why not; one request for all that are whole."""
        found: list[PinnedContent | GfsError] = []
        for content in open_contents(self._calls, self._locations, self._runtime, paths):
            if isinstance(content, PinnedContent) and content.growing:
                try:
                    content = self._grown(content)
                except GfsError as error:
                    content = error
            found.append(content)
        return found

    def exact(self, path: str) -> FileStatus:
        """Return a file's facts with its exact size. Raises: as `open`."""
        return self.open(path).status

    def exact_length(self, inode_id: InodeId, tail: FileTail) -> int | None:
        """Return how much of a tail counts; None when its file has to be looked at again."""
        try:
            told = self._plane.tail_length(primary_of(tail), tail)
        except GfsError as error:
            logger.info("primary does not tell chunk=%#x why=%s", tail.chunk_id, error.message)
            if isinstance(error, Unreachable):
                self._complaints.report(tail.chunk_id, tail.primary, error)
            return None
        try:
            confirm = ConfirmTail(inode_id, tail.chunk_id, tail.granted_index)
            self._calls.ask(confirm, Done)
        except FileChanged:
            return None
        return told.length

    def _grown(self, content: PinnedContent) -> PinnedContent:
        """Return the content with its length, or a newer one of the same path."""
        runtime = self._runtime
        deadline = Deadline(runtime.monotonic_s() + self._calls.timeout_s)
        pause_s = PAUSE_FIRST_S
        while True:
            if self._pin(content):
                return content
            if not deadline.allows(pause_s, runtime.monotonic_s()):
                raise ChunkUnavailable(
                    f"{content.path} is being appended to, and the server that knows how long it "
                    "is does not answer; try again, or read what others know with --consistency "
                    "local"
                )
            runtime.sleep(pause_s)
            pause_s = min(PAUSE_MAX_S, pause_s * 2)
            paths = (content.path,)
            newer = open_contents(self._calls, self._locations, runtime, paths)[0]
            if isinstance(newer, GfsError):
                raise newer
            if not newer.growing:
                return newer
            content = newer

    def _pin(self, content: PinnedContent) -> bool:
        """Give a growing content its length; False when the file has to be looked at again."""
        tail = content.open_tail()
        if tail is None:
            return False  # Sealed between two pages.
        if not self._calls.consistency.led:
            told = self._length_told(tail)
            if told is None:
                return False
            content.pin_length(told)
            return True
        length = self.exact_length(content.status.inode_id, tail)
        if length is None:
            return False
        content.pin_length(length)
        return True

    def _length_told(self, tail: FileTail) -> int | None:
        """Return how much of a tail counts for who may see an older moment of its file.

        The primary tells no less than it had at that moment. Local reads take what anybody knows.
        """
        local = self._calls.consistency.kind == LOCAL
        primary = primary_of(tail)
        others = [one for one in tail.replicas if one != primary] if local else []
        for place in (primary, *others):
            try:
                return max(tail.known_length, self._plane.tail_length(place, tail).length)
            except GfsError as error:
                logger.info("length not told chunk=%#x why=%s", tail.chunk_id, error.message)
        return tail.known_length if local else None
