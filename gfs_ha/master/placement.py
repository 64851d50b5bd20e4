"""Where a new chunk's replicas go, and why: near the writer, same rack, then other racks.

The rule is the leader's decision at allocation, not a hash: it looks at racks, room, and what is
alive. Servers of about the same load are taken in an order that `spread` shuffles, so that many
writers do not all choose the one least used server of the last heartbeat.
"""

from __future__ import annotations

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
        not_full = sum(not _no_room(one, wanted) for one in everyone)
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


def why_not(candidate: Candidate, wanted: Wanted) -> str:
    """Return why a server cannot take this chunk; empty when it can."""
    if candidate.trouble:
        return candidate.trouble
    if candidate.server_id in wanted.failed:
        return "was seen failing by the client"
    return _no_room(candidate, wanted)


def _no_room(candidate: Candidate, wanted: Wanted) -> str:
    # Promised bytes only balance: most chunks of small files end far below their capacity.
    if candidate.used_share >= HIGH_WATER:
        return f"is above the high-water mark ({candidate.used_share:.0%})"
    if candidate.free_bytes < wanted.capacity:
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
