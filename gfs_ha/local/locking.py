"""One caller at a time changes a local cluster, in whatever process."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from gfs_ha.errors import Busy
from gfs_ha.local.layout import Layout
from gfs_ha.runtime import Runtime

_TIMEOUT_S = 60.0


@contextmanager
def locked(layout: Layout, runtime: Runtime, claim: bool = False) -> Iterator[None]:
    """Hold the lock of a cluster's directory; with `claim` that is made first.

    Raises: Busy after a minute; WrongDirectory when it holds something else.
    """
    deadline_s = runtime.monotonic_s() + _TIMEOUT_S
    while True:
        if claim:
            layout.claim()
        with layout.lock.open("a") as file:
            while not _try_lock(file.fileno()):
                if runtime.monotonic_s() >= deadline_s:
                    raise Busy(f"another process changes {layout.directory}")
                runtime.sleep(0.05)
            # Who held it may have wiped the cluster, and the lock with it.
            if not claim or layout.holds(file.fileno()):
                yield
                return


def _try_lock(number: int) -> bool:
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
