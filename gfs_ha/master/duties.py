"""Which duties of a leader wait for what they proposed, until the tables show what came of it.

Who planned with older tables would plan the same once more.
"""

from __future__ import annotations

from collections import Counter

from gfs_ha.master.raft.contract import Outcome
from gfs_ha.runtime import Runtime


class Duties:
    """What is under way of each duty. Thread-safe."""

    def __init__(self, runtime: Runtime) -> None:
        self._lock = runtime.lock()
        self._pending: Counter[str] = Counter()
        self._applied: dict[str, int] = {}  # The newest command of each, by log index.

    def begin(self, name: str) -> None:
        """Note that a command of a duty is proposed."""
        with self._lock:
            self._pending[name] += 1

    def ended(self, name: str, outcome: Outcome) -> None:
        """Note how a command ended.

        Where one lies that may never be applied says nothing: another leader's log may be shorter,
        and for long.
        """
        with self._lock:
            self._pending[name] -= 1
            if outcome.error is None:
                self._applied[name] = max(outcome.index, self._applied.get(name, 0))

    def pending(self, name: str) -> bool:
        """Return whether a command of a duty is on its way."""
        return self._pending[name] > 0

    def waits(self, name: str, shown: int) -> bool:
        """Return whether tables that show all up to `shown` lack something that it proposed."""
        with self._lock:
            return self._pending[name] > 0 or self._applied.get(name, 0) > shown
