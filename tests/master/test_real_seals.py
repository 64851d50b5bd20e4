"""Seals from end to end: real masters, real chunkservers, real bytes on their disks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from free_ports import free_ports
from test_chunks import allocate
from trio import CLUSTER, WAIT_S, Client, Trio, wait_until

from gfs_ha.chunk.run import build_chunkserver
from gfs_ha.chunk.server import Chunkserver
from gfs_ha.client.data_room import DataRoom
from gfs_ha.client.fetch import Fetch, FetchTarget
from gfs_ha.client.push import Push, PushResult, PushTarget
from gfs_ha.config import ChunkserverConfig, DiskConfig
from gfs_ha.errors import ReplicaDamaged
from gfs_ha.net.streams import TcpStreams
from gfs_ha.protocol.data import Durability, Hop
from gfs_ha.protocol.metadata import (
    ChunkAllocated,
    ChunkSealed,
    Location,
    ReleaseChunks,
    SealChunk,
)
from gfs_ha.protocol.repair import SetBudget
from gfs_ha.protocol.reports import GetChunks, GetServers

DATA, OTHER = b"same" * 5000, b"else" * 5000


class Fleet:
    """Three chunkservers in this process, each with a directory and a port of its own."""

    def __init__(self, trio: Trio) -> None:
        self._trio = trio
        self._ports = free_ports(3)
        self.room = DataRoom(CLUSTER, TcpStreams(trio.runtime), trio.runtime)
        self.running: dict[str, Chunkserver] = {}
        for number in (1, 2, 3):
            self.start(f"cs{number}")

    def start(self, name: str) -> None:
        port = self._ports[int(name[2:]) - 1]
        disks = (DiskConfig(self._trio.directory / name),)
        own = ChunkserverConfig(name, disks, "127.0.0.1", port, f"r{name[2:]}", name)
        config = replace(self._trio.config("m1"), master=None, chunkserver=own)
        server = self.running[name] = build_chunkserver(config, self._trio.runtime)
        server.start()
        server.ready.result(WAIT_S)

    def stop(self, name: str) -> None:
        assert self.running.pop(name).stop(WAIT_S), f"{name} does not stop"

    def close(self) -> None:
        self.room.close()
        for name in list(self.running):
            self.stop(name)

    def slots(self, name: str) -> list[str]:
        return sorted(path.name for path in (self._trio.directory / name).glob("*.slot"))

    def push(self, chunk: ChunkAllocated, data: bytes, *to: Location) -> PushResult:
        hops = tuple(Hop(one.server_id, one.host, one.port) for one in to)
        where = PushTarget(chunk.chunk_id, chunk.birth, chunk.capacity, Durability.DISK, hops)
        with Push(self.room, where, 0, len(data), WAIT_S) as push:
            push.write(data)
            return push.finish()

    def read(self, chunk: ChunkAllocated, where: Location, length: int) -> bytes:
        into = memoryview(bytearray(length))
        hop = Hop(where.server_id, where.host, where.port)
        Fetch(self.room, FetchTarget(hop, chunk.chunk_id, chunk.birth), WAIT_S).read(0, into)
        return bytes(into)


@pytest.fixture
def fleet(trio: Trio) -> Iterator[Fleet]:
    made = Fleet(trio)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def chunk(client: Client, fleet: Fleet) -> ChunkAllocated:
    wait_until(
        lambda: sum(one.heartbeat_age_ms >= 0 for one in client.ask(GetServers()).items) == 3,
        "the first heartbeats",
    )
    return allocate(client)


def test_a_replica_with_other_bytes_is_never_served_again(
    client: Client, fleet: Fleet, chunk: ChunkAllocated
) -> None:
    client.ask(SetBudget(copies=0))  # Nothing makes a good copy of it meanwhile.
    first, second, odd = chunk.replicas
    assert fleet.push(chunk, DATA, first, second).complete
    assert fleet.push(chunk, OTHER, odd).complete
    sealed = client.ask(SealChunk(chunk.chunk_id))
    assert isinstance(sealed, ChunkSealed), sealed
    assert set(sealed.holders) == {first.server_id, second.server_id}

    def shown() -> dict[str, str]:
        return {one.name: one.health for one in client.ask(GetChunks()).items[0].replicas}

    wait_until(lambda: shown().get(odd.name) == "quarantined", "the quarantine")
    for _ in range(2):
        with pytest.raises(ReplicaDamaged, match="quarantined"):
            fleet.read(chunk, odd, len(OTHER))
        assert fleet.read(chunk, first, len(DATA)) == DATA
        fleet.stop(odd.name)
        fleet.start(odd.name)
    assert len(fleet.slots(odd.name)) == 1, "the finder deletes nothing"
    wait_until(lambda: shown().get(odd.name) == "quarantined", "the report after the restart")
    client.ask(ReleaseChunks((chunk.chunk_id,)))
    wait_until(lambda: not fleet.slots(odd.name), "the end of a dead chunk's replicas")


def test_a_push_that_comes_after_the_fence_is_refused_until_its_writer_gives_up(
    client: Client, fleet: Fleet, chunk: ChunkAllocated
) -> None:
    first, second, slow = chunk.replicas
    assert fleet.push(chunk, DATA, first, second).complete
    sealed = client.ask(SealChunk(chunk.chunk_id))
    assert isinstance(sealed, ChunkSealed), sealed
    assert set(sealed.holders) == {first.server_id, second.server_id}
    for _ in range(2):
        assert [ack.code for ack in fleet.push(chunk, DATA, slow).acks] == ["Fenced"]
        fleet.stop(slow.name)
        fleet.start(slow.name)
    assert len(fleet.slots(slow.name)) == 1
    client.ask(ReleaseChunks((chunk.chunk_id,)))
    wait_until(lambda: not fleet.slots(slow.name), "the refusal to be forgotten")


def test_a_chunk_of_which_nobody_has_a_byte_is_sealed_empty_and_stays_so(
    client: Client, fleet: Fleet, chunk: ChunkAllocated
) -> None:
    sealed = client.ask(SealChunk(chunk.chunk_id))
    assert isinstance(sealed, ChunkSealed) and sealed.length == 0, sealed
    late = fleet.push(chunk, DATA, *chunk.replicas)
    assert [ack.code for ack in late.acks] == ["Fenced"] * 3
    assert client.ask(SealChunk(chunk.chunk_id)) == sealed
