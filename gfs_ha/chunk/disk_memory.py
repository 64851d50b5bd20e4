"""The twin of the disk: a directory in memory that can lose power, fill up, fail and rot.

A power cut keeps what was synced, and of everything else any subset of its sectors: that is what
real disks do with a write that nobody waited for.
"""

from __future__ import annotations

from collections.abc import Callable

from gfs_ha.chunk.disk import Bytes, DiskUsage
from gfs_ha.errors import DiskFailed, DiskFull, GfsError, NotFound
from gfs_ha.runtime import Runtime

SECTOR_BYTES = 512
PAGE_BYTES = 4096  # What a range that is given back is counted in.

# Told the index of an unsynced write and of a sector in it; returns whether it reached the disk.
Survives = Callable[[int, int], bool]


class PowerCut(BaseException):
    """The machine is off; nothing that was called after this happened."""


class _Inode:
    def __init__(self) -> None:
        self.durable = bytearray()
        self.current = bytearray()
        self.unsynced: list[tuple[int, bytes]] = []
        self.broken: set[int] = set()  # Sectors that cannot be read until they are written.
        self.allocated = 0
        self.holes: set[int] = set()  # Pages that were given back.

    def room(self) -> int:
        return max(len(self.current), self.allocated) - PAGE_BYTES * len(self.holes)

    def punch(self, offset: int, length: int) -> None:
        written = min(offset + length, len(self.current))
        if offset < written:
            self.put(offset, bytes(written - offset))
        end = min(offset + length, max(len(self.current), self.allocated))
        self.holes.update(range(-(-offset // PAGE_BYTES), end // PAGE_BYTES))

    def put(self, offset: int, data: bytes) -> None:
        _store(self.current, offset, data)
        self.unsynced.append((offset, data))
        self.holes.difference_update(_pages(offset, len(data)))

    def settle(self) -> None:
        for offset, data in self.unsynced:
            _store(self.durable, offset, data)
        self.unsynced = []

    def lose(self, survives: Survives) -> None:
        for index, (offset, data) in enumerate(self.unsynced):
            for start in range(0, len(data), SECTOR_BYTES):
                if survives(index, start // SECTOR_BYTES):
                    _store(self.durable, offset + start, data[start : start + SECTOR_BYTES])
        self.current = bytearray(self.durable)
        self.unsynced = []
        self.holes = {page for page in self.holes if not any(self._page(page))}

    def _page(self, page: int) -> bytes:
        return bytes(self.durable[page * PAGE_BYTES : (page + 1) * PAGE_BYTES])


def _sectors(offset: int, length: int) -> range:
    return range(offset // SECTOR_BYTES, -(-(offset + length) // SECTOR_BYTES))


def _pages(offset: int, length: int) -> range:
    return range(offset // PAGE_BYTES, -(-(offset + length) // PAGE_BYTES))


def _store(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


class MemoryDisk:
    """A flat directory of files that forgets what was not synced. Thread-safe.

    `cut_after` counts down with each operation that changes something; at zero the power goes.
    """

    def __init__(self, runtime: Runtime, capacity: int = 1 << 40) -> None:
        self._lock = runtime.lock()
        self._capacity = capacity
        self._names: dict[str, _Inode] = {}
        self._durable_names: dict[str, _Inode] = {}
        self._off = False
        self.cut_after: int | None = None
        self.failing: GfsError | None = None
        self.operations = self._names_changes = 0
        self.error_count = self.answer_count = self.read_count = 0

    def names(self) -> list[str]:
        with self._lock:
            self._check()
            return sorted(self._names)

    def names_stamp(self) -> int:
        with self._lock:
            self._check()
            return self._names_changes

    def create(self, name: str) -> MemoryFile:
        with self._lock:
            self._change()
            if name in self._names:
                raise DiskFailed(f"cannot create {name}: it is there already")
            self._names_changes += 1
            inode = self._names[name] = _Inode()
            return MemoryFile(self, inode)

    def open(self, name: str) -> MemoryFile:
        with self._lock:
            self._check()
            if name not in self._names:
                raise NotFound(f"there is no {name}")
            return MemoryFile(self, self._names[name])

    def unlink(self, name: str) -> None:
        with self._lock:
            self._change()
            if self._names.pop(name, None) is not None:
                self._names_changes += 1

    def sync_names(self) -> None:
        with self._lock:
            self._change()
            self._durable_names = dict(self._names)
            self.answer_count += 1

    def check_place(self) -> None:
        with self._lock:
            self._check()

    def usage(self) -> DiskUsage:
        with self._lock:
            self._check()
            used = self._used()
            return DiskUsage(used, self._capacity - used, self._capacity)

    def close(self) -> None:
        pass

    def power_cycle(self, survives: Survives = lambda write, sector: False) -> None:
        """Cut the power and come back with what was synced, and what `survives` says of the rest.

        A new or removed name that was not synced counts as write 0, sector 0.
        """
        with self._lock:
            if not survives(0, 0):
                self._names = dict(self._durable_names)
            self._durable_names = dict(self._names)
            for inode in self._names.values():
                inode.lose(survives)
            self._off = False
            self.cut_after = None
            self.failing = None

    def flip(self, name: str, offset: int, mask: int = 1) -> None:
        """Let one byte rot, on the disk and in every cache."""
        with self._lock:
            inode = self._names[name]
            inode.current[offset] ^= mask
            if offset < len(inode.durable):
                inode.durable[offset] ^= mask

    def break_sector(self, name: str, offset: int) -> None:
        """Let no read get through a sector any more, until something is written there (EIO)."""
        with self._lock:
            self._names[name].broken.add(offset // SECTOR_BYTES)

    def cut_file(self, name: str, length: int) -> None:
        """Let the end of a file be gone, as a file system that was repaired leaves it."""
        with self._lock:
            inode = self._names[name]
            for content in (inode.current, inode.durable):
                del content[length:]

    def _used(self) -> int:
        return sum(inode.room() for inode in self._names.values())

    def _check(self) -> None:
        if self._off:
            raise PowerCut
        if self.failing is not None:
            self.error_count += isinstance(self.failing, DiskFailed)
            raise self.failing

    def _change(self) -> None:
        self._check()
        self.operations += 1
        if self.cut_after is not None:
            if self.cut_after == 0:
                self._off = True
                raise PowerCut
            self.cut_after -= 1


class MemoryFile:
    """A file of MemoryDisk."""

    def __init__(self, disk: MemoryDisk, inode: _Inode) -> None:
        self._disk = disk
        self._inode = inode

    def read(self, offset: int, into: memoryview) -> int:
        with self._disk._lock:
            self._disk._check()
            if self._inode.broken.intersection(_sectors(offset, len(into))):
                self._disk.error_count += 1
                raise DiskFailed(f"cannot read at {offset}: Input/output error")
            data = self._inode.current[offset : offset + len(into)]
            self._disk.read_count += 1
        into[: len(data)] = data
        return len(data)

    def write(self, offset: int, data: Bytes) -> None:
        with self._disk._lock:
            self._disk._change()
            self._reserve(offset + len(data))
            self._inode.broken.difference_update(_sectors(offset, len(data)))
            self._inode.put(offset, bytes(data))

    def sync(self) -> None:
        with self._disk._lock:
            self._disk._change()
            self._inode.settle()
            self._disk.answer_count += 1

    def write_back(self, offset: int, length: int) -> None:
        with self._disk._lock:
            self._disk._check()
            self._disk.answer_count += 1

    def drop_cache(self) -> None:
        pass

    def allocate(self, length: int) -> None:
        with self._disk._lock:
            self._disk._change()
            self._reserve(length)
            self._inode.allocated = max(self._inode.allocated, length)

    def truncate(self, length: int) -> None:
        with self._disk._lock:
            self._disk._change()
            # Both sides at once: where it matters, nothing lies beyond the length any more.
            for content in (self._inode.current, self._inode.durable):
                del content[length:]
            self._inode.allocated = length
            kept_pages = length // PAGE_BYTES
            self._inode.holes = {page for page in self._inode.holes if page < kept_pages}
            kept = [(at, data[: max(0, length - at)]) for at, data in self._inode.unsynced]
            self._inode.unsynced = [(at, data) for at, data in kept if data]

    def punch(self, offset: int, length: int) -> None:
        with self._disk._lock:
            self._disk._change()
            self._inode.punch(offset, length)

    def room(self) -> int:
        with self._disk._lock:
            self._disk._check()
            return self._inode.room()

    def size(self) -> int:
        with self._disk._lock:
            self._disk._check()
            return len(self._inode.current)

    def number(self) -> int:
        return -1

    def close(self) -> None:
        pass

    def _reserve(self, length: int) -> None:
        now = max(len(self._inode.current), self._inode.allocated)
        if length > now and self._disk._used() + length - now > self._disk._capacity:
            raise DiskFull("the disk is full")
