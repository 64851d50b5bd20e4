"""How full disks are beside each other, and which copy would even that out: by bytes, not counts.

Balanced are disks whose used shares differ from that of all together by no more than a threshold.
A move takes a copy from a disk that is fuller to one that is emptier and never turns that round, so
moves come to an end; one of the two lies outside the threshold, so none is made for nothing. Bytes
that are on their way count on the disk where they arrive, those that leave no longer where they
were. Whether a copy that is being deleted is still in what its server told last, nobody knows: who
gives is judged as if it were, who gets as if it were not, so nothing is moved to and fro. And room
is only what is free now, with all that may still come: no disk is ever filled above the high-water
mark on the strength of what is to leave it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass

from gfs_ha.ids import ChunkId, DiskId, ServerId, format_id
from gfs_ha.limits import SLOT_HEAD_BYTES
from gfs_ha.master.placement import HIGH_WATER
from gfs_ha.master.rules import breaks, faults

THRESHOLD_DEFAULT = 0.05
_LEAST_THRESHOLD = 0.001

DiskKey = tuple[ServerId, DiskId]
_FIRST_DISK = (ServerId(0), DiskId(0))  # Below every key.


@dataclass(slots=True)
class Disk:
    """A disk of a server in service. `trouble`: why no copy is brought there now, else empty.

    Fields:
        used: bytes in use, as its server told last.
        coming: bytes of copies and new chunks that are on their way and not in `used` for sure.
        lacking: of these, what certainly is not in `used` yet.
        going: bytes in `used` of copies that leave.
        freeing: bytes of copies that are being deleted, in `used` or gone from it already.
        several: its server has more disks, be they in service or not.
    """

    server_id: ServerId
    disk_id: DiskId
    name: str
    rack: str
    machine: str
    total: int
    used: int
    coming: int = 0
    lacking: int = 0
    going: int = 0
    freeing: int = 0
    trouble: str = ""
    gives: bool = True
    several: bool = False

    @property
    def key(self) -> DiskKey:
        """Return which disk it is."""
        return self.server_id, self.disk_id

    @property
    def shown(self) -> str:
        """Return the server's name, with the disk where it has several."""
        return f"{self.name}:{format_id(self.disk_id)}" if self.several else self.name

    @property
    def settled(self) -> int:
        """Return the bytes in use once everything under way is done."""
        return max(0, self.used + self.lacking - self.going - self.freeing)

    @property
    def share(self) -> float:
        """Return the used share once everything under way is done."""
        return self.settled / self.total

    @property
    def least(self) -> int:
        """Return the bytes in use that it keeps for sure: as much is to be judged by who gives."""
        return self.used - self.going - self.freeing

    @property
    def most(self) -> int:
        """Return the bytes in use that it may come to: as much is to be judged by who gets."""
        return self.used + self.lacking - self.going

    def takes(self, length: int) -> bool:
        """Return whether so many bytes more leave it below the high-water mark at any moment."""
        return self.used + self.coming + length <= HIGH_WATER * self.total


@dataclass(frozen=True, slots=True)
class Movable:
    """A sealed chunk with all its copies, of which one may go elsewhere."""

    chunk_id: ChunkId
    length: int
    goal: int
    rule: str
    holders: tuple[ServerId, ...]

    @property
    def room(self) -> int:
        """Return how many bytes a copy takes on a disk."""
        return self.length + SLOT_HEAD_BYTES


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a copy lies, as the rules of placement see it."""

    rack: str
    machine: str


class Judge:
    """Whether the rule of placement lets a copy of a chunk go off a server, by where to.

    It lets it if it has no more against the chunk afterwards, and the chunk is not further from
    what it prefers. Racks are what it goes by, and machines with another copy: each kind of place
    is judged once.
    """

    def __init__(self, chunk: Movable, source: ServerId, spots: Mapping[ServerId, Spot]) -> None:
        self._chunk = chunk
        held = {one: spots[one] for one in chunk.holders if one in spots}
        self._now = _judged(chunk, held.values())
        held.pop(source, None)
        self._kept = tuple(held.values())
        self._machines = {spot.machine for spot in self._kept}
        self._known: dict[Spot, bool] = {}

    def allows(self, rack: str, machine: str = "") -> bool:
        """Return whether the copy may go there; without a machine: to any one there without one."""
        spot = Spot(rack, machine if machine in self._machines else "")
        found = self._known.get(spot)
        if found is None:
            after = _judged(self._chunk, (*self._kept, spot))
            found = after[0] <= self._now[0] and after[1] <= self._now[1]
            self._known[spot] = found
        return found


class Balance:
    """The disks that are to be as full as each other, by used share. `move` keeps it up to date.

    Args: `spots` are all servers, by which the rules judge where copies lie.
    """

    def __init__(
        self, disks: Iterable[Disk], spots: Mapping[ServerId, Spot], threshold: float
    ) -> None:
        self.disks = {disk.key: disk for disk in disks if disk.total > 0}
        self.threshold = max(threshold, _LEAST_THRESHOLD)
        self._spots = spots
        total = sum(disk.total for disk in self.disks.values())
        settled = sum(disk.settled for disk in self.disks.values())
        freeing = sum(disk.freeing for disk in self.disks.values())
        self.mean = settled / total if total else 0.0
        self._mean_at_most = (settled + freeing) / total if total else 0.0
        self._order = sorted((disk.share, disk.key) for disk in self.disks.values())
        self._racks: dict[str, list[tuple[float, DiskKey]]] = {}  # The same of each rack.
        for one in self._order:
            self._racks.setdefault(self.disks[one[1]].rack, []).append(one)

    # What is to be done -------------------------------------------------------------------------

    def over(self, disk: Disk) -> bool:
        """Return whether a disk is fuller than it may be."""
        return disk.least / disk.total > self._mean_at_most + self.threshold

    def under(self, disk: Disk) -> bool:
        """Return whether a disk is emptier than it may be."""
        return disk.most / disk.total < self.mean - self.threshold

    def outside(self) -> list[Disk]:
        """Return the disks that differ too much from all together, the fullest first."""
        return [one for one in self._fullest_first() if self.over(one) or self.under(one)]

    def left_bytes(self) -> int:
        """Return how many bytes have to be moved at least until no disk is outside."""
        above = below = 0.0
        for disk in self.disks.values():
            off = disk.share - self.mean
            above += max(0.0, off - self.threshold) * disk.total
            below += max(0.0, -off - self.threshold) * disk.total
        return int(max(above, below))

    def sources(self, beside: Container[DiskKey] = ()) -> list[Disk]:
        """Return the disks from which a copy may help, the fullest first, but some."""
        needy, least = self._needy(), self._mean_at_most - self.threshold / 2
        low = least if needy else self._mean_at_most + self.threshold
        found = []
        for share, key in reversed(self._order):
            if share <= low:
                break  # What it keeps for sure is no more than that.
            if key in beside:
                continue
            one = self.disks[key]
            if one.gives and (self.over(one) or (needy and one.least > least * one.total)):
                found.append(one)
        return found

    def helps(self, source: Disk) -> bool:
        """Return whether a copy from a disk may still help."""
        if not source.gives:
            return False
        least = self._mean_at_most - self.threshold / 2
        return self.over(source) or (source.least > least * source.total and self._needy())

    def _needy(self) -> bool:
        """Return whether a disk is emptier than it may be and takes copies."""
        for share, key in self._order:
            if share >= self.mean - self.threshold:
                return False
            disk = self.disks[key]
            if not disk.trouble and self.under(disk):
                return True
        return False

    def _fullest_first(self) -> Iterator[Disk]:
        return (self.disks[key] for _, key in reversed(self._order))

    # Where a copy goes --------------------------------------------------------------------------

    def target(
        self, source: Disk, chunk: Movable, avoid: Callable[[ServerId], bool]
    ) -> Disk | None:
        """Return the emptiest disk to which a copy on `source` may go; None: there is none.

        Of a rack to which the rule lets no copy go none is looked at: there may be a thousand.
        """
        if source.server_id not in chunk.holders or source.server_id not in self._spots:
            return None
        if not self._gives(source, chunk.room):
            return None
        # What it may come to is no less than its share: all after these get too much.
        high = self.mean + (self.threshold / 2 if self.over(source) else -self.threshold)
        best = (min(high, source.share), _FIRST_DISK)
        found = None
        judge = self.judge(source, chunk)
        for rack, order in self._racks.items():
            if order[0] >= best or not judge.allows(rack):
                continue
            for one in order:
                if one >= best:
                    break
                disk = self.disks[one[1]]
                within = disk.server_id == source.server_id  # The rule sees no difference.
                if disk.server_id in chunk.holders and not within:
                    continue
                if disk.trouble or avoid(disk.server_id):
                    continue
                if not self._helps(source, disk, chunk.room):
                    continue
                if within or judge.allows(disk.rack, disk.machine):
                    best, found = one, disk
                    break
        return found

    def judge(self, source: Disk, chunk: Movable) -> Judge:
        """Return where the rule lets the copy of a chunk on a disk go."""
        return Judge(chunk, source.server_id, self._spots)

    def allows(self, source: Disk, target: Disk, chunk: Movable) -> bool:
        """Return whether the rule lets a copy go from one to the other, as its copies lie now."""
        if source.server_id not in chunk.holders:
            return False
        if source.server_id == target.server_id:
            return True
        if target.server_id in chunk.holders or target.server_id not in self._spots:
            return False
        spot = self._spots[target.server_id]
        return self.judge(source, chunk).allows(spot.rack, spot.machine)

    def _gives(self, source: Disk, room: int) -> bool:
        """Return whether a disk stays near all together without so much."""
        return (source.least - room) / source.total >= self._mean_at_most - self.threshold / 2

    def _helps(self, source: Disk, target: Disk, room: int) -> bool:
        """Return whether a move off a disk that may give brings the other nearer to all together.

        And whether there is room for it, and it leaves the first one the fuller.
        """
        if not (self.over(source) or self.under(target)) or not target.takes(room):
            return False
        gets = (target.most + room) / target.total
        return (
            gets <= self.mean + self.threshold / 2 and (source.least - room) / source.total >= gets
        )

    def move(self, source: Disk, target: Disk, room: int) -> None:
        """Count a move that is begun."""
        for order, disk in self._orders(source, target):
            del order[bisect_left(order, (disk.share, disk.key))]
        source.going += room
        target.coming += room
        target.lacking += room
        for order, disk in self._orders(source, target):
            insort(order, (disk.share, disk.key))

    def _orders(self, *disks: Disk) -> Iterator[tuple[list[tuple[float, DiskKey]], Disk]]:
        """Yield the orders in which disks stand, each with its disk."""
        for disk in disks:
            yield self._order, disk
            yield self._racks[disk.rack], disk

    def land(self, source: Disk, target: Disk, room: int) -> None:
        """Count a move that was begun as done, in a plan that is played through."""
        source.going -= room
        source.used -= room
        target.coming -= room
        target.lacking -= room
        target.used += room


def _judged(chunk: Movable, spots: Iterable[Spot]) -> tuple[int, int]:
    """Return what the rule has against copies there, and how far they are from what it prefers."""
    there = tuple(spots)
    return breaks(chunk.rule, chunk.goal, there), faults(chunk.rule, chunk.goal, there)
