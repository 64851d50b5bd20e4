"""The tally is what a count of all sealed, whole replicas would give, whatever happened before."""

from __future__ import annotations

import random
import struct
from array import array

import pytest
from chunk_house import BIRTH
from replica_house import RUNTIME, append, digest_of, make_replica, noise, open_store
from test_copy_power_cuts import ORDER

from gfs_ha.checksum import block_crcs
from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.chunk.slots.format import COPY_BYTES
from gfs_ha.chunk.slots.store import ChunkStore, ReplicaSpec
from gfs_ha.chunk.slots.tally import Tally
from gfs_ha.errors import GfsError
from gfs_ha.ids import ChunkId, LogIndex, make_chunk_id
from gfs_ha.limits import MIB
from gfs_ha.protocol.codec import encode
from gfs_ha.protocol.control import DiskTally
from gfs_ha.protocol.data import ChunkKind, Durability
from gfs_ha.protocol.tally import BUCKETS, bucket_of, replica_hash

DATA = noise(70_000)
CHUNKS = [make_chunk_id(1, number) for number in range(1, 9)]


def counted(store: ChunkStore) -> bytes:
    """Return the tally by its definition, from a listing of all buckets."""
    numbers = [0] * BUCKETS
    for listing in store.list_buckets(store.shelves[0], range(BUCKETS)):
        for chunk_id, length, damaged in listing.replicas:
            hashed = replica_hash(chunk_id, length)
            assert bucket_of(hashed) == listing.bucket
            if not damaged:
                numbers[listing.bucket] ^= hashed
    return struct.pack(f">{BUCKETS}Q", *numbers)


def copy_in(store: ChunkStore, chunk_id: ChunkId, index: LogIndex, data: bytes) -> None:
    spec = ReplicaSpec(chunk_id, BIRTH, ChunkKind.PUT, MIB, Durability.DISK)
    slot = store.begin_copy(spec, index, len(data))
    try:
        slot.append(memoryview(data), array("I", block_crcs(data)))
        store.install_copy(slot, digest_of(data), lambda: True)
    finally:
        store.drop_copy(slot)


def step(store: ChunkStore, chance: random.Random, index: LogIndex) -> None:
    chunk_id = chance.choice(CHUNKS)
    data = DATA[: chance.randrange(1, len(DATA))]
    deed = chance.randrange(8)
    if deed == 0:
        append(make_replica(store, chunk_id=chunk_id), data)
    elif deed == 1:
        end = store.get(chunk_id).header.end
        store.finish_seal(chunk_id, index, end, digest_of(DATA[:end]))
    elif deed == 2:
        store.delete(chunk_id, index)
    elif deed == 3:
        store.quarantine(chunk_id)
    elif deed == 4:
        copy_in(store, chunk_id, index, data)
    elif deed == 5:
        store.confirm(chunk_id, BIRTH, (index, len(data), digest_of(data)))
    elif deed == 6:
        store.fence(chunk_id, BIRTH, index)
    else:
        store.compare(chunk_id, index, len(data), digest_of(data[::-1]))


@pytest.mark.parametrize("seed", range(6))
def test_the_tally_is_what_a_count_would_give(seed: int) -> None:
    chance = random.Random(seed)
    disk = MemoryDisk(RUNTIME)
    store = open_store(disk)
    done = 0
    for number in range(250):
        try:
            step(store, chance, LogIndex(ORDER + number))
            done += 1
        except GfsError:
            pass  # An order that makes no sense now.
        assert store.shelves[0].tally.packed() == counted(store), number
        if chance.randrange(25) == 0:
            disk.power_cycle()
            before = {name[0] for name in store.list_sealed()}
            store = open_store(disk)
            assert store.shelves[0].tally.packed() == counted(store)
            assert {name[0] for name in store.list_sealed()} <= before | set(CHUNKS)
    assert done > 60


def test_a_damaged_header_takes_a_replica_out_of_the_tally() -> None:
    disk = MemoryDisk(RUNTIME)
    store = open_store(disk)
    append(make_replica(store, chunk_id=CHUNKS[0]), DATA)
    store.finish_seal(CHUNKS[0], ORDER, len(DATA), digest_of(DATA))
    hashed = replica_hash(CHUNKS[0], len(DATA))
    (listing,) = store.list_buckets(store.shelves[0], [bucket_of(hashed)])
    assert listing.replicas == ((CHUNKS[0], len(DATA), False),)
    assert any(store.shelves[0].tally.packed())
    disk.flip(store.get(CHUNKS[0]).name, COPY_BYTES + 20)
    store = open_store(disk)
    assert not any(store.shelves[0].tally.packed())
    assert store.list_buckets(store.shelves[0], [bucket_of(hashed)])[0].replicas[0][2], (
        "listed as damaged"
    )


def test_an_unchanged_tally_costs_nothing_and_a_changed_one_two_kilobytes() -> None:
    tally = Tally(RUNTIME)
    for number in range(100_000):
        tally.change(ChunkId(number), None, 64 * MIB)
    packed = tally.packed()
    assert tally.packed() is packed
    assert len(encode(DiskTally(1, packed))) < 2100  # type: ignore[arg-type]
    tally.change(ChunkId(5), 64 * MIB, None)
    assert tally.packed() is not packed
