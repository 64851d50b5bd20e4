"""When to write another line about what strangers do: they decide how often it happens, not how
much of the log it takes."""

from __future__ import annotations

from gfs_ha.runtime import Runtime


class Seldom:
    """One kind of line, at most once a second. Two threads at once may write one too many."""

    def __init__(self, runtime: Runtime, period_s: float = 1.0) -> None:
        self._runtime = runtime
        self._period_s = period_s
        self._last_s = -period_s

    def now(self) -> bool:
        """Return whether it is time for one, which is then written."""
        now_s = self._runtime.monotonic_s()
        due = now_s - self._last_s >= self._period_s
        if due:
            self._last_s = now_s
        return due
