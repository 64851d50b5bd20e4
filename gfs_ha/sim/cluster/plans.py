"""What a seed is about: machines and racks, how busy the users are, which faults come how often."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from gfs_ha.sim.cluster.worker import Habits

KIB = 1024
_SERVERS = ("kill-server", "kill-server", "power-server", "stop-server", "stop-server", "slow-disk")
_LOSSES = ("lose-disk", "swap-disk", "rot", "rot", "lose-file")
_LINKS = ("server-island", "server-alone", "server-off", "one-pair", "user-way", "kill-user")
_MASTERS = ("kill-master", "kill-master", "stop-master", "cut-master", "hand-over")
_MANY = ("power-rack", "power-all")
_ALL = (*_SERVERS, *_LOSSES, *_LINKS, *_MASTERS, *_MANY, "full-disk", "pause-repair")
_MENUS = (
    _ALL,
    _ALL,
    _ALL,
    (*_SERVERS, *_LOSSES),
    (*_LOSSES, *_MASTERS, "kill-server"),
    (*_LINKS, *_MASTERS),
    (*_MANY, "lose-disk", "kill-master"),
    ("full-disk", "full-disk", "lose-disk", "kill-server"),
)
_DISKS = (
    *("disk-dies", "disk-dies", "disk-blinks", "disk-absent", "disk-absent"),
    "disk-hangs",  # Seldom: each may take its server a minute.
)
_POWER = frozenset({"power-server", "power-rack", "power-all"})
_SIZES = (0, 100, 5 * KIB, 70 * KIB, 70 * KIB, 200 * KIB, 1200 * KIB)


@dataclass(frozen=True, slots=True)
class RunPlan:
    """The choices of one seed."""

    master_count: int
    racks: tuple[str, ...]  # One per chunkserver.
    user_count: int
    names_per_user: int
    logs: int  # Files that all users append to.
    memory_logs: bool  # Their records are acknowledged in memory.
    keyed: bool  # Each user has a writer that begins again under its key.
    habits: Habits
    run_s: float
    fault_mean_s: float
    fault_kinds: tuple[str, ...]
    dead_s: float
    disk_bytes: int  # Of each disk.
    disk_count: int = 1  # Of each chunkserver.

    @property
    def memory(self) -> bool:
        """Return whether anything is acknowledged in memory alone."""
        return self.memory_logs or self.habits.memory_share > 0


def draw_plan(chance: random.Random) -> RunPlan:
    """Return the choices of a seed."""
    menu: tuple[str, ...] = chance.choice(_MENUS)
    if menu is _ALL and chance.random() < 0.5:
        menu = tuple(chance.sample(_ALL, 4))  # A few kinds, so that they meet each other.
    rack_count = chance.choice([3, 4, 4])
    server_count = chance.choice([3, 6, 6, 7, 7, 8, 8])
    powerless = _POWER.intersection(menu)
    return RunPlan(
        master_count=3,
        racks=tuple(f"r{number % rack_count}" for number in range(server_count)),
        user_count=chance.choice([1, 2, 3]),
        names_per_user=chance.choice([3, 6]),
        logs=chance.choice([0, 1, 2]),
        # Power cuts of several machines at once may cost what is in memory alone.
        memory_logs=not powerless and chance.random() < 0.3,
        keyed=chance.random() < 0.5,
        habits=Habits(
            pause_s=chance.choice([0.2, 0.5, 1.0]),
            timeout_s=30.0,
            write_share=chance.choice([0.3, 0.6]),
            memory_share=0.0 if powerless else 0.2,
            sizes=_SIZES,
            copies=(2, 3, 4) if server_count > 3 else (2, 3),
        ),
        run_s=chance.choice([30.0, 60.0]),
        fault_mean_s=chance.choice([1.0, 2.0, 5.0, 10.0]),
        fault_kinds=menu,
        dead_s=chance.choice([5.0, 8.0, 12.0]),
        disk_bytes=chance.choice([1 << 30, 200 << 20]),
    )


def with_disks(plan: RunPlan, seed: int) -> RunPlan:
    """Return a plan with several disks in each machine, which fail. Chance is its own."""
    chance = random.Random(f"disks {seed}")
    count = chance.choice([2, 2, 3])
    kinds = (*plan.fault_kinds, *_DISKS * chance.choice([1, 1, 2, 4]))
    if chance.random() < 0.5:
        # A disk that fails may forget what was not synced; several at once may be all copies.
        habits = replace(plan.habits, memory_share=0.0)
        plan = replace(plan, memory_logs=False, habits=habits)
    mean_s = min(plan.fault_mean_s, 5.0)
    return replace(plan, disk_count=count, fault_kinds=kinds, fault_mean_s=mean_s)
