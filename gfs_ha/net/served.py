"""What this process served of one kind: counters that only grow, cheap enough for each request."""

from __future__ import annotations

from dataclasses import dataclass

from gfs_ha.protocol.rates import TIME_CLASSES, Served, time_class
from gfs_ha.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Measured:
    """What was served since the start: how many bytes, how many by class of time, how long."""

    length: int
    times: tuple[int, ...]
    total_s: float


class ServedCounter:
    """Thread-safe. Between `begin` and `end` an operation is under way."""

    def __init__(self, runtime: Runtime) -> None:
        self._lock = runtime.lock()
        self._count = self._length = self._under_way = 0
        self._times = [0] * TIME_CLASSES
        self._total_s = 0.0

    @property
    def under_way(self) -> int:
        """Return how many have begun and not ended."""
        return self._under_way

    def begin(self) -> None:
        """Count an operation that begins."""
        with self._lock:
            self._under_way += 1

    def end(self) -> None:
        """Count one that is over, whatever became of it."""
        with self._lock:
            self._under_way -= 1

    def note(self, length: int, took_s: float, count: int = 1) -> None:
        """Count what was served: operations of so many bytes together, each in this time."""
        number = time_class(int(took_s * 1e6))
        with self._lock:
            self._count += count
            self._length += length
            self._times[number] += count
            self._total_s += took_s * count

    def facts(self) -> Served:
        """Return all that was served since the start."""
        with self._lock:
            count, length, times = self._count, self._length, list(self._times)
        while times and not times[-1]:
            times.pop()
        return Served(count, length, tuple(times))

    def measured(self) -> Measured:
        """Return the same as it is measured, with the time that all of them took together."""
        with self._lock:
            return Measured(self._length, tuple(self._times), self._total_s)
