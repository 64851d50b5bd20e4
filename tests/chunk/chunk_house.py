"""Data ports in this process, on real sockets and any disk, and the client's end of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from gfs_ha.chunk.dataport import DataPort, ServerRun
from gfs_ha.chunk.disk import Disk, PosixDisk
from gfs_ha.chunk.journal.journal import JOURNAL_SHAPE, JournalShape
from gfs_ha.chunk.slots.identity import Identity
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.client.data_room import DataRoom
from gfs_ha.client.fetch import Fetch, Fetched, FetchTarget
from gfs_ha.client.push import Push, PushResult, PushTarget
from gfs_ha.ids import ChunkId, DiskId, Epoch, ServerId, StartId, make_chunk_id
from gfs_ha.limits import MIB
from gfs_ha.net.streams import StreamNetwork, TcpStreams
from gfs_ha.protocol.control import FinishedTail
from gfs_ha.protocol.data import Durability, Hop
from gfs_ha.runtime import Task, ThreadedRuntime

CLUSTER = "testing"
BIRTH = Epoch(1, 3)
CHUNK = make_chunk_id(1, 7)
BOOT_ID = 77
NOBODY = StartId(0)
NO_JOURNAL = JournalShape(append_bytes_max=0)  # Where operations of the disk are counted.


@dataclass
class House:
    """One chunkserver without its heartbeat."""

    store: ChunkStore
    port: DataPort
    task: Task
    damage: list[tuple[ChunkId, int]] = field(default_factory=list)
    ended: list[FinishedTail] = field(default_factory=list)  # As the leader would be told.

    @property
    def hop(self) -> Hop:
        return Hop(self.store.server_id, "127.0.0.1", self.port.port)

    def stop(self) -> None:
        self.port.stop()
        assert self.task.join(60.0), "the data port did not stop"


def wait_for_journal(house: House) -> None:
    """Return once small appends go to the journal of a server that runs."""
    pause = threading.Event()
    for _ in range(20_000):
        if house.store.shelves[0].journal.takes(1):
            return
        pause.wait(0.001)
    raise AssertionError("nobody made the journal")


def identity(server_id: int) -> Identity:
    return Identity(CLUSTER, ServerId(server_id), DiskId(server_id * 1000))


def start_house(
    disk: Disk,
    server_id: int,
    runtime: ThreadedRuntime,
    network: StreamNetwork | None = None,
    streams_max: int = 64,
    start_id: StartId = NOBODY,
    newest_epoch: Callable[[], Epoch] = lambda: BIRTH,
    shape: JournalShape = JOURNAL_SHAPE,
) -> House:
    return house_of(
        ChunkStore.on(disk, identity(server_id), runtime, BOOT_ID, shape),
        runtime,
        network,
        streams_max,
        ServerRun(start_id, newest_epoch),
    )


def house_of(
    store: ChunkStore,
    runtime: ThreadedRuntime,
    network: StreamNetwork | None,
    streams_max: int,
    run: ServerRun,
) -> House:
    """Run the data port of a store."""
    damage: list[tuple[ChunkId, int]] = []
    ended: list[FinishedTail] = []
    port = DataPort(
        ("127.0.0.1", 0),
        store,
        network or TcpStreams(runtime),
        runtime,
        lambda chunk_id, block: damage.append((chunk_id, block)),
        streams_max,
        replace(run, on_end=ended.append),
    )
    task = runtime.spawn(f"data port {store.server_id}", port.run)
    return House(store, port, task, damage, ended)


@contextmanager
def street(directory: Path, count: int = 3) -> Iterator[list[House]]:
    """Run some servers, each with a directory of its own."""
    runtime = ThreadedRuntime()
    houses: list[House] = []
    disks: list[PosixDisk] = []
    try:
        for number in range(1, count + 1):
            disks.append(PosixDisk(directory / f"cs{number}"))
            start_id = StartId(number * 100)
            houses.append(start_house(disks[-1], number, runtime, start_id=start_id))
        yield houses
    finally:
        for house in houses:
            house.stop()
        for disk in disks:
            disk.close()


@contextmanager
def client_room() -> Iterator[DataRoom]:
    runtime = ThreadedRuntime()
    room = DataRoom(CLUSTER, TcpStreams(runtime), runtime)
    try:
        yield room
    finally:
        room.close()


def target(
    houses: list[House],
    chunk_id: ChunkId = CHUNK,
    capacity: int = 4 * MIB,
    durability: Durability = Durability.DISK,
) -> PushTarget:
    return PushTarget(chunk_id, BIRTH, capacity, durability, tuple(house.hop for house in houses))


def push(
    room: DataRoom, where: PushTarget, data: bytes, offset: int = 0, deadline_s: float = 20.0
) -> PushResult:
    with Push(room, where, offset, len(data), deadline_s) as one:
        one.write(data)
        return one.finish()


def fetch(
    room: DataRoom, house: House, offset: int, length: int, chunk_id: ChunkId = CHUNK
) -> tuple[bytes, Fetched]:
    into = memoryview(bytearray(length))
    found = Fetch(room, FetchTarget(house.hop, chunk_id, BIRTH), 20.0).read(offset, into)
    return bytes(into), found
