"""A whole chunkserver over disks in memory that serves although nobody leads."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from chunk_house import BIRTH, BOOT_ID, CLUSTER, House
from disks_house import SEALED, open_disks
from free_ports import HOST, free_ports
from replica_house import RUNTIME, append, digest_of

from gfs_ha.chunk import disk_warden
from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.chunk.machine import FoundDisk, Machine
from gfs_ha.chunk.server import Chunkserver
from gfs_ha.chunk.slots.identity import Identity, write_identity
from gfs_ha.chunk.slots.spec import ReplicaSpec
from gfs_ha.config import ChunkserverConfig, ClusterConfig, MasterAddress
from gfs_ha.ids import ChunkId, DiskId, ServerId, StartId
from gfs_ha.limits import MIB
from gfs_ha.net.streams import TcpStreams
from gfs_ha.net.tcp import TcpNetwork
from gfs_ha.protocol.data import ChunkKind, Durability
from gfs_ha.sim.masters.world import cluster_config

PATIENCE_S = 60.0


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have wardens look all the time."""
    monkeypatch.setattr(disk_warden, "SILENT_S", 0.3)
    monkeypatch.setattr(disk_warden, "LOOK_S", 0.01)
    monkeypatch.setattr(disk_warden, "REST_MIN_S", 0.01)
    monkeypatch.setattr(disk_warden, "REST_MAX_S", 0.02)


def sealed_alone(disk: MemoryDisk, disk_id: DiskId, chunk_id: ChunkId, data: bytes) -> None:
    """Make a disk of the server, with one sealed replica on it."""
    write_identity(disk, Identity(CLUSTER, ServerId(1), disk_id, "one"))
    store = open_disks({disk_id: disk})
    spec = ReplicaSpec(chunk_id, BIRTH, ChunkKind.PUT, MIB, Durability.DISK)
    append(store.create_replica(spec), data)
    store.finish_seal(chunk_id, SEALED, len(data), digest_of(data))


@contextmanager
def serving(disks: Mapping[DiskId, MemoryDisk]) -> Iterator[House]:
    """Run the server of these disks, as its clients see it."""
    with running(disks) as server:
        assert server.store and server._data_port and server._serving
        yield House(server.store, server._data_port, server._serving)


@contextmanager
def running(disks: Mapping[DiskId, MemoryDisk]) -> Iterator[Chunkserver]:
    """Run the server of these disks. Nobody leads: what it has it serves all the same."""
    machine = Machine(
        tuple(FoundDisk(str(disk_id), one) for disk_id, one in disks.items()),
        *(TcpNetwork(RUNTIME), TcpStreams(RUNTIME), BOOT_ID, StartId(100)),
    )
    nobody = MasterAddress("m1", HOST, *free_ports(2))
    own = ChunkserverConfig("one", (), HOST, 0, "", "here")
    config = dataclasses.replace(
        cluster_config(1), cluster=ClusterConfig(CLUSTER, CLUSTER, (nobody,)), chunkserver=own
    )
    server = Chunkserver(config, own, RUNTIME, machine)
    server.start()
    try:
        server.ready.result(PATIENCE_S)
        yield server
    finally:
        assert server.stop(PATIENCE_S)
