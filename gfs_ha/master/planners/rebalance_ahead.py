"""A rebalance played through before it begins: the very same choices, over the tables as they are.

It goes on in steps, each with a view of its own, so that it may take its time beside everything
else; what changes meanwhile changes little. Nothing is asked of any server.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import msgspec

from gfs_ha.ids import ChunkId, DiskId, ServerId
from gfs_ha.master.planners.balance import Balance, Disk, DiskKey, Movable
from gfs_ha.master.planners.fullness import NOT_WHOLE, movable
from gfs_ha.master.planners.rebalance import LARGE, NO_TARGET
from gfs_ha.master.planners.scene import Scene
from gfs_ha.master.state.view import View
from gfs_ha.protocol.measures import share_text
from gfs_ha.protocol.rebalance import BalanceRow, PlannedMove

_PAGE = 64


@dataclass(slots=True)
class _Flow:
    """What a disk gives and gets, and how full it was and was at most."""

    used_before: int
    most: int
    bytes_in: int = 0
    bytes_out: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


class Ahead:
    """One rebalance that is played through. Args: so many moves are kept to be listed."""

    def __init__(self, balance: Balance, listed: int) -> None:
        self.balance = balance
        self.moves: list[PlannedMove] = []
        self.move_count = 0
        self.moved_bytes = 0
        self.rows = 0  # That were looked at.
        self._listed = listed
        self._flows = {key: _Flow(disk.settled, disk.used) for key, disk in balance.disks.items()}
        self._holders: dict[ChunkId, tuple[ServerId, ...]] = {}  # Of chunks that were moved.
        self._arrived: dict[DiskKey, list[ChunkId]] = {}
        self._after: dict[DiskKey, ChunkId] = {}
        self._pages: dict[DiskKey, list[ChunkId]] = {}
        self._through: set[DiskKey] = set()

    def step(self, view: View, scene: Scene, rows: int) -> bool:
        """Play on until so many copies were looked at; return whether there is more to play."""
        until = self.rows + rows
        while True:
            active = [one for one in self.balance.sources() if one.key not in self._through]
            if not active:
                return False
            for source in active:
                if self.rows >= until:
                    return True
                if self.balance.helps(source):
                    self._from(view, scene, source, until)

    def _from(self, view: View, scene: Scene, source: Disk, until: int) -> None:
        """Move one copy off a disk, the next one that may go."""
        while self.rows < until:
            chunk_id = self._next(view, source)
            if chunk_id is None:
                self._through.add(source.key)
                return
            self.rows += 1
            chunk = view.chunk(chunk_id)
            found = movable(scene, chunk_id, chunk) if chunk is not None else None
            if found is None:
                self._flows[source.key].reasons[NOT_WHOLE] += 1
                continue
            found = replace(found, holders=self._holders.get(chunk_id, found.holders))
            if source.server_id not in found.holders:
                continue  # It left in this play.
            target = self.balance.target(source, found, lambda one: False)
            if target is None:
                fits = found.length <= (source.share - self.balance.mean) * source.total
                self._flows[source.key].reasons[NO_TARGET if fits else LARGE] += 1
                continue
            self._move(source, target, found)
            return

    def _next(self, view: View, source: Disk) -> ChunkId | None:
        """Return the next copy on a disk, page by page; those that arrived in this play last."""
        page = self._pages.get(source.key)
        if not page:
            after = self._after.get(source.key, ChunkId(0))
            found = view.replicas_of(source.server_id, (source.disk_id, after), _PAGE)
            page = [chunk_id for disk_id, chunk_id in found if disk_id == source.disk_id]
            if page:
                self._after[source.key] = page[-1]
            else:
                page = self._arrived.pop(source.key, [])
            page.reverse()
            self._pages[source.key] = page
        return page.pop() if page else None

    def _move(self, source: Disk, target: Disk, chunk: Movable) -> None:
        before = (source.share, target.share)
        self.balance.move(source, target, chunk.length)
        self.balance.land(source, target, chunk.length)
        holders = (*(one for one in chunk.holders if one != source.server_id), target.server_id)
        self._holders[chunk.chunk_id] = holders
        self._arrived.setdefault(target.key, []).append(chunk.chunk_id)
        gives, gets = self._flows[source.key], self._flows[target.key]
        gives.bytes_out += chunk.length
        gets.bytes_in += chunk.length
        gets.most = max(gets.most, target.used)
        self.move_count += 1
        self.moved_bytes += chunk.length
        if len(self.moves) < self._listed:
            where = f"rack {source.rack}"
            if source.server_id == target.server_id:
                where = "its server keeps it"
            elif source.rack != target.rack:
                where += f" to {target.rack}"
            why = f"{share_text(before[0], 1)} full to {share_text(before[1], 1)}, {where}"
            names = (source.name, target.name)
            disks = (one.disk_id if one.several else DiskId(0) for one in (source, target))
            self.moves.append(PlannedMove(chunk.chunk_id, chunk.length, *names, why, *disks))

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
                    outside=self._outside(disk, flow),
                )
            )
        return tuple(found)

    def _outside(self, disk: Disk, flow: _Flow) -> str:
        """Return why a disk stays outside the threshold; empty when it does not."""
        if self.balance.under(disk):
            return disk.trouble or "the copies of fuller disks may not lie there by the rule"
        if not self.balance.over(disk):
            return ""
        return flow.reasons.most_common(1)[0][0] if flow.reasons else "it holds no copies to move"


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
