"""Watches a disk: one that takes nothing any more is out of service (D6).

A bad sector is no dead disk: it is damage, and healed from other servers (D3). So after an error,
and now and then of a disk that nobody uses, it is looked whether the directory is still there, and
a small file is written, synced and removed. Only a disk that fails that several times in a row, as
one that was pulled, or that the system made read-only, is given up.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from gfs_ha.chunk.disk import Disk
from gfs_ha.chunk.slots.shelf import Shelf
from gfs_ha.errors import DiskFailed, DiskFull
from gfs_ha.runtime import Runtime, Task

PROBE_NAME = "probe"
PROBES = 3
LOOK_S = 1.0
# Without an error. By chance: the disks of a machine are not to sync all in one moment.
REST_MIN_S, REST_MAX_S = 10.0, 15.0
_PROBE = bytes(4096)

logger = logging.getLogger(__name__)


class DiskWarden:
    """One task per disk, until the disk is out of service or the server stops."""

    def __init__(
        self, shelf: Shelf, on_dead: Callable[[Shelf, str], None], runtime: Runtime
    ) -> None:
        """Args: `on_dead` is told once, in the warden's own task, with what the disk said."""
        self._shelf = shelf
        self._on_dead = on_dead
        self._runtime = runtime
        self._changed = runtime.condition()
        self._stopping = False
        self._task: Task | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._task = self._runtime.spawn("disk warden", self._run)

    def stop(self, timeout_s: float) -> bool:
        """End it; False when it still runs after `timeout_s`."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        return self._task is None or self._task.join(timeout_s)

    def _run(self) -> None:
        seen = self._shelf.disk.error_count
        failed = 0
        due_s = self._next_s()
        while self._pause():
            quiet = not failed and self._shelf.disk.error_count == seen
            if quiet and self._runtime.monotonic_s() < due_s:
                continue
            why = probe(self._shelf.disk)
            due_s = self._next_s()
            seen = self._shelf.disk.error_count
            failed = failed + 1 if why else 0
            self._shelf.ailing = why  # The masters place nothing there meanwhile.
            if why:
                logger.warning(
                    "a disk fails id=%#x probe=%d why=%s", self._shelf.disk_id, failed, why
                )
            if failed >= PROBES:
                self._on_dead(self._shelf, why)
                return

    def _next_s(self) -> float:
        """Return when a disk without errors is looked at next."""
        return self._runtime.monotonic_s() + self._runtime.uniform(REST_MIN_S, REST_MAX_S)

    def _pause(self) -> bool:
        """Wait for the next look; False when the server stops."""
        with self._changed:
            if not self._stopping:
                self._changed.wait(LOOK_S)
            return not self._stopping


def probe(disk: Disk) -> str:
    """Return why a disk takes nothing, or "" when it works; a full one does."""
    try:
        disk.check_place()
        disk.names()
        disk.unlink(PROBE_NAME)
        file = disk.create(PROBE_NAME)
        try:
            file.write(0, _PROBE)
            file.sync()
        finally:
            file.close()
        disk.unlink(PROBE_NAME)
    except DiskFull:
        return ""
    except DiskFailed as error:
        return error.message
    return ""
