"""Waits for a disk at the start of its server, as long as it does anything at all (D6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from gfs_ha.chunk.disk import Disk
from gfs_ha.errors import DeadlineExceeded, DiskFailed
from gfs_ha.runtime import Future, Runtime

T = TypeVar("T")

SILENT_S = 30.0  # As long as for a disk in service.
LOOK_S = 0.5


def ask_disk(disk: Disk, ask: Callable[[], T], runtime: Runtime) -> T:
    """Return what `ask` returns, which reads and writes one disk; it may take hours.

    Raises: what `ask` raises; DiskFailed once the disk has done nothing of it for a while. Then it
    is left alone: what it does when it comes to itself counts for nothing.
    """
    answer: Future[T] = runtime.future()

    def run() -> None:
        try:
            answer.set(ask())
        except BaseException as error:
            answer.fail(error)

    runtime.spawn("disk at the start", run)
    done, since_s = _done(disk), runtime.monotonic_s()
    while True:
        try:
            return answer.result(LOOK_S)
        except DeadlineExceeded:
            if answer.done():
                raise
        if _done(disk) != done:
            done, since_s = _done(disk), runtime.monotonic_s()
        elif runtime.monotonic_s() - since_s >= SILENT_S:
            raise DiskFailed(f"the disk did not answer for {SILENT_S:g} s at the start")


def _done(disk: Disk) -> tuple[int, int]:
    return disk.answer_count, disk.read_count
