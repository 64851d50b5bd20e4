"""Where a new chunk's replicas go, and why: near the writer, same rack, then other racks.

The rule is the leader's decision at allocation, not a hash: it looks at racks, room, and what is
alive. Servers of about the same load are taken in an order that `spread` shuffles, so that many
writers do not all choose the one least used server of the last heartbeat.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from gfs_ha.errors import NoServers, NoSpace
from gfs_ha.ids import DiskId, ServerId

HIGH_WATER = 0.95  # Used share above which a server takes no new chunks.
_NAMED_MAX = 8  # Rejected servers that a remark names.
_LOAD_STEP = 0.02  # Servers within one step of used share count as equal.
_MIX = 0x9E3779B97F4A7C15  # 2**64 / golden ratio (Knuth), spreads neighbouring ids.

RULE = "one near the writer, one in the same rack, the rest in other racks"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A registered server as the leader sees it now; `pending_bytes` are promised, not written."""

    server_id: ServerId
    disk_id: DiskId
    name: str
    rack: str
    machine: str
    used_share: float
    free_bytes: int
    total_bytes: int
    pending_bytes: int = 0
    trouble: str = ""  # Why it takes no chunks whatever the request is, else empty.

    @property
    def load(self) -> float:
        """Return the used share once everything promised is written."""
        if self.total_bytes <= 0:
            return self.used_share
        return self.used_share + self.pending_bytes / self.total_bytes


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be placed, for whom. `spread` is 64 random bits."""

    goal: int
    min_copies: int
    capacity: int
    machine: str
    rack: str
    failed: frozenset[ServerId]
    spread: int


@dataclass(frozen=True, slots=True)
class CopyWanted:
    """One more copy of a sealed chunk: `kept` are the copies that count or are on their way.

    `taken` are the servers that have a place of the chunk, `failed` those that failed with it.
    """

    goal: int
    length: int
    kept: tuple[Candidate, ...]
    taken: frozenset[ServerId]
    failed: frozenset[ServerId]
    spread: int


@dataclass(frozen=True, slots=True)
class Placement:
    """Replicas in the order of the chain, and why they are not what the rule wants, if so."""

    replicas: tuple[tuple[ServerId, DiskId], ...]
    remarks: tuple[str, ...]


def place(candidates: Iterable[Candidate], wanted: Wanted) -> Placement:
    """Return the replicas of a new chunk, at least `min_copies`.

    Raises: NoServers saying why; NoSpace when so many disks are full that waiting does not help.
    """
    everyone = sorted(candidates, key=lambda one: one.server_id)
    rejected = {one.server_id: why_not(one, wanted) for one in everyone}
    usable = [one for one in everyone if not rejected[one.server_id]]
    needed = min(wanted.min_copies, wanted.goal)
    if len(usable) < needed:
        why = _refusal(everyone, rejected, len(usable), needed)
        # A server that was not heard may have room: who waits for it may be helped.
        not_full = sum(
            not one.total_bytes or not _no_room(one, wanted.capacity) for one in everyone
        )
        raise NoSpace(why) if not_full < needed <= len(everyone) else NoServers(why)
    usable.sort(key=lambda one: (int(one.load / _LOAD_STEP), _shuffled(one, wanted.spread)))
    one_machine = len({one.machine for one in everyone}) <= 1
    chosen: list[Candidate] = []
    remarks: list[str] = []
    while len(chosen) < min(wanted.goal, len(usable)):
        left = [one for one in usable if one not in chosen]
        if not chosen:
            chosen.append(_nearest(left, wanted, one_machine))
        else:
            chosen.append(_next(left, chosen, remarks))
    if len(chosen) < wanted.goal:
        reasons = _reasons(everyone, rejected)
        because = f" ({reasons})" if reasons else ""
        remarks.append(
            f"{len(chosen)} of {wanted.goal} copies: {len(usable)} of {len(everyone)} servers "
            f"can take a chunk{because}"
        )
    return Placement(tuple((one.server_id, one.disk_id) for one in chosen), tuple(remarks))


def place_copy(
    candidates: Iterable[Candidate], wanted: CopyWanted
) -> tuple[Candidate | None, tuple[str, ...]]:
    """Return the server that is to get one more copy of a chunk, and remarks; None: there is none.

    Racks come first: with the copies that are kept the chunk comes back to the rule, as far as the
    servers allow. Who has a place of the chunk already is no target.
    """
    everyone = sorted(candidates, key=lambda one: one.server_id)
    rejected = {one.server_id: _why_no_copy(one, wanted) for one in everyone}
    usable = [one for one in everyone if not rejected[one.server_id]]
    if not usable:
        reasons = _reasons(everyone, rejected) or "no chunkserver is registered"
        return None, (f"no server can take a copy: {reasons}",)
    racks = [one.rack for one in wanted.kept]
    machines = {one.machine for one in wanted.kept}

    def rank(one: Candidate) -> tuple[int, bool, int, int]:
        faults = rule_faults((*racks, one.rack), wanted.goal)
        load = int(one.load / _LOAD_STEP)
        return faults, one.machine in machines, load, _shuffled(one, wanted.spread)

    best = min(usable, key=rank)
    if not _worse_than_possible(everyone, best, racks, wanted.goal):
        return best, ()
    reasons = _reasons(everyone, rejected)
    return best, (f"rack {best.rack} is not what the rule wants ({reasons})",)


def rule_faults(racks: Iterable[str], goal: int) -> int:
    """Return how far copies in these racks are from the rule: 0 is as it wants, more is worse.

    All copies in one rack is the worst: its loss takes the chunk. Then too many in one of them, and
    no pair that shares one although the copies are complete.
    """
    by_rack = Counter(racks)
    copies = sum(by_rack.values())
    alone = 100 if goal > 2 and copies > 1 and len(by_rack) == 1 else 0
    crowded = 10 * sum(max(0, count - 2) for count in by_rack.values())
    pairs = sum(1 for count in by_rack.values() if count == 2)
    spare_pairs = 3 * max(0, pairs - 1)
    no_pair = 1 if copies >= goal > 1 and max(by_rack.values(), default=0) < 2 else 0
    # A pair before the last copy is in its place only if no other rack was to be had.
    early = 1 if goal > 2 and copies < goal and pairs else 0
    return alone + crowded + spare_pairs + no_pair + early


def _worse_than_possible(
    everyone: list[Candidate], best: Candidate, racks: list[str], goal: int
) -> bool:
    """Return whether a rack that has no room now would have fitted the rule better."""
    reached = rule_faults((*racks, best.rack), goal)
    return any(rule_faults((*racks, one.rack), goal) < reached for one in everyone)


def _why_no_copy(candidate: Candidate, wanted: CopyWanted) -> str:
    if candidate.server_id in wanted.taken:
        return "has a place of it"
    if candidate.trouble:
        return candidate.trouble
    if candidate.server_id in wanted.failed:
        return "failed to copy lately"
    return _no_room(candidate, wanted.length)


def why_not(candidate: Candidate, wanted: Wanted) -> str:
    """Return why a server cannot take this chunk; empty when it can."""
    if candidate.trouble:
        return candidate.trouble
    if candidate.server_id in wanted.failed:
        return "was seen failing by the client"
    return _no_room(candidate, wanted.capacity)


def _no_room(candidate: Candidate, capacity: int) -> str:
    # Promised bytes only balance: most chunks of small files end far below their capacity.
    if candidate.used_share >= HIGH_WATER:
        return f"is above the high-water mark ({candidate.used_share:.0%})"
    if candidate.free_bytes < capacity:
        return f"has no room ({candidate.free_bytes} bytes free)"
    return ""


def _nearest(left: list[Candidate], wanted: Wanted, one_machine: bool) -> Candidate:
    """Return the head of the chain; a machine says nothing when all servers share it."""
    if wanted.machine and not one_machine:
        for one in left:
            if one.machine == wanted.machine:
                return one
    if wanted.rack:
        for one in left:
            if one.rack == wanted.rack:
                return one
    return left[0]


def _next(left: list[Candidate], chosen: list[Candidate], remarks: list[str]) -> Candidate:
    """Return the next replica: the second in the head's rack, later ones in fresh racks."""
    head = chosen[0]
    machines = {one.machine for one in chosen}
    apart = sorted(left, key=lambda one: one.machine in machines)  # Stable: load order is kept.
    if len(chosen) == 1:
        for one in apart:
            if one.rack == head.rack:
                return one
        remarks.append(f"rack {head.rack} has no second server for a copy")
        return apart[0]
    racks = {one.rack for one in chosen}
    for one in apart:
        if one.rack not in racks:
            return one
    for one in apart:
        if one.rack != head.rack:
            return one
    if len(racks) == 1:
        remark = f"no rack beside {head.rack} has a server for a copy"
        if remark not in remarks:
            remarks.append(remark)
    return apart[0]


def _shuffled(candidate: Candidate, spread: int) -> int:
    mixed = ((candidate.server_id ^ spread) * _MIX) & 0xFFFFFFFFFFFFFFFF
    return mixed >> 32


def _refusal(
    everyone: list[Candidate], rejected: dict[ServerId, str], usable: int, needed: int
) -> str:
    if not everyone:
        return "no chunkserver is registered; start one and try again"
    reasons = _reasons(everyone, rejected)
    return f"{usable} of {len(everyone)} chunkservers can take a chunk, {needed} needed: {reasons}"


def _reasons(everyone: list[Candidate], rejected: dict[ServerId, str]) -> str:
    """Return why servers were rejected, the first few by name."""
    named = [f"{one.name} {rejected[one.server_id]}" for one in everyone if rejected[one.server_id]]
    more = f" and {len(named) - _NAMED_MAX} more" if len(named) > _NAMED_MAX else ""
    return ", ".join(named[:_NAMED_MAX]) + more
