"""Which copies were needed, which served the rule of placement, and which nothing explains.

Never more than planned: a copy is made because one was missing, or because the good ones lay
against their rule. Whatever else was copied is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gfs_ha.master.rules import SEED, breaks
from gfs_ha.protocol.reports import ChunkRow

THERE = ("live", "suspect")  # A server that is only silent counts as there.
_LOOK_BACK_S = 10.0  # So long before its end a copy may have been decided.


@dataclass(frozen=True, slots=True)
class Copied:
    """A copy that a server made; `at_s` of the monotonic clock, when it was complete."""

    at_s: float
    server: str
    chunk_id: int
    length: int


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a good copy lies. All machines are one here, which says nothing."""

    server: str
    rack: str
    machine: str = ""


@dataclass(frozen=True, slots=True)
class Stand:
    """The good copies of a sealed chunk, as the leader told them from some moment on."""

    at_s: float
    goal: int
    rule: str
    spots: tuple[Spot, ...]


@dataclass
class Sorted:
    """The copies of a span of time, by what explains them."""

    needed: list[Copied] = field(default_factory=list)
    for_rule: list[Copied] = field(default_factory=list)
    unexplained: list[tuple[Copied, str]] = field(default_factory=list)  # And how copies lay.


def lacking(row: ChunkRow) -> int:
    """Return how many copies a sealed chunk lacks; a server that is only silent counts as there.

    The leader's own count leaves silent servers out; a list from before the seal calls short what
    is whole by now.
    """
    if row.state != "sealed":
        return 0
    return max(0, row.goal - max(row.copies, sum(one.health in THERE for one in row.replicas)))


def stand_of(row: ChunkRow, at_s: float) -> Stand:
    """Return where the good copies of a row lie."""
    spots = [Spot(one.name, one.rack) for one in row.replicas if one.health in THERE]
    spots.sort(key=lambda spot: spot.server)
    return Stand(at_s, row.goal, row.rule or SEED, tuple(spots))


def sort_copies(
    copies: Sequence[Copied],
    lacked: Mapping[int, int],
    history: Mapping[int, Sequence[Stand]],
) -> Sorted:
    """Return what explains each copy.

    Args: `lacked` is how many copies of a chunk were missing at once, at most; `history` is how
    its good copies lay, moment after moment.
    """
    found = Sorted()
    left = dict(lacked)
    for copy in sorted(copies, key=lambda one: one.at_s):
        stands = history.get(copy.chunk_id, ())
        if left.get(copy.chunk_id, 0) > 0:
            left[copy.chunk_id] -= 1
            found.needed.append(copy)
        elif not any(stand.at_s < copy.at_s for stand in stands):
            # Sealed and completed between two looks: nobody copies a chunk that is whole at once.
            found.needed.append(copy)
        elif _against_rule(stands, copy):
            found.for_rule.append(copy)
        else:
            found.unexplained.append((copy, _lay(stands, copy)))
    return found


def _lay(stands: Sequence[Stand], copy: Copied) -> str:
    """Return how the good copies of a chunk lay around the time of a copy."""
    near = [one for one in stands if abs(one.at_s - copy.at_s) <= 30]
    return ", ".join(
        f"{one.at_s - copy.at_s:+.1f} s " + "+".join(f"{s.server}/{s.rack}" for s in one.spots)
        for one in near
    )


def _against_rule(stands: Sequence[Stand], copy: Copied) -> bool:
    """Return whether the good copies lay against their rule when a copy may have been decided."""
    before = [stand for stand in stands if stand.at_s < copy.at_s]
    lately = [stand for stand in before if stand.at_s >= copy.at_s - _LOOK_BACK_S]
    return any(breaks(one.rule, one.goal, one.spots) for one in {*lately, *before[-2:]})
