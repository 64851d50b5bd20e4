"""Runs each planner for itself: a mistake in one of them keeps none of the others from their work.

What fails is tried again with every tick, since most mistakes need a rare state to show; it is
logged with its traceback at first and every minute, and a finding of health meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from gfs_ha.errors import GfsError
from gfs_ha.master.planners.plan import Plan
from gfs_ha.master.quorum import ERROR
from gfs_ha.protocol.reports import Finding

logger = logging.getLogger(__name__)

SHOWN_S = 300.0  # How long after its last failure a planner is still told of.
_LOG_S = 60.0
_MESSAGE_MAX = 200


@dataclass(frozen=True, slots=True)
class PlannerFault:
    """How often a planner failed in this reign, and why the last time."""

    name: str
    count: int
    last_s: float
    why: str


class PlannerGuard:
    """The faults of one reign. Used by the thread that plans; `faults` may be read by any."""

    def __init__(self) -> None:
        self.faults: tuple[PlannerFault, ...] = ()  # Replaced whole, one for each planner.
        self._logged_s: dict[str, float] = {}

    def run(self, name: str, plan: Callable[[], Plan], now_s: float) -> Plan:
        """Return what a planner wants, nothing when it fails by a mistake of ours.

        Raises: GfsError, as for a store that cannot be read: that is no mistake of the planner.
        """
        try:
            return plan()
        except GfsError:
            raise
        except Exception as error:
            self._note(name, error, now_s)
            return Plan()

    def _note(self, name: str, error: Exception, now_s: float) -> None:
        if now_s - self._logged_s.get(name, -_LOG_S) >= _LOG_S:
            self._logged_s[name] = now_s
            logger.exception("a planner failed, the others go on planner=%s", name)
        why = f"{type(error).__name__}: {error}".splitlines()[0][:_MESSAGE_MAX]
        others = {fault.name: fault for fault in self.faults}
        before = others.get(name, PlannerFault(name, 0, now_s, why))
        others[name] = replace(before, count=before.count + 1, last_s=now_s, why=why)
        self.faults = tuple(others.values())


def planner_findings(faults: tuple[PlannerFault, ...], now_s: float) -> list[Finding]:
    """Return one finding for each planner that failed lately."""
    return [
        Finding(
            "PLANNER_FAILS",
            ERROR,
            f"the leader's duty {fault.name!r} failed {fault.count:,} times by a mistake of ours,"
            f" the last time {max(0.0, now_s - fault.last_s):.0f} s ago ({fault.why}); all other"
            " duties go on",
            "report it with the leader's log; gfsctl admin masters transfer-leader lets another"
            " master try",
        )
        for fault in faults
        if now_s - fault.last_s < SHOWN_S
    ]
