"""Freezes the store of a member on another thread, and hands the copy to the loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from gfs_ha.errors import GfsError
from gfs_ha.kv.ordered import Frozen, OrderedKV
from gfs_ha.runtime import Runtime

Work = Callable[[], None]


class Closing(Protocol):
    """A copy, or what stands for it."""

    def close(self) -> None: ...


class Freezer:
    """At most one copy at a time, and one work after the other.

    `in_background` runs work beside the loop; at once by default.
    """

    def __init__(self, kv: OrderedKV, runtime: Runtime, wake: Work) -> None:
        self.in_background: Callable[[Work], None] = lambda work: work()
        self._kv = kv
        self._runtime = runtime
        self._wake = wake
        self._lock = runtime.lock()
        self._works: deque[Work] = deque()
        self._working = False
        self._done: deque[Frozen | GfsError] = deque()

    def begin(self) -> None:
        """Begin to copy the last commit; the copy before must have been released."""
        self._do(self._freeze)

    def take(self) -> Frozen | GfsError | None:
        """Return the copy, or why there is none, once."""
        return self._done.popleft() if self._done else None

    def release(self, copy: Closing) -> None:
        """Remove a copy, which may take as long as making it did; the next one comes after that."""
        self._do(copy.close)

    def number(self) -> int:
        """Return a random name for a copy."""
        return self._runtime.random_u64() >> 1

    def _do(self, work: Work) -> None:
        with self._lock:
            self._works.append(work)
            if self._working:
                return
            self._working = True
        self.in_background(self._work)

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._works:
                    self._working = False
                    return
                work = self._works.popleft()
            work()

    def _freeze(self) -> None:
        try:
            self._done.append(self._kv.freeze())
        except GfsError as error:
            self._done.append(error)
        self._wake()
