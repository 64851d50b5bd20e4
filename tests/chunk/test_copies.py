"""Copies over real streams: whole and verified or not there, from whichever source is good."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chunk_house import BIRTH, CHUNK, House, street
from copy_house import (
    CAPACITY,
    DATA,
    EPOCH,
    ORDER,
    SEALED,
    Target,
    copy_now,
    order,
    outcome,
    seal,
    source,
    working_copies,
)
from relay import relays
from replica_house import RUNTIME, append, digest_of, make_replica, noise, open_store, readable

from gfs_ha.chunk.disk_memory import MemoryDisk, MemoryFile
from gfs_ha.chunk.slots.format import DATA_OFFSET
from gfs_ha.chunk.slots.store import ChunkStore, ReplicaSpec
from gfs_ha.errors import (
    AlreadyExists,
    CorruptData,
    DiskFull,
    ReplicaBusy,
    StaleOrder,
    UnknownReplica,
    Unreachable,
)
from gfs_ha.ids import Epoch, LogIndex
from gfs_ha.limits import BLOCK_BYTES, MIB
from gfs_ha.protocol.control import CopyProgress, OrderDone, OrderFailed
from gfs_ha.protocol.data import ChunkKind, Durability

LATER = LogIndex(60)


@pytest.fixture
def houses(tmp_path: Path) -> Iterator[list[House]]:
    with street(tmp_path, 2) as made:
        for house in made:
            seal(house.store)
        yield made


@pytest.fixture
def disk() -> MemoryDisk:
    return MemoryDisk(RUNTIME)


@pytest.fixture
def store(disk: MemoryDisk) -> ChunkStore:
    return open_store(disk)


def rot(house: House, tmp_path: Path, *blocks: int) -> None:
    number = house.store.server_id
    path = tmp_path / f"cs{number}" / house.store.get(CHUNK).name
    with path.open("r+b") as file:
        for block in blocks:
            file.seek(DATA_OFFSET + block * BLOCK_BYTES + 9)
            byte = file.read(1)
            file.seek(DATA_OFFSET + block * BLOCK_BYTES + 9)
            file.write(bytes([byte[0] ^ 4]))


def check_whole(store: ChunkStore, disk: MemoryDisk, data: bytes = DATA) -> None:
    replica = store.get(CHUNK, BIRTH)
    assert replica.condition == "sealed" and replica.header.end == len(data)
    assert replica.header.digest == digest_of(data)
    assert readable(replica, disk, len(data)) == data


def check_nothing(store: ChunkStore, disk: MemoryDisk) -> None:
    with pytest.raises(UnknownReplica):
        store.get(CHUNK)
    assert disk.names() == [] and store.list_open() == ()


def test_a_copy_is_whole_sealed_and_there_after_a_power_cut(
    houses: list[House], store: ChunkStore, disk: MemoryDisk
) -> None:
    copy_now(store, order([source(houses[0])]))
    check_whole(store, disk)
    assert store.get(CHUNK).header.order_index == ORDER
    assert store.list_open() == () and store.list_sealed() == ((CHUNK, len(DATA)),)
    disk.power_cycle()
    check_whole(open_store(disk), disk)


@pytest.mark.parametrize("length", [0, 1, BLOCK_BYTES, BLOCK_BYTES + 1, MIB, MIB + 1])
def test_a_chunk_of_any_length_is_copied(
    tmp_path: Path, store: ChunkStore, disk: MemoryDisk, length: int
) -> None:
    with street(tmp_path, 1) as (house,):
        seal(house.store, DATA[:length])
        copy_now(store, order([source(house)], data=DATA[:length]))
    check_whole(store, disk, DATA[:length])


def test_an_order_that_comes_again_is_done_at_once(
    houses: list[House], store: ChunkStore, disk: MemoryDisk
) -> None:
    copy_now(store, order([source(houses[0])]))
    names = disk.names()
    nowhere = source(houses[0], port=1)
    copy_now(store, order([nowhere]))
    copy_now(store, order([nowhere], LATER))
    assert disk.names() == names and store.get(CHUNK).header.order_index == LATER
    assert outcome(store, order([nowhere], ORDER)) == "StaleOrder"


def test_a_valid_replica_is_found_whatever_its_header_says(
    houses: list[House], store: ChunkStore, disk: MemoryDisk
) -> None:
    append(make_replica(store, capacity=4 * MIB), DATA + b"more")
    store.quarantine(CHUNK)
    copy_now(store, order([source(houses[0], port=1)]))
    check_whole(store, disk)


def test_a_bad_block_comes_from_the_next_source_and_its_server_hears_of_it(
    houses: list[House], store: ChunkStore, disk: MemoryDisk, tmp_path: Path
) -> None:
    rot(houses[0], tmp_path, 3, 20)
    rot(houses[1], tmp_path, 4)
    copy_now(store, order([source(house) for house in houses]))
    check_whole(store, disk)
    assert set(houses[0].damage) == {(CHUNK, 3), (CHUNK, 20)} and houses[1].damage == []


def test_a_block_that_is_bad_everywhere_fails_the_copy_and_names_the_servers(
    houses: list[House], store: ChunkStore, disk: MemoryDisk, tmp_path: Path
) -> None:
    for house in houses:
        rot(house, tmp_path, 17)
    with pytest.raises(CorruptData, match="server 1: block 17 is damaged; server 2: block 17"):
        copy_now(store, order([source(house) for house in houses]))
    check_nothing(store, disk)


def test_a_source_with_another_chunk_is_not_taken(
    houses: list[House], store: ChunkStore, disk: MemoryDisk
) -> None:
    other = noise(len(DATA), seed=5)
    with pytest.raises(CorruptData, match="another chunk"):
        copy_now(store, order([source(houses[0])], data=other))
    check_nothing(store, disk)


def test_sources_that_are_not_sealed_yet_are_named_so(
    tmp_path: Path, store: ChunkStore, disk: MemoryDisk
) -> None:
    """It is tried again soon: sealing them takes a moment."""
    with street(tmp_path / "open", 2) as houses:
        for house in houses:
            append(make_replica(house.store, capacity=CAPACITY), DATA)
        with pytest.raises(ReplicaBusy, match="not sealed here yet"):
            copy_now(store, order([source(house) for house in houses]))
    check_nothing(store, disk)


@pytest.mark.parametrize("fault", ["cut_at", "freeze_at"])
def test_a_source_that_dies_or_falls_silent_is_gone_on_from_at_the_next(
    houses: list[House], store: ChunkStore, disk: MemoryDisk, fault: str
) -> None:
    with relays([houses[0].port.port]) as (wire,):
        # The requests of the block array and of the first piece, but no more.
        setattr(wire, fault, 250)
        copy_now(store, order([source(houses[0], wire.port), source(houses[1])]))
    check_whole(store, disk)


def test_a_bit_that_flips_on_the_way_costs_one_more_read_of_its_block(
    houses: list[House], store: ChunkStore, disk: MemoryDisk
) -> None:
    with relays([houses[0].port.port]) as (wire,):
        wire.flip_up_at = 500_000
        copy_now(store, order([source(houses[0], wire.port)]))
    check_whole(store, disk)
    assert houses[0].damage == []


def test_no_source_that_answers_is_said_with_its_reasons(
    houses: list[House], store: ChunkStore, disk: MemoryDisk
) -> None:
    houses[1].store.delete(CHUNK, LATER)
    with pytest.raises(Unreachable, match=r"server 1: Unreachable.*server 2: UnknownReplica"):
        copy_now(store, order([source(houses[0], port=1), source(houses[1])]))
    check_nothing(store, disk)


def test_a_full_disk_fails_the_copy_and_keeps_what_was_there(houses: list[House]) -> None:
    small = MemoryDisk(RUNTIME, capacity=18 * MIB)
    store = open_store(small)
    append(make_replica(store, capacity=4 * MIB), DATA[:1000])
    with pytest.raises(DiskFull):
        copy_now(store, order([source(houses[0])]))
    assert len(small.names()) == 1
    assert store.fence(CHUNK, BIRTH, ORDER).end == 1000


@pytest.mark.parametrize("trouble", ["short", "rotten", "quarantined and other", "fenced"])
def test_what_is_not_valid_here_is_replaced(
    houses: list[House], store: ChunkStore, disk: MemoryDisk, trouble: str
) -> None:
    if trouble == "short":
        append(make_replica(store, capacity=4 * MIB), DATA[:MIB])
    elif trouble == "rotten":
        seal(store)
        disk.flip(store.get(CHUNK).name, DATA_OFFSET + MIB)
    elif trouble == "quarantined and other":
        append(make_replica(store, capacity=4 * MIB), noise(len(DATA), seed=3))
        store.quarantine(CHUNK)
    else:
        append(make_replica(store, capacity=4 * MIB), DATA[:MIB])
        store.fence(CHUNK, BIRTH, LogIndex(30))
    copy_now(store, order([source(houses[0])]))
    check_whole(store, disk)
    assert len(disk.names()) == 1 and store.list_open() == ()
    disk.power_cycle()
    check_whole(open_store(disk), disk)


def test_beside_a_copy_nobody_makes_a_replica(store: ChunkStore, disk: MemoryDisk) -> None:
    spec = ReplicaSpec(CHUNK, BIRTH, ChunkKind.PUT, 4 * MIB, Durability.DISK)
    copy = store.begin_copy(spec, ORDER, len(DATA))
    with pytest.raises(AlreadyExists):
        store.create_replica(spec)
    with pytest.raises(ReplicaBusy):
        store.fence(CHUNK, BIRTH, ORDER)
    with pytest.raises(ReplicaBusy):
        store.begin_copy(spec, LATER, len(DATA))
    store.delete(CHUNK, LATER)
    store.drop_copy(copy)
    check_nothing(store, disk)


def test_orders_in_the_workers_are_answered_and_told_of(
    houses: list[House], store: ChunkStore
) -> None:
    with working_copies(store) as target:
        wanted = order([source(houses[0])])
        target.copies.take(EPOCH, wanted)
        assert target.answer() == OrderDone(CHUNK, ORDER, "copy")
        assert target.copies.progress() == ()
        target.copies.take(Epoch(1, 8), order([source(houses[0])], LATER))
        target.copies.take(EPOCH, order([source(houses[0], port=1)], LATER))
        assert target.answer() == OrderDone(CHUNK, LATER, "copy")


def wait_until_slow(target: Target) -> None:
    """Wait for the first piece of a copy that has no tokens for the next ones."""
    while not any(one.bytes_done for one in target.copies.progress()):
        RUNTIME.sleep(0.002)


def test_a_slow_copy_is_shown_may_be_sped_up_and_is_not_begun_twice(
    houses: list[House], store: ChunkStore, disk: MemoryDisk
) -> None:
    with working_copies(store) as target:
        target.copies.take(EPOCH, order([source(houses[0])], bytes_per_s=100_000))
        wait_until_slow(target)
        assert target.copies.progress() == (CopyProgress(CHUNK, ORDER, MIB, len(DATA)),)
        assert len(disk.names()) == 1 and store.list_open() == () and store.chunk_count == 0
        target.copies.take(EPOCH, order([source(houses[0])], bytes_per_s=0))
        assert target.answer() == OrderDone(CHUNK, ORDER, "copy")


def test_a_copy_that_is_stopped_leaves_nothing_and_does_not_come_back(
    houses: list[House], store: ChunkStore, disk: MemoryDisk
) -> None:
    with working_copies(store) as target:
        target.copies.take(EPOCH, order([source(houses[0])], bytes_per_s=1))
        wait_until_slow(target)
        with pytest.raises(StaleOrder):
            target.copies.check_newest(CHUNK, SEALED)
        target.copies.check_newest(CHUNK, LATER)
        target.copies.end(CHUNK, LATER)
        answer = target.answer()
        assert isinstance(answer, OrderFailed) and answer.failure.error == "Cancelled"
        check_nothing(store, disk)
        target.copies.take(EPOCH, order([source(houses[0])]))
        answer = target.answer()
        assert isinstance(answer, OrderFailed) and answer.failure.error == "StaleOrder"
        target.copies.take(EPOCH, order([source(houses[0])], LATER + 1))
        assert target.answer() == OrderDone(CHUNK, LATER + 1, "copy")


def test_a_newer_order_takes_the_place_of_a_copy_that_runs(
    houses: list[House], store: ChunkStore, disk: MemoryDisk
) -> None:
    with working_copies(store) as target:
        target.copies.take(EPOCH, order([source(houses[0])], bytes_per_s=1))
        wait_until_slow(target)
        target.copies.take(EPOCH, order([source(houses[1])], LATER))
        answer = target.answer()
        if isinstance(answer, OrderFailed):  # The newest is enough, where both came meanwhile.
            assert answer.order_index == ORDER
            answer = target.answer()
        assert answer == OrderDone(CHUNK, LATER, "copy")
        check_whole(store, disk)


def test_a_kept_replica_is_deleted_by_a_newer_order_only(
    store: ChunkStore, disk: MemoryDisk
) -> None:
    seal(store)
    for _ in range(2):
        store.keep(CHUNK, LATER)
        with pytest.raises(StaleOrder):
            store.delete(CHUNK, LATER)
        disk.power_cycle()
        store = open_store(disk)
        check_whole(store, disk)
    store.delete(CHUNK, LogIndex(LATER + 1))
    check_nothing(store, disk)
    with pytest.raises(UnknownReplica):
        store.keep(CHUNK, LATER)


def test_a_copy_is_written_back_in_windows(
    houses: list[House], store: ChunkStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows: list[tuple[int, int]] = []

    def note(file: MemoryFile, offset: int, length: int) -> None:
        windows.append((offset - DATA_OFFSET, length))

    monkeypatch.setattr(MemoryFile, "write_back", note)
    copy_now(store, order([source(houses[0])]))
    assert windows == [(0, MIB), (MIB, MIB)], "and the rest by the sync at the end"
