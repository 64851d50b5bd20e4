"""Which seed shows that a rule matters: runs with the rule switched off, until one breaks."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace

from gfs_ha.errors import UsageError
from gfs_ha.limits import RAFT_TIMEOUT_MAX_S
from gfs_ha.protocol.calls import LINEARIZABLE
from gfs_ha.sim.masters.client import Names
from gfs_ha.sim.masters.faults import KINDS, SLOW
from gfs_ha.sim.masters.plans import RunPlan, draw_plan
from gfs_ha.sim.masters.run import MasterRun, RunReport
from gfs_ha.sim.masters.switches import SWITCHES


def plan_names() -> tuple[str, ...]:
    """Return what `plan_of` knows: every kind of fault by itself, and what shows each rule."""
    return (*KINDS, *(name for name, switch in SWITCHES.items() if switch.faults))


def plan_of(name: str, seed: int) -> RunPlan:
    """Return the choices of a seed among the faults of a directed plan. Raises: UsageError."""
    if name not in plan_names():
        raise UsageError(f"no plan {name!r}; there are: {', '.join(plan_names())}")
    faults = (name,) if name in KINDS else SWITCHES[name].faults
    return directed_plan(seed, faults)


def run_without(name: str, seed: int, directed: bool = False) -> RunReport:
    """Run a seed without a rule; among the usual faults, or those among which it shows soonest."""
    switch = SWITCHES[name]
    plan = directed_plan(seed, switch.faults) if directed and switch.faults else None
    return MasterRun(seed, switch.build, plan).run()


def directed_plan(seed: int, faults: tuple[str, ...]) -> RunPlan:
    """Return the choices of a seed with other faults, often, in a short run of short patience."""
    plan = draw_plan(random.Random(seed))
    habits = tuple(
        replace(one, timeout_s=2.0, growth_share=0.0, pause_s=0.02) for one in plan.habits
    )
    if "full-disk" in faults:
        habits = tuple(replace(one, growth_share=0.8, pause_s=0.02) for one in plan.habits)
    if "client-deaf" in faults:
        habits = tuple(
            replace(one, timeout_s=30.0, pause_s=0.05, write_share=0.9) for one in habits
        )
    run_s = min(plan.run_s, 20.0)
    mean_s = 2.5 if "slow-island" in faults else 0.7
    if "full-disk" in faults:
        mean_s = 6.0  # Each time it is filled anew there is room for some rows again.
    if {"rival", "usurper"}.intersection(faults):
        # Some only ask, perhaps the old leader; some write, perhaps at the new one, but so seldom
        # that a master that is cut off may miss nothing and be elected.
        mean_s = 2.0
        seldom = (1.0, 0.7) if "usurper" in faults else (0.01, 0.02)
        habits = tuple(
            replace(one, task_count=3, write_share=share, pause_s=pause_s, consistency=LINEARIZABLE)
            for one, (share, pause_s) in zip(habits, ((0.0, 0.02), seldom) * 2, strict=False)
        )
        plan = replace(plan, timeout_max_s=RAFT_TIMEOUT_MAX_S, names=Names(1, 2))
    if SLOW.issuperset(faults):
        plan = replace(plan, timeout_max_s=RAFT_TIMEOUT_MAX_S)
    return replace(
        plan,
        habits=habits,
        fault_kinds=faults,
        fault_mean_s=mean_s,
        run_s=run_s,
        session_life_s=5.0,
    )


def find(name: str, seeds: Iterable[int], directed: bool = False) -> RunReport | None:
    """Return the first run in which the missing rule breaks a promise."""
    for seed in seeds:
        report = run_without(name, seed, directed)
        if report.violation is not None:
            return report
    return None
