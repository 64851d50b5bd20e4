"""A data directory that may take only a part of its file system, which others use, too (D6)."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from gfs_ha.chunk.disk import Bytes, Disk, DiskUsage, File, opened
from gfs_ha.errors import DiskFailed, DiskFull, NotFound
from gfs_ha.runtime import Lock

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Room:
    """What a file takes, while it has a name."""

    size: int = 0
    named: bool = True
    holes: bool = False  # Ranges of it were given back: a write may take room again.


class CappedDisk:
    """A disk of so many bytes, of which `inner` has the files.

    What they take is looked up once when the directory is taken, and kept with every change. The
    blocks in which the file system notes where files lie are not all seen: some KiB of each file.
    """

    def __init__(self, inner: Disk, capacity: int, lock: Lock) -> None:
        """Raises: DiskFailed when the directory cannot be listed."""
        self.capacity = capacity
        self._inner = inner
        self._lock = lock
        self._rooms: dict[str, _Room] = {}
        self._used = 0
        for name in inner.names():
            try:
                with opened(inner, name) as file:
                    self.note(self._room(name), file.room())
            except NotFound:
                continue  # It went between two looks.
            except DiskFailed as error:
                # No file of a store, or one that cannot be read: the start of the store judges it.
                logger.warning("what it takes is not counted name=%s why=%s", name, error)

    @property
    def error_count(self) -> int:
        return self._inner.error_count

    @property
    def answer_count(self) -> int:
        return self._inner.answer_count

    @property
    def read_count(self) -> int:
        return self._inner.read_count

    def names(self) -> list[str]:
        return self._inner.names()

    def names_stamp(self) -> int:
        return self._inner.names_stamp()

    def create(self, name: str) -> CappedFile:
        return CappedFile(self, self._inner.create(name), self._room(name))

    def open(self, name: str) -> CappedFile:
        return CappedFile(self, self._inner.open(name), self._room(name))

    def unlink(self, name: str) -> None:
        self._inner.unlink(name)
        with self._lock:
            room = self._rooms.pop(name, None)
            if room is not None:
                self._used -= room.size
                room.named = False

    def sync_names(self) -> None:
        self._inner.sync_names()

    def check_place(self) -> None:
        self._inner.check_place()

    def usage(self) -> DiskUsage:
        """Return how full it is; what others leave free of the file system bounds it, too."""
        real = self._inner.usage()
        with self._lock:
            used = self._used
        total = min(self.capacity, real.total)
        return DiskUsage(used, max(0, min(real.free, self.capacity - used)), total)

    def close(self) -> None:
        self._inner.close()

    def note(self, room: _Room, size: int) -> None:
        """Take what a file takes now."""
        with self._lock:
            if room.named:
                self._used += size - room.size
                room.size = size

    def reserve(self, room: _Room, length: int) -> None:
        """Count a file as that long before it is: others must not be given the same bytes.

        Raises: DiskFull when it does not fit any more.
        """
        with self._lock:
            more = length - room.size
            if more <= 0:
                return
            if self._used + more > self.capacity:
                raise DiskFull(
                    f"the disk is full: {self._used} of the {self.capacity} bytes that it may take"
                )
            if room.named:
                self._used += more
                room.size = length

    def _room(self, name: str) -> _Room:
        with self._lock:
            return self._rooms.setdefault(name, _Room())


class CappedFile:
    """A file of a CappedDisk."""

    def __init__(self, disk: CappedDisk, inner: File, room: _Room) -> None:
        self._disk = disk
        self._inner = inner
        self._room = room

    def read(self, offset: int, into: memoryview) -> int:
        return self._inner.read(offset, into)

    def write(self, offset: int, data: Bytes) -> None:
        end = offset + len(data)
        if end > self._room.size:  # Beyond what was reserved.
            self._disk.reserve(self._room, end)
            try:
                self._inner.write(offset, data)
            except (DiskFull, DiskFailed):
                self._look()
                raise
        else:
            self._inner.write(offset, data)
        if self._room.holes:
            self._look()

    def sync(self) -> None:
        self._inner.sync()

    def write_back(self, offset: int, length: int) -> None:
        self._inner.write_back(offset, length)

    def drop_cache(self) -> None:
        self._inner.drop_cache()

    def allocate(self, length: int) -> None:
        self._disk.reserve(self._room, length)
        try:
            self._inner.allocate(length)
        finally:
            self._look()

    def truncate(self, length: int) -> None:
        if length > self._inner.size():
            self._disk.reserve(self._room, length)
        try:
            self._inner.truncate(length)
        finally:
            self._look()

    def punch(self, offset: int, length: int) -> None:
        self._inner.punch(offset, length)
        self._room.holes = True
        self._look()

    def size(self) -> int:
        return self._inner.size()

    def room(self) -> int:
        return self._inner.room()

    def number(self) -> int:
        return self._inner.number()

    def close(self) -> None:
        self._inner.close()

    def _look(self) -> None:
        self._disk.note(self._room, self._inner.room())
