"""Disks of chunkservers, as operators see and change them: drained, taken back, forgotten."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from gfs_ha.client.cluster import ClusterCalls
from gfs_ha.client.server_modes import Removal, why_not
from gfs_ha.errors import PreconditionFailed
from gfs_ha.ids import ChunkId, DiskId, ServerId, format_id
from gfs_ha.protocol.disks import (
    DisksListed,
    DiskStanding,
    DrainDisk,
    ListDisks,
    RemoveDisk,
    UndrainDisk,
)
from gfs_ha.protocol.jobs import JobStarted
from gfs_ha.protocol.metadata import Done
from gfs_ha.protocol.server_modes import KeptPlace, RemovalStep

_NAMED_MAX = 5
_STEPS_MAX = 1_000_000


class DiskReport(msgspec.Struct, frozen=True):
    """-> kind DiskList."""

    items: tuple[DiskStanding, ...]


class Disks:
    """Thread-safe. Raises: NotFound (no such server or disk), NoLeader…"""

    def __init__(self, calls: ClusterCalls) -> None:
        self._calls = calls

    def all(self) -> DiskReport:
        """Return all disks of all servers."""
        found: list[DiskStanding] = []
        after = ServerId(0)
        while True:
            page = self._calls.ask(ListDisks(after), DisksListed)
            found += page.items
            if not page.more or page.after <= after:
                return DiskReport(tuple(found))
            after = page.after

    def drain(
        self,
        server: str,
        disk_id: DiskId,
        planned: tuple[int, int],
        asked_by: str,
        bytes_per_s: int = 0,
    ) -> JobStarted:
        """Begin to empty a disk; return the job. Args: `planned`: bytes and moves.

        Raises: PreconditionFailed when it is empty, failed or lost; WrongState when a job empties
        it, or its server, already.
        """
        asked = DrainDisk(server, disk_id, *planned, asked_by, bytes_per_s)
        return self._calls.ask(asked, JobStarted)

    def undrain(self, server: str, disk_id: DiskId, asked_by: str) -> None:
        """Take a disk back into service. Raises: PreconditionFailed when it is in service."""
        self._calls.ask(UndrainDisk(server, disk_id, asked_by), Done)

    def plan_removal(self, server: str, disk_id: DiskId) -> Removal:
        """Return what would be forgotten of a lost disk, and what forbids it.

        Raises: PreconditionFailed while it is not lost, or a job empties it; Busy.
        """
        return self._walk((server, disk_id), dry_run=True, on_step=lambda count: None)

    def forget(
        self,
        server: str,
        disk_id: DiskId,
        on_step: Callable[[int], object] = lambda count: None,
    ) -> Removal:
        """Take a lost disk out of the tables for good, page by page; it can be asked again.

        Raises: PreconditionFailed while it is not lost, or a chunk would be without its goal;
        WrongState when something came there meanwhile; Busy.
        """
        plan = self.plan_removal(server, disk_id)
        self.check_removal(server, disk_id, plan)
        self._walk((server, disk_id), dry_run=False, on_step=on_step)
        return plan

    def check_removal(self, server: str, disk_id: DiskId, plan: Removal) -> None:
        """Raises: PreconditionFailed when a place on the disk is missed."""
        if plan.kept_count:
            raise PreconditionFailed(why_not(f"{server}:{format_id(disk_id)}", plan))

    def _walk(
        self, disk: tuple[str, DiskId], dry_run: bool, on_step: Callable[[int], object]
    ) -> Removal:
        places = kept_count = 0
        kept: list[KeptPlace] = []
        after = ChunkId(0)
        for _ in range(_STEPS_MAX):
            step = self._calls.ask(RemoveDisk(*disk, after, dry_run), RemovalStep)
            places += step.places
            kept_count += step.kept_count
            kept += step.kept[: _NAMED_MAX - len(kept)]
            on_step(places)
            if step.removed or (dry_run and not step.more):
                break
            if not dry_run and step.kept_count:
                found = Removal(places, kept_count, tuple(kept))
                raise PreconditionFailed(why_not(f"{disk[0]}:{format_id(disk[1])}", found))
            # At the end once more from the beginning: with nothing left the disk itself goes.
            after = step.after[1] if step.more else ChunkId(0)
        return Removal(places, kept_count, tuple(kept))
