"""A store on a disk in memory, and pushes into its replicas without a network."""

from __future__ import annotations

import random

from chunk_house import BIRTH, BOOT_ID, CHUNK, identity

from gfs_ha.checksum import block_crcs, chunk_digest
from gfs_ha.chunk.disk import opened
from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.chunk.slots.format import DATA_OFFSET
from gfs_ha.chunk.slots.replica import Replica
from gfs_ha.chunk.slots.store import ChunkStore, ReplicaSpec
from gfs_ha.ids import ChunkId
from gfs_ha.limits import MIB
from gfs_ha.protocol.data import ChunkKind, Durability
from gfs_ha.protocol.grid import part_crcs
from gfs_ha.runtime import ThreadedRuntime

RUNTIME = ThreadedRuntime()


def open_store(disk: MemoryDisk, boot_id: int = BOOT_ID) -> ChunkStore:
    return ChunkStore.on(disk, identity(1), RUNTIME, boot_id)


def make_replica(
    store: ChunkStore,
    durability: Durability = Durability.DISK,
    chunk_id: ChunkId = CHUNK,
    capacity: int = MIB,
) -> Replica:
    return store.create_replica(ReplicaSpec(chunk_id, BIRTH, ChunkKind.PUT, capacity, durability))


def append(replica: Replica, data: bytes, packet_bytes: int = 30_000) -> int:
    """Push `data` in packets and return the new end."""
    offset = replica.header.end
    with replica.begin_push(offset, len(data)) as push:
        for start in range(0, len(data), packet_bytes):
            packet = memoryview(data[start : start + packet_bytes])
            push.append(packet, part_crcs(offset + start, packet))
        return push.commit()


def stored(replica: Replica, disk: MemoryDisk, length: int) -> bytes:
    """Return the first bytes of a replica as they lie on the disk."""
    into = memoryview(bytearray(length))
    with opened(disk, replica.name) as file:
        file.read(DATA_OFFSET, into)
    return bytes(into)


def readable(replica: Replica, disk: MemoryDisk, length: int) -> bytes:
    """Return the bytes that a read would serve, with every block checked against its CRC."""
    plan = replica.plan_read(0, length)
    data = stored(replica, disk, plan.end)
    assert block_crcs(data) == list(plan.crcs) or length < plan.end
    return data[:length]


def digest_of(data: bytes) -> int:
    return chunk_digest(block_crcs(data))


def noise(length: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(length)
