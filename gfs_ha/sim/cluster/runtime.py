"""The Runtime of a simulated process with many threads: locks that are really waited for.

Masters' tasks never wait while they hold a lock. Chunkservers and clients do, on a disk or a
connection, and then others of the same process come to the same lock.
"""

from __future__ import annotations

from types import TracebackType

from gfs_ha.runtime import Condition, Lock
from gfs_ha.sim.checkers import Violation
from gfs_ha.sim.masters.process import SimTask
from gfs_ha.sim.masters.runtime import ProcessRuntime

_DEADLOCK_S = 300.0  # Of local time; no disk and no stream of a run takes so long.

Waiter = tuple[SimTask, int]


class BusyRuntime(ProcessRuntime):
    """As ProcessRuntime, but a task may wait for anything while it holds a lock."""

    def lock(self) -> Lock:
        return _SimLock(self)

    def condition(self) -> Condition:
        return _BusyCondition(self)


class _SimLock:
    """Who comes first gets it first. An event of the simulation never has to wait for one."""

    def __init__(self, runtime: BusyRuntime) -> None:
        self._runtime = runtime
        self._held = False
        self._holder: SimTask | None = None
        self._waiters: list[Waiter] = []

    def __enter__(self) -> bool:
        runtime = self._runtime
        while self._held and runtime.process.alive:
            waited_since_s = runtime.monotonic_s()
            runtime.wait(_DEADLOCK_S, self._line_up)
            if runtime.monotonic_s() - waited_since_s >= _DEADLOCK_S:
                raise Violation(f"deadlock: {runtime.process.name} waits for a lock for ever")
        self._held, self._holder = True, runtime.tasks.running
        return True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # A task that was killed while it waited inside has lost the lock already.
        if self._held and self._holder is self._runtime.tasks.running:
            self._release()

    def _line_up(self, task: SimTask, token: int) -> None:
        self._waiters.append((task, token))

    def _release(self) -> None:
        self._held, self._holder = False, None
        if self._waiters:
            self._runtime.resume(*self._waiters.pop(0))


class _BusyCondition(_SimLock):
    def __init__(self, runtime: BusyRuntime) -> None:
        super().__init__(runtime)
        self._sleepers: list[Waiter] = []

    def wait(self, timeout_s: float) -> bool:
        mine: list[Waiter] = []

        def register(task: SimTask, token: int) -> None:
            mine.append((task, token))
            self._sleepers.append((task, token))

        self._release()
        self._runtime.wait(timeout_s, register)
        notified = mine[0] not in self._sleepers
        if not notified:
            self._sleepers.remove(mine[0])
        self.__enter__()
        return notified

    def notify_all(self) -> None:
        sleepers, self._sleepers = self._sleepers, []
        for task, token in sleepers:
            self._runtime.resume(task, token)
