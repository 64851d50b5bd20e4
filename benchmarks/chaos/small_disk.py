"""A small disk in a mount namespace of its own, that can be filled up and emptied again.

The mount is seen by nobody else and is gone with the last process that holds the namespace: the
holder, which ends with us, and the master that lives on it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from chaos import kernel

_FILLER = "filler"
_MIB = 1 << 20
_MAKE = """
set -e
truncate -s {size} "$1.image"
if mkfs.ext4 -q -m 0 "$1.image" && mount -o loop "$1.image" "$1" 2>/dev/null
then echo loop ext4
else mount -t tmpfs -o size={size} gfs-chaos "$1"; echo tmpfs
fi
exec sleep 1000000
"""


class SmallDisk:
    """A file system of `size_bytes` at `place`. Raises: OSError when it cannot be mounted."""

    def __init__(self, place: Path, size_bytes: int) -> None:
        place.mkdir(parents=True)
        parent = os.getpid()

        def prepare() -> None:
            kernel.end_with_parent(parent)

        make = ["sh", "-c", _MAKE.format(size=size_bytes), "sh", str(place)]
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", *make],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=prepare,
            process_group=0,
        )
        assert self._holder.stdout is not None and self._holder.stderr is not None
        self.kind = self._holder.stdout.readline().strip()
        if not self.kind:
            said = self._holder.stderr.read().strip()
            self._holder.communicate()
            raise OSError(f"no small disk: {said[-200:]}")
        # The same place as it is seen from outside of the namespace.
        self.outside = Path(f"/proc/{self._holder.pid}/root{place}")
        self._namespace = os.open(f"/proc/{self._holder.pid}/ns/mnt", os.O_RDONLY)
        self._root = os.open(self.outside, os.O_RDONLY)

    def enter(self) -> None:
        """Move this (single-threaded) process to where the disk is seen."""
        kernel.enter(self._namespace, kernel.NEW_MOUNTS)

    def fill(self, left_bytes: int) -> Callable[[], None]:
        """Leave only so much free; return what frees the rest again."""
        flags = os.O_RDWR | os.O_CREAT
        filler = os.open(_FILLER, flags, 0o600, dir_fd=self._root)
        try:
            facts = os.fstatvfs(self._root)
            size = os.fstat(filler).st_size
            free = facts.f_bavail * facts.f_frsize - left_bytes
            while free > 0:
                try:
                    os.posix_fallocate(filler, size, free)
                    size += free
                except OSError:
                    free //= 2  # The file system needs some for its own tables.
                    if free < 4096:
                        break
                facts = os.fstatvfs(self._root)
                free = min(free, facts.f_bavail * facts.f_frsize - left_bytes)
        finally:
            os.close(filler)
        return self._free

    def _free(self) -> None:
        try:
            os.unlink(_FILLER, dir_fd=self._root)
        except FileNotFoundError:
            pass

    def close(self) -> None:
        """Let it go: the kernel unmounts it with its last user."""
        os.close(self._root)
        os.close(self._namespace)
        self._holder.kill()
        self._holder.communicate()
