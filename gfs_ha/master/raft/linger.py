"""How long applied state waits for a commit to share: while nobody asks for it, a moment."""

from __future__ import annotations

from gfs_ha.limits import RAFT_LINGER_S

_NEVER_S = float("inf")


class Linger:
    """The moment at which what is applied and not yet committed is committed at the latest."""

    def __init__(self) -> None:
        self.until_s = _NEVER_S

    def begin(self, now_s: float) -> None:
        """Note that there is applied state that no commit holds."""
        if self.until_s == _NEVER_S:
            self.until_s = now_s + RAFT_LINGER_S

    def end(self) -> None:
        """Note that a commit takes it."""
        self.until_s = _NEVER_S

    def holds(self, now_s: float) -> bool:
        """Return whether it may wait on; else a commit takes it now."""
        self.begin(now_s)
        if now_s < self.until_s:
            return True
        self.end()
        return False
