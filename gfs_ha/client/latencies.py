"""How long operations took: bounded memory, percentiles."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate

SAMPLES_MAX = 1 << 17


class Latencies:
    """Times of operations in nanoseconds. Used by one thread.

    Beyond a bound every second sample is left out, from then on every other operation, and so on:
    all that remain were taken at even distances.
    """

    def __init__(self, samples_max: int = SAMPLES_MAX) -> None:
        self.count = 0
        self.total_ns = 0
        self.max_ns = 0
        self._samples = array("Q")
        self._samples_max = samples_max
        self._stride = 1

    def add(self, took_ns: int) -> None:
        if self.count % self._stride == 0:
            if len(self._samples) == self._samples_max:
                self._samples = self._samples[::2]
                self._stride *= 2
            self._samples.append(took_ns)
        self.count += 1
        self.total_ns += took_ns
        self.max_ns = max(self.max_ns, took_ns)

    @property
    def weighted(self) -> Iterable[tuple[int, int]]:
        """Return the samples, and for how many operations each stands."""
        return ((sample, self._stride) for sample in self._samples)


def percentiles(parts: Iterable[Latencies], wanted: Iterable[float]) -> list[int]:
    """Return percentiles (between 0 and 1) over several threads' times, 0 without any."""
    samples = sorted(pair for part in parts for pair in part.weighted)
    if not samples:
        return [0 for _ in wanted]
    ends = list(accumulate(weight for _, weight in samples))
    found = (bisect_left(ends, share * ends[-1]) for share in wanted)
    return [samples[min(index, len(samples) - 1)][0] for index in found]
