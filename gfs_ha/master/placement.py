"""Where a new chunk's replicas go, where one more copy goes, and why: pure choices of the leader.

It looks at racks and machines (rules.py), room, and what is alive, not at a hash. Servers of about
the same load are taken in an order that `spread` shuffles, so that many writers do not all choose
the one least used server of the last heartbeat.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gfs_ha.errors import NoServers, NoSpace
from gfs_ha.ids import DiskId, ServerId
from gfs_ha.master.rules import HDFS, SEED, breaks, faults, next_rank
from gfs_ha.protocol.measures import share_text

HIGH_WATER = 0.95  # Used share above which a server takes no new chunks.
NO_TARGET = "no server can take a copy"
_HAS_PLACE = "has a place of it"
_NAMED_MAX = 8  # Rejected servers that a remark names.
_LOAD_STEP = 0.02  # Servers within one step of used share count as equal.
_MIX = 0x9E3779B97F4A7C15  # 2**64 / golden ratio (Knuth), spreads neighbouring ids.


@dataclass(frozen=True, slots=True)
class Candidate:
    """A registered server as the leader sees it now; `pending_bytes` are promised, not written."""

    server_id: ServerId
    disk_id: DiskId
    name: str
    rack: str
    machine: str  # Empty: all servers share one, which says nothing.
    used_share: float
    free_bytes: int
    total_bytes: int
    pending_bytes: int = 0
    trouble: str = ""  # Why it takes no chunks whatever the request is, else empty.
    passing: bool = False  # That ends by itself, or the server counts as dead soon.

    @property
    def load(self) -> float:
        """Return the used share once everything promised is written."""
        if self.total_bytes <= 0:
            return self.used_share
        return self.used_share + self.pending_bytes / self.total_bytes

    @property
    def score(self) -> float:
        """Return what people see of the load: 1 is empty, 0 is full."""
        return max(0.0, 1.0 - self.load)


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
    rule: str = SEED
    failed_disks: frozenset[DiskId] = frozenset()  # Other disks of their servers may do.


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
    rule: str = SEED


@dataclass(frozen=True, slots=True)
class Placement:
    """Replicas in the order of the chain, and why they are not what the rule wants, if so."""

    chosen: tuple[Candidate, ...]
    remarks: tuple[str, ...]

    @property
    def replicas(self) -> tuple[tuple[ServerId, DiskId], ...]:
        """Return the places as they are written down."""
        return tuple((one.server_id, one.disk_id) for one in self.chosen)


def place(candidates: Iterable[Candidate], wanted: Wanted) -> Placement:
    """Return the replicas of a new chunk, at least `min_copies`; never two on one machine.

    Only a cluster with fewer machines than copies are wanted has several on one. Raises: NoServers
    saying why; NoSpace when so many disks are full that waiting does not help.
    """
    everyone = sorted(candidates, key=lambda one: one.server_id)
    rejected = {one.server_id: why_not(one, wanted) for one in everyone}
    usable = [one for one in everyone if not rejected[one.server_id]]
    needed = min(wanted.min_copies, wanted.goal)
    usable.sort(key=lambda one: _order(one, wanted.spread))
    shared = may_share(everyone, wanted.goal)
    chosen: list[Candidate] = []
    if usable:
        chosen.append(_nearest(usable, wanted, len({one.machine for one in everyone}) <= 1))
    while chosen and len(chosen) < wanted.goal:
        following = _next(usable, chosen, wanted.rule, shared)
        if following is None:
            break
        chosen.append(following)
    if len(chosen) < needed:
        for one in usable:
            if one not in chosen:
                rejected[one.server_id] = "shares a machine with another one"
        why = _refusal(everyone, rejected, len(chosen), needed)
        # A server that was not heard may have room: who waits for it may be helped.
        not_full = sum(
            not one.total_bytes or not _no_room(one, wanted.capacity) for one in everyone
        )
        raise NoSpace(why) if not_full < needed <= len(everyone) else NoServers(why)
    remarks = _rack_remarks(chosen, wanted)
    if len(chosen) < wanted.goal:
        because = _reasons(everyone, rejected)
        remarks.append(
            f"{len(chosen)} of {wanted.goal} copies: {len(usable)} of {len(everyone)} servers "
            f"can take a chunk{f' ({because})' if because else ''}"
        )
    return Placement(tuple(chosen), tuple(remarks))


def place_copy(
    candidates: Iterable[Candidate], wanted: CopyWanted
) -> tuple[Candidate | None, tuple[str, ...]]:
    """Return the server that is to get one more copy of a chunk, and remarks; None: there is none.

    The rule comes first: with the copies that are kept the chunk comes back to it, as far as the
    servers allow. Who has a place of the chunk already is no target.
    """
    everyone = sorted(candidates, key=lambda one: one.server_id)
    shared = may_share(everyone, wanted.goal)
    rejected = {one.server_id: why_no_copy(one, wanted, shared) for one in everyone}
    usable = [one for one in everyone if not rejected[one.server_id]]
    if not usable:
        reasons = _reasons(everyone, rejected) or "no chunkserver is registered"
        return None, (f"{NO_TARGET}: {reasons}",)
    suits = _Suits(wanted)
    best = min(usable, key=lambda one: (suits.faults(one), *_order(one, wanted.spread)))
    if not _worse_than_possible(everyone, best, suits, shared):
        return best, ()
    reasons = _reasons(everyone, rejected)
    return best, (f"rack {best.rack} is not what the rule wants ({reasons})",)


def takes_copy(candidates: Sequence[Candidate], wanted: CopyWanted) -> bool:
    """Return whether any server can take one more copy of a chunk: much sooner than which one."""
    shared = may_share(candidates, wanted.goal)
    return any(not why_no_copy(one, wanted, shared) for one in candidates)


def place_better(
    candidates: Iterable[Candidate], wanted: CopyWanted
) -> tuple[Candidate, Candidate] | None:
    """Return who is to get a copy so that another can go and the rule is broken less.

    The second one is the copy that is the worst then, and goes. None: nothing is won by any copy.
    """
    now = breaks(wanted.rule, wanted.goal, wanted.kept)
    if not now:
        return None
    everyone = sorted(candidates, key=lambda one: one.server_id)
    shared = may_share(everyone, wanted.goal, exchanged=True)
    machines = {one.machine for one in wanted.kept}
    known: dict[tuple[str, str], int] = {}  # By what counts of a target: many are alike.
    best: tuple[tuple[int, int, int], Candidate] | None = None
    for one in everyone:
        if why_no_copy(one, wanted, shared):
            continue
        kind = (one.rack, one.machine if one.machine in machines else "")
        if kind not in known:
            known[kind] = min(_without_one(one, wanted, out) for out in wanted.kept)
        rank = (known[kind], *_order(one, wanted.spread))
        if best is None or rank < best[0]:
            best = (rank, one)
    if best is None:
        return None
    target = best[1]
    leaves = min(wanted.kept, key=lambda out: (_without_one(target, wanted, out), -out.load))
    kept = [one for one in wanted.kept if one != leaves]
    if breaks(wanted.rule, wanted.goal, (*kept, target)) >= now:
        return None
    return target, leaves


def why_chosen(chosen: tuple[Candidate, ...], one: Candidate, wanted: Wanted) -> str:
    """Return why a server got a replica of a new chunk, as one of those that were chosen."""
    if one == chosen[0]:
        if one.machine and one.machine == wanted.machine:
            return "on the writer's machine"
        return "in the writer's rack" if one.rack == wanted.rack else "among the least used"
    return place_text(one, chosen[: chosen.index(one)])


def why_passed_over(chosen: tuple[Candidate, ...], one: Candidate, wanted: Wanted) -> str:
    """Return why a server that can take a new chunk got none, compared with the last one chosen."""
    before, last = chosen[:-1], chosen[-1]
    for other in chosen:
        if one.machine and other.machine == one.machine:
            return f"same machine as {other.name}"
    if before:
        rank = next_rank(wanted.rule, before, one.rack)
        if rank > next_rank(wanted.rule, before, last.rack):
            twin = next((other for other in before if other.rack == one.rack), None)
            return f"same rack as {twin.name}" if twin else "another rack than the rule wants"
    if int(one.load / _LOAD_STEP) > int(last.load / _LOAD_STEP):
        return f"is more used ({share_text(one.load)})"
    return "is as good: another one was drawn"


def place_text(one: Candidate, before: tuple[Candidate, ...]) -> str:
    """Return where a server stands, as seen from the copies before it."""
    for other in before:
        if one.machine and other.machine == one.machine:
            return f"same machine as {other.name}"
    if before and one.rack == before[0].rack:
        return "same rack"
    for other in before:
        if other.rack == one.rack:
            return f"rack of {other.name}"
    return "other rack"


def may_share(everyone: Sequence[Candidate], goal: int, exchanged: bool = False) -> bool:
    """Return whether copies may share a machine: the cluster has too few for all of them.

    `exchanged`: or one of the copies goes afterwards, so that for a time there is one too many.
    """
    return exchanged or len({one.machine for one in everyone}) < goal


class _Suits:
    """How far servers would leave a chunk from its rule, by what counts of them: many are alike."""

    def __init__(self, wanted: CopyWanted) -> None:
        self._wanted = wanted
        self.machines = frozenset(one.machine for one in wanted.kept)
        self._known: dict[tuple[str, str], int] = {}

    def faults(self, one: Candidate) -> int:
        """Return it for one more copy on a server."""
        kind = (one.rack, one.machine if one.machine in self.machines else "")
        if kind not in self._known:
            kept = (*self._wanted.kept, one)
            self._known[kind] = faults(self._wanted.rule, self._wanted.goal, kept)
        return self._known[kind]


def copy_rank(one: Candidate, wanted: CopyWanted) -> tuple[int, int, int]:
    """Return how well a server suits as the next holder, the smaller the better."""
    return (
        faults(wanted.rule, wanted.goal, (*wanted.kept, one)),
        *_order(one, wanted.spread),
    )


def why_not(candidate: Candidate, wanted: Wanted) -> str:
    """Return why a server cannot take this chunk; empty when it can."""
    if candidate.trouble:
        return candidate.trouble
    if candidate.server_id in wanted.failed:
        return "was seen failing by the client"
    return _no_room(candidate, wanted.capacity)


def why_no_copy(candidate: Candidate, wanted: CopyWanted, shared: bool) -> str:
    """Return why a server cannot take one more copy of a chunk; empty when it can."""
    if candidate.server_id in wanted.taken:
        # Of a place that does not count it is told what ails its server.
        counts = any(one.server_id == candidate.server_id for one in wanted.kept)
        return _HAS_PLACE if counts or not candidate.trouble else candidate.trouble
    if candidate.trouble:
        return candidate.trouble
    if candidate.server_id in wanted.failed:
        return "failed to copy lately"
    if not shared and candidate.machine:
        for one in wanted.kept:
            if one.machine == candidate.machine:
                return f"is on the machine of {one.name}"
    return _no_room(candidate, wanted.length)


def _no_room(candidate: Candidate, capacity: int) -> str:
    # Promised bytes only balance: most chunks of small files end far below their capacity.
    if candidate.used_share >= HIGH_WATER:
        return f"is above the high-water mark ({share_text(candidate.used_share)})"
    if candidate.free_bytes < capacity:
        return f"has no room ({candidate.free_bytes} bytes free)"
    return ""


def _order(one: Candidate, spread: int) -> tuple[int, int]:
    return int(one.load / _LOAD_STEP), _shuffled(one, spread)


def _shuffled(candidate: Candidate, spread: int) -> int:
    mixed = ((candidate.server_id ^ spread) * _MIX) & 0xFFFFFFFFFFFFFFFF
    return mixed >> 32


def _without_one(target: Candidate, wanted: CopyWanted, out: Candidate) -> int:
    after = (*(one for one in wanted.kept if one != out), target)
    return faults(wanted.rule, wanted.goal, after)


def _worse_than_possible(
    everyone: list[Candidate], best: Candidate, suits: _Suits, shared: bool
) -> bool:
    """Return whether a rack that has no room now would have fitted the rule better."""
    reached = suits.faults(best)
    return any(
        suits.faults(one) < reached
        for one in everyone
        if shared or not one.machine or one.machine not in suits.machines
    )


def _nearest(usable: list[Candidate], wanted: Wanted, one_machine: bool) -> Candidate:
    """Return the head of the chain; a machine says nothing when all servers share it."""
    if wanted.machine and not one_machine:
        for one in usable:
            if one.machine == wanted.machine:
                return one
    if wanted.rack:
        for one in usable:
            if one.rack == wanted.rack:
                return one
    return usable[0]


def _next(
    usable: list[Candidate], chosen: list[Candidate], rule: str, shared: bool
) -> Candidate | None:
    """Return the next replica: on another machine, and in the rack that suits the rule best."""
    machines = [one.machine for one in chosen]
    left = [one for one in usable if one not in chosen]
    if not shared:
        left = [one for one in left if not one.machine or one.machine not in machines]
    # The order of `usable` decides among equals: min takes the first.
    return min(
        left,
        key=lambda one: (machines.count(one.machine), next_rank(rule, chosen, one.rack)),
        default=None,
    )


def _rack_remarks(chosen: list[Candidate], wanted: Wanted) -> list[str]:
    """Return what the racks of a new chunk lack of the rule."""
    racks = [one.rack for one in chosen]
    head = racks[0]
    if len(chosen) < 2:
        return []
    if wanted.rule == SEED and racks[1] != head:
        return [f"rack {head} has no second server for a copy"]
    if len(set(racks)) > 1 or (wanted.rule == SEED and wanted.goal == 2):
        if wanted.rule == HDFS and wanted.goal > 2 and racks[1] == head:
            return [f"no rack beside {head} has a server for a second copy"]
        return []
    return [f"no rack beside {head} has a server for a copy"]


def _refusal(
    everyone: list[Candidate], rejected: dict[ServerId, str], usable: int, needed: int
) -> str:
    if not everyone:
        return "no chunkserver is registered; start one and try again"
    reasons = _reasons(everyone, rejected)
    return f"{usable} of {len(everyone)} chunkservers can take a chunk, {needed} needed: {reasons}"


def _reasons(everyone: list[Candidate], rejected: dict[ServerId, str]) -> str:
    """Return why servers were rejected, the first few by name; who has a place is only counted."""
    having = sum(why == _HAS_PLACE for why in rejected.values())
    if having > 1 and having == len(everyone):
        return f"all {having} servers have a place of it"
    named = [f"{having} have a place of it"] if having > 1 else []
    named += [
        f"{one.name} {rejected[one.server_id]}"
        for one in everyone
        if rejected[one.server_id] and (having <= 1 or rejected[one.server_id] != _HAS_PLACE)
    ]
    more = f" and {len(named) - _NAMED_MAX} more" if len(named) > _NAMED_MAX else ""
    return ", ".join(named[:_NAMED_MAX]) + more
