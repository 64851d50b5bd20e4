"""Which seed shows that a rule matters: runs with the rule switched off, until one breaks."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import replace

from gfs_ha.errors import UsageError
from gfs_ha.sim.cluster.faults import KINDS
from gfs_ha.sim.cluster.plans import RunPlan, draw_plan
from gfs_ha.sim.cluster.report import ClusterReport
from gfs_ha.sim.cluster.run import ClusterRun
from gfs_ha.sim.cluster.switches import SWITCHES, without

_DEAD_S = 5.0


def plan_names() -> tuple[str, ...]:
    """Return what `plan_of` knows: every kind of fault by itself, and what shows each rule."""
    return (*KINDS, *SWITCHES)


def plan_of(name: str, seed: int) -> RunPlan:
    """Return the choices of a seed among the faults of a directed plan. Raises: UsageError."""
    if name not in plan_names():
        raise UsageError(f"no plan {name!r}; there are: {', '.join(plan_names())}")
    if name in KINDS:
        plan = directed_plan(seed, (name,))
        return replace(plan, disk_count=2) if name.startswith("disk-") else plan
    switch = SWITCHES[name]
    return switch.twist(directed_plan(seed, switch.faults))


def directed_plan(seed: int, faults: tuple[str, ...]) -> RunPlan:
    """Return the choices of a seed with other faults, often, in a short run of busy users."""
    plan = draw_plan(random.Random(f"cluster {seed}"))
    # One machine after another loses its power: what is kept in memory is on two others then.
    alone = faults == ("power-server",)
    return replace(
        plan,
        user_count=2,
        names_per_user=3,
        logs=1,
        memory_logs=alone,
        keyed=False,
        habits=replace(
            plan.habits, pause_s=0.1, write_share=0.7, memory_share=0.8 * alone, copies=()
        ),
        run_s=20.0,
        fault_mean_s=6.0 if alone else 1.0,
        fault_kinds=faults,
        dead_s=_DEAD_S,
        disk_bytes=200 << 20,
    )


def run_without(name: str, seed: int, show: Callable[[str], None] | None = None) -> ClusterReport:
    """Run a seed without a rule, among the faults in which it shows soonest."""
    switch = SWITCHES[name]
    with without(switch):
        return ClusterRun(seed, plan_of(name, seed), show).run()


def find(name: str, seeds: Iterable[int]) -> ClusterReport | None:
    """Return the first run in which the missing rule breaks a promise."""
    for seed in seeds:
        report = run_without(name, seed)
        if report.violation is not None:
            return report
    return None
