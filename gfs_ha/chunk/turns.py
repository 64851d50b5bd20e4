"""Who may append through this primary at once: a few hundred streams, and others in turn.

A stream holds a thread as long as its client appends. When all places are taken a client is told to
come again soon, and one that has had its turn gives way: it is answered what it brought, and comes
again as the others do. Places are fewer than streams, so that pushes and reads find room.
"""

from __future__ import annotations

from gfs_ha.errors import Overloaded
from gfs_ha.limits import STREAMS_MAX
from gfs_ha.runtime import Runtime

PLACES_MAX = STREAMS_MAX * 3 // 4
TURN_S = 0.5  # So long a stream may stay although others wait.
WAITED_S = 2.0  # Who was refused longer ago may not come any more.
RETRY_MS = 100


class Turns:
    """Thread-safe."""

    def __init__(self, runtime: Runtime, places_max: int = PLACES_MAX) -> None:
        self._runtime = runtime
        self._places_max = places_max
        self._lock = runtime.lock()
        self._taken = 0
        self._refused: list[float] = []  # When, of those for whom nobody has given way yet.

    def enter(self) -> None:
        """Take a place until `leave`. Raises: Overloaded, with a time to come again."""
        now_s = self._runtime.monotonic_s()
        with self._lock:
            if self._taken < self._places_max:
                self._taken += 1
                return
            self._forget_old(now_s)
            if len(self._refused) < self._places_max:
                self._refused.append(now_s)
        raise self.crowded()

    def leave(self) -> None:
        """Give the place back."""
        with self._lock:
            self._taken -= 1

    def over(self, since_s: float) -> bool:
        """Return whether who has its place since then is to give way to one that was refused."""
        if not self._refused:
            return False
        now_s = self._runtime.monotonic_s()
        if now_s < since_s + TURN_S:
            return False
        with self._lock:
            self._forget_old(now_s)
            if not self._refused:
                return False
            del self._refused[0]
            return True

    def crowded(self) -> Overloaded:
        """Return what a client is told that has to wait for its turn."""
        why = f"{self._places_max} clients append through this server already; come again"
        return Overloaded(why, retry_ms=RETRY_MS)

    def _forget_old(self, now_s: float) -> None:
        while self._refused and self._refused[0] < now_s - WAITED_S:
            del self._refused[0]
