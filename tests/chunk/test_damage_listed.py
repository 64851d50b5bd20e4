"""A sealed replica that is found damaged is listed until it is whole again, and heals (D3)."""

from __future__ import annotations

from pathlib import Path

import pytest
from chunk_house import BIRTH, CHUNK, client_room, fetch, start_house, street
from copy_house import DATA, ORDER, SEALED, copy_now, order, seal, source
from replica_house import RUNTIME, digest_of, open_store

from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.chunk.slots.format import DATA_OFFSET
from gfs_ha.errors import CorruptData, ReplicaDamaged
from gfs_ha.ids import LogIndex
from gfs_ha.limits import BLOCK_BYTES

END = (len(DATA), digest_of(DATA))
OLD = LogIndex(SEALED - 1)


def listed(store: object) -> list[str]:
    return [replica.state for replica in store.list_open()]  # type: ignore[attr-defined]


def test_a_rotten_replica_is_listed_serves_its_good_blocks_and_heals(tmp_path: Path) -> None:
    disk = MemoryDisk(RUNTIME)
    store = open_store(disk)
    seal(store)
    name = store.get(CHUNK).name
    disk.flip(name, DATA_OFFSET + BLOCK_BYTES)
    store.note_damage(CHUNK)
    assert listed(store) == ["damaged"] and not any(store.shelves[0].tally.packed())
    assert store.get(CHUNK).plan_read(0, BLOCK_BYTES).crcs, "it serves what is good"
    with street(tmp_path, 1) as (house,):
        seal(house.store)
        copy_now(store, order([source(house)]))
    assert listed(store) == [] and any(store.shelves[0].tally.packed())
    assert disk.names() != [name] and store.get(CHUNK).header.order_index == ORDER


def test_a_sealed_replica_that_is_told_to_compare_reads_itself() -> None:
    disk = MemoryDisk(RUNTIME)
    store = open_store(disk)
    seal(store)
    store.compare(CHUNK, SEALED, *END)
    assert listed(store) == []
    disk.flip(store.get(CHUNK).name, DATA_OFFSET + 5)
    store.compare(CHUNK, SEALED, *END)
    assert listed(store) == ["damaged"]
    with pytest.raises(ReplicaDamaged):
        store.finish_seal(CHUNK, SEALED, *END)
    disk.flip(store.get(CHUNK).name, DATA_OFFSET + 5)
    assert store.confirm(CHUNK, BIRTH, (ORDER, *END)), "a disk that failed for a moment"
    assert listed(store) == []


def test_an_order_about_the_sealed_bytes_is_never_too_old() -> None:
    """A copy is sealed under its own order: the seal's index is below that."""
    store = open_store(MemoryDisk(RUNTIME))
    seal(store)
    store.keep(CHUNK, ORDER)
    store.finish_seal(CHUNK, OLD, *END)
    store.compare(CHUNK, OLD, *END)
    assert store.prove(CHUNK, OLD, len(DATA)).digest == END[1]
    assert store.get(CHUNK).header.order_index == ORDER + 1
    assert listed(store) == []


def test_a_damaged_block_found_by_a_read_leaves_the_server_listed_as_damaged(
    tmp_path: Path,
) -> None:
    with street(tmp_path, 1) as (house,):
        seal(house.store)
        path = tmp_path / "cs1" / house.store.get(CHUNK).name
        with path.open("r+b") as file:
            file.seek(DATA_OFFSET)
            file.write(bytes(8))
        with pytest.raises(CorruptData):
            copy_now(open_store(MemoryDisk(RUNTIME)), order([source(house)]))
        assert house.damage == [(CHUNK, 0)]
        house.store.note_damage(CHUNK)
        assert house.store.get(CHUNK, BIRTH).condition == "damaged"


@pytest.mark.parametrize("length", [1000, BLOCK_BYTES, len(DATA)])
def test_a_block_that_cannot_be_read_is_told_as_damage_and_the_others_are_served(
    length: int,
) -> None:
    disk = MemoryDisk(RUNTIME)
    house = start_house(disk, 1, RUNTIME)
    try:
        seal(house.store)
        disk.break_sector(house.store.get(CHUNK).name, DATA_OFFSET + 700)
        with client_room() as room:
            with pytest.raises(CorruptData):
                fetch(room, house, 0, length)
            assert house.damage == [(CHUNK, 0)]
            good = len(DATA) - BLOCK_BYTES
            assert fetch(room, house, BLOCK_BYTES, good)[0] == DATA[BLOCK_BYTES:]
    finally:
        house.stop()


def test_of_a_replica_that_is_known_as_damaged_no_bad_block_leaves(tmp_path: Path) -> None:
    """A big range goes out unread, for the reader to check; not of one that is in doubt."""
    with street(tmp_path, 1) as (house,), client_room() as room:
        seal(house.store)
        with (tmp_path / "cs1" / house.store.get(CHUNK).name).open("r+b") as file:
            file.seek(DATA_OFFSET + BLOCK_BYTES)
            file.write(bytes(8))
        with pytest.raises(CorruptData) as caught:
            fetch(room, house, 0, len(DATA))
        assert caught.value.details["confirmed"], "it came, and was found out here"
        house.store.note_damage(CHUNK)
        with pytest.raises(CorruptData) as caught:
            fetch(room, house, 0, len(DATA))
        assert "confirmed" not in caught.value.details, "its server kept it"
        after = fetch(room, house, 2 * BLOCK_BYTES, len(DATA) - 2 * BLOCK_BYTES)[0]
        assert after == DATA[2 * BLOCK_BYTES :]
