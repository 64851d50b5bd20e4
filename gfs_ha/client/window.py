"""The window of a session: which sequences are given out and not yet settled (S1, pure)."""

from __future__ import annotations

from gfs_ha.limits import SESSION_WINDOW


class Window:
    """Sequences from 1 on. Below `start` every outcome is known here; nothing is sent again.

    Not thread-safe; the session holds a lock around it.
    """

    def __init__(self, size: int = SESSION_WINDOW) -> None:
        self._size = size
        self._next = 1
        self._start = 1
        self._open: set[int] = set()

    @property
    def start(self) -> int:
        """Return the lowest sequence whose outcome is not known, or the next one to be given."""
        return self._start

    @property
    def open_count(self) -> int:
        return len(self._open)

    @property
    def room(self) -> int:
        """Return how many sequences may be taken before one would be refused as WindowFull."""
        return self._start + self._size - self._next

    def take(self) -> int:
        """Return a fresh sequence; it stays open until `settle`."""
        assert self.room > 0, "take() without room"
        sequence = self._next
        self._next += 1
        self._open.add(sequence)
        return sequence

    def settle(self, sequence: int) -> None:
        """Close a sequence: its outcome is known, or it is given up and never sent again."""
        self._open.remove(sequence)
        while self._start < self._next and self._start not in self._open:
            self._start += 1
