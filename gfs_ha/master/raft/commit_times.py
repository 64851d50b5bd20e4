"""How long the durable commits of a store take: newest, median, worst of a hundred."""

from __future__ import annotations

from collections import deque

_KEPT = 512


class CommitTimes:
    """The newest commits, in milliseconds."""

    def __init__(self) -> None:
        self.last_ms = 0.0
        self._times_ms: deque[float] = deque(maxlen=_KEPT)

    def add(self, seconds: float) -> None:
        self.last_ms = seconds * 1000
        self._times_ms.append(self.last_ms)

    def percentiles_ms(self) -> tuple[float, float]:
        """Return the median and the 99th percentile of the newest commits; 0 without any."""
        ordered = sorted(self._times_ms)
        if not ordered:
            return 0.0, 0.0
        return ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
