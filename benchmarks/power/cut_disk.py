"""A disk that really loses power: ext4 on a loop device, shut down without writing its journal.

It is mounted in a mount namespace of its own: nobody else sees it, and it goes, loop device
included, with the process that holds the namespace, which ends with us whatever we die of.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from pathlib import Path

from chaos import kernel

_EXT4_IOC_SHUTDOWN = 0x8004587D
_NO_LOG_FLUSH = 2
_MOUNT = 'mount -o loop "$1.image" "$1"'
_MAKE = f"""
set -e
truncate -s {{size}} "$1.image"
mkfs.ext4 -q -m 0 "$1.image"
{_MOUNT}
echo ready
exec sleep 1000000
"""
_COMMAND_S = 30.0


class CutDisk:
    """A file system of `size_bytes` at `place`, seen at `outside`.

    Raises: OSError when this machine does not allow it.
    """

    def __init__(self, place: Path, size_bytes: int) -> None:
        for tool in ("unshare", "nsenter", "mkfs.ext4"):
            if shutil.which(tool) is None:
                raise OSError(f"there is no {tool}")
        place.mkdir(parents=True)
        self._place = place
        parent = os.getpid()
        self._holder = subprocess.Popen(
            [
                *("unshare", "--mount", "--propagation", "private"),
                *("sh", "-c", _MAKE.format(size=size_bytes), "sh", str(place)),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: kernel.end_with_parent(parent),
            process_group=0,
        )
        assert self._holder.stdout is not None and self._holder.stderr is not None
        if self._holder.stdout.readline().strip() != "ready":
            said = self._holder.stderr.read().strip()
            self._holder.communicate()
            raise OSError(f"no loop ext4: {said[-200:]}")
        self.outside = Path(f"/proc/{self._holder.pid}/root{place}")

    def cut(self) -> None:
        """Take its power: what was not synced is gone, every call from now on fails."""
        number = os.open(self.outside, os.O_RDONLY)
        try:
            fcntl.ioctl(number, _EXT4_IOC_SHUTDOWN, struct.pack("=i", _NO_LOG_FLUSH))
        finally:
            os.close(number)

    def plug_in(self) -> None:
        """Mount what a cut has left; nobody may hold a file of it. Raises: OSError."""
        words = ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "sh", "-c"]
        command = f'umount "$1" && {_MOUNT}'
        done = subprocess.run(
            [*words, command, "sh", str(self._place)],
            capture_output=True, text=True, timeout=_COMMAND_S, check=False,
        )  # fmt: skip
        if done.returncode:
            raise OSError(f"cannot mount it again: {done.stderr.strip()[-200:]}")

    def close(self) -> None:
        """Let it go: the kernel unmounts it with its last user."""
        self._holder.kill()
        self._holder.communicate()
