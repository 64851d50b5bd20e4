"""The Runtime of one simulated process whose code may wait: tasks, conditions, futures, sleep."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar, cast

from gfs_ha.errors import DeadlineExceeded, Overloaded
from gfs_ha.runtime import Condition, Future, Queue, Task
from gfs_ha.sim.masters.process import Process, SimTask
from gfs_ha.sim.masters.tasks import TaskScheduler
from gfs_ha.sim.runtime import SimRuntime

T = TypeVar("T")

_WALL_START_NS = 1_760_000_000 * 1_000_000_000


class ProcessRuntime(SimRuntime):
    """Time at the rate of this machine, a wall clock that somebody may step, and waiting."""

    def __init__(
        self, scheduler: TaskScheduler, process: Process, chance: random.Random, rate: float
    ) -> None:
        super().__init__(scheduler, chance, rate)
        self.process = process
        self.tasks = scheduler
        self.wall_step_ns = 0
        process.clock = self

    def wall_ns(self) -> int:
        return _WALL_START_NS + self.monotonic_ns() + self.wall_step_ns

    def sleep(self, seconds: float) -> None:
        self.wait(seconds, None)

    def wait(self, seconds: float, register: Callable[[SimTask, int], None] | None) -> None:
        """Wait at most so long; `register` tells somebody how to end it earlier."""
        task, token = self.tasks.begin_wait()
        if register is not None:
            register(task, token)
        due_s = self.process.local_now_s() + self.global_s(max(0.0, seconds))
        self.process.at(due_s, lambda: self.tasks.resume(task, token))
        self.tasks.wait()

    def resume(self, task: SimTask, token: int) -> None:
        """End a wait, in an event of its own."""
        process = task.process
        process.at(self.process.local_now_s(), lambda: self.tasks.resume(task, token))

    def spawn(self, name: str, body: Callable[[], None]) -> Task:
        return _SpawnedTask(self, self.tasks.spawn(self.process, name, body))

    def condition(self) -> Condition:
        return _SimCondition(self)

    def queue(self, limit: int) -> Queue[T]:
        return cast(Queue[T], _SimQueue(self, limit))

    def future(self) -> Future[T]:
        return _SimFuture(self)


class _SpawnedTask:
    def __init__(self, runtime: ProcessRuntime, task: SimTask) -> None:
        self.name = task.name
        self._runtime = runtime
        self._task = task

    def join(self, timeout_s: float) -> bool:
        if not self._task.done:
            self._runtime.wait(timeout_s, lambda *waiter: self._task.joiners.append(waiter))
        return self._task.done

    def running(self) -> bool:
        return not self._task.done


class _SimCondition:
    """A lock that nobody waits for: a task gives the baton away only in `wait`."""

    def __init__(self, runtime: ProcessRuntime) -> None:
        self._runtime = runtime
        self._held = False
        self._waiters: list[tuple[SimTask, int]] = []

    def __enter__(self) -> bool:
        assert not self._held, "a task waits for something else while it holds a lock"
        self._held = True
        return True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._held = False

    def wait(self, timeout_s: float) -> bool:
        waiter: list[tuple[SimTask, int]] = []

        def register(task: SimTask, token: int) -> None:
            waiter.append((task, token))
            self._waiters.append((task, token))

        self._held = False
        try:
            self._runtime.wait(timeout_s, register)
        finally:
            self._held = True
            notified = waiter[0] not in self._waiters if waiter else False
            if not notified and waiter:
                self._waiters.remove(waiter[0])
        return notified

    def notify_all(self) -> None:
        waiters, self._waiters = self._waiters, []
        for task, token in waiters:
            self._runtime.resume(task, token)


class _SimFuture(Generic[T]):
    def __init__(self, runtime: ProcessRuntime) -> None:
        self._runtime = runtime
        self._done = False
        self._value: T | None = None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[], None]] = []

    def set(self, value: T) -> bool:
        return self._finish(value, None)

    def fail(self, error: BaseException) -> bool:
        return self._finish(None, error)

    def done(self) -> bool:
        return self._done

    def result(self, timeout_s: float) -> T:
        if not self._done:
            runtime = self._runtime

            def register(task: SimTask, token: int) -> None:
                self._callbacks.append(lambda: runtime.resume(task, token))

            runtime.wait(timeout_s, register)
        if not self._done:
            raise DeadlineExceeded(f"no answer within {timeout_s:.1f} s")
        if self._error is not None:
            raise self._error
        return cast(T, self._value)

    def when_done(self, callback: Callable[[], None]) -> None:
        if self._done:
            callback()
        else:
            self._callbacks.append(callback)

    def _finish(self, value: T | None, error: BaseException | None) -> bool:
        if self._done:
            return False
        self._value, self._error, self._done = value, error, True
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()
        return True


class _SimQueue(Generic[T]):
    def __init__(self, runtime: ProcessRuntime, limit: int) -> None:
        self._limit = limit
        self._items: deque[T] = deque()
        self._changed = _SimCondition(runtime)
        self._runtime = runtime

    def put(self, item: T) -> None:
        if len(self._items) >= self._limit:
            raise Overloaded(f"a queue of {self._limit} entries is full; try again later")
        self._items.append(item)
        self._changed.notify_all()

    def get(self, timeout_s: float) -> T:
        deadline_s = self._runtime.monotonic_s() + timeout_s
        while not self._items:
            left_s = deadline_s - self._runtime.monotonic_s()
            if left_s <= 0:
                raise DeadlineExceeded(f"nothing came within {timeout_s:.1f} s")
            with self._changed:
                self._changed.wait(left_s)
        return self._items.popleft()

    def __len__(self) -> int:
        return len(self._items)
