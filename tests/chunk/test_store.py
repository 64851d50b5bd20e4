"""The store of one directory: whose it is, what is in it, and what a start makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from chunk_house import BIRTH, BOOT_ID, CHUNK, CLUSTER, identity
from replica_house import append, digest_of, make_replica, open_store

from gfs_ha.chunk.disk import PosixDisk, opened
from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.chunk.slots.identity import (
    IDENTITY_NAME,
    Identity,
    check_identity,
    read_identity,
    write_identity,
)
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.errors import UnknownReplica, WrongDirectory
from gfs_ha.ids import DiskId, LogIndex, ServerId, make_chunk_id
from gfs_ha.protocol.data import Durability
from gfs_ha.runtime import ThreadedRuntime

ORDER = LogIndex(9)


@pytest.fixture
def disk() -> MemoryDisk:
    return MemoryDisk(ThreadedRuntime())


def test_a_new_directory_is_nobodys_until_it_is_marked(disk: MemoryDisk) -> None:
    assert read_identity(disk) is None
    write_identity(disk, identity(4))
    disk.power_cycle()
    assert read_identity(disk) == identity(4)


def test_a_directory_of_somebody_else_is_refused(disk: MemoryDisk) -> None:
    own = Identity(CLUSTER, ServerId(4), DiskId(4000), "cs4")
    write_identity(disk, own)
    assert read_identity(disk) == own
    check_identity(own, CLUSTER, "cs4")
    check_identity(identity(4), CLUSTER, "cs4")  # It tells no name.
    with pytest.raises(WrongDirectory, match="cluster"):
        check_identity(own, "another", "cs4")
    with pytest.raises(WrongDirectory, match="server cs4, this is cs5"):
        check_identity(own, CLUSTER, "cs5")


def test_a_directory_with_files_but_no_mark_is_refused(disk: MemoryDisk) -> None:
    disk.create("holiday.jpg")
    with pytest.raises(WrongDirectory, match="empty"):
        read_identity(disk)


def test_a_damaged_mark_is_refused(disk: MemoryDisk) -> None:
    write_identity(disk, identity(4))
    disk.flip(IDENTITY_NAME, 20)
    with pytest.raises(WrongDirectory, match="damaged"):
        read_identity(disk)


def test_a_mark_cut_short_by_a_power_cut_is_written_again(disk: MemoryDisk) -> None:
    disk.create(IDENTITY_NAME)
    disk.sync_names()
    assert read_identity(disk) is None
    write_identity(disk, identity(4))
    assert read_identity(disk) == identity(4)


def test_the_mark_can_be_read_by_a_person(tmp_path: Path) -> None:
    disk = PosixDisk(tmp_path / "d")
    write_identity(disk, identity(4))
    assert '"server_id": 4' in (tmp_path / "d" / IDENTITY_NAME).read_text()
    disk.close()


def test_a_start_finds_what_is_open_and_what_is_sealed(disk: MemoryDisk) -> None:
    store = open_store(disk)
    chunks = [make_chunk_id(1, number) for number in (1, 2, 3)]
    for number, chunk_id in enumerate(chunks):
        append(make_replica(store, chunk_id=chunk_id), b"x" * (number + 1))
    store.finish_seal(chunks[1], ORDER, 2, digest_of(b"xx"))
    for _ in range(2):
        assert [(one.chunk_id, one.end, one.state) for one in store.list_open()] == [
            (chunks[0], 1, "open"),
            (chunks[2], 3, "open"),
        ]
        assert store.list_sealed() == ((chunks[1], 2),)
        assert store.chunk_count == 3
        store = open_store(disk)


def test_fenced_and_deleted_replicas_are_listed_as_such(disk: MemoryDisk) -> None:
    store = open_store(disk)
    append(make_replica(store), b"abc")
    store.fence(CHUNK, BIRTH, ORDER)
    assert [one.state for one in store.list_open()] == ["fenced"]
    store.delete(CHUNK, ORDER)
    assert store.list_open() == () and store.chunk_count == 0


def test_a_quarantined_chunk_is_listed_and_not_counted_as_sealed(disk: MemoryDisk) -> None:
    store = open_store(disk)
    append(make_replica(store), b"abc")
    store.finish_seal(CHUNK, ORDER, 3, digest_of(b"abc"))
    assert store.list_open() == ()
    store.quarantine(CHUNK)
    for _ in range(2):
        assert [one.state for one in store.list_open()] == ["quarantined"]
        assert store.list_sealed() == ()
        store = open_store(disk)


def test_a_slot_number_is_not_given_twice_in_one_run(disk: MemoryDisk) -> None:
    store = open_store(disk)
    first = make_replica(store, chunk_id=make_chunk_id(1, 1)).name
    second = make_replica(store, chunk_id=make_chunk_id(1, 2)).name
    store.delete(make_chunk_id(1, 2), ORDER)
    third = make_replica(store, chunk_id=make_chunk_id(1, 3)).name
    assert len({first, second, third}) == 3
    store = open_store(disk)
    assert make_replica(store, chunk_id=make_chunk_id(1, 4)).name not in (first, third)


def test_two_slots_of_one_chunk_are_never_both_served(disk: MemoryDisk) -> None:
    store = open_store(disk)
    replica = make_replica(store)
    append(replica, b"abc")
    into = memoryview(bytearray(100_000))
    with opened(disk, replica.name) as file:
        length = file.read(0, into)
    append(replica, b"def")
    twin = disk.create("00000077.slot")
    twin.write(0, into[:length])
    twin.sync()
    disk.sync_names()
    again = open_store(disk)
    assert again.get(CHUNK).header.end == 6
    assert again.unidentified == ("00000077.slot",)
    assert again.chunk_count == 1


def test_strange_files_are_left_alone(disk: MemoryDisk) -> None:
    disk.create("notes.txt")
    disk.create("0000000g.slot")
    store = open_store(disk)
    assert store.chunk_count == 0 and store.unidentified == ()
    assert disk.names() == ["0000000g.slot", "notes.txt"]


def test_a_chunk_that_is_not_here_cannot_be_fenced(disk: MemoryDisk) -> None:
    # Unknown is not length 0: the leader must not take it for an answer.
    with pytest.raises(UnknownReplica):
        open_store(disk).fence(CHUNK, BIRTH, ORDER)


def test_usage_tells_what_is_free(tmp_path: Path) -> None:
    disk = PosixDisk(tmp_path / "d")
    store = ChunkStore.on(disk, identity(1), ThreadedRuntime(), BOOT_ID)
    usage = store.shelves[0].disk.usage()
    assert 0 < usage.free <= usage.total
    disk.close()


@pytest.mark.parametrize("durability", Durability)
def test_a_sealed_slot_gives_back_what_it_does_not_need(
    tmp_path: Path, durability: Durability
) -> None:
    disk = PosixDisk(tmp_path / "d")
    store = ChunkStore.on(disk, identity(1), ThreadedRuntime(), BOOT_ID)
    replica = make_replica(store, durability, capacity=32 << 20)
    path = tmp_path / "d" / replica.name
    with replica.begin_push(0, 32 << 20) as push:
        push.append(memoryview(b""), [])
        push.commit()
    assert path.stat().st_blocks * 512 >= 32 << 20
    store.finish_seal(CHUNK, ORDER, 0, digest_of(b""))
    assert path.stat().st_blocks * 512 < 1 << 20
    disk.close()
