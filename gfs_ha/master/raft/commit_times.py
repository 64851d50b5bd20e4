"""How long the durable commits of a store take: newest, median, worst of a hundred, and all."""

from __future__ import annotations

from collections import deque

from gfs_ha.protocol.rates import TIME_CLASSES, time_class

_KEPT = 512


class CommitTimes:
    """The newest commits, in milliseconds, and all since the start by class of time.

    Belongs to the loop's thread; `counts` and `total_s` may be read by any: they only grow.
    """

    def __init__(self) -> None:
        self.counts = [0] * TIME_CLASSES
        self.total_s = 0.0
        self.last_ms = 0.0
        self._times_ms: deque[float] = deque(maxlen=_KEPT)

    def add(self, seconds: float) -> None:
        self.counts[time_class(int(seconds * 1e6))] += 1
        self.total_s += seconds
        self.last_ms = seconds * 1000
        self._times_ms.append(self.last_ms)

    def percentiles_ms(self) -> tuple[float, float]:
        """Return the median and the 99th percentile of the newest commits; 0 without any."""
        ordered = sorted(self._times_ms)
        if not ordered:
            return 0.0, 0.0
        return ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
