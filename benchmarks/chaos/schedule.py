"""What goes wrong, when and for how long: the same list for the same seed (pure)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

KILL, PAUSE, RESTART, CLIENT_KILL = "kill", "pause", "restart", "client-kill"
ISOLATE, LEAVE, SPLIT, ONE_WAY = "isolate", "leave", "split", "one-way"
SLOW, LOSSY, NARROW = "slow", "lossy", "narrow"
FULL_DISK, CLOCK, REPLACE = "full-disk", "clock", "replace"
SNAPSHOT, GROW, RIVALS, HANDOVER = "snapshot", "grow", "rivals", "handover"

# How a master is away until the log it lacks is gone, and what meets the snapshot that follows.
AWAY = ("killed", "stopped", "cut off")
DEEDS = (
    "",
    "kill receiver",
    "kill sender",
    "stop receiver",
    "stop sender",
    "cut to receiver",
    "cut to sender",
)
# Of a replacement: nothing, the old one dies before, and who is killed in the middle of it.
CALM, BURIAL, OPERATOR_DIES, NEW_DIES, OLD_DIES, LEADER_DIES = range(6)

LEADER, FOLLOWER, ANYONE = "leader", "follower", "anyone"

_WEIGHTS = {
    KILL: 4,
    PAUSE: 3,
    RESTART: 2,
    CLIENT_KILL: 1,
    ISOLATE: 2,
    LEAVE: 2,
    SPLIT: 3,
    ONE_WAY: 3,
    SLOW: 2,
    LOSSY: 2,
    NARROW: 1,
    FULL_DISK: 2,
    CLOCK: 2,
    REPLACE: 1,
    SNAPSHOT: 4,
    GROW: 1,
    RIVALS: 1,
    HANDOVER: 2,
}
KINDS = tuple(_WEIGHTS)
_FIRST_S = 1.0
_PAUSES_S = (0.3, 3.0)  # Between the beginnings of two faults; they overlap.
_CALM_S = 2.0  # At the end nothing new begins.


@dataclass(frozen=True, slots=True)
class Planned:
    """One fault. `role` says whom it meets when its time has come; `amount` is its own unit."""

    at_s: float
    kind: str
    role: str
    lasts_s: float
    amount: float
    chance: float  # Uniform in 0-1: chooses where the role leaves a choice.

    def __str__(self) -> str:
        return f"{self.kind} {self.role} for {self.lasts_s:.2f} s ({self.amount:g})"


def plan(seed: int, seconds: float, kinds: Sequence[str] = KINDS) -> list[Planned]:
    """Return the faults of a run, in the order of their beginnings."""
    chance = random.Random(f"chaos {seed}")
    bag = [kind for kind in KINDS if kind in kinds for _ in range(_WEIGHTS[kind])]
    found = []
    at_s = _FIRST_S
    while at_s < seconds - _CALM_S:
        kind = chance.choice(bag)
        lasts_s, amount = _extent(kind, chance)
        role = chance.choice((LEADER, LEADER, FOLLOWER, ANYONE))
        lasts_s = min(lasts_s, seconds - at_s)
        found.append(Planned(at_s, kind, role, lasts_s, amount, chance.random()))
        at_s += chance.uniform(*_PAUSES_S)
    return found


def _extent(kind: str, chance: random.Random) -> tuple[float, float]:
    """Return for how long, and how much: ms, share, bytes per s, bytes left, s of the clock.

    Of changes of the masters and of absences: the choice among their kinds."""
    if kind == KILL:
        return chance.choice((0.0, chance.uniform(0.0, 0.5), chance.uniform(0.5, 4.0))), 0.0
    if kind == PAUSE:
        return chance.choice((chance.uniform(0.05, 0.6), chance.uniform(0.6, 4.0))), 0.0
    if kind == RESTART:
        return chance.uniform(0.0, 1.0), 0.0
    if kind == CLIENT_KILL:
        return 0.0, 0.0
    if kind == REPLACE:
        return chance.uniform(0.4, 2.5), float(chance.randrange(LEADER_DIES + 1))
    if kind == SNAPSHOT:
        return 0.0, float(chance.randrange(len(AWAY) * len(DEEDS)))
    if kind in (GROW, RIVALS):
        return chance.uniform(0.4, 2.5), float(chance.randrange(4))
    if kind == HANDOVER:
        return 0.0, float(chance.randrange(60))
    lasts_s = chance.uniform(0.3, 4.0)
    if kind == SLOW:
        return lasts_s, chance.choice((5.0, 20.0, 60.0, 150.0))
    if kind == LOSSY:
        return lasts_s, chance.choice((0.01, 0.05, 0.2))
    if kind == NARROW:
        return lasts_s, chance.choice((20e3, 100e3, 500e3))
    if kind == FULL_DISK:
        return lasts_s, chance.choice((0.0, 0.0, 64e3, 1e6, 8e6))
    if kind == CLOCK:
        far_s = chance.choice((1.0, 60.0, 3600.0, 400 * 86400.0))
        return lasts_s, far_s * chance.choice((-1, 1))
    return lasts_s, 0.0
