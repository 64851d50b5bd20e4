"""How long a chunkserver waits for a leader before it tries again, and what it says of that."""

from __future__ import annotations

import logging

from gfs_ha.errors import GfsError
from gfs_ha.runtime import Runtime

_PAUSE_MIN_S = 0.05
_PAUSE_MAX_S = 0.3

logger = logging.getLogger(__name__)


class Outages:
    """Says once when the leader is lost and once when it is back, and how long to pause between."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._since_s: float | None = None
        self._pause_s = _PAUSE_MIN_S
        self.answered_s: float | None = None  # When a leader last answered ...
        self.answered_count = 0  # ... how often one did, and how often none did.
        self.failed_count = 0

    @property
    def lasting(self) -> bool:
        return self._since_s is not None

    def failed(self, error: GfsError) -> float:
        """Note a failure; return the seconds to wait before the next try."""
        self.failed_count += 1
        if self._since_s is None:
            self._since_s = self._runtime.monotonic_s()
            logger.warning("no heartbeat is answered error=%s reason=%s", error.code, error.message)
        self._pause_s = min(self._pause_s * 1.5, _PAUSE_MAX_S)
        return self._runtime.uniform(self._pause_s / 2, self._pause_s)

    def ended(self) -> None:
        """Note that the leader answered."""
        self.answered_s = self._runtime.monotonic_s()
        self.answered_count += 1
        if self._since_s is not None:
            lasted_s = self._runtime.monotonic_s() - self._since_s
            self._since_s = None
            self._pause_s = _PAUSE_MIN_S
            logger.info("heartbeats are answered again after_s=%.2f", lasted_s)
