"""Evening out how full servers are, as operators ask for it: planned, started, looked at."""

from __future__ import annotations

from gfs_ha.client.cluster import ClusterCalls
from gfs_ha.protocol.jobs import JobOptions, JobStarted
from gfs_ha.protocol.rebalance import (
    GetRebalance,
    PlanRebalance,
    RebalancePlan,
    RebalanceStatus,
    StartRebalance,
)

_PLAN_S = 120.0  # A plan of a million chunks takes its time.


class Rebalance:
    """Plans and starts rebalances. Thread-safe. Raises: NoLeader…"""

    def __init__(self, calls: ClusterCalls) -> None:
        self._calls = calls

    def plan(self, options: JobOptions, listed: int = 100) -> RebalancePlan:
        """Return what a rebalance would move now. Raises: InvalidArgument."""
        self.status()  # A plan may take its time; that nobody leads is said as soon as ever.
        limit_s = max(_PLAN_S, self._calls.timeout_s)
        return self._calls.ask(PlanRebalance(options, listed), RebalancePlan, limit_s)

    def status(self) -> RebalanceStatus:
        """Return how full the disks are now, and the newest rebalance."""
        return self._calls.ask(GetRebalance(), RebalanceStatus)

    def start(self, plan: RebalancePlan, options: JobOptions, asked_by: str) -> JobStarted:
        """Begin what was planned. Raises: WrongState while another one has not ended."""
        asked = StartRebalance(options, plan.moved_bytes, plan.move_count, asked_by)
        return self._calls.ask(asked, JobStarted)
