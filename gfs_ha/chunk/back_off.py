"""How far a server's share in repair shrinks while clients suffer, and how it comes back (pure)."""

from __future__ import annotations

from gfs_ha.limits import REPAIR_FLOOR_PARTS, REPAIR_SERVER_BYTES_PER_S

STEP_S = 1.0
SHRINK = 0.7
GROW_PARTS = 20  # Of the whole, each step: back from the floor in less than 20 s.


class BackOff:
    """The bytes per second that are left of a budget: down by factors, up by steps.

    A budget without a limit is taken for the usual one while clients suffer. Never less than an
    eighth of it is left: chunks with the fewest copies go first, so the last copies are saved.
    """

    def __init__(self, now_s: float) -> None:
        self._whole = 0
        self._left: float | None = None  # None: all of it.
        self._stepped_s = now_s

    @property
    def backing_off(self) -> bool:
        """Return whether less is left than the budget."""
        return self._left is not None

    def limit(self, budget: int) -> int:
        """Return the bytes per second that are left of a budget; 0 is no limit."""
        if budget != self._whole:
            self._whole = budget
            if self._left is not None:
                self._left = min(self._left, float(self._usual))
        return budget if self._left is None else max(1, int(self._left))

    def step(self, suffering: bool, used_bytes_per_s: float, now_s: float) -> None:
        """Shrink or grow, once a second. Args: `used_bytes_per_s` is what repair takes now."""
        if now_s - self._stepped_s < STEP_S:
            return
        steps = min(GROW_PARTS, int((now_s - self._stepped_s) / STEP_S))
        self._stepped_s = now_s
        whole = float(self._usual)
        left = whole if self._left is None else self._left
        if suffering and used_bytes_per_s > 0:
            # From what is taken, not from what might be: else the first steps would do nothing.
            floor = max(1.0, whole / REPAIR_FLOOR_PARTS)
            self._left = max(floor, SHRINK * min(left, used_bytes_per_s))
        elif not suffering:
            left += steps * whole / GROW_PARTS
            self._left = None if left >= whole else left

    @property
    def _usual(self) -> int:
        return self._whole or REPAIR_SERVER_BYTES_PER_S
