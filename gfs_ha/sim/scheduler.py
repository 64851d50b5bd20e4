"""Virtual time: what happens next, in one thread, the same in every run of a seed."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable


class Scheduler:
    """A heap of events. Time moves only from event to event."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.event_count = 0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, when_s: float, event: Callable[[], None]) -> None:
        """Run `event` at a time, which may be now but is never in the past."""
        heapq.heappush(self._heap, (max(when_s, self.now_s), next(self._order), event))

    def after(self, delay_s: float, event: Callable[[], None]) -> None:
        self.at(self.now_s + delay_s, event)

    def run_until(self, end_s: float) -> None:
        """Run everything that is due before `end_s`, then move the time there."""
        while self._heap and self._heap[0][0] < end_s:
            when_s, _, event = heapq.heappop(self._heap)
            self.now_s = max(self.now_s, when_s)
            self.event_count += 1
            event()
        self.now_s = end_s
