"""The replicas on one disk: the index from chunk to slot, made from the headers at start."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gfs_ha.chunk.disk import Disk, DiskUsage
from gfs_ha.chunk.slots.format import Header, SlotFlag, State
from gfs_ha.chunk.slots.identity import Identity
from gfs_ha.chunk.slots.replica import Replica, Surroundings
from gfs_ha.chunk.slots.slot import Slot, create_slot, read_header
from gfs_ha.chunk.slots.tombstones import Tombstones, tombstone_header
from gfs_ha.errors import (
    AlreadyExists,
    DiskFull,
    Fenced,
    ReplicaBusy,
    UnknownReplica,
    WrongBirth,
)
from gfs_ha.ids import Birth, ChunkId, LogIndex
from gfs_ha.net.buffers import BufferPool
from gfs_ha.protocol.control import FenceAnswer, OpenReplica
from gfs_ha.protocol.data import ChunkKind, Durability
from gfs_ha.runtime import Runtime

_SLOT_NAME = re.compile(r"([0-9a-f]{8})\.slot")
_SETTLED = "sealed"
_TOMBSTONE = "tombstone"
_FREE_BYTES_MIN = 16 << 20  # Below that no new replica: headers and logs need room too.


@dataclass(frozen=True, slots=True)
class ReplicaSpec:
    """What a new replica is made from: fields of the chunk's row."""

    chunk_id: ChunkId
    birth: Birth
    kind: ChunkKind
    capacity: int
    durability: Durability


class ChunkStore:
    """All replicas in one data directory. Thread-safe.

    Orders are idempotent; one older than the newest that a replica obeyed raises StaleOrder.
    """

    def __init__(self, disk: Disk, identity: Identity, runtime: Runtime, boot_id: int) -> None:
        """Read the headers of all slots. Raises: DiskFailed."""
        self.identity = identity
        self.disk = disk
        self.buffers = BufferPool(runtime)
        self._runtime = runtime
        self._around = Surroundings(runtime, self.buffers, boot_id)
        self._lock = runtime.lock()
        self._replicas: dict[ChunkId, Replica] = {}
        self._making: set[ChunkId] = set()
        self._tombstones = Tombstones(disk)
        # Those that heartbeats list in full: a million sealed ones must cost them nothing.
        self._unsettled: dict[ChunkId, Replica] = {}
        self._unidentified: list[str] = []
        self._next_number = 1
        for name in disk.names():
            match = _SLOT_NAME.fullmatch(name)
            if match is not None:
                self._next_number = max(self._next_number, int(match.group(1), 16) + 1)
                self._load(name)

    def _load(self, name: str) -> None:
        reading = read_header(self.disk, name)
        if reading is None:
            # Made in the moment of a power cut, or damaged twice: nobody knows whose it is, so
            # nobody may destroy it (G2).
            self._unidentified.append(name)
            return
        if reading.header.state is State.FREE and not reading.copy_lost:
            self.disk.unlink(name)
            return
        if reading.header.state is State.TOMBSTONE:
            if not self._tombstones.add(name, reading.header):
                self.disk.unlink(name)  # It says what the other one says.
            return
        slot = Slot(self.disk, name, reading)
        if reading.header.state is State.SEALED:
            slot.forget_table()
        known = self._replicas.get(reading.header.chunk_id)
        if known is not None and known.header.generation >= reading.header.generation:
            self._unidentified.append(name)
            return
        if known is not None:
            self._unidentified.append(known.name)
        self._add(Replica(slot, self._around, made_here=False))

    def _add(self, replica: Replica) -> None:
        chunk_id = replica.header.chunk_id
        self._replicas[chunk_id] = replica
        self._unsettled[chunk_id] = replica
        if replica.condition == _SETTLED:
            del self._unsettled[chunk_id]

    @property
    def unidentified(self) -> tuple[str, ...]:
        """Return the slot files that no chunk claims; they are kept until a person decides."""
        return tuple(self._unidentified)

    def create_replica(self, spec: ReplicaSpec) -> Replica:
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
            if self.disk.usage().free < _FREE_BYTES_MIN:
                raise DiskFull("the disk is full: no room for a new replica")
            slot = create_slot(self.disk, name, self._first_header(spec))
            replica = Replica(slot, self._around, made_here=True)
            with self._lock:
                self._add(replica)
        finally:
            with self._lock:
                self._making.discard(spec.chunk_id)
        return replica

    def _begin_making(self, chunk_id: ChunkId) -> str:
        """Return the name of a new slot; nobody else makes one for the chunk. Needs the lock."""
        self._making.add(chunk_id)
        self._next_number += 1
        return f"{self._next_number - 1:08x}.slot"

    def _first_header(self, spec: ReplicaSpec) -> Header:
        # The boot id is that of the making, not of the first append: a chunk kept in memory only
        # must never look untouched after a reboot.
        return Header(
            generation=0,
            chunk_id=spec.chunk_id,
            birth=spec.birth,
            kind=spec.kind,
            durability=spec.durability,
            state=State.OPEN,
            capacity=spec.capacity,
            first_boot_id=self._around.boot_id,
            written_ms=self._runtime.wall_ns() // 1_000_000,
        )

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
            with self._lock:
                self._making.discard(chunk_id)

    def forget_tombstone(self, chunk_id: ChunkId, order_index: LogIndex) -> None:
        """Refuse a chunk no longer that nobody can write any more; a replica of it stays.

        Raises: StaleOrder, DiskFailed.
        """
        with self._lock:
            self._tombstones.remove(chunk_id, order_index)

    def prove(self, chunk_id: ChunkId, order_index: LogIndex, length: int) -> int:
        """Return the digest of the first `length` bytes (C4).

        Raises: UnknownReplica, ReplicaDamaged, StaleOrder, DiskFailed.
        """
        return self.get(chunk_id).prove(order_index, length)

    def finish_seal(
        self, chunk_id: ChunkId, order_index: LogIndex, length: int, digest: int
    ) -> None:
        """Cut to the sealed length, sync, stamp as sealed (C7).

        Raises: UnknownReplica, ReplicaDamaged, StaleOrder, DiskFailed.
        """
        self.get(chunk_id).finish(order_index, length, digest)

    def compare(self, chunk_id: ChunkId, order_index: LogIndex, length: int, digest: int) -> None:
        """Quarantine a replica that is no holder and has other bytes than the sealed chunk (C4).

        Raises: UnknownReplica, StaleOrder, DiskFailed.
        """
        self.get(chunk_id).compare(order_index, length, digest)

    def delete(self, chunk_id: ChunkId, order_index: LogIndex) -> None:
        """Destroy a replica; one that is not here is no error. Raises: StaleOrder, DiskFailed."""
        self.forget_tombstone(chunk_id, order_index)
        try:
            replica = self.get(chunk_id)
            replica.delete(order_index)
        except UnknownReplica:
            return
        with self._lock:
            if self._replicas.get(chunk_id) is replica:
                del self._replicas[chunk_id]
                self._unsettled.pop(chunk_id, None)

    def quarantine(self, chunk_id: ChunkId) -> None:
        """Keep a replica but serve it no more. Raises: UnknownReplica, DiskFailed."""
        replica = self.get(chunk_id)
        replica.quarantine()
        with self._lock:
            if self._replicas.get(chunk_id) is replica:
                self._unsettled[chunk_id] = replica

    def list_open(self) -> tuple[OpenReplica, ...]:
        """Return the replicas that are not sealed, or sealed but not whole, and the tombstones."""
        disk_id = self.identity.disk_id
        with self._lock:
            unsettled = list(self._unsettled.items())
            found = [
                OpenReplica(one.chunk_id, one.birth, disk_id, 0, _TOMBSTONE, one.order_index)
                for one in self._tombstones
            ]
        settled = []
        for chunk_id, replica in unsettled:
            condition = replica.condition
            if condition == _SETTLED:
                settled.append(chunk_id)
                continue
            header = replica.header
            found.append(
                OpenReplica(
                    chunk_id, header.birth, disk_id, header.end, condition, header.order_index
                )
            )
        with self._lock:
            for chunk_id in settled:
                self._unsettled.pop(chunk_id, None)
        return tuple(found)

    def list_sealed(self) -> tuple[tuple[ChunkId, int], ...]:
        """Return (chunk, length) of every sealed replica that is not quarantined."""
        headers = [replica.header for replica in self._all()]
        return tuple(
            (header.chunk_id, header.end)
            for header in headers
            if header.state is State.SEALED and not header.flags & SlotFlag.QUARANTINED
        )

    def _all(self) -> list[Replica]:
        with self._lock:
            return list(self._replicas.values())

    @property
    def chunk_count(self) -> int:
        """Return how many replicas are here."""
        return len(self._replicas)

    def usage(self) -> DiskUsage:
        """Return used, free and total bytes of the disk. Raises: DiskFailed."""
        return self.disk.usage()
