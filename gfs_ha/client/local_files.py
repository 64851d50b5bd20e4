"""Files of this machine: their errors as ours, safe reading, and replacing a target in one step."""

from __future__ import annotations

import errno
import os
import stat as stat_module
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType

from gfs_ha.checksum import crc32c
from gfs_ha.errors import (
    AlreadyExists,
    CorruptData,
    Denied,
    DirectoryNotEmpty,
    DiskFailed,
    DiskFull,
    GfsError,
    InvalidPath,
    IsADirectory,
    LocalError,
    NotADirectory,
    NotFound,
    PartlyDone,
)
from gfs_ha.limits import TIME_NS_MAX

_KINDS: dict[int, type[GfsError]] = {
    errno.ENOENT: NotFound,
    errno.ENOTDIR: NotADirectory,
    errno.EISDIR: IsADirectory,
    errno.EEXIST: AlreadyExists,
    errno.ENOTEMPTY: DirectoryNotEmpty,
    errno.EACCES: Denied,
    errno.EPERM: Denied,
    errno.EROFS: Denied,
    errno.ENOSPC: DiskFull,
    errno.EDQUOT: DiskFull,
    errno.EIO: DiskFailed,
    errno.ENAMETOOLONG: InvalidPath,
    errno.ELOOP: NotFound,
}

VERIFY_BYTES = 1 << 20


def shown(path: str) -> str:
    """Return a local path as text for people; bytes that are no UTF-8 are escaped."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def local_error(path: str, error: OSError) -> GfsError:
    """Return an error of this machine's files as one of ours."""
    kind = _KINDS.get(error.errno or 0, LocalError)
    return kind(f"local {shown(path)}: {error.strerror or error}")


@contextmanager
def local_door(path: str) -> Iterator[None]:
    """Translate what goes wrong with a local path."""
    try:
        yield
    except OSError as error:
        raise local_error(path, error) from error


def kept_mtime_ns(status: os.stat_result) -> int:
    """Return the time of a local file as the cluster can keep it: none is beyond its bounds."""
    return max(-TIME_NS_MAX, min(status.st_mtime_ns, TIME_NS_MAX))


@dataclass(frozen=True, slots=True)
class LocalFacts:
    """What a local file looked like when it was opened; compared again at its end."""

    inode: tuple[int, int]
    size: int
    mtime_ns: int
    mode: int

    @classmethod
    def of(cls, status: os.stat_result) -> LocalFacts:
        mode = stat_module.S_IMODE(status.st_mode)
        return cls((status.st_dev, status.st_ino), status.st_size, kept_mtime_ns(status), mode)


class LocalSource:
    """A regular local file that is read once, and that must not change meanwhile."""

    def __init__(self, path: str) -> None:
        """Open it. Raises: NotFound, Denied, IsADirectory, LocalError (no regular file)."""
        self.path = path
        with local_door(path):
            # A fifo would wait for its writer.
            self._number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            with local_door(path):
                status = os.fstat(self._number)
            if stat_module.S_ISDIR(status.st_mode):
                raise IsADirectory(f"local {shown(path)} is a directory; -r copies it")
            if not stat_module.S_ISREG(status.st_mode):
                raise LocalError(f"local {shown(path)} is no regular file")
        except BaseException:
            os.close(self._number)
            raise
        self.facts = LocalFacts.of(status)

    def read_whole(self) -> bytes:
        """Return all bytes. Raises: PartlyDone when the file changed while it was read."""
        with local_door(self.path):
            data = os.pread(self._number, self.facts.size + 1, 0)
            while 0 < len(data) < self.facts.size:
                more = os.pread(self._number, self.facts.size + 1 - len(data), len(data))
                if not more:
                    break
                data += more
        self.check_unchanged(len(data))
        return data

    def read_into(self, memory: memoryview, offset: int) -> int:
        """Fill memory from `offset`, and return how many bytes there were; 0 is the end."""
        with local_door(self.path):
            return os.preadv(self._number, [memory], offset)

    def check_unchanged(self, read_bytes: int, so: str = "it was not copied") -> None:
        """Raise PartlyDone unless the file is what it was at open, and was read whole.

        Args: `so` says what follows when it is not.
        """
        with local_door(self.path):
            now = LocalFacts.of(os.fstat(self._number))
        before = (self.facts.size, self.facts.mtime_ns)
        if before != (now.size, now.mtime_ns) or read_bytes != self.facts.size:
            raise PartlyDone(f"local {shown(self.path)} changed while it was read; {so}")

    def close(self) -> None:
        os.close(self._number)

    def __enter__(self) -> LocalSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class LocalTarget:
    """A new local file that appears under its name whole, or not at all.

    It is written under a short temporary name beside the target, so that a name of 255 bytes is
    still possible, and renamed. Leaving the `with` block without `commit` removes it: `create` is
    called inside, so that Ctrl-C leaves nothing behind at whichever instruction it comes.
    """

    def __init__(self, path: str, unique: int) -> None:
        # What a link points to is replaced, not the link.
        self.path = path = os.path.realpath(path) if os.path.islink(path) else path
        directory = os.path.dirname(path) or "."
        self.temporary = os.path.join(directory, f".gfs-{unique & (1 << 64) - 1:016x}.part")
        self._number = -1
        self._begun = False

    def create(self) -> None:
        """Make the temporary file. Raises: IsADirectory, DiskFull, DiskFailed..."""
        with local_door(self.path):
            if os.path.isdir(self.path):
                raise IsADirectory(f"local {shown(self.path)} is a directory")
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._begun = True
            try:
                self._number = os.open(self.temporary, flags, 0o600)
            except OSError:
                self._begun = False  # Nothing was made, or it is another's.
                raise

    def write(self, data: memoryview, offset: int) -> None:
        """Write bytes at their place. Raises: DiskFull, DiskFailed."""
        with local_door(self.path):
            while len(data):
                count = os.pwrite(self._number, data, offset)
                data = data[count:]
                offset += count

    def verify(self, size: int, crc: int) -> None:
        """Read the file again, from its disk, and compare. Raises: CorruptData."""
        with local_door(self.path):
            os.fdatasync(self._number)
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(self._number, 0, 0, os.POSIX_FADV_DONTNEED)
            found_crc = found_size = 0
            while data := os.pread(self._number, VERIFY_BYTES, found_size):
                found_crc = crc32c(data, found_crc)
                found_size += len(data)
        if (found_size, found_crc) != (size, crc):
            raise CorruptData(f"local {shown(self.path)}: what was written reads back differently")

    def commit(self, mode: int, mtime_ns: int) -> None:
        """Set mode and time, and give the file its name."""
        with local_door(self.path):
            os.fchmod(self._number, mode & 0o7777)
            os.utime(self._number, ns=(mtime_ns, mtime_ns))
            os.rename(self.temporary, self.path)
        self._begun = False

    def __enter__(self) -> LocalTarget:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._begun:
            try:
                os.unlink(self.temporary)
            except FileNotFoundError:
                pass
        number, self._number = self._number, -1
        if number >= 0:
            os.close(number)
