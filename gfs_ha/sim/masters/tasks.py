"""Blocking code in virtual time: one real thread per waiting task, of which exactly one ever runs.

A task that waits runs the events of the simulation itself, in its own thread, until one of them
is its own wake-up; only the wake-up of another task hands the baton to that task's thread. What
happens next is decided by the heap of events alone, so every run of a seed is the same.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from gfs_ha.runtime import ThreadedRuntime
from gfs_ha.sim.masters.process import Process, SimTask, Thread
from gfs_ha.sim.scheduler import Scheduler


class Killed(BaseException):
    """Unwinds a task whose process is gone; nothing that it does from here on has an effect."""


class TaskScheduler(Scheduler):
    """The heap of events, and the tasks that wait for some of them."""

    def __init__(self) -> None:
        super().__init__()
        self.failure: BaseException | None = None
        self.switch_count = 0
        self._system = ThreadedRuntime()
        self._main = Thread(self._system)
        self._threads: list[Thread] = []
        self._idle: list[Thread] = []
        self._running: SimTask | None = None
        self._next: SimTask | None = None
        self._end_s = 0.0

    # For the main thread.

    def run_until(self, end_s: float) -> None:
        """Run everything that is due before `end_s`. Raises: what an event or a task raised."""
        self._end_s = end_s
        self._drive(self._main)
        if self.failure is not None:
            raise self.failure
        self.now_s = end_s

    def close(self) -> None:
        """End all threads; the tasks that still wait must have been killed and run out."""
        for thread in self._threads:
            thread.retired = True
            thread.go()
        self._threads.clear()
        self._heap.clear()

    # For tasks.

    @property
    def running(self) -> SimTask | None:
        """Return the task that has the baton; None in an event."""
        return self._running

    def spawn(self, process: Process, name: str, body: Callable[[], None]) -> SimTask:
        """Run a body soon, as a task of a process."""
        task = SimTask(name, process, body)
        process.tasks[task] = None
        process.at(process.local_now_s(), lambda: self.resume(task, 0))
        return task

    def begin_wait(self) -> tuple[SimTask, int]:
        """Return the running task and the token with which its wait, begun now, is ended."""
        task = self._running
        assert task is not None, "an event of the simulation waits"
        if task.killed:
            raise Killed
        task.token += 1
        return task, task.token

    def wait(self) -> None:
        """Wait until the running task is resumed."""
        task = self._running
        assert task is not None and task.thread is not None
        self._running = None
        self._drive(task.thread)
        self._running = task
        if task.killed:
            raise Killed

    def resume(self, task: SimTask, token: int) -> None:
        """Let a task go on if it still waits with this token; at most once in an event."""
        if not task.done and task.token == token:
            assert self._next is None, "one event resumes two tasks"
            task.token += 1
            self._next = task

    def kill(self, task: SimTask) -> None:
        """Have a task end at once wherever it waits."""
        task.killed = True
        if task is self._running or task.done:
            return
        if task.thread is None:
            self._finish(task)
            return
        task.token += 1
        token = task.token
        self.at(self.now_s, lambda: self.resume(task, token))

    # The baton.

    def _drive(self, me: Thread) -> None:
        """Run events in this thread until it is this thread's turn to go on."""
        heap = self._heap
        while True:
            if self.failure is not None or not heap or heap[0][0] >= self._end_s:
                if me is not self._main:
                    self._hand(self._main, me)
                return
            when_s, _, event = heapq.heappop(heap)
            if when_s > self.now_s:
                self.now_s = when_s
            self.event_count += 1
            try:
                event()
            except BaseException as error:
                self.failure = error  # The main thread raises it.
                continue
            task, self._next = self._next, None
            if task is None:
                continue
            thread = self._thread_of(task, me)
            if thread is not me:
                self._hand(thread, me)
            return

    def _thread_of(self, task: SimTask, me: Thread) -> Thread:
        if task.thread is not None:
            return task.thread
        if me.task is None and me is not self._main:
            thread = me
        elif self._idle:
            thread = self._idle.pop()
        else:
            thread = Thread(self._system)
            self._threads.append(thread)
            self._system.spawn("simulated task", lambda: self._work(thread))
        task.thread, thread.task = thread, task
        return thread

    def _hand(self, to: Thread, me: Thread) -> None:
        self.switch_count += 1
        if me.task is None and me is not self._main:
            self._idle.append(me)
        to.go()
        me.wait()

    def _work(self, thread: Thread) -> None:
        thread.wait()
        while not thread.retired:
            task = thread.task
            assert task is not None
            self._run(task)
            thread.task = None
            self._drive(thread)

    def _run(self, task: SimTask) -> None:
        self._running = task
        try:
            if not task.killed:
                task.body()
        except Killed:
            pass
        except BaseException as error:
            try:
                task.process.crash(task.name, error)
            except BaseException as failure:
                self.failure = failure
        self._running = None
        self._finish(task)

    def _finish(self, task: SimTask) -> None:
        task.done = True
        task.process.tasks.pop(task, None)
        for joiner, token in task.joiners:
            self.at(self.now_s, lambda j=joiner, t=token: self.resume(j, t))  # type: ignore[misc]
        task.joiners.clear()
