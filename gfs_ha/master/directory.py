"""The directory of a master: held by one process, checked to be a master's, and its room."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from gfs_ha.errors import DiskFailed, DiskFull, WrongDirectory
from gfs_ha.kv.directories import make_durable

STORE_NAME = "db"
LOCK_NAME = "lock"


def holds_store(path: Path) -> bool:
    """Return whether a master's store is there; nothing is created."""
    return (path / STORE_NAME / "data.mdb").is_file()


class MasterDirectory:
    """`path` with its store below; locked until `close`.

    Raises: WrongDirectory, DiskFull, DiskFailed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.store = path / STORE_NAME
        try:
            make_durable(path)
            self._lock = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            kind = DiskFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else DiskFailed
            raise kind(f"cannot use the directory {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise WrongDirectory(f"another process uses the directory {path}") from error

    def check(self) -> None:
        """Refuse a directory that is not a master's. Raises: WrongDirectory."""
        others = sorted(set(os.listdir(self._path)) - {STORE_NAME, LOCK_NAME})
        if others and not self.store.is_dir():
            raise WrongDirectory(
                f"the directory {self._path} holds {others[0]} and no store of a master; "
                "give the master a directory of its own"
            )

    def room(self) -> tuple[int, int]:
        """Return (free, total) bytes of the disk below."""
        usage = os.statvfs(self._path)
        return usage.f_bavail * usage.f_frsize, usage.f_blocks * usage.f_frsize

    def close(self) -> None:
        """Let others have the directory."""
        os.close(self._lock)
