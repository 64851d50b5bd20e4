"""How long the cluster was without a leader each time before this member began to lead."""

from __future__ import annotations

from collections import deque

KEPT_S = 7 * 24 * 3600.0
_KEPT_MAX = 1000


class Gaps:
    """From the last word of one leader to when the next one, this member, serves. One thread.

    Only of its own terms: a member that was paused or cut off cannot tell how long the others had
    no leader, but nobody is elected whom a majority does not hear.
    """

    def __init__(self) -> None:
        self._heard_s: float | None = None  # When some leader was last there; None: none was yet.
        self._leads_in = -1  # The term that it leads, once noted.
        # (when, how long), each longer than all after it: the first is the longest.
        self._found: deque[tuple[float, float]] = deque(maxlen=_KEPT_MAX)

    def follow(self, contact_s: float) -> None:
        """Note when the leader that this member follows was last heard."""
        if self._heard_s is None or contact_s > self._heard_s:
            self._heard_s = contact_s

    def lead(self, term: int, now_s: float) -> None:
        """Note that this member leads a term and serves."""
        if term != self._leads_in and self._heard_s is not None:
            took_s = max(0.0, now_s - self._heard_s)
            while self._found and self._found[-1][1] <= took_s:
                self._found.pop()
            self._found.append((now_s, took_s))
        self._leads_in, self._heard_s = term, now_s

    def longest_ms(self, now_s: float) -> int:
        """Return the longest of the last seven days; -1: it took over from nobody since then."""
        while self._found and self._found[0][0] < now_s - KEPT_S:
            self._found.popleft()
        return int(self._found[0][1] * 1000) if self._found else -1
