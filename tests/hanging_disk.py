"""A disk in memory that can hang: no error and no answer, until it is let go.

What the system does in memory goes on meanwhile, as on a real one: names, sizes and how full it is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from gfs_ha.chunk.disk import Bytes, DiskUsage
from gfs_ha.chunk.disk_memory import MemoryDisk, MemoryFile
from gfs_ha.errors import DiskFailed
from gfs_ha.runtime import Runtime

T = TypeVar("T")

HANGS_MAX_S = 60.0  # Or the test has failed.


class HangingDisk(MemoryDisk):
    """Hangs from `hang` to `let_go`: a call that waits then is done after all, late.

    Fields:
        hanging: how many calls wait now.
        whole: it hangs for everything, as one on the network does.
        away: what is said of its place, which nobody asks but who looks whether it is there.
    """

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        self._open = threading.Event()
        self._open.set()
        self._count = threading.Condition()
        self.hanging = 0
        self.whole = False
        self.away: DiskFailed | None = None

    def hang(self, whole: bool = False) -> None:
        self.whole = whole
        self._open.clear()

    def let_go(self) -> None:
        self._open.set()

    def wait_until_it_hangs(self, count: int = 1) -> None:
        """Return once so many calls wait."""
        with self._count:
            assert self._count.wait_for(lambda: self.hanging >= count, HANGS_MAX_S)

    def late(self, act: Callable[[], T], whole: bool = False) -> T:
        """Do something that only the device can do, or with `whole` the system does alone."""
        if not self._open.is_set() and (self.whole or not whole):
            with self._count:
                self.hanging += 1
                self._count.notify_all()
            assert self._open.wait(HANGS_MAX_S), "nobody let the disk go"
            with self._count:
                self.hanging -= 1
        return act()

    def check_place(self) -> None:
        if self.away is not None:
            raise self.away
        self.late(super().check_place, whole=True)

    def usage(self) -> DiskUsage:
        return self.late(super().usage, whole=True)

    def names(self) -> list[str]:
        return self.late(super().names, whole=True)

    def names_stamp(self) -> int:
        return self.late(super().names_stamp, whole=True)

    def create(self, name: str) -> MemoryFile:
        file = self.late(lambda: MemoryDisk.create(self, name))
        return _HangingFile(self, file)

    def open(self, name: str) -> MemoryFile:
        file = self.late(lambda: MemoryDisk.open(self, name), whole=True)
        return _HangingFile(self, file)

    def unlink(self, name: str) -> None:
        self.late(lambda: MemoryDisk.unlink(self, name))

    def sync_names(self) -> None:
        self.late(super().sync_names)


class _HangingFile(MemoryFile):
    def __init__(self, disk: HangingDisk, file: MemoryFile) -> None:
        super().__init__(disk, file._inode)
        self._gate = disk

    def read(self, offset: int, into: memoryview) -> int:
        return self._gate.late(lambda: MemoryFile.read(self, offset, into), whole=True)

    def write(self, offset: int, data: Bytes) -> None:
        self._gate.late(lambda: MemoryFile.write(self, offset, data), whole=True)

    def sync(self) -> None:
        self._gate.late(super().sync)

    def write_back(self, offset: int, length: int) -> None:
        self._gate.late(lambda: MemoryFile.write_back(self, offset, length))
