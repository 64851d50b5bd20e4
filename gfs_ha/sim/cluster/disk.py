"""One process's hold on the disk of its machine: syncs take time, and the dead write nothing."""

from __future__ import annotations

from collections.abc import Callable

from gfs_ha.chunk.disk import Bytes, DiskUsage
from gfs_ha.chunk.disk_memory import MemoryFile
from gfs_ha.sim.cluster.bay import Bay
from gfs_ha.sim.cluster.runtime import BusyRuntime
from gfs_ha.sim.masters.tasks import Killed

BALLAST = "ballast"  # What somebody else has on the disk, outside of the data directory.

_HANGING_S = 0.25  # So often who waits for a disk that hangs looks at it.

# Told the name of a file that is about to go.
OnUnlink = Callable[[str], None]


class Speed:
    """How long a sync of a machine's disk takes, at most, in seconds; faults change it."""

    def __init__(self, sync_s: float) -> None:
        self.usual_s = sync_s
        self.sync_s = sync_s


class ProcessDisk:
    """The Disk of one process. A sync that a crash comes into may or may not have happened."""

    def __init__(self, bay: Bay, runtime: BusyRuntime, speed: Speed, on_unlink: OnUnlink) -> None:
        self._bay = bay
        self._inner = bay.disk
        self._runtime = runtime
        self._speed = speed
        self._on_unlink = on_unlink

    @property
    def error_count(self) -> int:
        return self._inner.error_count + self._bay.errors

    @property
    def answer_count(self) -> int:
        return self._inner.answer_count

    @property
    def read_count(self) -> int:
        return self._inner.read_count

    def names(self) -> list[str]:
        self.check()
        return [name for name in self._inner.names() if name != BALLAST]

    def names_stamp(self) -> int:
        self.check()
        return self._inner.names_stamp()

    def create(self, name: str) -> ProcessFile:
        self.check(changing=True)
        return ProcessFile(self, self._inner.create(name))

    def open(self, name: str) -> ProcessFile:
        self.check()
        return ProcessFile(self, self._inner.open(name))

    def unlink(self, name: str) -> None:
        self.check(changing=True)
        self._on_unlink(name)
        self._inner.unlink(name)

    def sync_names(self) -> None:
        self.take_time()
        self._inner.sync_names()

    def check_place(self) -> None:
        self.check()

    def usage(self) -> DiskUsage:
        self.check()
        return self._inner.usage()

    def close(self) -> None:
        pass

    def check(self, changing: bool = False) -> None:
        """Raise Killed in a task whose process is gone, DiskFailed while the disk does not work.

        Nothing is done of what the system could do in memory while it hangs.
        """
        while self._bay.hangs and self._runtime.process.alive:
            self._runtime.sleep(_HANGING_S)
        if not self._runtime.process.alive:
            raise Killed
        self._bay.check(changing)

    def take_time(self) -> None:
        """Let the time of a sync pass."""
        self.check(changing=True)
        self._runtime.sleep(self._runtime.uniform(0.0, self._speed.sync_s))
        self.check(changing=True)


class ProcessFile:
    """A file of ProcessDisk."""

    def __init__(self, disk: ProcessDisk, inner: MemoryFile) -> None:
        self._disk = disk
        self._inner = inner

    def read(self, offset: int, into: memoryview) -> int:
        self._disk.check()
        return self._inner.read(offset, into)

    def write(self, offset: int, data: Bytes) -> None:
        self._disk.check(changing=True)
        self._inner.write(offset, data)

    def sync(self) -> None:
        self._disk.take_time()
        self._inner.sync()

    def write_back(self, offset: int, length: int) -> None:
        self._disk.take_time()
        self._inner.write_back(offset, length)

    def drop_cache(self) -> None:
        pass

    def allocate(self, length: int) -> None:
        self._disk.check(changing=True)
        self._inner.allocate(length)

    def truncate(self, length: int) -> None:
        self._disk.check(changing=True)
        self._inner.truncate(length)

    def punch(self, offset: int, length: int) -> None:
        self._disk.check(changing=True)
        self._inner.punch(offset, length)

    def size(self) -> int:
        self._disk.check()
        return self._inner.size()

    def room(self) -> int:
        self._disk.check()
        return self._inner.room()

    def number(self) -> int:
        return -1

    def close(self) -> None:
        pass
