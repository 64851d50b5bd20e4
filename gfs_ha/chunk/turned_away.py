"""Whom a data port turned away, beside those whose tickets were no good: counted, seldom told."""

from __future__ import annotations

import logging

from gfs_ha.logs.seldom import Seldom
from gfs_ha.runtime import Runtime

# `late`: a header that was begun and not ended; `silent`: nothing was asked for a minute;
# `turned_out`: nothing was asked, and the place was another's; `full`: no place.
BAD_REQUEST, LATE, SILENT, TURNED_OUT, FULL = REASONS = (
    *("bad_request", "late", "silent"),
    *("turned_out", "full"),
)

logger = logging.getLogger(__name__)


class TurnedAway:
    """Thread-safe. Strangers decide how often it happens, not how much of the log it takes."""

    def __init__(self, runtime: Runtime) -> None:
        self._lock = runtime.lock()
        self._logged = Seldom(runtime)
        self._counts = dict.fromkeys(REASONS, 0)

    def note(self, peer: str, reason: str, why: str) -> None:
        """Count one; a line tells of it, at most once a second."""
        with self._lock:
            self._counts[reason] += 1
            due = self._logged.now()
        if due:
            logger.warning("stream refused peer=%s reason=%s: %s", peer, reason, why)

    def counts(self) -> dict[str, int]:
        """Return how many there were of each reason."""
        with self._lock:
            return dict(self._counts)
