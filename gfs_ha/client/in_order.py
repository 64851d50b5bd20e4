"""Work that several workers do side by side, its results in the order of the jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Generic, TypeVar

from gfs_ha.client.crew import Crew
from gfs_ha.client.transfers import Cancel
from gfs_ha.runtime import Runtime

T = TypeVar("T")
R = TypeVar("R")

AHEAD_PER_WORKER = 4  # Jobs that are begun or done before the first one's result is taken.
WAIT_S = 1.0
PATIENCE_S = 5.0  # At the end for workers that wait for an answer.


class InOrder(Generic[T, R]):
    """One run over some jobs, by one thread; bounded, whatever the number of jobs.

    Args: `cancel` ends it and belongs to this run alone. What `work` raises is raised at its place
    in the order.
    """

    def __init__(self, runtime: Runtime, size: int, work: Callable[[T], R], cancel: Cancel) -> None:
        self._size = size
        self._work = work
        self._cancel = cancel
        self._state = runtime.condition()
        self._done: dict[int, R | BaseException] = {}
        self._crew: Crew[tuple[int, T]] = Crew(runtime, size, self._run, cancel)

    def results(self, jobs: Iterable[T]) -> Iterator[R]:
        """Yield the result of each job. Raises: Cancelled, and what a job raised."""
        waiting = iter(jobs)
        given = taken = 0
        try:
            while True:
                room = self._size * AHEAD_PER_WORKER - (given - taken)
                for job in islice(waiting, room):
                    self._crew.give((given, job))
                    given += 1
                if taken == given:
                    return
                yield self._take(taken)
                taken += 1
        finally:
            self._crew.stop(PATIENCE_S)

    def _take(self, index: int) -> R:
        with self._state:
            while index not in self._done:
                self._cancel.check()
                self._state.wait(WAIT_S)
            found = self._done.pop(index)
        if isinstance(found, BaseException):
            raise found
        return found

    def _run(self, numbered: tuple[int, T]) -> None:
        index, job = numbered
        try:
            found: R | BaseException = self._work(job)
        except BaseException as error:
            found = error
        with self._state:
            self._done[index] = found
            self._state.notify_all()
