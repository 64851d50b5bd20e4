"""How fast a copy may go: a token bucket that says how long to wait (no clock of its own)."""

from __future__ import annotations

from gfs_ha.limits import MIB

BURST_BYTES = 1 * MIB  # One piece of a copy: what was not used meanwhile is not saved up.


class Pace:
    """The bytes per second of one copy; 0 is no limit, and it may be changed on the way."""

    def __init__(self, bytes_per_s: int, now_s: float) -> None:
        self.bytes_per_s = bytes_per_s
        self._tokens = float(BURST_BYTES)
        self._at_s = now_s

    def take(self, count: int, now_s: float) -> None:
        """Take so many bytes; `wait_s` says when they may be used."""
        self._earn(now_s)
        self._tokens -= count

    def wait_s(self, now_s: float) -> float:
        """Return the seconds until what was taken may be used, at the rate of now."""
        self._earn(now_s)
        return max(0.0, -self._tokens / self.bytes_per_s) if self.bytes_per_s > 0 else 0.0

    def _earn(self, now_s: float) -> None:
        full = float(BURST_BYTES)
        if self.bytes_per_s > 0:
            full = min(full, self._tokens + (now_s - self._at_s) * self.bytes_per_s)
        self._tokens, self._at_s = full, now_s
