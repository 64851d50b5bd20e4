"""When to try again, and until when: pauses with jitter, deadlines as durations (pure)."""

from __future__ import annotations

from dataclasses import dataclass

from gfs_ha.errors import (
    Busy,
    DataError,
    DeadlineExceeded,
    GfsError,
    NoLeader,
    NotLeader,
    Overloaded,
    UnknownOutcome,
    Unreachable,
)
from gfs_ha.limits import REQUEST_DEADLINE_S

# A failover is over within a second: look again soon, and only then less often.
FAILOVER_PAUSES_S = (0.0, 0.01, 0.02, 0.02, 0.03, 0.03, 0.05)
FAILOVER_PAUSE_MAX_S = 0.1
BUSY_PAUSE_FIRST_S = 0.02
BUSY_PAUSE_MAX_S = 1.0
LEAST_REQUEST_S = 0.05  # A request with less time than this left is not worth sending.


def pause_s(error: GfsError, attempt_index: int, chance: float) -> float:
    """Return how long to wait before the next attempt, in seconds.

    Args: `attempt_index` counts failed attempts from 0; `chance` is uniform in 0.0-1.0 and spreads
    clients that fail together over the upper half of the pause.
    """
    asked_ms = error.details.get("retry_ms")
    if isinstance(error, Busy | Overloaded) and isinstance(asked_ms, int):
        full_s = min(max(asked_ms, 1) / 1000, BUSY_PAUSE_MAX_S)
    elif isinstance(error, NotLeader | NoLeader | Unreachable | DeadlineExceeded | UnknownOutcome):
        if attempt_index < len(FAILOVER_PAUSES_S):
            full_s = FAILOVER_PAUSES_S[attempt_index]
        else:
            full_s = FAILOVER_PAUSE_MAX_S
    else:
        full_s = min(BUSY_PAUSE_FIRST_S * 2 ** min(attempt_index, 16), BUSY_PAUSE_MAX_S)
    return full_s * (0.5 + chance / 2)


def worth_retrying(error: GfsError) -> bool:
    """Return True when the same request may succeed later.

    FileChanged is retryable for a person, but only from the start, not by the same request.
    """
    if isinstance(error, DataError):
        return False
    return error.retryable or isinstance(error, DeadlineExceeded)


@dataclass(frozen=True, slots=True)
class Deadline:
    """The end of one operation on the caller's own clock."""

    end_s: float

    def left_s(self, now_s: float) -> float:
        """Return the seconds that are left, at least 0."""
        return max(0.0, self.end_s - now_s)

    def request_s(self, now_s: float) -> float:
        """Return what one request may take: the rest of the operation, at most 10 s."""
        return min(self.left_s(now_s), REQUEST_DEADLINE_S)

    def allows(self, pause_seconds: float, now_s: float) -> bool:
        """Return True when there is time for another attempt after this pause."""
        return self.left_s(now_s) > pause_seconds + LEAST_REQUEST_S
