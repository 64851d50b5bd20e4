"""A rebalance played through before it begins: over the tables as they are, step by step.

A plan is such a play, told; a job is the same play, carried out. It goes on in parts, each with a
view of its own, so that it may take its time beside everything else; what changes meanwhile changes
little. Nothing is asked of any server.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import msgspec

from gfs_ha.ids import ChunkId, DiskId, ServerId
from gfs_ha.master.planners.balance import Balance, Disk, DiskKey, Movable
from gfs_ha.master.planners.fullness import NOT_WHOLE, movable
from gfs_ha.master.planners.scene import Scene
from gfs_ha.master.state.view import View
from gfs_ha.protocol.measures import share_text
from gfs_ha.protocol.rebalance import BalanceRow, PlannedMove

_PAGE = 64
_LOOKS_MAX = 8
_ARRIVED_MAX = 65_536  # Copies that a play has brought to disks and knows of: a few MB.
NO_TARGET = (
    "no emptier disk takes one of its copies: it would be too full then, or the rule of placement"
    " forbids it"
)
LARGE = "its copies are larger than what it is off the mean"
BARE = "it holds no copies to move"
HELD = "its server has a copy of the chunks on fuller disks already"
RULE = "the rule of placement forbids that their copies go there"
NO_GIVER = "no fuller disk can give a copy and stay near the mean"
_REASONS_MAX = 256  # Copies that could go nowhere, for which it is asked why not to emptier disks…
_JUDGED_MAX = 16_384  # …until so many disks were asked about, all together: some 30 ms.


@dataclass(frozen=True, slots=True)
class Step:
    """One copy that goes. `shares` are those of both disks before; `length` is without the slot."""

    chunk_id: ChunkId
    length: int
    room: int
    source: DiskKey
    target: DiskKey
    shares: tuple[float, float]

    @property
    def key(self) -> tuple[ChunkId, DiskKey]:
        """Return which copy it is."""
        return self.chunk_id, self.source


@dataclass(slots=True)
class _Flow:
    """What a disk gives and gets, and how full it was and was at most."""

    used_before: int
    most: int
    bytes_in: int = 0
    bytes_out: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


class Ahead:
    """One rebalance that is played through. Args: `take` is given each step, in order."""

    def __init__(self, balance: Balance, take: Callable[[Step], object]) -> None:
        self.balance = balance
        self.move_count = 0
        self.moved_bytes = 0
        self.rows = 0  # That were looked at.
        self._take = take
        self._flows = {key: _Flow(disk.settled, disk.used) for key, disk in balance.disks.items()}
        self._moved: dict[ChunkId, Movable] = {}  # Chunks as they are after their steps.
        self._arrived: dict[DiskKey, dict[ChunkId, None]] = {}
        self._arrived_count = 0
        self._left: dict[ChunkId, set[DiskKey]] = {}  # Where copies were moved away.
        self._last: set[DiskKey] = set()  # Disks on which those that arrived are looked at.
        self._looks, self._moves_before = 1, 0
        self._after: dict[DiskKey, ChunkId] = {}
        self._pages: dict[DiskKey, list[ChunkId]] = {}
        self._through: set[DiskKey] = set()
        self._round: list[Disk] = []  # Whose turn is still to come, the last one next.
        self._refused = self._judged = 0

    def step(self, view: View, scene: Scene, rows: int) -> bool:
        """Play on until so many copies were looked at; return whether there is more to play."""
        until = self.rows + rows
        while True:
            if not self._round:
                self._round = self.balance.sources(self._through)[::-1]
            if not self._round:
                if not self._look_again():
                    return False
                continue
            # One of each in turn, wherever a part ends: the parts must make no difference.
            while self._round:
                source = self._round[-1]
                if self.balance.helps(source) and not self._from(view, scene, source, until):
                    return True
                self._round.pop()

    def places(self, chunk_id: ChunkId) -> frozenset[ServerId] | None:
        """Return where a chunk lies after all its steps; None: it has none."""
        moved = self._moved.get(chunk_id)
        return frozenset(moved.holders) if moved is not None else None

    def forget(self, chunk_id: ChunkId) -> None:
        """Take the places of a chunk from the tables again: these know of its steps."""
        self._moved.pop(chunk_id, None)
        self._left.pop(chunk_id, None)

    def take_back(self, step: Step) -> None:
        """Count a step as one that was never made, nor any before it of its chunk that is ahead."""
        source, target = (self.balance.disks[one] for one in (step.source, step.target))
        self.balance.move(target, source, step.room)
        self.balance.land(target, source, step.room)
        self.forget(step.chunk_id)
        self.move_count -= 1
        self.moved_bytes -= step.length

    def _look_again(self) -> bool:
        """Begin all walks anew if there are moves since they began; return whether that is so.

        What did not help when a walk came by may help by now.
        """
        if self.move_count == self._moves_before or self._looks >= _LOOKS_MAX:
            return False
        if not self.balance.sources():
            return False
        self._looks += 1
        self._moves_before = self.move_count
        for found in (self._through, self._after, self._pages, self._last):
            found.clear()
        return True

    def _from(self, view: View, scene: Scene, source: Disk, until: int) -> bool:
        """Move one copy off a disk, the next one that may go; return whether it was looked for."""
        while self.rows < until:
            chunk_id = self._next(view, source)
            if chunk_id is None:
                self._through.add(source.key)
                return True
            self.rows += 1
            found = self._moved.get(chunk_id) or _looked_up(view, scene, chunk_id)
            if found is None:
                self._flows[source.key].reasons[NOT_WHOLE] += 1
                continue
            left = self._left.get(chunk_id, ())
            if source.server_id not in found.holders or source.key in left:
                continue  # It left in this play.
            failed = scene.failed_targets(chunk_id)
            target = self.balance.target(source, found, failed.__contains__)
            if target is None:
                fits = found.room <= (source.share - self.balance.mean) * source.total
                self._flows[source.key].reasons[NO_TARGET if fits else LARGE] += 1
                self._note_refusals(source, found)
                continue
            self._move(source, target, found)
            return True
        return False

    def _note_refusals(self, source: Disk, chunk: Movable) -> None:
        """Note why a copy that can go nowhere does not go to the disks that are too empty."""
        if self._refused >= _REASONS_MAX or self._judged >= _JUDGED_MAX:
            return
        self._refused += 1
        judge = self.balance.judge(source, chunk)
        for disk in self.balance.outside():
            if disk.trouble or not self.balance.under(disk):
                continue
            self._judged += 1
            within = disk.server_id == source.server_id
            if disk.server_id in chunk.holders and not within:
                self._flows[disk.key].reasons[HELD] += 1
            elif not within and not judge.allows(disk.rack, disk.machine):
                self._flows[disk.key].reasons[RULE] += 1

    def _next(self, view: View, source: Disk) -> ChunkId | None:
        """Return the next copy on a disk, page by page; those that arrived in this play last."""
        page = self._pages.get(source.key)
        while not page:
            after = self._after.get(source.key, ChunkId(0))
            found = view.replicas_of(source.server_id, (source.disk_id, after), _PAGE)
            page = [chunk_id for disk_id, chunk_id in found if disk_id == source.disk_id]
            arrived = self._arrived.get(source.key, {})
            if page:
                self._after[source.key] = page[-1]
                page = [one for one in page if one not in arrived]
            elif source.key in self._last or not arrived:
                return None
            else:
                self._last.add(source.key)
                page = list(arrived)
            page.reverse()
            self._pages[source.key] = page
        return page.pop()

    def _move(self, source: Disk, target: Disk, chunk: Movable) -> None:
        shares = (source.share, target.share)
        self.balance.move(source, target, chunk.room)
        self.balance.land(source, target, chunk.room)
        holders = (*(one for one in chunk.holders if one != source.server_id), target.server_id)
        self._moved[chunk.chunk_id] = replace(chunk, holders=holders)
        if self._arrived_count < _ARRIVED_MAX:
            self._arrived.setdefault(target.key, {})[chunk.chunk_id] = None
            self._arrived_count += 1
        left = self._left.setdefault(chunk.chunk_id, set())
        left.add(source.key)
        left.discard(target.key)
        gives, gets = self._flows[source.key], self._flows[target.key]
        gives.bytes_out += chunk.length
        gets.bytes_in += chunk.length
        gets.most = max(gets.most, target.used)
        self.move_count += 1
        self.moved_bytes += chunk.length
        keys = (source.key, target.key)
        self._take(Step(chunk.chunk_id, chunk.length, chunk.room, *keys, shares))

    # What it came to ----------------------------------------------------------------------------

    def rows_of_disks(self) -> tuple[BalanceRow, ...]:
        """Return every disk before and after, in the order of names."""
        found = []
        for disk in sorted(self.balance.disks.values(), key=lambda one: (one.name, one.disk_id)):
            flow = self._flows[disk.key]
            row = balance_row(self.balance, disk)
            found.append(
                msgspec.structs.replace(
                    row,
                    share=round(flow.used_before / disk.total, 4),
                    used_bytes=flow.used_before,
                    share_after=round(disk.share, 4),
                    used_after=disk.settled,
                    most_bytes=flow.most,
                    bytes_in=flow.bytes_in,
                    bytes_out=flow.bytes_out,
                    outside=self.why_outside(disk),
                )
            )
        return tuple(found)

    def why_outside(self, disk: Disk) -> str:
        """Return why a disk of the play stays outside the threshold; empty when it does not."""
        under = self.balance.under(disk)
        if not under and not self.balance.over(disk):
            return ""
        reasons = [one for one, _ in self._flows[disk.key].reasons.most_common(2 if under else 1)]
        if under and disk.trouble:
            return disk.trouble
        return ", or ".join(reasons) or (NO_GIVER if under else BARE)


def _looked_up(view: View, scene: Scene, chunk_id: ChunkId) -> Movable | None:
    chunk = view.chunk(chunk_id)
    return movable(scene, chunk_id, chunk) if chunk is not None else None


def told(step: Step, balance: Balance) -> PlannedMove:
    """Return a step as it is listed."""
    source, target = (balance.disks[one] for one in (step.source, step.target))
    where = f"rack {source.rack}"
    if source.server_id == target.server_id:
        where = "its server keeps it"
    elif source.rack != target.rack:
        where += f" to {target.rack}"
    before, after = (share_text(one, 1) for one in step.shares)
    why = f"{before} full to {after}, {where}"
    names = (source.name, target.name)
    disks = (one.disk_id if one.several else DiskId(0) for one in (source, target))
    return PlannedMove(step.chunk_id, step.length, *names, why, *disks)


def balance_row(balance: Balance, disk: Disk) -> BalanceRow:
    """Return how full a disk is, as it is shown."""
    return BalanceRow(
        name=disk.name,
        rack=disk.rack,
        disk_id=disk.disk_id,
        several=disk.several,
        total_bytes=disk.total,
        used_bytes=disk.used,
        share=round(disk.share, 4),
        trouble=disk.trouble,
    )
