"""A remote file that is changed in place: reads see the newest content, each write is one step."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from gfs_ha.client.extent_changes import ExtentChanges
from gfs_ha.client.files import RemoteReader

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer


class RemoteEditor(io.RawIOBase):
    """Reads and writes anywhere within a file, and at its end; a hole cannot be made.

    Every write is safe and visible when it returns, and costs several round trips: wrap it in
    `io.BufferedRandom` for many small ones. Between its own writes it reads one content, as it was
    when it was last looked at. Not thread-safe, like files.
    """

    def __init__(
        self,
        path: str,
        changes: ExtentChanges,
        open_reader: Callable[[], RemoteReader],
        durability: str,
    ) -> None:
        super().__init__()
        self._changes = changes
        self._open_reader = open_reader
        self._durability = durability
        self._position = 0
        self._reader: RemoteReader | None = open_reader()  # A file that is not there says so now.
        self.name = path
        self.mode = "r+b"

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        bases = {os.SEEK_SET: 0, os.SEEK_CUR: self._position}
        if whence == os.SEEK_END:
            bases[whence] = self._content().size
        if whence not in bases or bases[whence] + offset < 0:
            raise ValueError(f"no such position: {offset} from {whence}")
        self._position = bases[whence] + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        reader = self._content()
        reader.seek(self._position)
        count = reader.readinto(buffer)
        self._position += count
        return count

    def write(self, data: ReadableBuffer) -> int:
        """Write all of the bytes in one step. Raises: as Cluster.pwrite."""
        self._check_open()
        view = memoryview(data).cast("B")
        self._changes.pwrite(self.name, self._position, view, self._durability)
        self._forget()
        self._position += len(view)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Cut the file, at the position if no size is given. Raises: as Cluster.truncate."""
        self._check_open()
        size = self._position if size is None else size
        self._changes.truncate(self.name, size)
        self._forget()
        return size

    def close(self) -> None:
        if not self.closed:
            self._forget()
        super().close()

    def _content(self) -> RemoteReader:
        self._check_open()
        if self._reader is None:
            self._reader = self._open_reader()
        return self._reader

    def _forget(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("the file is closed")
