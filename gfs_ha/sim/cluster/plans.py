"""What a seed is about: machines and racks, how busy the users are, which faults come how often."""

from __future__ import annotations

import random
from dataclasses import dataclass

from gfs_ha.sim.cluster.user import Habits

KIB = 1024
_ALL = (
    "kill-server",
    "power-server",
    "lose-disk",
    "kill-master",
)
_SIZES = (0, 100, 5 * KIB, 70 * KIB, 70 * KIB, 200 * KIB, 1200 * KIB)


@dataclass(frozen=True, slots=True)
class RunPlan:
    """The choices of one seed."""

    master_count: int
    racks: tuple[str, ...]  # One per chunkserver.
    user_count: int
    names_per_user: int
    habits: Habits
    run_s: float
    fault_mean_s: float
    fault_kinds: tuple[str, ...]
    dead_s: float
    disk_bytes: int


def draw_plan(chance: random.Random) -> RunPlan:
    """Return the choices of a seed."""
    rack_count = chance.choice([3, 4, 4])
    server_count = chance.choice([6, 7, 8])
    return RunPlan(
        master_count=3,
        racks=tuple(f"r{number % rack_count}" for number in range(server_count)),
        user_count=chance.choice([1, 2, 3]),
        names_per_user=chance.choice([3, 6]),
        habits=Habits(
            pause_s=chance.choice([0.2, 0.5, 1.0]),
            timeout_s=30.0,
            write_share=chance.choice([0.3, 0.6]),
            memory_share=0.0,
            sizes=_SIZES,
        ),
        run_s=chance.choice([30.0, 60.0]),
        fault_mean_s=chance.choice([2.0, 5.0, 10.0]),
        fault_kinds=_ALL,
        dead_s=chance.choice([5.0, 8.0, 12.0]),
        disk_bytes=1 << 30,
    )
