"""A place for a disk in a simulated machine: which disk is in it, and whether that one works."""

from __future__ import annotations

import random

from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.chunk.slots.identity import read_identity
from gfs_ha.errors import DiskFailed
from gfs_ha.ids import ANY_DISK, DiskId
from gfs_ha.sim.cluster.runtime import BusyRuntime

_WHY = "Input/output error"
_READ_ONLY_WHY = "Read-only file system"
_HANGS = "it does not answer"


class Bay:
    """One data directory. What is on its disk can be looked at here also while it fails.

    Fields:
        pulled: a process that starts does not find the disk.
        since_s: since when it works, or its process runs.
        errors: how often it refused something to the running process.
        episode: counts how often it went out of service.
        hung_s: since when it hangs, or did last.
    """

    def __init__(self, name: str, clock: BusyRuntime, disk_bytes: int) -> None:
        self.name = name
        self.pulled = False
        self.since_s = 0.0
        self.episode = 0
        self.hung_s = 0.0
        self.errors = 0
        self._clock = clock
        self._disk_bytes = disk_bytes
        self._failure = ""
        self.disk = MemoryDisk(clock, disk_bytes)

    @property
    def works(self) -> bool:
        return not self._failure and not self.pulled

    @property
    def disk_id(self) -> DiskId:
        """Return what the disk says of itself; 0 when it was never used."""
        identity = read_identity(self.disk)
        return ANY_DISK if identity is None else identity.disk_id

    def check(self, changing: bool) -> None:
        """Raise DiskFailed as the disk does now."""
        if self._failure == _WHY or (changing and self._failure):
            self.errors += 1
            raise DiskFailed(self._failure)

    def fail(self, read_only: bool) -> None:
        """Have the disk refuse everything, or every change."""
        self._failure = _READ_ONLY_WHY if read_only else _WHY
        self.episode += 1

    def hang(self, now_s: float) -> None:
        """Have the disk answer nothing, until it works again or is renewed."""
        self._failure, self.hung_s = _HANGS, now_s
        self.episode += 1

    @property
    def hangs(self) -> bool:
        return self._failure == _HANGS

    def pull(self) -> None:
        self.pulled = True
        self.episode += 1

    def heal(self, now_s: float) -> None:
        """Have it be there and work."""
        if not self.works:
            self._failure, self.pulled, self.since_s = "", False, now_s

    def forget_unsynced(self, chance: random.Random) -> None:
        """Come back with what was synced, and by chance with some of the rest."""
        self.disk.power_cycle(lambda write, sector: chance.random() < 0.5)

    def renew(self) -> None:
        """Put an empty disk in the place of the one that was there."""
        self._failure, self.pulled = "", False
        self.episode += 1
        self.disk = MemoryDisk(self._clock, self._disk_bytes)
