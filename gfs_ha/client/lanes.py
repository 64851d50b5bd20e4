"""How much of one operation is under way at once: its files, and parts of the big ones."""

from __future__ import annotations

from gfs_ha.runtime import Runtime

LANES_DEFAULT = 4
LANES_MAX = 64


class Lanes:
    """A number of lanes that the files of one operation share. Thread-safe.

    Each file has one lane for itself, so that it goes on whatever the others do; the lanes that
    are left over serve further parts of it. A part that ends while more than `count` lanes are
    in use gives its lane up, so files that come later find theirs soon: at no time there are
    more than twice as many.
    """

    def __init__(self, runtime: Runtime, count: int) -> None:
        self.count = count
        self._lock = runtime.lock()
        self._used = 0

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
