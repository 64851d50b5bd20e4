"""What is really on the disks, beside what the masters believe: nobody in the run knows this."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from gfs_ha.checksum import chunk_digest
from gfs_ha.chunk.disk import opened
from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.chunk.slots.format import Header, State
from gfs_ha.chunk.slots.slot import Slot, cut_table, read_header
from gfs_ha.errors import ReplicaDamaged
from gfs_ha.ids import ChunkId
from gfs_ha.limits import CHUNK_BYTES_MIN
from gfs_ha.master.state.records import ALIVE, SEALED, Chunk
from gfs_ha.master.state.view import View
from gfs_ha.sim.cluster.server import SimServer
from gfs_ha.sim.masters.ledger import applied_mark
from gfs_ha.sim.masters.master import SimMaster

_PAGE = 1000
_NO_REPLICA = (State.FREE, State.TOMBSTONE, State.COPYING)
_ROOM = bytearray(CHUNK_BYTES_MIN + (1 << 16))


@dataclass(frozen=True, slots=True)
class Found:
    """A slot file with a replica."""

    name: str
    header: Header
    slot: Slot


def replica_in(disk: MemoryDisk, name: str) -> Found | None:
    """Return the replica in a slot file, whole or not; None when there is none in it."""
    reading = read_header(disk, name)
    if reading is None or reading.header.state in _NO_REPLICA:
        return None
    return Found(name, reading.header, Slot(disk, name, reading))


def replicas_on(disk: MemoryDisk) -> dict[ChunkId, list[Found]]:
    """Return what the slots of a disk hold, whole or not."""
    found: dict[ChunkId, list[Found]] = {}
    for name in disk.names():
        one = replica_in(disk, name) if name.endswith(".slot") else None
        if one is not None:
            found.setdefault(one.header.chunk_id, []).append(one)
    return found


def is_whole(disk: MemoryDisk, found: Found, chunk: Chunk) -> bool:
    """Return whether a replica has all that counts of a chunk: sealed, or published so far."""
    if found.header.birth != chunk.birth:
        return False
    buffer = memoryview(_ROOM)
    with opened(disk, found.name) as file:
        claim = found.slot.verify(file, buffer)
        if chunk.state != SEALED:
            return claim.end >= chunk.published_end
        if claim.end < chunk.length:
            return False
        try:
            table = cut_table(file, claim, chunk.length, buffer)
        except ReplicaDamaged:
            return False
    return chunk_digest(table) == chunk.digest


class Truth:
    """Looks at all machines at once; no time passes meanwhile."""

    def __init__(self, masters: dict[str, SimMaster], servers: Sequence[SimServer]) -> None:
        self._masters = masters
        self.servers = servers
        # By file, not by name: a slot's number is given again once its file is gone.
        self._known: WeakKeyDictionary[object, ChunkId] = WeakKeyDictionary()

    @contextmanager
    def view(self) -> Iterator[View]:
        """Show the tables of whoever applied most."""
        best: SimMaster | None = None
        most = -1
        for master in self._masters.values():
            with master.disk.held.read() as reader:
                index = applied_mark(reader)
            if index > most:
                best, most = master, index
        assert best is not None
        with best.disk.held.read() as reader:
            yield View(reader)

    def chunks(self) -> list[tuple[ChunkId, Chunk]]:
        """Return all rows of chunks."""
        with self.view() as view:
            found: list[tuple[ChunkId, Chunk]] = []
            while True:
                page = view.chunks_after(found[-1][0] if found else ChunkId(0), _PAGE)
                found += page
                if len(page) < _PAGE:
                    return found

    def whole(
        self, chunk_id: ChunkId, chunk: Chunk, but: tuple[MemoryDisk, str] | None = None
    ) -> list[SimServer]:
        """Return the machines that hold all that counts of a chunk, `but` in one file."""
        return [server for server in self.servers if self.holds(server, chunk_id, chunk, but)]

    def holds(
        self,
        server: SimServer,
        chunk_id: ChunkId,
        chunk: Chunk,
        but: tuple[MemoryDisk, str] | None = None,
    ) -> bool:
        """Return whether one of a machine's disks holds all that counts of a chunk."""
        return any(self.lies_on(disk, chunk_id, chunk, but) for disk in server.disks)

    def lies_on(
        self,
        disk: MemoryDisk,
        chunk_id: ChunkId,
        chunk: Chunk,
        but: tuple[MemoryDisk, str] | None = None,
    ) -> bool:
        """Return whether a disk holds all that counts of a chunk."""
        for name in self._slots(disk).get(chunk_id, ()):
            if but == (disk, name):
                continue
            found = replica_in(disk, name)
            if found is not None and is_whole(disk, found, chunk):
                return True
        return False

    def _slots(self, disk: MemoryDisk) -> dict[ChunkId, list[str]]:
        """Return the slot files of a disk by chunk; which chunk one is for never changes."""
        by_chunk: dict[ChunkId, list[str]] = {}
        for name in disk.names():
            if not name.endswith(".slot"):
                continue
            file = disk._names[name]
            chunk_id = self._known.get(file)
            if chunk_id is None:
                reading = read_header(disk, name)
                if reading is None:
                    continue
                chunk_id = self._known[file] = reading.header.chunk_id
            by_chunk.setdefault(chunk_id, []).append(name)
        return by_chunk

    def copies(self) -> dict[ChunkId, set[str]]:
        """Return the machines that hold each chunk whole, of all chunks that are alive.

        One with an order to delete it counts no more, although it still has it.
        """
        rows = {chunk_id: row for chunk_id, row in self.chunks() if row.state in ALIVE}
        with self.view() as view:
            names = {server_id: row.name for server_id, row in view.servers()}
        going = {
            chunk_id: {names[one.server_id] for one in row.deleting}
            for chunk_id, row in rows.items()
        }
        held: dict[ChunkId, set[str]] = {chunk_id: set() for chunk_id in rows}
        for server in self.servers:
            for disk in server.disks:
                for chunk_id, slots in replicas_on(disk).items():
                    row = rows.get(chunk_id)
                    if row is None or server.name in going[chunk_id]:
                        continue
                    if any(is_whole(disk, one, row) for one in slots):
                        held[chunk_id].add(server.name)
        return held
