"""A few workers that take jobs from a bounded queue; the first fatal error ends them all."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from gfs_ha.client.transfers import Cancel
from gfs_ha.errors import (
    Cancelled,
    DeadlineExceeded,
    DiskFull,
    GfsError,
    NoServers,
    NoSpace,
    SessionExpired,
    TooFewCopies,
    Unavailable,
    WrongCluster,
)
from gfs_ha.runtime import Runtime, Task

T = TypeVar("T")

WAIT_S = 1.0  # How soon a waiting giver hears of a cancel.
QUEUED_PER_WORKER = 64
PATIENCE_MAX_S = 3600.0  # What the workers wait for has shorter deadlines of its own.


class Crew(Generic[T]):
    """Runs `work` on each job that is given. `give`, `drain` and `stop` belong to one thread.

    Args: `cancel` ends it, and is set by `stop`: it belongs to this operation alone.
    """

    def __init__(
        self,
        runtime: Runtime,
        size: int,
        work: Callable[[T], None],
        cancel: Cancel,
        queued_max: int = QUEUED_PER_WORKER,
    ) -> None:
        self._runtime = runtime
        self._size = size
        self._work = work
        self._cancel = cancel
        self._queued_max = queued_max * size
        self._state = runtime.condition()
        self._jobs: deque[T] = deque()
        self._tasks: list[Task] = []
        self._busy = 0
        self._ended = False
        self._error: BaseException | None = None

    def give(self, job: T) -> None:
        """Queue a job; waits while many are queued. Raises: the fatal error of a worker."""
        with self._state:
            while len(self._jobs) >= self._queued_max and self._error is None:
                self._check()
                self._state.wait(WAIT_S)
            self._check()
            self._jobs.append(job)
            if len(self._tasks) < self._size and self._busy + len(self._jobs) > len(self._tasks):
                self._tasks.append(self._runtime.spawn("transfer", self._run))
            self._state.notify_all()

    def drain(self) -> None:
        """Wait until every job that was given is done. Raises: the fatal error of a worker."""
        with self._state:
            while (self._jobs or self._busy) and self._error is None:
                self._check()
                self._state.wait(WAIT_S)
            self._check()

    def drained(self, wait_s: float) -> bool:
        """Return whether every job is done; waits for it so long. Raises: as `drain`."""
        with self._state:
            if self._jobs or self._busy:
                self._state.wait(wait_s)
            self._check()
            return not self._jobs and not self._busy

    def stop(self, patience_s: float = PATIENCE_MAX_S) -> None:
        """End the workers; what they are at is cancelled, what is queued is dropped.

        After `drain` there is nothing of both. Args: a worker that waits for an answer longer than
        `patience_s` is left to end by itself.
        """
        deadline_s = self._runtime.monotonic_s() + patience_s
        self._cancel.set()
        with self._state:
            self._ended = True
            self._jobs.clear()
            self._state.notify_all()
        for task in self._tasks:
            while task.running() and (left_s := deadline_s - self._runtime.monotonic_s()) > 0:
                task.join(min(WAIT_S, left_s))

    def _check(self) -> None:
        if self._error is not None:
            raise self._error
        self._cancel.check()

    def _run(self) -> None:
        while (job := self._take()) is not None:
            error: BaseException | None = None
            try:
                self._work(job)
            except BaseException as failure:
                error = failure
            with self._state:
                self._busy -= 1
                if error is not None and self._error is None:
                    self._error = error
                self._state.notify_all()
            if error is not None and not isinstance(error, GfsError):
                raise error

    def _take(self) -> T | None:
        with self._state:
            while not self._jobs:
                if self._ended or self._error is not None:
                    return None
                self._state.wait(WAIT_S)
            if self._ended or self._error is not None:
                return None
            self._busy += 1
            job = self._jobs.popleft()
            self._state.notify_all()
            return job


_FATAL = (
    Unavailable,
    DeadlineExceeded,
    Cancelled,
    NoSpace,
    NoServers,
    TooFewCopies,
    SessionExpired,
    WrongCluster,
    DiskFull,
)


def fatal(error: GfsError) -> bool:
    """Return True when an error of one file means that the others would fail, too."""
    return isinstance(error, _FATAL)
