"""The twin of the links under a consensus loop that runs as a task: its poll waits."""

from __future__ import annotations

from collections.abc import Callable

from gfs_ha.sim.masters.process import SimTask
from gfs_ha.sim.masters.runtime import ProcessRuntime
from gfs_ha.sim.network import Network, SimLinks

_STEP_S = 0.00002  # What a step takes without a commit.


class WaitingLinks(SimLinks):
    """The Links of one process. What arrives while it is stopped waits, in order."""

    def __init__(self, network: Network, runtime: ProcessRuntime) -> None:
        process = runtime.process
        super().__init__(network, process.host, process.local_now_s, self._end_wait)
        self._runtime = runtime
        self._waiter: tuple[SimTask, int] | None = None
        self._woken = False

    def poll(self, wait_s: float, busy: Callable[[], bool]) -> None:
        # Every step takes some time: one that does not would be repeated at the same moment.
        self._runtime.wait(_STEP_S, None)
        if wait_s > _STEP_S and not (self._woken or self.waiting or busy()):
            self._runtime.wait(wait_s - _STEP_S, self._begin_wait)
            self._waiter = None
        self._woken = False
        super().poll(0.0, busy)

    def _begin_wait(self, task: SimTask, token: int) -> None:
        self._waiter = (task, token)

    def _end_wait(self) -> None:
        self._woken = True
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            self._runtime.resume(*waiter)
