"""The real twin of the Runtime seam: every wait ends."""

from __future__ import annotations

import pytest

from gfs_ha.errors import DeadlineExceeded, GfsError, Overloaded
from gfs_ha.runtime import Future, Queue, ThreadedRuntime, boot_id


@pytest.fixture
def runtime() -> ThreadedRuntime:
    return ThreadedRuntime()


def test_a_future_is_set_once_and_tells_everyone(runtime: ThreadedRuntime) -> None:
    future: Future[int] = runtime.future()
    told: list[int] = []
    future.when_done(lambda: told.append(1))
    assert future.set(7) is True
    assert future.set(8) is False
    future.when_done(lambda: told.append(2))
    assert future.result(0.0) == 7
    assert told == [1, 2]


def test_a_future_that_nobody_sets_ends_at_its_deadline(runtime: ThreadedRuntime) -> None:
    future: Future[int] = runtime.future()
    with pytest.raises(DeadlineExceeded):
        future.result(0.001)


def test_a_failed_future_raises_its_error(runtime: ThreadedRuntime) -> None:
    future: Future[int] = runtime.future()
    future.fail(GfsError("no"))
    with pytest.raises(GfsError, match="no"):
        future.result(1.0)


def test_a_future_wakes_a_waiter_in_another_thread(runtime: ThreadedRuntime) -> None:
    future: Future[str] = runtime.future()
    got: list[str] = []
    task = runtime.spawn("waiter", lambda: got.append(future.result(10.0)))
    future.set("here")
    assert task.join(10.0)
    assert got == ["here"]


def test_a_queue_is_bounded_and_first_in_first_out(runtime: ThreadedRuntime) -> None:
    queue: Queue[int] = runtime.queue(2)
    queue.put(1)
    queue.put(2)
    with pytest.raises(Overloaded):
        queue.put(3)
    assert [queue.get(0.0), queue.get(0.0)] == [1, 2]
    with pytest.raises(DeadlineExceeded):
        queue.get(0.001)


def test_a_task_that_crashes_is_reported() -> None:
    crashed: list[tuple[str, str]] = []
    runtime = ThreadedRuntime(lambda name, error: crashed.append((name, str(error))))

    def body() -> None:
        raise ValueError("boom")

    task = runtime.spawn("worker", body)
    assert task.join(10.0)
    assert crashed == [("worker", "boom")]


def test_a_condition_ends_its_wait(runtime: ThreadedRuntime) -> None:
    condition = runtime.condition()
    with condition:
        assert condition.wait(0.001) is False


def test_the_clock_goes_forward_and_chance_differs(runtime: ThreadedRuntime) -> None:
    assert runtime.monotonic_ns() <= runtime.monotonic_ns()
    assert runtime.random_u64() != runtime.random_u64()
    assert 1.0 <= runtime.uniform(1.0, 2.0) <= 2.0
    assert boot_id() == boot_id()
