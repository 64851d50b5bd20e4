"""The replicas on one disk: the index from chunk to slot, made from the headers at start."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from typing import TypeVar

import msgspec

from gfs_ha.chunk.disk import Disk
from gfs_ha.chunk.journal.journal import JOURNAL_SHAPE, Journal, JournalShape
from gfs_ha.chunk.slots import listing
from gfs_ha.chunk.slots.answers import Proof
from gfs_ha.chunk.slots.copy_slot import CopySlot
from gfs_ha.chunk.slots.format import Header, State
from gfs_ha.chunk.slots.identity import Identity
from gfs_ha.chunk.slots.punching import punch, room_of
from gfs_ha.chunk.slots.recovery import recover
from gfs_ha.chunk.slots.replica import Replica
from gfs_ha.chunk.slots.slot import create_slot
from gfs_ha.chunk.slots.spec import ReplicaSpec, first_header
from gfs_ha.chunk.slots.start import read_slots
from gfs_ha.chunk.slots.surroundings import Surroundings
from gfs_ha.chunk.slots.tally import Tally
from gfs_ha.chunk.slots.tombstones import tombstone_header
from gfs_ha.errors import (
    AlreadyExists,
    Cancelled,
    DiskFailed,
    DiskFull,
    Fenced,
    NotFound,
    ReplicaBusy,
    ReplicaDamaged,
    UnknownReplica,
    WrongBirth,
)
from gfs_ha.ids import Birth, ChunkId, LogIndex
from gfs_ha.net.buffers import BufferPool
from gfs_ha.protocol.control import BucketListing, FenceAnswer, OpenReplica
from gfs_ha.runtime import Runtime

T = TypeVar("T")

NO_ORDER = LogIndex(0)
_FREE_BYTES_MIN = 16 << 20  # Below that no new replica: headers and logs need room too.


class ChunkStore:
    """All replicas in one data directory. Thread-safe.

    Orders are idempotent; one older than the newest that a replica obeyed raises StaleOrder.
    """

    def __init__(
        self,
        disk: Disk,
        identity: Identity,
        runtime: Runtime,
        boot_id: int,
        shape: JournalShape = JOURNAL_SHAPE,
    ) -> None:
        """Read the headers of all slots, and bring in what is only in the journal (D4).

        Raises: DiskFailed, DiskFull.
        """
        self.identity, self.disk = identity, disk
        self.buffers = BufferPool(runtime)
        self._runtime = runtime
        self.tally = Tally(runtime)
        self.journal = Journal(disk, (identity.disk_id, boot_id), runtime, shape)
        self._around = Surroundings(runtime, self.buffers, boot_id, self.tally, self.journal)
        self._lock = runtime.lock()
        self._making: set[ChunkId] = set()
        found = read_slots(disk, self.buffers)
        recover(disk, found.slots, self.journal)
        self._tombstones, self._unidentified = found.tombstones, found.unidentified
        self._next_number = found.next_number
        self._replicas: dict[ChunkId, Replica] = {}
        # Those that heartbeats list in full: a million sealed ones must cost them nothing.
        self._unsettled: dict[ChunkId, Replica] = {}
        for slot in found.slots.values():
            self._add(Replica(slot, self._around, made_here=False))

    def _add(self, replica: Replica) -> None:
        chunk_id = replica.header.chunk_id
        self._replicas[chunk_id] = replica
        self._unsettled[chunk_id] = replica
        if replica.condition == listing.SETTLED:
            del self._unsettled[chunk_id]

    @property
    def unidentified(self) -> tuple[str, ...]:
        """Return the slot files that no chunk claims; they are kept until a person decides."""
        return tuple(self._unidentified)

    def create_replica(self, spec: ReplicaSpec, order_index: LogIndex = NO_ORDER) -> Replica:
        """Make an empty replica whose header is safe, and return it.

        Raises: AlreadyExists, Fenced when it was fenced before it came here, DiskFull, DiskFailed.
        """
        with self._lock:
            if spec.chunk_id in self._replicas or spec.chunk_id in self._making:
                raise AlreadyExists(f"chunk {spec.chunk_id:#x} is on this server already")
            if spec.chunk_id in self._tombstones:
                raise Fenced(
                    f"chunk {spec.chunk_id:#x} was fenced before it came to this server; "
                    "go on in a new chunk",
                    end=0,
                )
            name = self._begin_making(spec.chunk_id)
        try:
            self._check_room(0)
            header = msgspec.structs.replace(self._first_header(spec), order_index=order_index)
            slot = create_slot(self.disk, name, header)
            replica = Replica(slot, self._around, made_here=True)
            with self._lock:
                self._add(replica)
        finally:
            self._end_making(spec.chunk_id)
        return replica

    def create_tail(self, spec: ReplicaSpec, order_index: LogIndex) -> Replica:
        """Make an empty replica of a tail, or return the one that this very order made.

        Raises: as `create_replica`, where what is here is another chunk or the replica of another
        start of this server, which takes no appends (C10).
        """
        try:
            return self.create_replica(spec, order_index)
        except AlreadyExists:
            replica = self.get(spec.chunk_id)
            if not spec.describes(replica.header):
                raise
            replica.look_before_ack()
            return replica

    def _check_room(self, length: int) -> None:
        if self.disk.usage().free < _FREE_BYTES_MIN + length:
            raise DiskFull("the disk is full: no room for a new replica")

    def _begin_making(self, chunk_id: ChunkId) -> str:
        """Return the name of a new slot; nobody else makes one for the chunk. Needs the lock."""
        self._making.add(chunk_id)
        self._next_number += 1
        return f"{self._next_number - 1:08x}.slot"

    def _first_header(self, spec: ReplicaSpec) -> Header:
        now_ms = self._runtime.wall_ns() // 1_000_000
        return first_header(spec, self._around.boot_id, now_ms, self.journal.last_lsn)

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

    def fence(self, chunk_id: ChunkId, birth: Birth, order_index: LogIndex) -> FenceAnswer:
        """Refuse further appends, durably, and tell what is there (C2, C3).

        A chunk that is not here is refused from now on, durably, before that is told.

        Raises: UnknownReplica, WrongBirth, StaleOrder, ReplicaBusy, Overloaded, DiskFull,
        DiskFailed.
        """
        return self.get_or_refuse(chunk_id, birth, order_index).fence(order_index)

    def get_or_refuse(self, chunk_id: ChunkId, birth: Birth, order_index: LogIndex) -> Replica:
        """Return a replica; raise UnknownReplica only when none can come any more (C2).

        Raises: WrongBirth; ReplicaBusy while one is being made; Overloaded, DiskFull, DiskFailed.
        """
        name = ""
        with self._lock:
            if chunk_id not in self._replicas and chunk_id not in self._tombstones:
                if chunk_id in self._making:
                    raise ReplicaBusy(f"chunk {chunk_id:#x} is just coming to this server")
                self._tombstones.check_room()
                name = self._begin_making(chunk_id)
        if name:
            self._refuse(name, chunk_id, birth, order_index)
        return self.get(chunk_id, birth)

    def _refuse(self, name: str, chunk_id: ChunkId, birth: Birth, order_index: LogIndex) -> None:
        now_ms = self._runtime.wall_ns() // 1_000_000
        header = tombstone_header(chunk_id, birth, order_index, now_ms)
        try:
            self._tombstones.write(name, header)
            with self._lock:
                self._tombstones.add(name, header)
        finally:
            self._end_making(chunk_id)

    def forget_tombstone(self, chunk_id: ChunkId, order_index: LogIndex) -> None:
        """Refuse a chunk no longer that nobody can write any more; a replica of it stays.

        Raises: StaleOrder, DiskFailed.
        """
        with self._lock:
            self._tombstones.remove(chunk_id, order_index)

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
        self, chunk_id: ChunkId, birth: Birth, end: tuple[LogIndex, int, int], gone: int = 0
    ) -> bool:
        """Return whether a whole replica is here, sealed now: `end` is (order, length, digest).

        Args: `gone` are the blocks that it may lack (G8).
        Raises: WrongBirth, StaleOrder.
        """
        try:
            replica = self.get(chunk_id, birth)
            return not replica.header.gone & ~gone and replica.confirm(*end)
        except (UnknownReplica, ReplicaDamaged, NotFound, DiskFailed):
            return False  # Or it cannot be read at all: one that can takes its place.

    def begin_copy(
        self, spec: ReplicaSpec, order_index: LogIndex, length: int, gone: int = 0
    ) -> CopySlot:
        """Make a slot beside whatever is here; nobody counts on it before `install_copy`.

        Args: `gone` are the blocks that it will never have (G8).
        Raises: ReplicaBusy while a writer makes one; DiskFull, DiskFailed.
        """
        with self._lock:
            if spec.chunk_id in self._making:
                raise ReplicaBusy(f"chunk {spec.chunk_id:#x} is just coming to this server")
            name = self._begin_making(spec.chunk_id)
        try:
            self._check_room(length)
            header = msgspec.structs.replace(
                self._first_header(spec), state=State.COPYING, order_index=order_index, gone=gone
            )
            return CopySlot(create_slot(self.disk, name, header), length)
        except BaseException:
            self._end_making(spec.chunk_id)
            raise

    def install_copy(self, copy: CopySlot, digest: int, still_wanted: Callable[[], bool]) -> None:
        """Make a whole copy count, durably; what was here instead goes then, and not before (D3).

        Args: `still_wanted` is asked when nothing can come in between any more.
        Raises: Cancelled, StaleOrder, DiskFull, DiskFailed.
        """
        copy.sync()
        chunk_id, order_index = copy.header.chunk_id, copy.header.order_index
        with ExitStack() as held:
            known = self._replicas.get(chunk_id)
            older = held.enter_context(known.giving_way(order_index)) if known else None
            slot = copy.stamp(digest, older)
            with self._lock:
                if not still_wanted():
                    raise Cancelled(f"the copy of chunk {chunk_id:#x} is not wanted any more")
                copy.installed = True
                self._making.discard(chunk_id)
                self._unsettled.pop(chunk_id, None)
                self._add(Replica(slot, self._around, made_here=False))
        if known is not None:
            self.disk.sync_names()  # Else it may be back when the new one is deleted.

    def drop_copy(self, copy: CopySlot) -> None:
        """Remove a copy that does not count. Raises: DiskFailed."""
        try:
            copy.close()
            if not copy.installed:
                self.disk.unlink(copy.name)
        finally:
            if not copy.installed:
                self._end_making(copy.header.chunk_id)

    def _end_making(self, chunk_id: ChunkId) -> None:
        with self._lock:
            self._making.discard(chunk_id)

    def keep(self, chunk_id: ChunkId, order_index: LogIndex) -> None:
        """Refuse deletes up to this index (G3). Raises: UnknownReplica, DiskFailed, DiskFull."""
        self._obeyed(chunk_id, lambda replica: replica.keep(order_index))

    def punch(self, chunk_id: ChunkId, order_index: LogIndex, gone: int) -> int:
        """Give back blocks of a sealed replica, and return what the disk got back (G8)."""
        return self._obeyed(chunk_id, lambda one: punch(self.disk, one, order_index, gone))

    def delete(self, chunk_id: ChunkId, order_index: LogIndex) -> int:
        """Destroy a replica, and return what the disk got back; one that is not here is no error.

        Raises: StaleOrder, DiskFailed.
        """
        self.forget_tombstone(chunk_id, order_index)

        def end(replica: Replica) -> int:
            freed = room_of(self.disk, replica)
            replica.delete(order_index)
            with self._lock:
                if self._replicas.get(chunk_id) is replica:
                    del self._replicas[chunk_id]
                    self._unsettled.pop(chunk_id, None)
            return freed

        try:
            return self._obeyed(chunk_id, end)
        except UnknownReplica:
            return 0

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

    def quarantine(self, chunk_id: ChunkId) -> None:
        """Keep a replica but serve it no more. Raises: UnknownReplica, DiskFailed."""
        self._obeyed(chunk_id, Replica.quarantine)

    def list_open(self) -> tuple[OpenReplica, ...]:
        """Return the replicas that are not sealed, or sealed but not whole, and the tombstones."""
        disk_id = self.identity.disk_id
        with self._lock:
            unsettled = list(self._unsettled.items())
            found = [listing.open_tombstone(header, disk_id) for header in self._tombstones]
        skip = {key for key, one in unsettled if one.condition == listing.SETTLED}
        found += [listing.open_replica(one, disk_id) for key, one in unsettled if key not in skip]
        with self._lock:
            self._unsettled = {key: one for key, one in self._unsettled.items() if key not in skip}
        return tuple(found)

    def list_sealed(self) -> tuple[tuple[ChunkId, int], ...]:
        """Return (chunk, length) of every sealed replica that is not quarantined."""
        return tuple(self.each_sealed())

    def each_sealed(self) -> Iterator[tuple[ChunkId, int]]:
        """Yield the same, held by nobody: there may be a million."""
        return listing.sealed_lengths(self._all())

    def list_buckets(self, buckets: Collection[int]) -> tuple[BucketListing, ...]:
        """Return the sealed replicas of some buckets of the tally (G7)."""
        replicas = self._all() if buckets else []
        return listing.list_buckets(replicas, buckets, self.identity.disk_id)

    def _all(self) -> list[Replica]:
        with self._lock:
            return list(self._replicas.values())

    @property
    def chunk_count(self) -> int:
        """Return how many replicas are here."""
        return len(self._replicas)
