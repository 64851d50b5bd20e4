"""Files made or changed out of bytes that lie in the cluster already; none of them is copied."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from gfs_ha.client.account import own_account
from gfs_ha.client.connection import ClusterConnection
from gfs_ha.client.namespace import check_path
from gfs_ha.client.transfers import PutOptions
from gfs_ha.errors import (
    GfsError,
    InvalidArgument,
    PreconditionFailed,
    error_from_wire,
)
from gfs_ha.ids import ContentId
from gfs_ha.limits import SIZE_MAX
from gfs_ha.protocol.extents import DiscardStaged, ReplaceContent, StageCopy, StagedCopy
from gfs_ha.protocol.metadata import (
    Done,
    Extent,
    FileStatus,
    Publish,
    Published,
    PublishFile,
    Staged,
    StageExtents,
)

PAUSE_MAX_S = 0.1
ATTEMPTS_MAX = 16  # A file that others change all the time is given up then.
EXTENTS_AT_ONCE = 250
WHOLE = (1 << 63) - 1  # Apply clips to what the source has.
ANY_SIZE = -1  # What is appended to a file before it is cut is cut off, too.

NOTHING = ContentId(0)

logger = logging.getLogger(__name__)


class ExtentChanges:
    """Copy, concat, truncate and overwrite by changes of extents. Thread-safe.

    What is staged and not put in place is given up, or reaped when the session ends.
    """

    def __init__(self, connection: ClusterConnection) -> None:
        self._connection = connection
        self._session = connection.session
        self._store = connection.store

    def copy(self, source: str, target: str, if_absent: bool, preserve: bool) -> None:
        """Give the target the source's bytes of one moment. Raises: as Cluster.copy."""
        source, target = check_path(source), check_path(target)
        self._again(lambda: self._join_once((source,), target, if_absent, preserve))

    def concat(self, sources: Sequence[str], target: str, if_absent: bool) -> None:
        """Give the target the bytes of all sources, in their order."""
        if not sources:
            raise InvalidArgument("nothing to join: name at least one source")
        sources, target = [check_path(path) for path in sources], check_path(target)
        self._again(lambda: self._join_once(sources, target, if_absent, False))

    def truncate(self, path: str, size: int) -> None:
        """Cut a file. Raises: InvalidArgument for a size above its own."""
        path = check_path(path)
        if not 0 <= size <= SIZE_MAX:
            raise InvalidArgument(f"a size of {size} bytes")
        self._again(lambda: self._truncate_once(path, size))

    def pwrite(self, path: str, offset: int, data: bytes | memoryview, durability: str) -> None:
        """Write bytes over those at `offset`, in one step."""
        path, view = check_path(path), memoryview(data).cast("B")
        if offset < 0:
            raise InvalidArgument(f"an offset of {offset} bytes")
        status = self._connection.led_namespace.stat(path)
        if offset > status.size:
            raise InvalidArgument(
                f"{path} has {status.size} bytes; writing at {offset} would leave a hole, "
                "which cannot be stored"
            )
        if len(view):
            options = PutOptions(durability, status.goal)
            self._again(lambda: self._write_once(path, offset, view, options))

    def _again(self, act: Callable[[], None]) -> None:
        """Start over while others change the file in between. Raises: PreconditionFailed at last.

        A pause of random length lets one of several writers through.
        """
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                act()
            except PreconditionFailed:
                if attempt == ATTEMPTS_MAX:
                    raise
                runtime = self._connection.runtime
                runtime.sleep(runtime.uniform(0.0, PAUSE_MAX_S))
            else:
                return

    def _join_once(
        self, sources: Sequence[str], target: str, if_absent: bool, preserve: bool
    ) -> None:
        staged = _Staged(self._connection)
        try:
            statuses = [staged.append(path) for path in sources]
            first, standing = statuses[0], self._connection.led_namespace.find(target)
            owner, group = own_account()
            now_ns = self._connection.runtime.wall_ns()
            kept = standing is not None and not preserve
            file = PublishFile(
                path=target,
                size=staged.end,
                mode=standing.mode if kept and standing is not None else first.mode,
                mtime_ns=first.mtime_ns if preserve else now_ns,
                content_id=staged.content_id,
                owner=owner,
                group=group,
                if_absent=if_absent,
            )
            published = self._session.change(Publish((file,)), Published).files[0]
            if published.error:
                raise error_from_wire(published.error, published.message, {})
        except GfsError:
            staged.give_up()
            raise

    def _truncate_once(self, path: str, size: int) -> None:
        staged = _Staged(self._connection)
        try:
            status, _ = staged.take(path, (0, size), 0)
            if size > status.size:
                raise InvalidArgument(
                    f"{path} has {status.size} bytes and cannot be made longer ({size}): "
                    "a hole cannot be stored; write the bytes instead"
                )
            staged.put_in_place(path, replace(status, size=ANY_SIZE), size)
        except GfsError:
            staged.give_up()
            raise

    def _write_once(self, path: str, offset: int, data: memoryview, options: PutOptions) -> None:
        """Make the bytes safe as a put does, then put them between what stays of the file."""
        writer = self._store.writer(path, options, len(data), offset)
        try:
            writer.write(data)
            content = writer.finish()
        except BaseException:
            writer.abandon()
            raise
        staged = _Staged(self._connection, content.content_id)
        end = offset + len(data)
        try:
            for start in range(0, len(content.extents), EXTENTS_AT_ONCE):
                staged.add(content.extents[start : start + EXTENTS_AT_ONCE])
            status, _ = staged.take(path, (0, offset), 0)
            if status.size < offset:
                raise InvalidArgument(f"{path} was cut to {status.size} bytes meanwhile")
            staged.take(path, (end, WHOLE - end), end, status)
            staged.put_in_place(path, status, max(end, status.size))
        except GfsError:
            staged.give_up()
            raise
        finally:
            self._store.release(content)


class _Staged:
    """A staged content while it is put together."""

    def __init__(self, connection: ClusterConnection, content_id: ContentId = NOTHING) -> None:
        self._session = connection.session
        self._runtime = connection.runtime
        self.content_id = content_id
        self.end = 0

    def add(self, extents: tuple[Extent, ...]) -> None:
        """Stage extents of own chunks, at their file offsets."""
        reply = self._session.change(StageExtents(self.content_id, extents), Staged)
        self.content_id = reply.content_id

    def append(self, path: str) -> FileStatus:
        """Refer to all of a file behind what is there, and return what it was."""
        status, copied = self.take(path, (0, WHOLE), self.end)
        self.end += copied
        return status

    def take(
        self,
        path: str,
        part: tuple[int, int],
        file_offset: int,
        pinned: FileStatus | None = None,
    ) -> tuple[FileStatus, int]:
        """Refer to (offset, length) of a file; return what it was, and how much that is.

        Raises: PreconditionFailed when it is changed meanwhile.
        """
        (offset, length), copied = part, 0
        while True:
            command = StageCopy(path, offset + copied, length - copied, self.content_id)
            command = replace(command, file_offset=file_offset + copied)
            if pinned is not None:
                command = replace(
                    command,
                    pinned_content=pinned.content_id,
                    pinned_generation=pinned.generation,
                )
            reply = self._session.change(command, StagedCopy)
            self.content_id, pinned = reply.content_id, reply.status
            copied += reply.copied
            wanted = max(0, min(length, reply.status.size - offset))
            if copied >= wanted or not reply.copied:
                return reply.status, copied

    def put_in_place(self, path: str, before: FileStatus, size: int) -> None:
        """Flip the file to this content, if it still is what it was."""
        expected = (before.content_id, before.generation, before.size)
        now_ns = self._runtime.wall_ns()
        command = ReplaceContent(path, self.content_id, size, now_ns, *expected)
        self._session.change(command, FileStatus)

    def give_up(self) -> None:
        """Leave what was staged to be reaped; if that fails the end of the session does it."""
        if not self.content_id:
            return
        try:
            self._session.change(DiscardStaged(self.content_id), Done)
        except GfsError as error:
            logger.debug("content %d is left to the session's end: %s", self.content_id, error)
