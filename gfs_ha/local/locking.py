"""One caller at a time changes a local cluster, in whatever process."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gfs_ha.errors import Busy, NotFound
from gfs_ha.local.layout import Layout
from gfs_ha.runtime import Runtime

_TIMEOUT_S = 60.0


@contextmanager
def locked(layout: Layout, runtime: Runtime, claim: bool = False) -> Iterator[None]:
    """Hold the lock of a cluster's directory; with `claim` that is made first.

    Raises: Busy after a minute; WrongDirectory when it holds something else; NotFound when there is
    no cluster to change, or none any more.
    """
    deadline_s = runtime.monotonic_s() + _TIMEOUT_S
    while True:
        if claim:
            layout.claim()
        elif not layout.claimed() and not layout.exists():
            raise NotFound(no_cluster(layout.directory))
        try:
            file = layout.lock.open("a")
        except FileNotFoundError:
            continue  # It was wiped since we looked.
        with file:
            while not _try_lock(file.fileno()):
                if runtime.monotonic_s() >= deadline_s:
                    raise Busy(f"another process changes {layout.directory}; try again")
                runtime.sleep(0.05)
            # Who held it may have wiped the cluster, and the lock with it.
            if layout.holds(file.fileno()):
                yield
                return


def no_cluster(directory: Path) -> str:
    return f"there is no local cluster in {directory}; `gfsctl local up` makes one"


def _try_lock(number: int) -> bool:
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
