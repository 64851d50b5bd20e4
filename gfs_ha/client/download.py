"""One remote file on its way to this machine: whole under its name, or not at all."""

from __future__ import annotations

from collections.abc import Callable

from gfs_ha.checksum import crc32c
from gfs_ha.client.contents import PinnedContent
from gfs_ha.client.local_files import LocalTarget
from gfs_ha.client.piece_stream import PieceStream, ReaderParts
from gfs_ha.client.transfers import Fetched, Watch
from gfs_ha.errors import FileChanged

STARTS_MAX = 5  # A file that is replaced again and again while it is read is given up then.


class Downloader:
    """Copies remote files to local ones. Thread-safe."""

    def __init__(self, parts: ReaderParts, watch: Watch) -> None:
        self._parts = parts
        self._watch = watch
        self._progress = watch.progress
        self._cancel = watch.cancel

    def get_file(
        self,
        open_content: Callable[[], PinnedContent],
        local: str,
        verify: bool = False,
        content: PinnedContent | None = None,
    ) -> Fetched:
        """Copy a file to its final local path, with its mode and time.

        A file that is replaced while it is read is started over with its new content, which
        `open_content` finds. Args: `content` if it is opened already; `verify` reads the local
        file again. Raises: CorruptData, ChunkUnavailable, FileChanged, DiskFull…
        """
        start_index = 0
        while True:
            if content is None:
                content = open_content()
            try:
                self._copy(content, local, verify)
                self._progress.finished(content.path)
                return Fetched(local, content.size)
            except FileChanged:
                start_index += 1
                if start_index >= STARTS_MAX:
                    raise
                content = None

    def put_bytes(
        self, content: PinnedContent, data: memoryview, local: str, verify: bool = False
    ) -> None:
        """Write a small content that is here already and verified."""
        with LocalTarget(local, self._parts.runtime.random_u64()) as target:
            target.create()
            target.write(data, 0)
            if verify:
                target.verify(len(data), crc32c(data))
            target.commit(content.status.mode, content.status.mtime_ns)
        self._progress.moved(len(data))
        self._progress.finished(content.path)

    def _copy(self, content: PinnedContent, local: str, verify: bool) -> None:
        moved = crc = 0
        stream = PieceStream(self._parts, content, 0, content.size, self._watch)
        with LocalTarget(local, self._parts.runtime.random_u64()) as target:
            try:
                target.create()
                while (filled := stream.take()) is not None:
                    self._cancel.check()
                    target.write(filled.data, filled.offset)
                    if verify:
                        crc = crc32c(filled.data, crc)
                    size = len(filled.data)
                    stream.give_back(filled)
                    moved += size
                    self._progress.moved(size)
                if verify:
                    target.verify(content.size, crc)
                target.commit(content.status.mode, content.status.mtime_ns)
            except BaseException:
                self._progress.moved(-moved)
                raise
            finally:
                stream.close()
