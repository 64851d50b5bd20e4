"""Many deadlines of which few ever pass: added and removed in constant time, kept by the tick."""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

T = TypeVar("T")

TICK_S = 0.05


class Deadlines(Generic[T]):
    """Items by the tick after which their deadline has passed; it holds no more than its items do.

    A heap of single deadlines would keep each answered call until its deadline: a million entries
    at 100,000 calls a second. Not thread-safe.
    """

    def __init__(self) -> None:
        self._buckets: dict[int, dict[T, None]] = {}
        self._ticks: list[int] = []

    def add(self, item: T, deadline_s: float) -> int:
        """Add an item (once); return the handle that `discard` wants. The clock is the caller's."""
        tick = int(deadline_s / TICK_S) + 1
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._buckets[tick] = {}
            heapq.heappush(self._ticks, tick)
        bucket[item] = None
        return tick

    def discard(self, item: T, handle: int) -> None:
        """Forget an item that needs its deadline no more."""
        bucket = self._buckets.get(handle)
        if bucket is not None:
            bucket.pop(item, None)

    def expired(self, now_s: float) -> list[T]:
        """Return and forget the items whose deadline has passed, at most one tick late."""
        found: list[T] = []
        now_tick = int(now_s / TICK_S)
        while self._ticks and self._ticks[0] <= now_tick:
            found.extend(self._buckets.pop(heapq.heappop(self._ticks)))
        return found

    def wait_s(self, now_s: float, longest_s: float) -> float:
        """Return how long may be waited before `expired` has to be asked again."""
        if not self._ticks:
            return longest_s
        return min(longest_s, max(0.0, self._ticks[0] * TICK_S - now_s))
