"""What a seed is about: how many masters and clients, how busy, and which faults come how often."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from gfs_ha.sim.masters.client import Habits, Names

_ALL = (
    "kill",
    "kill",
    "power-cut",
    "cut-in-commit",
    "cut-in-commit",
    "all-down",
    "stop",
    "stop",
    "step-clock",
    "old-copy",
    "slow-disk",
    "busy-disks",
    "full-disk",
    "failing-disk",
    "partition",
    "island",
    "slow-island",
    "slow-partition",
    "one-way",
    "one-pair",
    "client-way",
    "client-stop",
    "client-deaf",
    "client-kill",
    "rival",
    "reset",
    "hand-over",
    "hand-over",
    "suspend-all",
)
_NETWORK = (
    "partition",
    "island",
    "slow-island",
    "slow-partition",
    "one-way",
    "one-pair",
    "stop",
    "hand-over",
    "hand-over",
    "rival",
    "client-way",
)
_CLIENTS = ("client-kill", "client-kill", "client-deaf", "client-stop", "client-way", "kill")
_DISKS = (
    "cut-in-commit",
    "cut-in-commit",
    "power-cut",
    "slow-disk",
    "busy-disks",
    "all-down",
    "all-down",
    "failing-disk",
)
# What clients ask for, one by one: their leader, or any master for answers of now, up to so many
# milliseconds ago, or of any time.
_CONSISTENCIES = (
    "linearizable",
    "linearizable",
    "bounded:0",
    "bounded:0",
    "bounded:60",
    "bounded:250",
    "bounded:1000",
    "local",
)
_MENUS = (
    _ALL,
    _ALL,
    _ALL,
    _NETWORK,
    _DISKS,
    _DISKS,
    _CLIENTS,
    ("full-disk", "kill", "hand-over"),
    ("busy-disks",),
)


@dataclass(frozen=True, slots=True)
class RunPlan:
    """The choices of one seed."""

    master_count: int
    run_s: float
    habits: tuple[Habits, ...]  # One per client.
    names: Names
    fault_mean_s: float
    fault_kinds: tuple[str, ...]
    timeout_max_s: float
    session_life_s: float
    members_mean_s: float = 0.0  # Between two words of operators who change the masters; 0: none.
    rebirth: bool = False  # At the end a majority is lost for good, and one copy goes on.


def with_operators(plan: RunPlan, seed: int) -> RunPlan:
    """Return the plan with operators in every third seed and a rebirth in every tenth, by chance
    of its own: without them a seed is what it was.
    """
    chance = random.Random(f"members {seed}")
    plan = replace(plan, rebirth=chance.random() < 0.1)
    if chance.random() < 0.65:
        return plan
    return replace(plan, members_mean_s=chance.choice([0.5, 1.0, 2.0, 4.0]))


def draw_plan(chance: random.Random) -> RunPlan:
    """Return the choices of a seed."""
    menu: tuple[str, ...] = chance.choice(_MENUS)
    if menu is _ALL and chance.random() < 0.5:
        menu = tuple(chance.sample(_ALL, 4))  # A few kinds, so that they meet each other.
    client_count = chance.choice([2, 3, 3, 4])
    pause_s = chance.choice([0.01, 0.05, 0.2, 0.2, 1.0])
    habits = Habits(
        task_count=chance.choice([1, 1, 2]),
        pause_s=pause_s * client_count / 2,
        timeout_s=chance.choice([2.0, 10.0, 30.0]),
        write_share=chance.choice([0.3, 0.6, 0.9]),
        growth_share=0.5 if "full-disk" in menu else 0.05,
    )
    return RunPlan(
        master_count=chance.choice([3, 3, 3, 3, 4, 5, 5]),
        run_s=chance.choice([20.0, 40.0, 40.0, 80.0]),
        habits=tuple(
            replace(habits, consistency=chance.choice(_CONSISTENCIES)) for _ in range(client_count)
        ),
        names=Names(groups=chance.choice([1, 2, 4]), per_group=chance.choice([2, 3])),
        fault_mean_s=chance.choice([0.4, 0.8, 2.0, 5.0]),
        fault_kinds=menu,
        timeout_max_s=chance.choice([0.31, 0.6, 0.6]),
        session_life_s=chance.choice([5.0, 5.0, 86_400.0]),
    )
