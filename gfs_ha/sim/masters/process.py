"""One simulated process: alive, stopped for a while (SIGSTOP, a suspended machine), or gone; and
the tasks in it.
"""

from __future__ import annotations

from collections.abc import Callable

from gfs_ha.runtime import ThreadedRuntime
from gfs_ha.sim.runtime import SimRuntime
from gfs_ha.sim.scheduler import Scheduler

Crash = Callable[[str, BaseException], None]


class Process:
    """Everything that happens in a process goes through `at`: it waits while the process is
    stopped, and is forgotten when it is gone. Order is kept.
    """

    def __init__(self, name: str, host: str, scheduler: Scheduler, on_crash: Crash) -> None:
        self.name = name
        self.host = host
        self.scheduler = scheduler
        self.alive = True
        self.stopped = False
        self.crash = on_crash
        self.tasks: dict[SimTask, None] = {}
        self.clock: SimRuntime | None = None
        self._held: list[Callable[[], None]] = []

    def local_now_s(self) -> float:
        return self.scheduler.now_s

    def at(self, when_s: float, event: Callable[[], None]) -> None:
        """Run an event of this process at a time of the scheduler."""

        def happen() -> None:
            if not self.alive:
                return
            if self.stopped:
                self._held.append(event)
            else:
                event()

        self.scheduler.at(when_s, happen)

    def stop(self) -> None:
        """Stop, as by SIGSTOP: clocks and the network go on without it."""
        self.stopped = True

    def go_on(self) -> None:
        """Go on with everything that came meanwhile, in order."""
        if self.stopped:
            self.stopped = False
            held, self._held = self._held, []
            for event in held:
                self.at(self.scheduler.now_s, event)

    def end(self) -> None:
        """Be gone. The tasks must be killed by whoever owns them."""
        self.alive = False
        self._held.clear()


class SimTask:
    """Some blocking code of a process. It is resumed only with the token of its newest wait."""

    def __init__(self, name: str, process: Process, body: Callable[[], None]) -> None:
        self.name = name
        self.process = process
        self.body = body
        self.thread: Thread | None = None
        self.token = 0
        self.done = False
        self.killed = False
        self.joiners: list[tuple[SimTask, int]] = []


class Thread:
    """A real thread that waits for the baton; its own lock is the baton's place."""

    def __init__(self, system: ThreadedRuntime) -> None:
        self.task: SimTask | None = None
        self.retired = False
        self._turn = system.lock()
        self._turn.__enter__()

    def wait(self) -> None:
        self._turn.__enter__()

    def go(self) -> None:
        self._turn.__exit__(None, None, None)
