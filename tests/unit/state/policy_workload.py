"""Random commands about policies and goals, for the seeded workload."""

from __future__ import annotations

import random

from gfs_ha.limits import MIB, PLACEMENT_RULES
from gfs_ha.master.state.commands import Command, FitGoals
from gfs_ha.protocol.policy import SetPolicy, SetReplication, UnsetPolicy


def policy_change(dice: random.Random, path: str) -> Command:
    """Return one command about a path; most of those that set something are taken."""
    kind = dice.random()
    if kind < 0.3:
        rule = dice.choice((None, "", "no rule", *PLACEMENT_RULES))
        where = dice.choice((path, "/", "/a", "/b"))
        said = dice.choice((None, "", "disk", "memory", "paper"))
        goal = dice.choice((None, 0, 1, 2, 4, 99))
        return SetPolicy(where, goal, rule, dice.choice((0, MIB)), said)
    if kind < 0.4:
        return UnsetPolicy(dice.choice((path, "/")))
    if kind < 0.75:
        return SetReplication(path, dice.choice((0, 1, 2, 3, 4, 5, -1)))
    return FitGoals(dice.choice((1, 2, 5, 100)))
