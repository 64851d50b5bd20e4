"""One replica: exact ends, fences, seals, reads, and what it refuses."""

from __future__ import annotations

import pytest
from chunk_house import BIRTH, BOOT_ID, CHUNK
from replica_house import append, digest_of, make_replica, noise, open_store, readable

from gfs_ha.chunk.disk import opened
from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.chunk.slots.format import DATA_OFFSET, State
from gfs_ha.errors import (
    AlreadyExists,
    ChunkUnavailable,
    DiskFailed,
    DiskFull,
    Fenced,
    LimitExceeded,
    ReplicaBusy,
    ReplicaDamaged,
    StaleOrder,
    UnknownReplica,
    WrongBirth,
    WrongOffset,
)
from gfs_ha.ids import Epoch, LogIndex
from gfs_ha.limits import BLOCK_BYTES, MIB
from gfs_ha.protocol.data import Durability
from gfs_ha.protocol.grid import part_crcs
from gfs_ha.runtime import ThreadedRuntime

ORDER = LogIndex(50)
LATER = LogIndex(60)


@pytest.fixture
def disk() -> MemoryDisk:
    return MemoryDisk(ThreadedRuntime())


BORDERS = [
    0,
    1,
    BLOCK_BYTES - 1,
    BLOCK_BYTES,
    BLOCK_BYTES + 1,
    MIB - 1,
    MIB,
]


@pytest.mark.parametrize("length", BORDERS)
def test_a_push_of_any_length_is_stored_and_sealed(disk: MemoryDisk, length: int) -> None:
    replica = make_replica(open_store(disk))
    data = noise(length)
    assert append(replica, data) == length
    assert readable(replica, disk, length) == data
    replica.finish(ORDER, length, digest_of(data))
    assert replica.header.state is State.SEALED
    assert readable(replica, disk, length) == data


@pytest.mark.parametrize("first", [1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1])
@pytest.mark.parametrize("second", [1, BLOCK_BYTES - 1, BLOCK_BYTES, 3 * BLOCK_BYTES + 7])
def test_block_crcs_are_right_wherever_pushes_meet(
    disk: MemoryDisk, first: int, second: int
) -> None:
    replica = make_replica(open_store(disk))
    data = noise(first + second)
    append(replica, data[:first], packet_bytes=997)
    append(replica, data[first:], packet_bytes=30_011)
    assert readable(replica, disk, first + second) == data
    assert replica.prove(ORDER, first).digest == digest_of(data[:first])
    assert replica.prove(ORDER, first + second).digest == digest_of(data)


def test_an_append_starts_at_the_exact_end(disk: MemoryDisk) -> None:
    replica = make_replica(open_store(disk))
    append(replica, b"abc")
    for offset in (0, 2, 4):
        with pytest.raises(WrongOffset) as refused:
            replica.begin_push(offset, 10)
        assert refused.value.details["end"] == 3


def test_one_push_at_a_time(disk: MemoryDisk) -> None:
    replica = make_replica(open_store(disk))
    with replica.begin_push(0, 10), pytest.raises(ReplicaBusy):
        replica.begin_push(0, 10)
    append(replica, b"abc")


def test_a_chunk_does_not_grow_beyond_its_capacity(disk: MemoryDisk) -> None:
    replica = make_replica(open_store(disk), capacity=100)
    append(replica, bytes(90))
    with pytest.raises(LimitExceeded):
        replica.begin_push(90, 11)
    append(replica, bytes(10))


def test_a_push_that_is_not_committed_leaves_no_byte(disk: MemoryDisk) -> None:
    replica = make_replica(open_store(disk))
    append(replica, b"kept")
    with replica.begin_push(4, 100) as push:
        push.append(memoryview(b"lost"), part_crcs(4, memoryview(b"lost")))
    assert replica.header.end == 4
    with pytest.raises(ChunkUnavailable):
        replica.plan_read(0, 5)


def test_a_broken_push_is_the_last_one(disk: MemoryDisk) -> None:
    replica = make_replica(open_store(disk))
    with replica.begin_push(0, 100) as push:
        push.append(memoryview(b"half"), part_crcs(0, memoryview(b"half")))
    with pytest.raises(Fenced, match="broke off"):
        replica.begin_push(0, 100)


def test_a_fenced_replica_takes_no_appends(disk: MemoryDisk) -> None:
    replica = make_replica(open_store(disk))
    append(replica, b"abc")
    answer = replica.fence(ORDER)
    assert (answer.end, answer.promised_end, answer.proof) == (3, 3, True)
    with pytest.raises(Fenced):
        replica.begin_push(3, 1)


def test_a_fence_stops_the_push_under_way(disk: MemoryDisk) -> None:
    replica = make_replica(open_store(disk))
    append(replica, b"abc")
    with replica.begin_push(3, 100) as push:
        push.append(memoryview(b"d"), part_crcs(3, memoryview(b"d")))
        assert replica.fence(ORDER).end == 3
        with pytest.raises(Fenced):
            push.append(memoryview(b"e"), part_crcs(4, memoryview(b"e")))
        with pytest.raises(Fenced):
            push.commit()
    assert replica.fence(ORDER).end == 3


def test_a_fence_after_the_commit_forbids_the_acknowledgement(disk: MemoryDisk) -> None:
    replica = make_replica(open_store(disk))
    append(replica, b"abc")
    replica.look_before_ack()
    assert replica.fence(ORDER).end == 3
    with pytest.raises(Fenced):
        replica.look_before_ack()


def test_orders_are_idempotent_and_older_ones_are_ignored(disk: MemoryDisk) -> None:
    store = open_store(disk)
    replica = make_replica(store)
    append(replica, b"abc")
    first = replica.fence(ORDER)
    assert replica.fence(ORDER) == first
    assert replica.fence(LATER).end == 3
    with pytest.raises(StaleOrder):
        replica.fence(ORDER)
    with pytest.raises(StaleOrder):
        replica.finish(ORDER, 3, digest_of(b"abc"))
    with pytest.raises(StaleOrder):
        store.delete(CHUNK, ORDER)
    replica.finish(LATER, 3, digest_of(b"abc"))
    replica.finish(LATER, 3, digest_of(b"abc"))
    assert replica.fence(LATER).proof


def test_an_order_that_is_repeated_writes_nothing(disk: MemoryDisk) -> None:
    replica = make_replica(open_store(disk))
    append(replica, b"abc")
    replica.fence(ORDER)
    before = disk.operations
    replica.fence(ORDER)
    assert disk.operations == before


def test_a_proof_fences_a_replica_that_missed_the_fence(disk: MemoryDisk) -> None:
    replica = make_replica(open_store(disk))
    append(replica, b"abc")
    assert replica.prove(ORDER, 2).digest == digest_of(b"ab")
    with pytest.raises(Fenced):
        replica.begin_push(3, 1)


def test_less_than_asked_for_cannot_be_proved(disk: MemoryDisk) -> None:
    replica = make_replica(open_store(disk))
    append(replica, b"abc")
    with pytest.raises(ReplicaDamaged) as refused:
        replica.prove(ORDER, 4)
    assert refused.value.details["end"] == 3
    with pytest.raises(ReplicaDamaged):
        replica.finish(ORDER, 4, 1)


def test_a_seal_cuts_to_its_length(disk: MemoryDisk) -> None:
    replica = make_replica(open_store(disk))
    data = noise(2 * BLOCK_BYTES + 100)
    append(replica, data)
    length = BLOCK_BYTES + 10
    replica.finish(ORDER, length, digest_of(data[:length]))
    assert replica.header.end == length
    assert readable(replica, disk, length) == data[:length]
    with pytest.raises(ChunkUnavailable):
        replica.plan_read(0, length + 1)
    with opened(disk, replica.name) as file:
        assert file.size() == DATA_OFFSET + length


def test_another_digest_quarantines(disk: MemoryDisk) -> None:
    store = open_store(disk)
    replica = make_replica(store)
    append(replica, b"abc")
    with pytest.raises(ReplicaDamaged, match="quarantined"):
        replica.finish(ORDER, 3, digest_of(b"abd"))
    with pytest.raises(ReplicaDamaged):
        replica.plan_read(0, 1)
    assert not replica.fence(ORDER).proof
    assert [one.state for one in store.list_open()] == ["quarantined"]
    again = open_store(disk).get(CHUNK)
    with pytest.raises(ReplicaDamaged):
        again.plan_read(0, 1)


def test_a_deleted_replica_is_gone_for_good(disk: MemoryDisk) -> None:
    store = open_store(disk)
    replica = make_replica(store)
    append(replica, b"abc")
    store.delete(CHUNK, ORDER)
    store.delete(CHUNK, ORDER)
    with pytest.raises(UnknownReplica):
        store.get(CHUNK)
    with pytest.raises(UnknownReplica):
        replica.begin_push(3, 1)
    with pytest.raises(UnknownReplica):
        replica.plan_read(0, 1)
    assert disk.names() == []
    assert open_store(disk).chunk_count == 0


def test_another_birth_is_another_chunk(disk: MemoryDisk) -> None:
    store = open_store(disk)
    make_replica(store)
    with pytest.raises(WrongBirth):
        store.get(CHUNK, Epoch(1, 4))
    with pytest.raises(WrongBirth):
        store.fence(CHUNK, Epoch(2, 3), ORDER)
    assert store.fence(CHUNK, BIRTH, ORDER).proof


def test_a_chunk_has_one_replica_here(disk: MemoryDisk) -> None:
    store = open_store(disk)
    make_replica(store)
    with pytest.raises(AlreadyExists):
        make_replica(store)


def test_a_full_disk_refuses_before_the_bytes_come() -> None:
    disk = MemoryDisk(ThreadedRuntime(), capacity=20 << 20)
    store = open_store(disk)
    replica = make_replica(store, capacity=60 * MIB)
    append(replica, noise(1000))
    with pytest.raises(DiskFull):
        replica.begin_push(1000, 40 * MIB)
    append(replica, b"small things still fit")


def test_a_disk_without_room_takes_no_new_replica() -> None:
    disk = MemoryDisk(ThreadedRuntime(), capacity=10 << 20)
    store = open_store(disk)
    with pytest.raises(DiskFull):
        make_replica(store)
    assert store.chunk_count == 0 and disk.names() == []


def test_a_failed_sync_ends_trust(disk: MemoryDisk) -> None:
    replica = make_replica(open_store(disk))
    append(replica, b"abc")
    with replica.begin_push(3, 3) as push:
        push.append(memoryview(b"def"), part_crcs(3, memoryview(b"def")))
        disk.failing = DiskFailed("cannot sync: Input/output error")
        with pytest.raises(DiskFailed):
            push.commit()
    disk.failing = None
    answer = replica.fence(ORDER)
    assert not answer.proof and "sync failed" in answer.why_not
    with pytest.raises(Fenced):
        replica.begin_push(3, 1)


# After a restart --------------------------------------------------------------------------------


def test_a_slot_that_is_gone_from_its_disk_is_a_failure_of_the_disk(disk: MemoryDisk) -> None:
    replica = make_replica(open_store(disk))
    append(replica, b"abc")
    disk.unlink(replica.name)
    for _ in range(2):
        with pytest.raises(DiskFailed, match=replica.name):
            replica.begin_push(3, 1)


def test_a_replica_takes_no_append_after_a_restart(disk: MemoryDisk) -> None:
    append(make_replica(open_store(disk)), b"abc")
    replica = open_store(disk).get(CHUNK)
    with pytest.raises(Fenced, match="before this server started"):
        replica.begin_push(3, 1)
    assert replica.plan_read(0, 3).end == 3
    assert replica.fence(ORDER).proof


def test_a_sealed_chunk_is_read_after_a_restart(disk: MemoryDisk) -> None:
    data = noise(3 * BLOCK_BYTES)
    replica = make_replica(open_store(disk))
    append(replica, data)
    replica.finish(ORDER, len(data), digest_of(data))
    store = open_store(disk)
    assert store.list_sealed() == ((CHUNK, len(data)),)
    assert store.list_open() == ()
    assert readable(store.get(CHUNK), disk, len(data)) == data


def test_a_kept_replica_is_sealed_after_a_restart(disk: MemoryDisk) -> None:
    data = noise(100_000)
    append(make_replica(open_store(disk)), data)
    store = open_store(disk)
    store.finish_seal(CHUNK, ORDER, 70_000, digest_of(data[:70_000]))
    assert readable(store.get(CHUNK), disk, 70_000) == data[:70_000]


@pytest.mark.parametrize(("damage", "end"), [(0, 0), (BLOCK_BYTES, BLOCK_BYTES), (99_999, 65536)])
def test_damage_is_no_proof_and_what_lies_before_it_is_told(
    disk: MemoryDisk, damage: int, end: int
) -> None:
    replica = make_replica(open_store(disk))
    append(replica, noise(100_000))
    disk.flip(replica.name, DATA_OFFSET + damage)
    for _ in range(2):
        answer = open_store(disk).fence(CHUNK, BIRTH, ORDER)
        assert (answer.end, answer.promised_end, answer.proof) == (end, 100_000, False)


def test_after_a_restart_an_open_chunk_is_served_up_to_what_verifies(disk: MemoryDisk) -> None:
    replica = make_replica(open_store(disk))
    data = noise(100_000)
    append(replica, data)
    assert readable(open_store(disk).get(CHUNK), disk, 100_000) == data
    disk.flip(replica.name, DATA_OFFSET + 99_000)
    again = open_store(disk).get(CHUNK)
    assert again.plan_read(0, BLOCK_BYTES).end == BLOCK_BYTES
    with pytest.raises(ChunkUnavailable, match="read another replica"):
        again.plan_read(0, 100_000)


def test_damage_of_the_last_append_leaves_the_one_before(disk: MemoryDisk) -> None:
    replica = make_replica(open_store(disk))
    data = noise(1000)
    append(replica, data[:600])
    append(replica, data[600:])
    disk.flip(replica.name, DATA_OFFSET + 800)
    answer = open_store(disk).fence(CHUNK, BIRTH, ORDER)
    assert (answer.end, answer.promised_end, answer.proof) == (600, 1000, False)
    assert open_store(disk).prove(CHUNK, ORDER, 600).digest == digest_of(data[:600])


@pytest.mark.parametrize("copy", [0, 1])
def test_a_lost_copy_of_the_header_is_no_proof_for_ever(disk: MemoryDisk, copy: int) -> None:
    replica = make_replica(open_store(disk))
    append(replica, b"abc")
    append(replica, b"def")
    disk.flip(replica.name, 8192 * copy + 20)
    for _ in range(3):
        store = open_store(disk)
        answer = store.fence(CHUNK, BIRTH, ORDER)
        assert not answer.proof and "header" in answer.why_not
        assert [one.state for one in store.list_open()] == ["damaged"]


def test_a_slot_that_nobody_can_name_is_kept(disk: MemoryDisk) -> None:
    replica = make_replica(open_store(disk))
    append(replica, b"abc")
    disk.flip(replica.name, 20)
    disk.flip(replica.name, 8192 + 20)
    store = open_store(disk)
    assert store.unidentified == (replica.name,)
    with pytest.raises(UnknownReplica):
        store.get(CHUNK)
    other = make_replica(store)
    assert other.name != replica.name
    assert replica.name in disk.names()


def test_memory_is_proof_until_the_machine_reboots(disk: MemoryDisk) -> None:
    append(make_replica(open_store(disk), Durability.MEMORY), b"abc")
    assert open_store(disk).fence(CHUNK, BIRTH, ORDER).proof
    answer = open_store(disk, BOOT_ID + 1).fence(CHUNK, BIRTH, ORDER)
    assert not answer.proof and "memory" in answer.why_not
    assert (answer.boot_id, answer.first_boot_id) == (BOOT_ID + 1, BOOT_ID)


def test_a_sealed_chunk_of_memory_counts_as_disk(disk: MemoryDisk) -> None:
    replica = make_replica(open_store(disk), Durability.MEMORY)
    append(replica, b"abc")
    replica.finish(ORDER, 3, digest_of(b"abc"))
    disk.power_cycle()
    store = open_store(disk, BOOT_ID + 1)
    assert readable(store.get(CHUNK), disk, 3) == b"abc"
    assert store.fence(CHUNK, BIRTH, LATER).proof


@pytest.mark.parametrize("copy", [0, 1])
def test_a_fence_survives_the_loss_of_either_copy(disk: MemoryDisk, copy: int) -> None:
    replica = make_replica(open_store(disk))
    append(replica, b"abc")
    replica.fence(ORDER)
    disk.flip(replica.name, 8192 * copy + 20)
    header = open_store(disk).get(CHUNK).header
    assert (header.state, header.fence_index) == (State.FENCED, ORDER)


@pytest.mark.parametrize("copy", [0, 1])
def test_a_deletion_survives_the_loss_of_either_copy(disk: MemoryDisk, copy: int) -> None:
    store = open_store(disk)
    replica = make_replica(store)
    append(replica, b"abc")
    store.delete(CHUNK, ORDER)
    disk.power_cycle()
    assert disk.names() == [replica.name], "the power went before the name was gone for good"
    disk.flip(replica.name, 8192 * copy + 20)
    store = open_store(disk)
    assert store.get(CHUNK).header.state is State.FREE
    with pytest.raises(ChunkUnavailable):
        store.get(CHUNK).plan_read(0, 1)
    store.delete(CHUNK, ORDER)
    assert disk.names() == []


def test_a_deletion_that_was_written_is_done_at_the_next_start(disk: MemoryDisk) -> None:
    store = open_store(disk)
    append(make_replica(store), b"abc")
    store.delete(CHUNK, ORDER)
    disk.power_cycle()
    assert open_store(disk).chunk_count == 0
    assert disk.names() == []
