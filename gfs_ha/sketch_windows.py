"""What was seen in the last minute, ten minutes, hour: a ring of sketches of each length (pure).

Notes go into the slot of the current ten seconds only. A slot that is over is kept for the minute
and added to the current minute, a minute that is over likewise to the current ten minutes. A window
is so many whole slots of its length and what has begun since: it reaches back at least five sixths
of what its name says, and never further.
"""

from __future__ import annotations

from collections import deque

from gfs_ha.sketch import Sketch

SLOT_S = 10.0
MINUTE, TEN_MINUTES, HOUR = "1m", "10m", "1h"
WINDOWS = (MINUTE, TEN_MINUTES, HOUR)
_PER_LEVEL = 6, 10, 6  # Slots in a minute, minutes in ten, tens in an hour.
_SLOTS_MAX = 6 * 10 * 6


class SketchWindows:
    """The sketches of one kind of key. Not thread-safe; time is given with each question."""

    def __init__(self, kept: int, now_s: float) -> None:
        self._kept = kept
        self._forget(now_s)

    def _forget(self, now_s: float) -> None:
        self._began_s = now_s
        self._ends_s = now_s + SLOT_S  # Of the current slot.
        self._slot = 0
        self._current = [Sketch(self._kept) for _ in WINDOWS]
        self._over: list[deque[Sketch]] = [deque(maxlen=count - 1) for count in _PER_LEVEL]

    def now(self, now_s: float) -> Sketch:
        """Return the sketch that takes what is seen now."""
        if now_s >= self._ends_s:
            self._turn(now_s)
        return self._current[0]

    def window(self, name: str, now_s: float) -> tuple[Sketch, float]:
        """Return what was seen in one of WINDOWS, as a sketch of its own, and over how long."""
        self.now(now_s)
        level = WINDOWS.index(name)
        found = Sketch(self._kept)
        for sketch in (*self._over[level], *reversed(self._current[: level + 1])):
            found.add(sketch)
        slots = self._slots_in(level)
        first_slot = (self._slot // slots - len(self._over[level])) * slots
        return found, now_s - self._began_s - first_slot * SLOT_S

    @staticmethod
    def _slots_in(level: int) -> int:
        slots = 1
        for count in _PER_LEVEL[:level]:
            slots *= count
        return slots

    def _turn(self, now_s: float) -> None:
        steps = int((now_s - self._ends_s) // SLOT_S) + 1
        if steps > _SLOTS_MAX:
            self._forget(now_s)
            return
        for _ in range(steps):
            self._end_slot()
        self._ends_s += steps * SLOT_S

    def _end_slot(self) -> None:
        self._slot += 1
        for level, over in enumerate(self._over):
            ended = self._current[level]
            over.append(ended)
            self._current[level] = Sketch(self._kept)
            if level + 1 == len(WINDOWS):
                return
            self._current[level + 1].add(ended)
            if self._slot % self._slots_in(level + 1):
                return
