"""Things of several threads on their way together: few calls are under way, each takes many.

A thread that finds few calls under way makes its own at once, so one thread alone is never held up.
Otherwise it waits for the next call that ends: one of those that wait takes all of them along.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from gfs_ha.errors import DeadlineExceeded, GfsError, Unreachable
from gfs_ha.runtime import Future, Runtime

Thing = TypeVar("Thing")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Pace:
    """When a call may be made, and how much of what waits goes in it."""

    under_way_max: int  # From so many calls on, things wait for each other.
    together_max: int
    beside_many: bool = True  # A call may be made beside one that carries many things.
    # So long a thread waits for others before its call, if it waited for a call that ended just now
    # or that carried many: those who were answered come back one after another.
    gather_s: float = 0.0


@dataclass(slots=True)
class _Waiting(Generic[Thing, Answer]):
    """Things that wait for a call. `turn` gets their answers, or None: make one, with `others`."""

    things: tuple[Thing, ...]
    deadline_s: float
    turn: Future[tuple[Answer, ...] | None]
    others: list[_Waiting[Thing, Answer]] = field(default_factory=list)
    begun: bool = False


class Turns(Generic[Thing, Answer]):
    """Makes calls of many things by `call`, which blocks. Thread-safe."""

    def __init__(
        self,
        call: Callable[[tuple[Thing, ...], float], tuple[Answer, ...]],
        runtime: Runtime,
        pace: Pace,
    ) -> None:
        self._call = call
        self._runtime = runtime
        self._pace = pace
        self._lock = runtime.lock()
        self._under_way = 0
        self._crowded = 0  # Of those, how many carry many things.
        self._company = False  # The newest call did.
        self._queue: deque[_Waiting[Thing, Answer]] = deque()

    @property
    def under_way(self) -> int:
        """Return how many calls are under way."""
        return self._under_way

    @property
    def waiting_count(self) -> int:
        """Return how many threads wait for a call."""
        return len(self._queue)

    def call(self, things: tuple[Thing, ...], timeout_s: float) -> tuple[Answer, ...]:
        """Return the answers to the things, in order. Raises: what `call` raises."""
        deadline_s = self._runtime.monotonic_s() + timeout_s
        own: _Waiting[Thing, Answer] = _Waiting(things, deadline_s, self._runtime.future())
        with self._lock:
            waits = bool(self._queue) or not self._free()
            if waits:
                self._queue.append(own)
            else:
                self._under_way += 1
        return self._wait(own, timeout_s) if waits else self._send(own, waited=False)

    def _free(self) -> bool:
        """Return whether one more call may be made now."""
        if not self._under_way:
            return True
        if self._crowded and not self._pace.beside_many:
            return False
        return self._under_way < self._pace.under_way_max

    def _wait(self, own: _Waiting[Thing, Answer], timeout_s: float) -> tuple[Answer, ...]:
        try:
            answers = own.turn.result(timeout_s)
            return self._send(own, waited=True) if answers is None else answers
        except BaseException as error:
            # Also a signal may end this thread's wait: its turn must not end with it.
            unsent = self._withdraw(own)
            if not unsent and own.turn.done() and not own.begun:
                self._give_back(own)
            if unsent and isinstance(error, DeadlineExceeded):
                raise DeadlineExceeded(
                    "the request waited too long for its turn", sent=0
                ) from error
            raise

    def _withdraw(self, own: _Waiting[Thing, Answer]) -> bool:
        """Leave the queue; return False when somebody took it from there before."""
        with self._lock:
            if own in self._queue:
                self._queue.remove(own)
                return True
        return False

    def _give_back(self, own: _Waiting[Thing, Answer]) -> None:
        """Pass on the turn of a waiter that will not use it."""
        try:
            unused = own.turn.result(0.0) is None
        except GfsError:
            return  # Its things travelled with another's call, which failed.
        if unused:
            with self._lock:
                self._queue.extendleft(reversed(own.others))
            self._pass_on(own)

    def _send(self, own: _Waiting[Thing, Answer], waited: bool) -> tuple[Answer, ...]:
        """Make a call of the own things and those that wait; give each its answers."""
        own.begun = True
        error: GfsError = Unreachable("the thread that sent the request was interrupted", sent=1)
        answers: tuple[Answer, ...] | None = None
        try:
            if (waited or self._company) and self._pace.gather_s:
                self._runtime.sleep(self._pace.gather_s)
                self._gather(own)
            everyone = [own, *own.others]
            things = tuple(one for waiting in everyone for one in waiting.things)
            now_s = self._runtime.monotonic_s()
            left_s = min(waiting.deadline_s for waiting in everyone) - now_s
            answers = self._call(things, max(left_s, 0.001))
        except GfsError as failure:
            error = failure
            raise
        finally:
            self._pass_on(own)
            _distribute(own.others, len(own.things), answers, error)
        return answers[: len(own.things)]

    def _gather(self, own: _Waiting[Thing, Answer]) -> None:
        """Take along those that came meanwhile."""
        with self._lock:
            self._crowded -= bool(own.others)
            self._take_along(own)

    def _take_along(self, first: _Waiting[Thing, Answer]) -> None:
        """Take those that wait into a call that is under way; under the lock."""
        count = len(first.things) + sum(len(other.things) for other in first.others)
        while self._queue and count + len(self._queue[0].things) <= self._pace.together_max:
            other = self._queue.popleft()
            count += len(other.things)
            first.others.append(other)
        self._company = bool(first.others)
        self._crowded += self._company

    def _pass_on(self, ended: _Waiting[Thing, Answer]) -> None:
        """End a call, and give the turn to those that wait if another one may be made."""
        with self._lock:
            self._under_way -= 1
            self._crowded -= bool(ended.others)
            if not self._queue or not self._free():
                return
            first = self._queue.popleft()
            self._under_way += 1
            self._take_along(first)
        first.turn.set(None)


def _distribute(
    others: Sequence[_Waiting[Thing, Answer]],
    start: int,
    answers: tuple[Answer, ...] | None,
    error: GfsError,
) -> None:
    for other in others:
        end = start + len(other.things)
        if answers is None:
            other.turn.fail(type(error)(error.message, **error.details))
        else:
            other.turn.set(answers[start:end])
        start = end
