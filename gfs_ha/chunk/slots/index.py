"""Which replica of which chunk is here, on which disk, and what reports say of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from gfs_ha.chunk.slots import listing
from gfs_ha.chunk.slots.duplicates import (
    Place,
    Twins,
    best_sealed,
    drop_free,
    drop_outlived,
    is_free,
    outlived,
)
from gfs_ha.chunk.slots.format import Header
from gfs_ha.chunk.slots.replica import Replica
from gfs_ha.chunk.slots.shelf import Shelf, steady_shelf
from gfs_ha.chunk.slots.slot import Slot
from gfs_ha.errors import DiskFailed, DiskFull, UnknownReplica, WrongBirth
from gfs_ha.ids import ANY_DISK, Birth, ChunkId, DiskId, LogIndex, format_id
from gfs_ha.protocol.control import BucketListing, OpenReplica
from gfs_ha.runtime import Runtime

WHOLE_S = 120.0  # So long a look at all of a replica says that it is whole.


class ReplicaIndex:
    """At most one replica per chunk (C2). Thread-safe, but for what needs the lock."""

    def __init__(
        self, shelves: Sequence[Shelf], runtime: Runtime, broken: Collection[DiskId]
    ) -> None:
        self.shelves = tuple(shelves)
        self._broken = frozenset(broken)
        self._runtime = runtime
        self._lock = runtime.lock()
        self._replicas: dict[ChunkId, Replica] = {}
        self._counts: Counter[DiskId] = Counter()
        # Those that heartbeats list in full: a million sealed ones must cost them nothing.
        self._unsettled: dict[ChunkId, Replica] = {}
        self._twins: Twins = {}
        # Of which one was read whole, and when: the second replicas beside it may go.
        self._whole: dict[ChunkId, tuple[Replica, float]] = {}

    def _add(self, replica: Replica) -> None:
        """Have it here, instead of the one that was. Needs the lock."""
        chunk_id = replica.header.chunk_id
        self._remove(chunk_id)
        self._replicas[chunk_id] = replica
        self._counts[replica.disk_id] += 1
        if replica.condition != listing.SETTLED:
            self._unsettled[chunk_id] = replica

    def _remove(self, chunk_id: ChunkId) -> None:
        """Have none of a chunk here. Needs the lock."""
        replica = self._replicas.pop(chunk_id, None)
        if replica is not None:
            self._counts[replica.disk_id] -= 1
            self._unsettled.pop(chunk_id, None)

    def get(self, chunk_id: ChunkId, birth: Birth | None = None) -> Replica:
        """Return a replica. Raises: UnknownReplica, WrongBirth."""
        with self._lock:
            replica = self._replicas.get(chunk_id)
        if replica is None:
            raise UnknownReplica(f"chunk {chunk_id:#x} is not on this server")
        if birth is not None and replica.header.birth != birth:
            raise WrongBirth(
                f"chunk {chunk_id:#x} was born in {replica.header.birth}, not in {birth}"
            )
        return replica

    def check_disk(self, chunk_id: ChunkId, disk_id: DiskId) -> None:
        """Raise DiskFailed if a chunk is not here for want of a disk that is out of service."""
        if not disk_id:
            return
        with self._lock:
            serving = {one.disk_id for one in self.shelves if not one.failed}
            failed = {one.disk_id for one in self.shelves if one.failed} | self._broken
            out = disk_id in failed or (ANY_DISK in failed and disk_id not in serving)
            if out and chunk_id not in self._replicas:
                why = f"its disk {format_id(disk_id)} is out of service"
                raise DiskFailed(f"nobody knows what is here of chunk {chunk_id:#x}: {why}")

    def disks_of(self, chunk_id: ChunkId, disk_id: DiskId = ANY_DISK) -> frozenset[DiskId]:
        """Return the disks that an order about a chunk touches, and `disk_id` if it names one."""
        with self._lock:
            found = {disk_id} if disk_id else set()
            replica = self._replicas.get(chunk_id)
            if replica is not None:
                found.add(replica.disk_id)
            found |= {one.disk_id for one in self.shelves if chunk_id in one.tombstones}
        return frozenset(found or {steady_shelf(self.shelves).disk_id})

    def disks_beside(self, chunk_id: ChunkId) -> frozenset[DiskId]:
        """Return the disks of second replicas: who deletes a chunk here touches them, too."""
        with self._lock:
            return frozenset(shelf.disk_id for shelf, _ in self._twins.get(chunk_id, ()))

    def disk_to_refuse(self, chunk_id: ChunkId) -> frozenset[DiskId]:
        """Return the disk that is to remember that a chunk is refused; none if it is known."""
        with self._lock:
            known = chunk_id in self._replicas
            known = known or any(chunk_id in one.tombstones for one in self.shelves)
        return frozenset() if known else frozenset({steady_shelf(self.shelves).disk_id})

    @property
    def silent_disks(self) -> frozenset[DiskId]:
        """Return the disks in service that fail, or do not answer, and may be out of it soon."""
        return frozenset(one.disk_id for one in self.shelves if one.ailing and not one.failed)

    @property
    def disk_count(self) -> int:
        """Return how many disks there are, in service or out of it."""
        return len(self.shelves)

    def _list_if_unsettled(self, chunk_id: ChunkId, replica: Replica) -> None:
        if replica.condition != listing.SETTLED:
            with self._lock:
                if self._replicas.get(chunk_id) is replica:
                    self._unsettled[chunk_id] = replica

    def note_damage(self, chunk_id: ChunkId) -> None:
        """List a sealed replica as damaged from now on: a block of it failed its CRC (D3)."""
        with self._lock:
            replica = self._replicas.get(chunk_id)
        if replica is not None:
            replica.doubt("a block was found damaged")
            self._list_if_unsettled(chunk_id, replica)

    def list_open(self) -> tuple[OpenReplica, ...]:
        """Return the replicas that are not sealed, or sealed but not whole, and the tombstones."""
        with self._lock:
            here = self._unsettled.items()
            kept = {key: one for key, one in here if one.condition != listing.SETTLED}
            self._unsettled = kept
            found = [
                listing.open_tombstone(header, shelf.disk_id)
                for shelf in self.shelves
                if not shelf.failed
                for header in shelf.tombstones
            ]
            return (*found, *map(listing.open_replica, kept.values()))

    def list_sealed(self) -> tuple[tuple[ChunkId, int], ...]:
        """Return (chunk, length) of every sealed replica that is not quarantined."""
        return tuple(listing.sealed_lengths(self._all()))

    def each_sealed(self, shelf: Shelf) -> Iterator[tuple[ChunkId, int]]:
        """Yield those of a disk, held by nobody: there may be a million."""
        return listing.sealed_lengths(self._all(shelf))

    def list_buckets(self, shelf: Shelf, buckets: Collection[int]) -> tuple[BucketListing, ...]:
        """Return the sealed replicas of some buckets of the tally of a disk (G7)."""
        replicas = self._all(shelf) if buckets else []
        return listing.list_buckets(replicas, buckets, shelf.disk_id)

    def _all(self, shelf: Shelf | None = None) -> list[Replica]:
        with self._lock:
            found = list(self._replicas.values())
        return [one for one in found if shelf is None or one.disk_id == shelf.disk_id]

    @property
    def unidentified(self) -> tuple[str, ...]:
        """Return the slot files that no chunk claims; they are kept until a person decides."""
        return tuple(name for shelf in self.shelves for name in shelf.unidentified)

    def vanished(self, shelf: Shelf) -> set[ChunkId]:
        """Return whole replicas of a disk whose slots are not there; some may be on their way.

        Raises: DiskFailed.
        """
        expected = self._all(shelf)
        there = set(shelf.disk.names())  # Afterwards: what came meanwhile is not missed.
        missing = [one for one in expected if one.name not in there]
        with self._lock:
            return {
                one.header.chunk_id
                for one in missing
                if self._replicas.get(one.header.chunk_id) is one
                and one.condition == listing.SETTLED
            }

    def twins_of(self, shelf: Shelf) -> list[ChunkId]:
        """Return the chunks of a disk beside which second replicas lie that may go (D6)."""
        with self._lock:
            found = [(self._replicas.get(key), list(twins)) for key, twins in self._twins.items()]
        here = [(one, twins) for one, twins in found if one and one.disk_id == shelf.disk_id]
        return [one.header.chunk_id for one, twins in here if outlived(one.header, twins)]

    def twins_on(self, shelf: Shelf) -> int:
        """Return how many second replicas lie on a disk; they are unidentified, too."""
        with self._lock:
            return sum(place[0] is shelf for places in self._twins.values() for place in places)

    def note_whole(self, chunk_id: ChunkId) -> None:
        """Have second replicas removed of a chunk whose replica was read whole just now (D6).

        Who looks after the disk that each is on does that: it may hang, and hold up no other one.
        """
        with self._lock:
            kept = self._replicas.get(chunk_id)
            if kept is not None and outlived(kept.header, self._twins.get(chunk_id, ())):
                self._whole[chunk_id] = (kept, self._runtime.monotonic_s())

    def drop_outlived(self, shelf: Shelf) -> None:
        """Remove from a disk what `note_whole` let go a moment ago, and what was freed before.

        Raises: DiskFailed.
        """
        since_s = self._runtime.monotonic_s() - WHOLE_S
        with self._lock:
            # One that is not what it was then lets nothing go.
            self._whole = {
                chunk_id: (kept, read_s)
                for chunk_id, (kept, read_s) in self._whole.items()
                if self._replicas.get(chunk_id) is kept
                and kept.condition == listing.SETTLED
                and read_s >= since_s
                and outlived(kept.header, self._twins.get(chunk_id, ()))
            }
            due = [
                (chunk_id, kept.header)
                for chunk_id, (kept, _) in self._whole.items()
                if any(place[0] is shelf for place in self._twins[chunk_id])
            ]
            twins = self._twins.items()
            free = [
                chunk_id
                for chunk_id, places in twins
                if any(place[0] is shelf and is_free(place) for place in places)
            ]
        for chunk_id in free:
            self._see_to_twins(chunk_id, drop_free, shelf)
        for chunk_id, header in due:
            self._see_to_twins(chunk_id, partial(drop_outlived, header), shelf)

    def _see_to_twins(
        self, chunk_id: ChunkId, act: Callable[[list[Place]], None], shelf: Shelf | None = None
    ) -> None:
        """Have `act` remove second replicas, of all disks or of one, from the list that it gets."""
        with self._lock:
            twins = self._twins.pop(chunk_id, [])  # Whoever takes them sees to them alone.
            self._put_back(chunk_id, [one for one in twins if shelf not in (None, one[0])])
        left = [one for one in twins if shelf in (None, one[0])]
        try:
            act(left)
        finally:
            with self._lock:
                self._put_back(chunk_id, left)

    def _put_back(self, chunk_id: ChunkId, twins: list[Place]) -> None:
        if twins:
            self._twins.setdefault(chunk_id, []).extend(twins)

    @contextmanager
    def _making_way(self, known: Replica | None, order_index: LogIndex) -> Iterator[Header | None]:
        """Have what is here hold still for a copy and yield its header; then it is gone (D3).

        Raises: as `_giving_way`.
        """
        if known is None:
            yield None
            return
        why = "a good copy takes its place"
        with self._giving_way(known, order_index, why, named=True) as slot:
            yield slot.header

    @contextmanager
    def _giving_way(
        self, replica: Replica, order_index: LogIndex, why: str, named: bool = False
    ) -> Iterator[Slot]:
        """Have a replica hold still and yield its slot; then it is gone.

        What its disk does not remove any more is a second replica from then on, and goes as one;
        one that serves later, for want of another, is listed as damaged until it was read whole.
        Args: `named`: its slot does not say that it is free, so that the loss of its name has to be
        safe, or it may be back when what came instead is deleted.
        Raises: StaleOrder, UnknownReplica, DiskFailed; what the block raises changes nothing.
        """
        shelf = next(one for one in self.shelves if one.disk_id == replica.disk_id)
        try:
            with replica.giving_way(order_index, why) as slot:
                yield slot
            if named:
                slot.note_gone()
                replica.disk.sync_names()
        except (DiskFailed, DiskFull):
            if replica.gate.deleted:
                slot.doubt = "it was to give way"  # It may have been damaged, or be half gone.
                with self._lock:
                    if self._replicas.get(slot.header.chunk_id) is replica:
                        self._remove(slot.header.chunk_id)
                    shelf.unidentified.append(slot.name)
                    self._put_back(slot.header.chunk_id, [(shelf, slot)])
            raise
        self.note_usage(replica.disk_id)

    def _promote_twin(self, chunk_id: ChunkId) -> None:
        """Have the best second replica count, now that the first is lost. Needs the lock."""
        twins = self._twins.get(chunk_id, [])
        best = best_sealed(twins)
        if best is None:
            return
        shelf, slot = best
        twins.remove(best)
        if not twins:
            del self._twins[chunk_id]
        shelf.unidentified.remove(slot.name)
        self._add(Replica(slot, shelf.around, made_here=False))

    @property
    def chunk_count(self) -> int:
        """Return how many replicas are here."""
        return len(self._replicas)

    @property
    def unsettled_count(self) -> int:
        """Return how many replicas may not be sealed and whole, as far as was looked lately."""
        return len(self._unsettled)

    def note_usage(self, disk_id: DiskId) -> None:
        """Look anew how full a disk is, after room on it was taken or given back."""
        for shelf in self.shelves:
            if shelf.disk_id == disk_id and not shelf.failed:
                shelf.note_usage()

    def count_on(self, shelf: Shelf) -> int:
        """Return how many replicas are on a disk."""
        return self._counts[shelf.disk_id]
