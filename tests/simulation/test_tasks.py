"""Blocking code in virtual time: waits end when they should, in an order that repeats itself."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from gfs_ha.errors import DeadlineExceeded
from gfs_ha.runtime import Future
from gfs_ha.sim.masters.process import Process
from gfs_ha.sim.masters.runtime import ProcessRuntime
from gfs_ha.sim.masters.tasks import TaskScheduler


def crash(task: str, error: BaseException) -> None:
    raise error


class Machine:
    """A process with a clock of rate 1."""

    def __init__(self) -> None:
        self.scheduler = TaskScheduler()
        self.process = Process("p", "p", self.scheduler, crash)
        self.runtime = ProcessRuntime(self.scheduler, self.process, random.Random(1), 1.0)
        self.log: list[tuple[float, str]] = []

    def note(self, what: str) -> None:
        self.log.append((round(self.scheduler.now_s - 1000.0, 6), what))

    def run(self, *bodies: Callable[[], None], seconds: float = 100.0) -> None:
        for body in bodies:
            self.runtime.spawn(body.__name__, body)
        self.scheduler.run_until(self.scheduler.now_s + seconds)


@pytest.fixture
def machine() -> Iterator[Machine]:
    found = Machine()
    yield found
    found.process.end()
    for task in list(found.process.tasks):
        found.scheduler.kill(task)
    found.scheduler.failure = None
    found.scheduler.run_until(found.scheduler.now_s + 1.0)
    found.scheduler.close()


def test_tasks_sleep_side_by_side_in_virtual_time(machine: Machine) -> None:
    def first() -> None:
        for _ in range(3):
            machine.runtime.sleep(2.0)
            machine.note("first")

    def second() -> None:
        for _ in range(2):
            machine.runtime.sleep(3.0)
            machine.note("second")

    machine.run(first, second)
    expected = [(2, "first"), (3, "second"), (4, "first"), (6, "first"), (6, "second")]
    assert sorted(machine.log) == expected


def test_a_future_ends_the_wait_of_a_task_or_its_time_does(machine: Machine) -> None:
    future: Future[str] = machine.runtime.future()

    def waiter() -> None:
        with pytest.raises(DeadlineExceeded):
            future.result(1.0)
        machine.note(future.result(10.0))

    def setter() -> None:
        machine.runtime.sleep(5.0)
        future.set("set")

    machine.run(waiter, setter)
    assert machine.log == [(5, "set")]


def test_a_condition_wakes_all_who_wait(machine: Machine) -> None:
    changed = machine.runtime.condition()

    def waiter() -> None:
        with changed:
            machine.note(str(changed.wait(9.0)))
        with changed:
            machine.note(str(changed.wait(1.0)))

    def notifier() -> None:
        machine.runtime.sleep(2.0)
        with changed:
            changed.notify_all()

    machine.run(waiter, waiter, notifier)
    assert machine.log == [(2, "True"), (2, "True"), (3, "False"), (3, "False")]


def test_a_stopped_process_goes_on_with_what_came_meanwhile(machine: Machine) -> None:
    def sleeper() -> None:
        machine.runtime.sleep(1.0)
        machine.note("awake")

    machine.scheduler.after(0.5, machine.process.stop)
    machine.scheduler.after(7.0, machine.process.go_on)
    machine.run(sleeper)
    assert machine.log == [(7, "awake")]


def test_a_killed_task_unwinds_where_it_waits(machine: Machine) -> None:
    def victim() -> None:
        try:
            machine.runtime.sleep(50.0)
        finally:
            machine.note("unwound")

    task = machine.scheduler.spawn(machine.process, "victim", victim)
    machine.scheduler.after(3.0, lambda: machine.scheduler.kill(task))
    machine.run()
    assert task.done and machine.log == [(3, "unwound")]


def test_what_a_task_raises_ends_the_run(machine: Machine) -> None:
    def body() -> None:
        raise ValueError("a mistake")

    with pytest.raises(ValueError, match="a mistake"):
        machine.run(body)
