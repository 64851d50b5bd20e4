"""How long this server may order appends, by its own clock (G9, C10). Safety does not need it."""

from __future__ import annotations

from gfs_ha.limits import LEASE_MS
from gfs_ha.runtime import Runtime


class LeaseClock:
    """The lease of this run of the server. Thread-safe: one number that only grows."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._until_s = 0.0

    def granted(self, asked_s: float, lease_ms: int) -> None:
        """Note what a leader granted, counted from when it was asked: its clock began later."""
        self._until_s = max(self._until_s, asked_s + lease_ms / 1000)

    def first_grant(self) -> float:
        """Return until when a tail may take appends whose making is the news of its grant."""
        return self._runtime.monotonic_s() + LEASE_MS / 1000

    def holds(self, first_until_s: float) -> bool:
        """Return whether appends may be ordered now; `first_until_s` is that of the tail."""
        return self._runtime.monotonic_s() < max(self._until_s, first_until_s)

    def left_s(self) -> float:
        """Return for how long the leader's grant still holds; 0 without one."""
        return max(0.0, self._until_s - self._runtime.monotonic_s())
