"""What a heartbeat tells of a server: its disks, data port, copies and scrubs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gfs_ha.chunk.copies import Copies
from gfs_ha.chunk.dataport import DataPort
from gfs_ha.chunk.disk import Disk
from gfs_ha.chunk.own_disks import BrokenDisk
from gfs_ha.chunk.scrub import Scrubber
from gfs_ha.chunk.slots.shelf import Shelf
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.errors import DiskFailed
from gfs_ha.ids import DiskId
from gfs_ha.protocol.control import (
    BucketListing,
    CopyProgress,
    DiskFacts,
    DiskTally,
    LedTail,
    OpenReplica,
)
from gfs_ha.protocol.rates import LoadFacts
from gfs_ha.protocol.repair import RepairAllowance, RepairFacts
from gfs_ha.protocol.scrub import ScrubFacts, ScrubWanted
from gfs_ha.protocol.usage import UsageFacts


class StoreInventory:
    """What a heartbeat tells of one store, its data port and its copies."""

    def __init__(
        self,
        store: ChunkStore,
        data_port: DataPort,
        copies: Copies,
        scrubbers: Mapping[DiskId, Scrubber],
        broken: Sequence[BrokenDisk] = (),
    ) -> None:
        """Args: `scrubbers` has one of each disk; `broken` could not be used from the start."""
        self._store = store
        self._data_port = data_port
        self._copies = copies
        self._scrubbers = scrubbers
        self._broken = broken

    def disks(self) -> tuple[DiskFacts, ...]:
        """Return what is to be said of each disk, also of those that are out of service."""
        serving = tuple(self._shelf_facts(shelf) for shelf in self._store.shelves)
        broken = (out_of_service(one.told_id, one.why, one.directory) for one in self._broken)
        return (*serving, *broken)

    def serving(self) -> tuple[DiskFacts, ...]:
        """Return the same of the disks that are in service: the others are lost (D6)."""
        failed = {shelf.disk_id for shelf in self._store.shelves if shelf.failed}
        failed |= {one.told_id for one in self._broken}
        return tuple(one for one in self.disks() if one.disk_id not in failed)

    def _shelf_facts(self, shelf: Shelf) -> DiskFacts:
        if shelf.failed:
            return out_of_service(shelf.disk_id, shelf.failed, shelf.directory)
        # As its warden saw it last: a disk that hangs would hold up the heartbeat of all.
        usage, journal = shelf.usage, shelf.journal
        return DiskFacts(
            *(shelf.disk_id, usage.total, usage.free, self._store.count_on(shelf)),
            directory=shelf.directory,
            journal_bytes=journal.file_bytes,
            journal_used_bytes=journal.used_bytes,
            journal_trouble=journal.broken,
            ailing=shelf.ailing,
        )

    def open_replicas(self) -> tuple[OpenReplica, ...]:
        listed = self._store.list_open()
        damaged = [one for one in listed if one.state == "damaged"]
        for disk_id, scrubber in self._scrubbers.items():
            scrubber.listed([one.chunk_id for one in damaged if one.disk_id == disk_id])
        return listed

    def tallies(self) -> tuple[DiskTally, ...]:
        return tuple(DiskTally(one.disk_id, one.tally.packed()) for one in self._shelves())

    def list_buckets(self, wanted: tuple[tuple[DiskId, int], ...]) -> tuple[BucketListing, ...]:
        found: list[BucketListing] = []
        for shelf in self._shelves():
            buckets = {bucket for disk_id, bucket in wanted if disk_id == shelf.disk_id}
            found += self._store.list_buckets(shelf, buckets)
        return tuple(found)

    def scrub(self) -> tuple[ScrubFacts, ...]:
        return tuple(self._scrubbers[shelf.disk_id].facts() for shelf in self._shelves())

    def note_scrub(self, wanted: ScrubWanted) -> None:
        for scrubber in self._scrubbers.values():
            scrubber.take(wanted)

    def _shelves(self) -> list[Shelf]:
        return [shelf for shelf in self._store.shelves if not shelf.failed]

    def stream_count(self) -> int:
        return self._data_port.serving_count

    def copies(self) -> tuple[CopyProgress, ...]:
        return self._copies.progress()

    def led(self) -> tuple[LedTail, ...]:
        return self._data_port.primary.led()

    def note_lease(self, asked_s: float, lease_ms: int) -> None:
        self._data_port.primary.lease.granted(asked_s, lease_ms)

    def repair(self) -> RepairFacts:
        return self._copies.pace.facts()

    def load(self) -> LoadFacts:
        return self._data_port.load()

    def usage(self) -> UsageFacts | None:
        return self._data_port.usage()

    def note_repair(self, allowance: RepairAllowance) -> None:
        self._copies.allow(allowance)


def disk_facts(disk: Disk, disk_id: DiskId, chunk_count: int, directory: str) -> DiskFacts:
    """Return how full a disk is, or what it says instead."""
    try:
        usage = disk.usage()
    except DiskFailed as error:
        return out_of_service(disk_id, error.message, directory, chunk_count)
    facts = (disk_id, usage.total, usage.free, chunk_count)
    return DiskFacts(*facts, directory=directory)


def out_of_service(disk_id: DiskId, why: str, directory: str, chunk_count: int = 0) -> DiskFacts:
    """Return what is said of a disk that does not work."""
    return DiskFacts(disk_id, 0, 0, chunk_count, failed=why, directory=directory)
