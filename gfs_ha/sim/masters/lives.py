"""Short lives of sessions, so that they end within a run, as small batches make borders near."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gfs_ha.limits import CLAIM_SILENCE_S
from gfs_ha.master.planners.plan import PlanLimits
from gfs_ha.master.state import sessions


def short_lives(session_life_s: float) -> PlanLimits:
    """Return what the planners of a run go by."""
    silence_s = min(CLAIM_SILENCE_S, session_life_s)
    return PlanLimits(claim_silence_s=silence_s, session_life_ms=int(session_life_s * 1000))


@contextmanager
def applied_life(session_life_s: float) -> Iterator[None]:
    """Have apply, on all simulated masters alike, let sessions end after so much cluster time."""
    limits = vars(sessions)
    usual_ms = limits["SESSION_LIFE_MS"]
    limits["SESSION_LIFE_MS"] = int(session_life_s * 1000)
    try:
        yield
    finally:
        limits["SESSION_LIFE_MS"] = usual_ms
