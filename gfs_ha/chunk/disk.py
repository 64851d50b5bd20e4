"""The door to one data directory: files by name, read and written at offsets, synced when asked.

Everything that the operating system refuses leaves here as DiskFull or DiskFailed.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

from gfs_ha.errors import DiskFailed, DiskFull, NotFound, WrongDirectory

Bytes = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """How full the file system is, in bytes."""

    used: int
    free: int
    total: int


class File(Protocol):
    """One open file. Threads may share it; nothing written is safe before `sync` returns."""

    def read(self, offset: int, into: memoryview) -> int:
        """Fill `into` from `offset`; return how much there was (less only at the end of file)."""
        ...

    def write(self, offset: int, data: Bytes) -> None:
        """Write all of `data`. Raises: DiskFull, DiskFailed."""
        ...

    def sync(self) -> None:
        """Return when everything written to the file so far survives a power cut (fdatasync)."""
        ...

    def write_back(self, offset: int, length: int) -> None:
        """Start to write a range to the disk and wait for it; it is not safe by that (D5)."""
        ...

    def drop_cache(self) -> None:
        """Make the next reads come from the disk, except for what is not written back yet."""
        ...

    def allocate(self, length: int) -> None:
        """Reserve room up to `length` bytes without changing the size. Raises: DiskFull."""
        ...

    def truncate(self, length: int) -> None:
        """Cut to `length` and give back what was reserved beyond it."""
        ...

    def punch(self, offset: int, length: int) -> None:
        """Give back a range; it reads as zeros afterwards, the size stays."""
        ...

    def size(self) -> int: ...

    def room(self) -> int:
        """Return how many bytes of the disk it takes."""
        ...

    def number(self) -> int:
        """Return the descriptor for sendfile, or -1 where there is none."""
        ...

    def close(self) -> None: ...


class Disk(Protocol):
    """A flat directory of files."""

    @property
    def error_count(self) -> int:
        """Return how often it refused something as broken (DiskFailed) since it was taken."""
        ...

    @property
    def answer_count(self) -> int:
        """Return how often it did what the device itself has to do, since it was taken.

        That is `sync`, `write_back` and `sync_names`: all else may be done in memory.
        """
        ...

    @property
    def read_count(self) -> int:
        """Return how often a read of a file came to its end, since it was taken."""
        ...

    def names(self) -> list[str]:
        """Return the names of all files, sorted."""
        ...

    def names_stamp(self) -> int:
        """Return what differs after a file was made or removed, by whom ever.

        Two changes within a few milliseconds may leave the same. Raises: DiskFailed.
        """
        ...

    def create(self, name: str) -> File:
        """Make a new file; its name is safe after `sync_names`. Raises: DiskFailed if taken."""
        ...

    def open(self, name: str) -> File:
        """Open a file that is there. Raises: NotFound; DiskFailed when it went with its place."""
        ...

    def unlink(self, name: str) -> None:
        """Remove a name; a name that is not there is no error."""
        ...

    def sync_names(self) -> None:
        """Return when creations and removals so far survive a power cut."""
        ...

    def check_place(self) -> None:
        """Raise DiskFailed when what was taken does not lie at its place any more."""
        ...

    def usage(self) -> DiskUsage: ...

    def close(self) -> None: ...


@contextmanager
def opened(disk: Disk, name: str) -> Iterator[File]:
    """Open a file for the length of a `with` block."""
    file = disk.open(name)
    try:
        yield file
    finally:
        file.close()


_STAT_BLOCK_BYTES = 512  # Of st_blocks, on every file system.
_KEEP_SIZE = 1
_PUNCH_HOLE = 2
_WAIT_WRITE_WAIT = 7  # SYNC_FILE_RANGE_WAIT_BEFORE | WRITE | WAIT_AFTER
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_SUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS)

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
_libc.sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]


@dataclass(slots=True)
class Counts:
    """What a disk and its files count together. Threads may lose one: who looks asks for change."""

    errors: int = 0
    answers: int = 0
    reads: int = 0


class _Translated:
    """Says in our words what the system refuses. No generator: ten of these make a small append."""

    __slots__ = ("_counts", "_what")

    def __init__(self, what: str, counts: Counts) -> None:
        self._what = what
        self._counts = counts

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not isinstance(error, OSError):
            return
        reason = error.strerror or str(error)
        if error.errno in _FULL:
            raise DiskFull(f"the disk is full: {self._what}") from error
        self._counts.errors += 1
        raise DiskFailed(f"{self._what}: {reason}") from error


class PosixFile:
    """A file on a local file system."""

    def __init__(self, number: int, name: str, counts: Counts) -> None:
        self._number = number
        self._name = name
        self._counts = counts

    def read(self, offset: int, into: memoryview) -> int:
        filled = 0
        with _Translated(f"cannot read {self._name} at {offset}", self._counts):
            while filled < len(into):
                count = os.preadv(self._number, [into[filled:]], offset + filled)
                if not count:
                    break
                filled += count
        self._counts.reads += 1
        return filled

    def write(self, offset: int, data: Bytes) -> None:
        with _Translated(f"cannot write {self._name} at {offset}", self._counts):
            written = os.pwrite(self._number, data, offset)
            while written < len(data):
                written += os.pwrite(self._number, memoryview(data)[written:], offset + written)

    def sync(self) -> None:
        with _Translated(f"cannot sync {self._name}", self._counts):
            os.fdatasync(self._number)
        self._counts.answers += 1

    def write_back(self, offset: int, length: int) -> None:
        if _libc.sync_file_range(self._number, offset, length, _WAIT_WRITE_WAIT):
            self._fail("cannot write back")
        else:
            self._counts.answers += 1

    def drop_cache(self) -> None:
        with _Translated(f"cannot drop the cache of {self._name}", self._counts):
            os.posix_fadvise(self._number, 0, 0, os.POSIX_FADV_DONTNEED)

    def allocate(self, length: int) -> None:
        if _libc.fallocate(self._number, _KEEP_SIZE, 0, length):
            self._fail(f"cannot reserve {length} bytes for")

    def truncate(self, length: int) -> None:
        with _Translated(f"cannot cut {self._name}", self._counts):
            if os.fstat(self._number).st_size < length:
                os.ftruncate(self._number, length)
            # ext4 gives back what was reserved beyond only if this does not make the file bigger.
            os.ftruncate(self._number, length)

    def punch(self, offset: int, length: int) -> None:
        if _libc.fallocate(self._number, _KEEP_SIZE | _PUNCH_HOLE, offset, length):
            self._fail("cannot give back a range of")

    def size(self) -> int:
        with _Translated(f"cannot look at {self._name}", self._counts):
            return os.fstat(self._number).st_size

    def room(self) -> int:
        with _Translated(f"cannot look at {self._name}", self._counts):
            return os.fstat(self._number).st_blocks * _STAT_BLOCK_BYTES

    def number(self) -> int:
        return self._number

    def close(self) -> None:
        number, self._number = self._number, -1
        if number >= 0:
            os.close(number)

    def _fail(self, what: str) -> None:
        code = ctypes.get_errno()
        if code in _NOT_SUPPORTED:
            return  # A file system without it: slower or bigger, not wrong.
        with _Translated(f"{what} {self._name}", self._counts):
            raise OSError(code, os.strerror(code))


class PosixDisk:
    """A directory on a local file system, held by one process at a time."""

    def __init__(self, directory: Path) -> None:
        """Take the directory, made if missing. Raises: WrongDirectory if another process has it."""
        self._directory = str(directory)
        self._counts = Counts()
        with _Translated(f"cannot use {directory}", self._counts):
            os.makedirs(directory, mode=0o700, exist_ok=True)
            self._number = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._number)
            raise WrongDirectory(
                f"{directory} is in use by another process; stop it or choose another directory"
            ) from error

    @property
    def error_count(self) -> int:
        return self._counts.errors

    @property
    def answer_count(self) -> int:
        return self._counts.answers

    @property
    def read_count(self) -> int:
        return self._counts.reads

    def names(self) -> list[str]:
        with _Translated(f"cannot list {self._directory}", self._counts):
            return sorted(os.listdir(self._number))

    def names_stamp(self) -> int:
        with _Translated(f"cannot look at {self._directory}", self._counts):
            return os.fstat(self._number).st_mtime_ns

    def create(self, name: str) -> PosixFile:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with _Translated(f"cannot create {self._directory}/{name}", self._counts):
            return PosixFile(os.open(name, flags, 0o600, dir_fd=self._number), name, self._counts)

    def open(self, name: str) -> PosixFile:
        with _Translated(f"cannot open {self._directory}/{name}", self._counts):
            try:
                number = os.open(name, os.O_RDWR | os.O_CLOEXEC, dir_fd=self._number)
            except FileNotFoundError as error:
                self.check_place()
                raise NotFound(f"there is no {self._directory}/{name}") from error
        return PosixFile(number, name, self._counts)

    def unlink(self, name: str) -> None:
        with _Translated(f"cannot remove {self._directory}/{name}", self._counts):
            try:
                os.unlink(name, dir_fd=self._number)
            except FileNotFoundError:
                pass

    def sync_names(self) -> None:
        with _Translated(f"cannot sync {self._directory}", self._counts):
            os.fsync(self._number)
        self._counts.answers += 1

    def check_place(self) -> None:
        # Open files of a directory that was removed, or is hidden by another one, go on to work.
        with _Translated(f"cannot look at {self._directory}", self._counts):
            held = os.fstat(self._number)
            try:
                there = os.stat(self._directory)
            except PermissionError:
                return  # Of a folder above it: that says nothing of the disk.
            if not held.st_nlink or not os.path.samestat(held, there):
                raise OSError(
                    "it is not the directory any more that was opened: it was removed, or something"
                    " was mounted or unmounted there"
                )

    def usage(self) -> DiskUsage:
        with _Translated(f"cannot look at {self._directory}", self._counts):
            facts = os.fstatvfs(self._number)
        size = facts.f_frsize
        used = (facts.f_blocks - facts.f_bfree) * size
        # What only root may use counts as neither.
        return DiskUsage(used, facts.f_bavail * size, used + facts.f_bavail * size)

    def close(self) -> None:
        number, self._number = self._number, -1
        if number >= 0:
            os.close(number)
