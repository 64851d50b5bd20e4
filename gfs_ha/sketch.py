"""Who does how much, in bounded room: the keys that cost most, and what each may have more (pure).

Space-Saving (Metwally et al., ICDT 2005), made room for in batches. What is counted of a key is
what was seen of it since it has had its place, so it is never too much, and the counts of all keys
and of those that lost their place add up to exactly what was seen. `missed` is the most that a key
can have had before: nobody who came back was ever counted higher than `floor`.

The bound: while a sketch keeps `kept` keys, `floor` is at most the cost of everything divided by
`kept`. For the sum of (estimate - floor) over its keys never exceeds (all cost - kept * floor): a
note adds the same on both sides, a new key begins at the floor, and making room, which leaves
exactly the `kept` dearest keys and lifts the floor to the dearest that goes, takes kept * (new
floor - old floor) from both. Merging adds two such sums (Agarwal et al., Mergeable Summaries, PODS
2012). So every key that costs more than that share is there, whatever came in which order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

# One operation costs as much as moving so many bytes: so one table serves both who asks often and
# who moves much. All costs are counted in bytes.
OPERATION_COST = 64 * 1024


class Tally:
    """What was counted of one key."""

    __slots__ = ("bytes", "missed", "operations", "times")

    def __init__(self, missed: int = 0) -> None:
        self.operations = 0
        self.bytes = 0
        self.missed = missed  # Cost that it may have had besides.
        self.times: dict[int, int] = {}  # How many operations by class of time.

    @property
    def cost(self) -> int:
        """Return what was counted, as one number."""
        return self.operations * OPERATION_COST + self.bytes

    @property
    def estimate(self) -> int:
        """Return the most that the key can have cost."""
        return self.operations * OPERATION_COST + self.bytes + self.missed

    @property
    def operations_missed(self) -> int:
        """Return how many operations it may have had besides, at most."""
        return self.missed // OPERATION_COST

    def add(self, other: Tally) -> None:
        """Add what was counted of the same key elsewhere."""
        self.operations += other.operations
        self.bytes += other.bytes
        self.missed += other.missed
        for number, count in other.times.items():
            self.times[number] = self.times.get(number, 0) + count

    def without(self, parts: Iterable[Tally]) -> Tally:
        """Return what is left of it when some are taken out that were counted in it."""
        left = Tally()
        left.operations, left.bytes, times = self.operations, self.bytes, dict(self.times)
        for part in parts:
            left.operations -= part.operations
            left.bytes -= part.bytes
            for number, count in part.times.items():
                times[number] = times.get(number, 0) - count
        left.times = {number: count for number, count in times.items() if count > 0}
        return left


class Sketch:
    """The dearest keys among any number. Not thread-safe; holds at most twice `kept` keys."""

    __slots__ = ("floor", "gone", "kept", "tallies")

    def __init__(self, kept: int) -> None:
        assert kept > 0
        self.kept = kept
        self.floor = 0  # The most that a key without a place can have cost.
        self.gone = Tally()  # What was seen of keys that lost their place, all together.
        self.tallies: dict[str, Tally] = {}

    def note(self, key: str, length: int, time_class: int, count: int = 1) -> None:
        """Count operations of a key: so many, of so many bytes together, each in this time."""
        tally = self.tallies.get(key)
        if tally is None:
            tally = self._admit(key)
        tally.operations += count
        tally.bytes += length
        times = tally.times
        times[time_class] = times.get(time_class, 0) + count

    @property
    def total(self) -> Tally:
        """Return all that was seen."""
        total = Tally()
        for tally in (self.gone, *self.tallies.values()):
            total.add(tally)
        total.missed = 0
        return total

    def add(self, other: Sketch) -> None:
        """Add all that another sketch has seen; that one stays as it is."""
        if other.floor:
            for key, tally in self.tallies.items():
                if key not in other.tallies:
                    tally.missed += other.floor
        for key, tally in other.tallies.items():
            own = self.tallies.get(key)
            if own is None:
                own = self.tallies[key] = Tally(self.floor)
            own.add(tally)
        self.floor += other.floor
        self.gone.add(other.gone)
        if len(self.tallies) > 2 * self.kept:
            self._make_room(self.kept)

    def cut(self, count: int) -> None:
        """Let only so many of the dearest keys stay."""
        if len(self.tallies) > count:
            self._make_room(count)

    def dearest(self) -> Iterator[tuple[str, Tally]]:
        """Yield the keys, those that can have cost most first."""
        return iter(sorted(self.tallies.items(), key=_by_estimate, reverse=True))

    def others(self, shown: Iterable[Tally]) -> Tally:
        """Return what was seen of all keys that are not shown, those without a place included."""
        return self.total.without(shown)

    def _admit(self, key: str) -> Tally:
        if len(self.tallies) >= 2 * self.kept:
            self._make_room(self.kept)
        tally = self.tallies[key] = Tally(self.floor)
        return tally

    def _make_room(self, count: int) -> None:
        ranked = sorted(self.tallies.items(), key=_by_estimate, reverse=True)
        self.floor = max(self.floor, ranked[count][1].estimate)
        for _, tally in ranked[count:]:
            self.gone.add(tally)
        self.gone.missed = 0
        self.tallies = dict(ranked[:count])


def _by_estimate(item: tuple[str, Tally]) -> int:
    return item[1].estimate
