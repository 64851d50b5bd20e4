"""The only door to time, chance and threads: a protocol, and the twin on the real machine.

Code above this seam is plain blocking code with injected waiting, so that the same source runs on
threads and under a seeded scheduler. Every wait takes a deadline.
"""

from __future__ import annotations

import os
import random
import secrets
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Generic, Protocol, TypeVar

from gfs_ha.errors import DeadlineExceeded, GfsError, Overloaded

T = TypeVar("T")


class Lock(Protocol):
    """Mutual exclusion; use it with `with`."""

    def __enter__(self) -> bool: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Condition(Lock, Protocol):
    """A lock with waiting; `wait` needs a timeout."""

    def wait(self, timeout_s: float) -> bool:
        """Wait until notified; return False when `timeout_s` passed first."""
        ...

    def notify_all(self) -> None: ...


class Task(Protocol):
    """A running activity."""

    name: str

    def join(self, timeout_s: float) -> bool:
        """Wait for its end; return False when it still runs after `timeout_s`."""
        ...

    def running(self) -> bool: ...


def join_all(tasks: Iterable[Task], timeout_s: float, runtime: Runtime) -> bool:
    """Wait for the end of several tasks, all within one time; False when one still runs."""
    deadline_s = runtime.monotonic_s() + timeout_s
    ended = True
    for task in tasks:
        ended = task.join(max(0.0, deadline_s - runtime.monotonic_s())) and ended
    return ended


class Future(Protocol[T]):
    """One value or error that somebody else will set, exactly once; later settings are ignored."""

    def set(self, value: T) -> bool: ...

    def fail(self, error: BaseException) -> bool: ...

    def done(self) -> bool: ...

    def result(self, timeout_s: float) -> T:
        """Return the value. Raises: the error that was set; DeadlineExceeded after `timeout_s`."""
        ...

    def when_done(self, callback: Callable[[], None]) -> None:
        """Call `callback` once it is set, in the setter's thread, or now if it is set already."""
        ...


class Queue(Protocol[T]):
    """A bounded first-in-first-out queue between threads."""

    def put(self, item: T) -> None:
        """Add an item. Raises: Overloaded when the queue is full."""
        ...

    def get(self, timeout_s: float) -> T:
        """Return the oldest item. Raises: DeadlineExceeded when none came within `timeout_s`."""
        ...

    def __len__(self) -> int: ...


class Runtime(Protocol):
    """Time, chance, waiting and concurrency, injected into everything that needs them."""

    def monotonic_ns(self) -> int:
        """Return nanoseconds of a clock that never steps and counts suspends (CLOCK_BOOTTIME)."""
        ...

    def monotonic_s(self) -> float: ...

    def wall_ns(self) -> int:
        """Return wall time in nanoseconds since 1970, for display and mtime only."""
        ...

    def sleep(self, seconds: float) -> None: ...

    def random_u64(self) -> int:
        """Return 64 unpredictable bits."""
        ...

    def random_bytes(self, count: int) -> bytes:
        """Return so many unpredictable bytes."""
        ...

    def uniform(self, low: float, high: float) -> float: ...

    def spawn(self, name: str, body: Callable[[], None]) -> Task:
        """Run `body` concurrently. An exception that leaves it is given to the crash handler."""
        ...

    def lock(self) -> Lock: ...

    def condition(self) -> Condition: ...

    def queue(self, limit: int) -> Queue[T]: ...

    def future(self) -> Future[T]: ...


class _ThreadedCondition:
    def __init__(self) -> None:
        self._condition = threading.Condition(threading.Lock())

    def __enter__(self) -> bool:
        return self._condition.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._condition.__exit__(kind, error, trace)

    def wait(self, timeout_s: float) -> bool:
        return self._condition.wait(timeout_s)

    def notify_all(self) -> None:
        self._condition.notify_all()


class _ThreadedTask:
    def __init__(self, name: str, thread: threading.Thread) -> None:
        self.name = name
        self._thread = thread

    def join(self, timeout_s: float) -> bool:
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def running(self) -> bool:
        return self._thread.is_alive()


class _ThreadedFuture(Generic[T]):
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._event: threading.Event | None = None
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
            with self._lock:
                if self._event is None:
                    self._event = threading.Event()
                    if self._done:
                        self._event.set()
                event = self._event
            if not event.wait(timeout_s):
                raise DeadlineExceeded(f"no answer within {timeout_s:.1f} s")
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]

    def when_done(self, callback: Callable[[], None]) -> None:
        with self._lock:
            if not self._done:
                self._callbacks.append(callback)
                return
        callback()

    def _finish(self, value: T | None, error: BaseException | None) -> bool:
        with self._lock:
            if self._done:
                return False
            self._value = value
            self._error = error
            self._done = True
            callbacks = self._callbacks
            self._callbacks = []
            if self._event is not None:
                self._event.set()
        for callback in callbacks:
            callback()
        return True


class _ThreadedQueue(Generic[T]):
    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: deque[T] = deque()
        self._condition = threading.Condition(threading.Lock())

    def put(self, item: T) -> None:
        with self._condition:
            if len(self._items) >= self._limit:
                raise Overloaded(f"a queue of {self._limit} entries is full; try again later")
            self._items.append(item)
            self._condition.notify()

    def get(self, timeout_s: float) -> T:
        deadline = time.monotonic() + timeout_s
        with self._condition:
            while not self._items:
                left = deadline - time.monotonic()
                if left <= 0 or not self._condition.wait(left):
                    if self._items:
                        break
                    raise DeadlineExceeded(f"nothing came within {timeout_s:.1f} s")
            return self._items.popleft()

    def __len__(self) -> int:
        return len(self._items)


class ThreadedRuntime:
    """The real machine. `on_crash(task name, error)` is told of an exception that leaves a task."""

    def __init__(self, on_crash: Callable[[str, BaseException], None] | None = None) -> None:
        self._on_crash = on_crash
        self._random = random.Random(secrets.randbits(128))

    def monotonic_ns(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def monotonic_s(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall_ns(self) -> int:
        return time.time_ns()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def random_u64(self) -> int:
        return secrets.randbits(64)

    def random_bytes(self, count: int) -> bytes:
        return secrets.token_bytes(count)

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)

    def spawn(self, name: str, body: Callable[[], None]) -> Task:
        def run() -> None:
            try:
                body()
            except BaseException as error:
                if self._on_crash is None:
                    raise
                self._on_crash(name, error)

        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        return _ThreadedTask(name, thread)

    def lock(self) -> Lock:
        return threading.Lock()

    def condition(self) -> Condition:
        return _ThreadedCondition()

    def queue(self, limit: int) -> Queue[T]:
        return _ThreadedQueue(limit)

    def future(self) -> Future[T]:
        return _ThreadedFuture()


def boot_id() -> int:
    """Return the random 128-bit id of this machine's boot, shortened to 64 bits (Linux).

    Raises: GfsError where the kernel does not tell one.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return int(file.read().strip().replace("-", "")[:16], 16)
    except OSError as error:
        raise GfsError(
            f"this machine has no boot id ({error}); servers run on Linux only"
        ) from error


def process_start_id() -> int:
    """Return a random uint64 for one run of a process."""
    return int.from_bytes(os.urandom(8), "big")


STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def watch_stop_signals(runtime: Runtime) -> Future[signal.Signals]:
    """Return a future that is set to the first SIGTERM or SIGINT of this process.

    They are blocked in the calling thread and in all that it starts later, so no handler runs in
    the middle of things; one task waits for them. (Not sigtimedwait: CPython returns an invented
    signal from it when the process was stopped and continued beyond the timeout.)
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    received: Future[signal.Signals] = runtime.future()

    def wait() -> None:
        received.set(signal.Signals(signal.sigwait(STOP_SIGNALS)))

    runtime.spawn("signals", wait)
    return received
