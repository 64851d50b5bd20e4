"""The replicas of a server: made, copied, ordered about and ended, on whichever disk they are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

import msgspec

from gfs_ha.chunk.disk import Disk
from gfs_ha.chunk.journal.journal import JOURNAL_SHAPE, JournalShape
from gfs_ha.chunk.slots.answers import Proof
from gfs_ha.chunk.slots.copy_slot import CopySlot
from gfs_ha.chunk.slots.duplicates import drop_deleted, put_together
from gfs_ha.chunk.slots.format import Header, State
from gfs_ha.chunk.slots.identity import Identity
from gfs_ha.chunk.slots.index import ReplicaIndex
from gfs_ha.chunk.slots.punching import punch, room_of
from gfs_ha.chunk.slots.replica import Replica
from gfs_ha.chunk.slots.shelf import Shelf, pick_shelf, steady_shelf
from gfs_ha.chunk.slots.slot import create_slot
from gfs_ha.chunk.slots.spec import ReplicaSpec, first_header
from gfs_ha.chunk.slots.stamps import stamp_free
from gfs_ha.chunk.slots.tombstones import tombstone_header
from gfs_ha.errors import (
    AlreadyExists,
    Cancelled,
    DiskFailed,
    Fenced,
    NotFound,
    ReplicaBusy,
    ReplicaDamaged,
    UnknownReplica,
)
from gfs_ha.ids import ANY_DISK, Birth, ChunkId, DiskId, LogIndex, format_id
from gfs_ha.net.buffers import BufferPool
from gfs_ha.protocol.control import FenceAnswer
from gfs_ha.runtime import Runtime

T = TypeVar("T")

NO_ORDER = LogIndex(0)
Making = tuple[Shelf, str]  # The slot in which somebody makes a replica or a copy.


class ChunkStore(ReplicaIndex):
    """All replicas of a server, on one disk or several; no chunk is on two (C2). Thread-safe.

    Orders are idempotent; one older than the newest that a replica obeyed raises StaleOrder.
    """

    def __init__(
        self, shelves: Sequence[Shelf], runtime: Runtime, broken: Collection[DiskId] = ()
    ) -> None:
        """Args: `shelves` are the disks in service, at least one, with one pool of buffers;
        `broken` could not be used from the start, ANY_DISK for one that nobody remembers."""
        super().__init__(shelves, runtime, broken)
        self.cluster_id = shelves[0].identity.cluster_id
        self.server_id = shelves[0].identity.server_id
        self.buffers = shelves[0].buffers
        self._making: dict[ChunkId, Making] = {}
        self._lost: set[ChunkId] = set()  # Went with a disk in this run, with all that they said.
        counting, self._twins = put_together(self.shelves, self.buffers)
        for shelf, slot in counting:
            self._add(Replica(slot, shelf.around, made_here=False))

    @classmethod
    def on(
        cls,
        disk: Disk,
        identity: Identity,
        runtime: Runtime,
        boot_id: int,
        shape: JournalShape = JOURNAL_SHAPE,
    ) -> ChunkStore:
        """Return the store of a server with one disk. Raises: DiskFailed, DiskFull."""
        shelf = Shelf(disk, identity, BufferPool(runtime), runtime, boot_id, shape)
        return cls([shelf], runtime)

    def take_out(self, shelf: Shelf, why: str) -> int:
        """Use a disk no more that is broken; return how many replicas were on it (D6).

        None of them is here any more, and no append to one is acknowledged from now on. What it
        refused before is refused until the process ends, and no writer makes anew what it had: that
        would be as good as a proof that nothing was acknowledged here (C3, C10).
        """
        with self._lock:
            shelf.failed = why
            here = self._replicas.items()
            gone = {key: one for key, one in here if one.disk_id == shelf.disk_id}
            self._lost.update(gone)
            for chunk_id in gone:
                self._remove(chunk_id)
                self._promote_twin(chunk_id)
            # Who makes one there may never come back, and is told then that it does not count.
            making = self._making.items()
            self._making = {key: place for key, place in making if place[0] is not shelf}
        for replica in gone.values():
            replica.gate.close(f"its disk is out of service: {why}")
        return len(gone)

    def create_replica(
        self, spec: ReplicaSpec, order_index: LogIndex = NO_ORDER, disk_id: DiskId = ANY_DISK
    ) -> Replica:
        """Make an empty replica whose header is safe, and return it.

        Raises: AlreadyExists, Fenced when it was fenced before it came here, DiskFull, DiskFailed.
        """
        shelf = pick_shelf(self.shelves, disk_id)
        with self._lock:
            if spec.chunk_id in self._replicas or spec.chunk_id in self._making:
                raise AlreadyExists(f"chunk {spec.chunk_id:#x} is on this server already")
            self._check_may_come(spec.chunk_id)
            place = self._begin_making(shelf, spec.chunk_id)
        try:
            shelf.check_room(0)
            header = self._first_header(shelf, spec)
            header = msgspec.structs.replace(header, order_index=order_index)
            slot = create_slot(shelf.disk, place[1], header)
            replica = Replica(slot, shelf.around, made_here=True)
            with self._lock:
                self._check_serves(shelf)
                self._add(replica)
        finally:
            self._end_making(place, spec.chunk_id)
        return replica

    def _check_may_come(self, chunk_id: ChunkId) -> None:
        """Raise Fenced when no writer may make a replica here any more. Needs the lock."""
        why = "was fenced before it came to this server" if self._refuses(chunk_id) else ""
        if chunk_id in self._lost:
            why = "was on a disk of this server that broke"
        if why:
            raise Fenced(f"chunk {chunk_id:#x} {why}; go on in a new chunk", end=0)

    def _refuses(self, chunk_id: ChunkId) -> bool:
        return any(chunk_id in shelf.tombstones for shelf in self.shelves)

    def _check_serves(self, shelf: Shelf) -> None:
        """Raise DiskFailed when the disk was taken out meanwhile. Needs the lock."""
        if shelf.failed:
            raise DiskFailed(f"disk {format_id(shelf.disk_id)} is out of service: {shelf.failed}")

    def create_tail(
        self, spec: ReplicaSpec, order_index: LogIndex, disk_id: DiskId = ANY_DISK
    ) -> Replica:
        """Make an empty replica of a tail, or return the one that this very order made.

        Raises: as `create_replica`, where what is here is another chunk or the replica of another
        start of this server, which takes no appends (C10).
        """
        try:
            return self.create_replica(spec, order_index, disk_id)
        except AlreadyExists:
            replica = self.get(spec.chunk_id)
            if not spec.describes(replica.header):
                raise
            replica.look_before_ack()
            return replica

    def _begin_making(self, shelf: Shelf, chunk_id: ChunkId) -> Making:
        """Return the place of a new slot; nobody else makes one for the chunk. Needs the lock."""
        place = self._making[chunk_id] = (shelf, shelf.next_name())
        return place

    def _first_header(self, shelf: Shelf, spec: ReplicaSpec) -> Header:
        now_ms = self._runtime.wall_ns() // 1_000_000
        return first_header(spec, shelf.around.boot_id, now_ms, shelf.journal.last_lsn)

    def fence(self, chunk_id: ChunkId, birth: Birth, order_index: LogIndex) -> FenceAnswer:
        """Refuse further appends, durably, and tell what is there (C2, C3).

        A chunk that is not here is refused from now on, durably, before that is told.
        Raises: StaleOrder, and as `get_or_refuse`.
        """
        return self.get_or_refuse(chunk_id, birth, order_index).fence(order_index)

    def get_or_refuse(self, chunk_id: ChunkId, birth: Birth, order_index: LogIndex) -> Replica:
        """Return a replica; raise UnknownReplica only when none can come any more (C2).

        Raises: WrongBirth; ReplicaBusy while one is being made; Overloaded, DiskFull, DiskFailed.
        """
        place = None
        with self._lock:
            if chunk_id not in self._replicas and not self._refuses(chunk_id):
                if chunk_id in self._making:
                    raise ReplicaBusy(f"chunk {chunk_id:#x} is just coming to this server")
                shelf = steady_shelf(self.shelves)
                self._check_serves(shelf)
                shelf.tombstones.check_room()
                place = self._begin_making(shelf, chunk_id)
        if place is not None:
            self._refuse(place, chunk_id, birth, order_index)
        return self.get(chunk_id, birth)

    def _refuse(
        self, place: Making, chunk_id: ChunkId, birth: Birth, order_index: LogIndex
    ) -> None:
        shelf, name = place
        now_ms = self._runtime.wall_ns() // 1_000_000
        header = tombstone_header(chunk_id, birth, order_index, now_ms)
        try:
            shelf.tombstones.write(name, header)
            with self._lock:
                shelf.tombstones.add(name, header)
        finally:
            self._end_making(place, chunk_id)

    def forget_tombstone(self, chunk_id: ChunkId, order_index: LogIndex) -> None:
        """Refuse a chunk no longer that nobody can write any more; a replica of it stays.

        Raises: StaleOrder, DiskFailed.
        """
        for shelf in self.shelves:
            with self._lock:
                forgotten = shelf.tombstones.forget(chunk_id, order_index)
            # A disk that is silent would hold up the order for ever. The file may be back after a
            # power cut anyway: it refuses a chunk that nobody writes any more.
            if forgotten is None or shelf.failed or shelf.ailing:
                continue
            try:
                shelf.disk.unlink(forgotten[0])
            except DiskFailed:
                with self._lock:
                    shelf.tombstones.add(*forgotten)
                raise

    def prove(self, chunk_id: ChunkId, order_index: LogIndex, length: int) -> Proof:
        """Return what the first `length` bytes are (C4).

        Raises: UnknownReplica, ReplicaDamaged, StaleOrder, DiskFailed.
        """
        return self._obeyed(chunk_id, lambda replica: replica.prove(order_index, length))

    def finish_seal(
        self, chunk_id: ChunkId, order_index: LogIndex, length: int, digest: int
    ) -> None:
        """Cut to the sealed length, sync, stamp as sealed (C7).

        Raises: UnknownReplica, ReplicaDamaged, StaleOrder, DiskFailed.
        """
        self._obeyed(chunk_id, lambda replica: replica.finish(order_index, length, digest))

    def compare(self, chunk_id: ChunkId, order_index: LogIndex, length: int, digest: int) -> None:
        """Quarantine a replica that is no holder and has other bytes than the sealed chunk (C4).

        Raises: UnknownReplica, StaleOrder, DiskFailed.
        """
        try:
            self._obeyed(chunk_id, lambda replica: replica.compare(order_index, length, digest))
        except (ReplicaDamaged, DiskFailed, NotFound):
            self.note_damage(chunk_id)  # What cannot be read is damaged, if it is sealed.
            raise

    def confirm(
        self,
        chunk_id: ChunkId,
        birth: Birth,
        end: tuple[LogIndex, int, int],
        gone: int = 0,
        disk_id: DiskId = ANY_DISK,
    ) -> bool:
        """Return whether a whole replica is here, sealed now: `end` is (order, length, digest).

        Args: `gone` are the blocks that it may lack (G8); on another disk than `disk_id` it does
        not count.
        Raises: WrongBirth, StaleOrder.
        """
        try:
            replica = self.get(chunk_id, birth)
            if disk_id not in (ANY_DISK, replica.disk_id):
                return False
            return not replica.header.gone & ~gone and replica.confirm(*end)
        except (UnknownReplica, ReplicaDamaged, NotFound, DiskFailed):
            return False  # Or it cannot be read at all: one that can takes its place.

    def begin_copy(
        self,
        spec: ReplicaSpec,
        order_index: LogIndex,
        length: int,
        gone: int = 0,
        disk_id: DiskId = ANY_DISK,
    ) -> CopySlot:
        """Make a slot beside whatever is here; nobody counts on it before `install_copy`.

        Args: `gone` are the blocks that it will never have (G8).
        Raises: ReplicaBusy while a writer makes one; DiskFull, DiskFailed.
        """
        shelf = pick_shelf(self.shelves, disk_id)
        with self._lock:
            if spec.chunk_id in self._making:
                raise ReplicaBusy(f"chunk {spec.chunk_id:#x} is just coming to this server")
            place = self._begin_making(shelf, spec.chunk_id)
        try:
            shelf.check_room(length)
            header = msgspec.structs.replace(
                self._first_header(shelf, spec),
                state=State.COPYING,
                order_index=order_index,
                gone=gone,
            )
            return CopySlot(shelf, create_slot(shelf.disk, place[1], header), length)
        except BaseException:
            self._end_making(place, spec.chunk_id)
            raise

    def install_copy(self, copy: CopySlot, digest: int, still_wanted: Callable[[], bool]) -> None:
        """Make a whole copy count, durably; what was here instead goes then, and not before (D3).

        Args: `still_wanted` is asked when nothing can come in between any more.
        Raises: Cancelled, StaleOrder, DiskFull, DiskFailed; ReplicaBusy when another replica than
        the one that gave way counts by now: its disk was taken out, and a second one took its part.
        """
        copy.sync()
        chunk_id, order_index = copy.header.chunk_id, copy.header.order_index
        known = self._replicas.get(chunk_id)
        with self._making_way(known, order_index) as older:
            slot = copy.stamp(digest, older)
            with copy.counting(), self._lock:
                self._check_serves(copy.shelf)
                if not still_wanted() or self._making.get(chunk_id) != (copy.shelf, copy.name):
                    raise Cancelled(f"the copy of chunk {chunk_id:#x} is not wanted any more")
                if self._replicas.get(chunk_id) not in (None, known):
                    raise ReplicaBusy(f"another replica of chunk {chunk_id:#x} counts by now")
                copy.installed = True
                del self._making[chunk_id]
                self._add(Replica(slot, copy.shelf.around, made_here=False))
        copy.shelf.note_usage()

    def drop_copy(self, copy: CopySlot) -> None:
        """Remove a copy that does not count. Raises: DiskFailed."""
        try:
            copy.close()
            if not copy.installed and not copy.shelf.failed:
                copy.shelf.disk.unlink(copy.name)
        finally:
            if not copy.installed:
                self.give_up_copy(copy)

    def give_up_copy(self, copy: CopySlot) -> None:
        """Have others make one, and this one count no more, unless it does already."""
        self._end_making((copy.shelf, copy.name), copy.header.chunk_id)

    def _end_making(self, place: Making, chunk_id: ChunkId) -> None:
        with self._lock:
            if self._making.get(chunk_id) == place:
                del self._making[chunk_id]

    def keep(self, chunk_id: ChunkId, order_index: LogIndex) -> None:
        """Refuse deletes up to this index (G3). Raises: UnknownReplica, DiskFailed, DiskFull."""
        self._obeyed(chunk_id, lambda replica: replica.keep(order_index))

    def punch(self, chunk_id: ChunkId, order_index: LogIndex, gone: int) -> int:
        """Give back blocks of a sealed replica, and return what the disk got back (G8)."""
        return self._obeyed(chunk_id, lambda one: punch(one.disk, one, order_index, gone))

    def delete(self, chunk_id: ChunkId, order_index: LogIndex) -> int:
        """Destroy a replica, and return what the disk got back; one that is not here is no error.

        Raises: StaleOrder, DiskFailed.
        """
        self.forget_tombstone(chunk_id, order_index)

        def end(replica: Replica) -> int:
            freed = room_of(replica.disk, replica)
            with self._giving_way(replica, order_index, "it is deleted") as slot:
                stamp_free(slot, order_index)
            with self._lock:
                if self._replicas.get(chunk_id) is replica:
                    self._remove(chunk_id)
            return freed

        try:
            freed = self._obeyed(chunk_id, end)
        except UnknownReplica:
            freed = 0
        self._see_to_twins(chunk_id, lambda twins: drop_deleted(order_index, twins))
        return freed

    def _obeyed(self, chunk_id: ChunkId, act: Callable[[Replica], T]) -> T:
        """Return what `act` returns for the replica that is here, also if a copy replaces it."""
        while True:
            replica = self.get(chunk_id)
            try:
                return act(replica)
            except UnknownReplica:
                if self._replicas.get(chunk_id) in (None, replica):
                    raise
            finally:
                self._list_if_unsettled(chunk_id, replica)

    def quarantine(self, chunk_id: ChunkId) -> None:
        """Keep a replica but serve it no more. Raises: UnknownReplica, DiskFailed."""
        self._obeyed(chunk_id, Replica.quarantine)
