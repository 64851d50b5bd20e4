"""A server that copies, its sources, and what a leader would order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from chunk_house import BIRTH, CHUNK, CLUSTER, House
from replica_house import append, digest_of, make_replica, noise

from gfs_ha.chunk.copies import Copies
from gfs_ha.chunk.copying import Copying
from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.chunk.epochs import EpochBook
from gfs_ha.chunk.outbox import Outbox
from gfs_ha.chunk.repair_pace import RepairPace
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.chunk.source import SourceRoom
from gfs_ha.errors import GfsError
from gfs_ha.ids import ChunkId, DiskId, Epoch, LogIndex
from gfs_ha.limits import MIB
from gfs_ha.net.stream_pool import StreamPool
from gfs_ha.net.streams import TcpStreams
from gfs_ha.protocol.control import CopyReplica, CopySource, OrderAnswer
from gfs_ha.protocol.data import cluster_hash
from gfs_ha.protocol.repair import RepairAllowance
from gfs_ha.runtime import Runtime, ThreadedRuntime

SEALED = LogIndex(40)
ORDER = LogIndex(50)
EPOCH = Epoch(1, 9)
DATA = noise(2 * MIB + 777)
CAPACITY = 4 * MIB
PATIENCE_S = 60.0


def seal(store: ChunkStore, data: bytes = DATA, chunk_id: ChunkId = CHUNK) -> None:
    append(make_replica(store, chunk_id=chunk_id, capacity=CAPACITY), data)
    store.finish_seal(chunk_id, SEALED, len(data), digest_of(data))


def source(house: House, port: int | None = None) -> CopySource:
    return CopySource(house.store.server_id, "127.0.0.1", port or house.port.port)


def order(
    sources: list[CopySource],
    index: int = ORDER,
    data: bytes = DATA,
    bytes_per_s: int = 0,
    disk_id: int = 0,
) -> CopyReplica:
    return CopyReplica(
        chunk_id=CHUNK,
        birth=BIRTH,
        order_index=LogIndex(index),
        length=len(data),
        digest=digest_of(data),
        disk_id=DiskId(disk_id),
        kind="put",
        durability="disk",
        capacity=CAPACITY,
        sources=tuple(sources),
        bytes_per_s=bytes_per_s,
    )


def boundless(runtime: Runtime) -> RepairPace:
    """Return a pace that lets everything go, and does not lapse."""
    pace = RepairPace(runtime, allowance_s=float("inf"))
    pace.allow(RepairAllowance(copies_bytes_per_s=0))
    return pace


def copy_now(store: ChunkStore, wanted: CopyReplica) -> None:
    """Carry out one order here. Raises: what the leader is told."""
    runtime = ThreadedRuntime()
    streams = StreamPool(TcpStreams(runtime), runtime)
    room = SourceRoom(cluster_hash(CLUSTER), streams, runtime)
    try:
        Copying(store, room, wanted, lambda copying, count: count).run()
    finally:
        streams.close()


def outcome(store: ChunkStore, wanted: CopyReplica) -> str:
    try:
        copy_now(store, wanted)
    except GfsError as error:
        return error.code
    return "done"


@dataclass
class Target:
    store: ChunkStore
    copies: Copies
    outbox: Outbox
    _left: list[OrderAnswer] = field(default_factory=list)

    def answer(self) -> OrderAnswer:
        """Return the next answer; fails when it does not come."""
        if not self._left:
            with self.outbox.changed:
                while not self.outbox.waiting():
                    assert self.outbox.changed.wait(PATIENCE_S), "no answer"
            self._left += self.outbox.take().answers
        return self._left.pop(0)


@contextmanager
def working_copies(store: ChunkStore) -> Iterator[Target]:
    runtime = ThreadedRuntime()
    epochs = EpochBook([MemoryDisk(runtime)], runtime)
    epochs.told(EPOCH)
    outbox = Outbox(runtime)
    streams = StreamPool(TcpStreams(runtime), runtime)
    copies = Copies(store, streams, epochs, outbox, boundless(runtime), runtime)
    copies.start()
    try:
        yield Target(store, copies, outbox)
    finally:
        assert copies.stop(PATIENCE_S), "a copy still runs"
