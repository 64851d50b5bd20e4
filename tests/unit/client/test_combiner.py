"""Requests of several threads in one call: each gets its own answer, and nobody waits in vain."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from gfs_ha.client.combiner import CALLS_UNDER_WAY, COMBINED_MAX, Combiner
from gfs_ha.errors import DeadlineExceeded, NoLeader, Unreachable
from gfs_ha.ids import ChunkId
from gfs_ha.protocol.calls import Asked, CallBody, CallReply
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.metadata import AllocateChunk, SealChunk, Stat
from gfs_ha.runtime import Future, ThreadedRuntime

WAIT_S = 10.0


class Leader:
    """Answers each Stat with its own path, when `gate` is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.calls: list[CallBody] = []
        self.timeouts_s: list[float] = []
        self.error: Exception | None = None
        self._lock = threading.Lock()

    def call(self, body: CallBody, timeout_s: float) -> CallReply:
        with self._lock:
            self.calls.append(body)
            self.timeouts_s.append(timeout_s)
        assert self.gate.wait(WAIT_S)
        if self.error is not None:
            raise self.error
        return tuple(Failure("NotFound", getattr(one.request, "path", "")) for one in body)


class Crowd:
    """Threads that each ask for a path of their own."""

    def __init__(self, combiner: Combiner) -> None:
        self._combiner = combiner
        self.threads: list[threading.Thread] = []
        self.answers: dict[str, object] = {}

    def ask(self, path: str, timeout_s: float = WAIT_S) -> None:
        def run() -> None:
            try:
                (reply,) = self._combiner.call((Asked(Stat(path)),), timeout_s)
                self.answers[path] = getattr(reply, "message", reply)
            except Exception as error:
                self.answers[path] = error

        thread = threading.Thread(target=run)
        thread.start()
        self.threads.append(thread)

    def join(self) -> None:
        for thread in self.threads:
            thread.join(WAIT_S)
            assert not thread.is_alive()


@pytest.fixture
def leader() -> Leader:
    return Leader()


@pytest.fixture
def combiner(leader: Leader) -> Combiner:
    return Combiner(leader.call, ThreadedRuntime())


def _busy(crowd: Crowd, leader: Leader, combiner: Combiner, waiting: int) -> None:
    """Have as many calls under way as may be, and so many requests that wait."""
    for number in range(CALLS_UNDER_WAY):
        crowd.ask(f"/first-{number}")
    _until(lambda: len(leader.calls) == CALLS_UNDER_WAY)
    for number in range(waiting):
        crowd.ask(f"/later-{number}")
    _until(lambda: combiner.turns.waiting_count == waiting)


def _until(reached: object) -> None:
    runtime = ThreadedRuntime()
    deadline_s = runtime.monotonic_s() + WAIT_S
    while not reached():  # type: ignore[operator]
        assert runtime.monotonic_s() < deadline_s
        runtime.sleep(0.001)


def test_each_thread_gets_its_own_answer_and_few_calls_are_made(
    leader: Leader, combiner: Combiner
) -> None:
    crowd = Crowd(combiner)
    _busy(crowd, leader, combiner, 40)
    leader.gate.set()
    crowd.join()
    assert len(crowd.answers) == CALLS_UNDER_WAY + 40
    assert all(path == answer for path, answer in crowd.answers.items())
    assert len(leader.calls) <= CALLS_UNDER_WAY + 2
    assert max(len(body) for body in leader.calls) <= COMBINED_MAX
    assert combiner.turns.under_way == 0


def test_a_thread_alone_waits_for_nobody(leader: Leader, combiner: Combiner) -> None:
    leader.gate.set()
    for number in range(3):
        combiner.call((Asked(Stat(f"/{number}")),), WAIT_S)
    assert [len(body) for body in leader.calls] == [1, 1, 1]


def test_what_may_wait_for_a_server_goes_alone(leader: Leader, combiner: Combiner) -> None:
    crowd = Crowd(combiner)
    _busy(crowd, leader, combiner, 1)
    slow: list[SealChunk | AllocateChunk] = [
        SealChunk(ChunkId(1)),
        AllocateChunk("put", "disk", 0, "", "", ()),
    ]
    threads = [
        threading.Thread(target=combiner.call, args=((Asked(request),), WAIT_S)) for request in slow
    ]
    for thread in threads:
        thread.start()
    _until(lambda: len(leader.calls) == CALLS_UNDER_WAY + len(slow))
    leader.gate.set()
    for thread in threads:
        thread.join(WAIT_S)
    crowd.join()


def test_an_error_of_the_call_reaches_each_and_the_next_call_goes_on(
    leader: Leader, combiner: Combiner
) -> None:
    crowd = Crowd(combiner)
    _busy(crowd, leader, combiner, 10)
    leader.error = NoLeader("nobody leads", sent=0)
    leader.gate.set()
    crowd.join()
    assert {type(answer) for answer in crowd.answers.values()} == {NoLeader}
    found = [answer for answer in crowd.answers.values() if isinstance(answer, NoLeader)]
    assert all(error.details == {"sent": 0} for error in found)
    leader.error = None
    combiner.call((Asked(Stat("/after")),), WAIT_S)
    assert combiner.turns.under_way == 0


def test_who_waits_too_long_leaves_and_was_certainly_not_sent(
    leader: Leader, combiner: Combiner
) -> None:
    crowd = Crowd(combiner)
    _busy(crowd, leader, combiner, 0)
    with pytest.raises(DeadlineExceeded) as late:
        combiner.call((Asked(Stat("/late")),), 1.0)
    assert late.value.details == {"sent": 0}
    leader.gate.set()
    crowd.join()
    assert not any(one.request == Stat("/late") for body in leader.calls for one in body)
    assert combiner.turns.under_way == 0


def test_a_sender_that_is_interrupted_tells_the_others(leader: Leader, combiner: Combiner) -> None:
    crowd = Crowd(combiner)
    _busy(crowd, leader, combiner, 5)
    leader.error = KeyboardInterrupt()  # type: ignore[assignment]
    hooked: list[object] = []
    old, threading.excepthook = threading.excepthook, lambda args: hooked.append(args.exc_type)
    try:
        leader.gate.set()
        crowd.join()
    finally:
        threading.excepthook = old
    told = [answer for answer in crowd.answers.values() if isinstance(answer, Unreachable)]
    assert told and all(error.details == {"sent": 1} for error in told)
    assert len(told) + len(hooked) == CALLS_UNDER_WAY + 5
    assert combiner.turns.under_way == 0


class _Stopped(Exception):
    """Stands for a signal that ends the wait of a thread at the moment of its turn."""


class _StoppingRuntime(ThreadedRuntime):
    """The first thread that waits for its turn is stopped when it gets it."""

    left = CALLS_UNDER_WAY  # Those that need not wait.

    def future(self) -> Future[Any]:
        future: Future[Any] = super().future()
        self.left -= 1
        if self.left == -1:
            wait = future.result

            def result(timeout_s: float) -> object:
                if timeout_s:
                    wait(timeout_s)
                    raise _Stopped
                return wait(timeout_s)

            future.result = result  # type: ignore[method-assign]
        return future


def test_a_turn_that_is_not_used_passes_on(leader: Leader) -> None:
    combiner = Combiner(leader.call, _StoppingRuntime())
    crowd = Crowd(combiner)
    _busy(crowd, leader, combiner, 3)
    leader.gate.set()
    crowd.join()
    kinds = [type(answer) for answer in crowd.answers.values()]
    assert kinds.count(_Stopped) == 1
    assert kinds.count(str) == CALLS_UNDER_WAY + 2, "those that would have travelled with it do so"
    assert combiner.turns.under_way == 0
