"""The placement rules: where the next copy of a chunk is best, and how far copies are from that.

A rule is a matter of racks; no rule allows two copies on one machine while there are others. What a
rule is *against* (`breaks`) is worth a copy to be put right; what it merely prefers is not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

from gfs_ha.limits import GOAL_MAX

SEED, SPREAD, HDFS = "seed", "spread", "hdfs"

RULE_TEXTS = {
    SEED: "one near the writer, one in the same rack, the rest in other racks",
    SPREAD: "one near the writer, each copy in a rack of its own as far as there are racks",
    HDFS: "one near the writer, two in one other rack, the rest where the racks have fewest",
}

_PREFERENCES = 1_000  # All that a rule merely prefers comes to less than this.


class Spot(Protocol):
    """Where a copy lies."""

    @property
    def rack(self) -> str: ...

    @property
    def machine(self) -> str:
        """Return the name of the machine; empty where it says nothing, for all share one."""
        ...


def next_rank(rule: str, chosen: Sequence[Spot], rack: str) -> int:
    """Return how well a rack suits the next copy of a new chunk, the smaller the better.

    `chosen` are the copies so far in the order of the chain, at least the first.
    """
    by_rack = Counter(one.rack for one in chosen)
    head = chosen[0].rack
    if rule == SPREAD:
        return by_rack[rack]
    if len(chosen) == 1:
        return int((rack == head) != (rule == SEED))
    if rule == HDFS and len(chosen) == 2 and len(by_rack) == 2:
        return 0 if rack == chosen[1].rack else 2 if rack == head else 1
    if rule == HDFS:
        return by_rack[rack]
    if len(by_rack) == 1 and rack == head:
        return 1 + GOAL_MAX  # All in one rack is what the rule is against.
    return by_rack[rack] + (1 if by_rack[rack] and rack == head else 0)


def breaks(rule: str, goal: int, spots: Iterable[Spot]) -> int:
    """Return how much speaks against copies lying there, by the rule; 0: nothing.

    Two on one machine are the worst, then all in one rack, then too many in one of several.
    """
    racks: Counter[str] = Counter()
    machines: Counter[str] = Counter()
    for spot in spots:
        racks[spot.rack] += 1
        if spot.machine:
            machines[spot.machine] += 1
    copies = racks.total()
    shared = machines.total() - len(machines)
    crowded = sum(max(0, count - 2) ** 2 for count in racks.values())
    if rule == SPREAD or (rule == HDFS and goal == 2):
        crowded += copies - len(racks)
    alone = 100 if goal > 2 and copies > 1 and len(racks) == 1 else 0
    return 1_000 * shared + alone + crowded


def faults(rule: str, goal: int, spots: Iterable[Spot]) -> int:
    """Return how far copies are from where the rule wants them: 0 is as it wants, more is worse."""
    spots = tuple(spots)
    by_rack = Counter(one.rack for one in spots)
    if rule == SPREAD:
        preferred = sum(count * count - 1 for count in by_rack.values())
    elif rule == HDFS and goal == 2:
        preferred = 0
    else:
        preferred = _pair_faults(goal, by_rack)
    return _PREFERENCES * breaks(rule, goal, spots) + min(preferred, _PREFERENCES - 1)


def _pair_faults(goal: int, by_rack: Counter[str]) -> int:
    """Return how far the racks are from one pair, and else one copy each."""
    copies = by_rack.total()
    pairs = sum(1 for count in by_rack.values() if count == 2)
    spare_pairs = 3 * max(0, pairs - 1)
    no_pair = 1 if copies >= goal > 1 and max(by_rack.values(), default=0) < 2 else 0
    # A pair before the last copy is in its place only if no other rack was to be had.
    early = 1 if goal > 2 and copies < goal and pairs else 0
    return spare_pairs + no_pair + early
