"""How much of one operation is under way at once: its files, and parts of the big ones."""

from __future__ import annotations

from gfs_ha.errors import UsageError
from gfs_ha.runtime import Runtime

LANES_DEFAULT = 4
LANES_MAX = 64
# Of one file, when nobody says how many. Everything on one machine of two cores and one disk, each
# against one chunk in flight, whose end goes on beside the next one: two were 1.03 x as fast on
# the disk (8 rounds of 1 GiB) and 0.98 x in memory (16 of 512 MiB) for 3 % more CPU; four 1.15 x on
# the busy disk, but 0.87 x in memory and 8 % more CPU, as they touch twice the memory. Of pieces,
# against 3 (8 rounds in memory): 1 0.88 x, 2 1.06 x, 4 0.98 x, 8 0.89 x.
CHUNKS_DEFAULT = 2
PIECES_DEFAULT = 3


def lanes_of(runtime: Runtime, jobs: Lanes | int | None) -> Lanes:
    """Return the lanes of an operation that was given a number, none, or those it shares.

    Raises: UsageError.
    """
    if isinstance(jobs, Lanes):
        return jobs
    if jobs is not None and not 1 <= jobs <= LANES_MAX:
        raise UsageError(f"{jobs} jobs; 1 to {LANES_MAX} are possible")
    return Lanes(runtime, jobs)


class Lanes:
    """A number of lanes that the files of one operation share. Thread-safe.

    Each file has one lane for itself, so that it goes on whatever the others do; the lanes that
    are left over serve further parts of it. A part that ends while more than `count` lanes are
    in use gives its lane up, so files that come later find theirs soon: at no time there are
    more than twice as many.
    """

    def __init__(self, runtime: Runtime, count: int | None = None) -> None:
        """Args: with `count` given, one big file may use all of them; else it takes a few."""
        self.count = LANES_DEFAULT if count is None else count
        self._given = count is not None
        self._lock = runtime.lock()
        self._used = 0

    def of_one_file(self, default: int) -> int:
        """Return how many lanes one file may have; `default` if nobody chose their number."""
        return self.count if self._given else min(default, self.count)

    @property
    def crowded(self) -> bool:
        """Return True when more lanes are used than there should be."""
        return self._used > self.count

    def enter(self) -> None:
        """Take the lane of a file."""
        with self._lock:
            self._used += 1

    def try_enter(self) -> bool:
        """Take one more lane for a part of a file, if one is left over."""
        with self._lock:
            if self._used >= self.count:
                return False
            self._used += 1
            return True

    def leave(self) -> None:
        """Give a lane up."""
        with self._lock:
            self._used -= 1
