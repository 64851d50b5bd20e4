"""Freezes the store of a member on another thread, and hands the copy to the loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from gfs_ha.errors import GfsError
from gfs_ha.kv.ordered import Frozen, OrderedKV
from gfs_ha.runtime import Runtime

Work = Callable[[], None]


class Freezer:
    """At most one copy at a time. `in_background` runs work beside the loop; at once by default."""

    def __init__(self, kv: OrderedKV, runtime: Runtime, wake: Work) -> None:
        self.in_background: Callable[[Work], None] = lambda work: work()
        self._kv = kv
        self._runtime = runtime
        self._wake = wake
        self._done: deque[Frozen | GfsError] = deque()

    def begin(self) -> None:
        """Begin to copy the last commit."""
        self.in_background(self._freeze)

    def take(self) -> Frozen | GfsError | None:
        """Return the copy, or why there is none, once."""
        return self._done.popleft() if self._done else None

    def number(self) -> int:
        """Return a random name for a copy."""
        return self._runtime.random_u64() >> 1

    def _freeze(self) -> None:
        try:
            self._done.append(self._kv.freeze())
        except GfsError as error:
            self._done.append(error)
        self._wake()
