"""How fast bytes may go: a token bucket that says how long to wait (no clock of its own)."""

from __future__ import annotations

from gfs_ha.limits import MIB

BURST_BYTES = 1 * MIB  # One piece of a copy...
BURST_S = 0.25  # ...or what the rate of so long is worth: a thread that came late loses nothing.
NONE = -1  # No byte may go.
_NEVER_S = 3600.0
_WAIT_MIN_S = 0.001  # Shorter ones may end in the same tick of a clock. The burst pays for it.


class Pace:
    """The bytes per second of one thing, which may be changed on the way; 0 is no limit.

    Who waits for what it takes next never lets more go, in any time, than the rate and one burst.
    """

    def __init__(self, bytes_per_s: int, now_s: float) -> None:
        self.bytes_per_s = bytes_per_s
        self._tokens = float(BURST_BYTES)
        self._at_s = now_s

    def take(self, count: int, now_s: float) -> None:
        """Take so many bytes, whether they are there or not."""
        self._earn(now_s)
        self._tokens -= count

    def wait_s(self, now_s: float, count: int = 0) -> float:
        """Return the seconds until so many bytes (at most a burst) are there to be taken."""
        self._earn(now_s)
        if self.bytes_per_s <= 0:
            return _NEVER_S if self.bytes_per_s else 0.0
        missing = min(count, self._full) - self._tokens
        return max(_WAIT_MIN_S, missing / self.bytes_per_s) if missing > 0 else 0.0

    def change(self, bytes_per_s: int, now_s: float) -> None:
        """Go at another rate from now on."""
        self._earn(now_s)
        self.bytes_per_s = bytes_per_s

    def _earn(self, now_s: float) -> None:
        if self.bytes_per_s == 0:
            self._tokens = float(BURST_BYTES)
        elif self.bytes_per_s > 0:
            earned = (now_s - self._at_s) * self.bytes_per_s
            self._tokens = min(self._full, self._tokens + earned)
        self._at_s = now_s

    @property
    def _full(self) -> float:
        return max(float(BURST_BYTES), self.bytes_per_s * BURST_S)
