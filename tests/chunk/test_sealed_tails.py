"""A tail that is sealed is a chunk like any other: copied, compared, confirmed, healed, counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from append_house import appending, order_tail
from chunk_house import BIRTH, CHUNK, House, client_room, fetch, street
from copy_house import copy_now, order, source
from replica_house import RUNTIME, digest_of, noise, open_store, readable
from tail_house import Written, make_tail

from gfs_ha.chunk.disk import opened
from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.chunk.slots.format import DATA_OFFSET
from gfs_ha.ids import LogIndex
from gfs_ha.limits import BLOCK_BYTES, MIB
from gfs_ha.protocol.tally import replica_hash

FENCE = LogIndex(20)
SEAL = LogIndex(30)
RECORDS = [noise(50_000 + number, seed=number) for number in range(5)]
DATA = b"".join(RECORDS)


@pytest.fixture
def houses(tmp_path: Path) -> Iterator[list[House]]:
    """Two servers with a sealed tail, and one that lost its replica."""
    with street(tmp_path, 3) as made:
        order_tail(made[:2], capacity=MIB)
        with appending(made[0]) as stream:
            for number, record in enumerate(RECORDS):
                stream.append(number + 1, record)
            stream.wait_for(*range(1, len(RECORDS) + 1))
        yield made


def seal(house: House) -> None:
    assert house.store.fence(CHUNK, BIRTH, FENCE).end == len(DATA)
    house.store.finish_seal(CHUNK, SEAL, len(DATA), digest_of(DATA))


def copy_order(houses: list[House]) -> object:
    wanted = order([source(house) for house in houses], index=40, data=DATA)
    return msgspec.structs.replace(wanted, kind="tail", capacity=MIB)


def test_a_sealed_tail_is_read_and_copied_like_any_chunk(houses: list[House]) -> None:
    for house in houses[:2]:
        seal(house)
    copy_now(houses[2].store, copy_order(houses[:2]))  # type: ignore[arg-type]
    tallies = {house.store.shelves[0].tally.packed() for house in houses}
    assert len(tallies) == 1 and replica_hash(CHUNK, len(DATA)).to_bytes(8, "big") in tallies.pop()
    with client_room() as room:
        for house in houses:
            assert house.store.list_sealed() == ((CHUNK, len(DATA)),)
            assert fetch(room, house, 0, len(DATA))[0] == DATA


def test_a_replica_that_missed_the_seal_is_confirmed_without_a_copy(houses: list[House]) -> None:
    seal(houses[0])
    nowhere = source(houses[0], port=1)
    wanted = msgspec.structs.replace(copy_order(houses[:1]), sources=(nowhere,))  # type: ignore[type-var]
    copy_now(houses[1].store, wanted)  # type: ignore[arg-type]
    assert houses[1].store.get(CHUNK).condition == "sealed"


@pytest.mark.parametrize("beyond", [(), (300,)])
@pytest.mark.parametrize("copy", [0, 1])
def test_whichever_copy_of_its_header_is_lost_a_sealed_tail_is_still_whole(
    copy: int, beyond: tuple[int, ...]
) -> None:
    """Its entries were cut off by the seal: nothing but a header that says so makes it valid."""
    disk = MemoryDisk(RUNTIME)
    store = open_store(disk)
    written = Written(make_tail(store))
    end = written.batch([100, 70_000])
    if beyond:
        written.batch(beyond)
    digest = digest_of(written.data[:end])
    store.fence(CHUNK, BIRTH, FENCE)
    store.finish_seal(CHUNK, FENCE, end, digest)
    disk.flip(store.get(CHUNK).name, 8192 * copy + 20)
    again = open_store(disk)
    again.finish_seal(CHUNK, FENCE, end, digest)
    assert again.get(CHUNK).condition == "sealed"
    assert readable(again.get(CHUNK), disk, end) == written.data[:end]


def test_one_that_has_a_batch_more_is_cut_to_the_seal() -> None:
    disk = MemoryDisk(RUNTIME)
    written = Written(make_tail(open_store(disk)))
    end = written.batch([100, 200])
    written.batch([300])
    store = open_store(disk)  # It started again, and the seal went on without it.
    assert store.confirm(CHUNK, BIRTH, (SEAL, end, digest_of(written.data[:end])))
    assert readable(store.get(CHUNK), disk, end) == written.data[:end]
    with opened(disk, store.get(CHUNK).name) as file:
        assert file.size() == DATA_OFFSET + end


def test_one_that_has_a_batch_less_stays_what_it_is_and_does_not_count() -> None:
    disk = MemoryDisk(RUNTIME)
    store = open_store(disk)
    written = Written(make_tail(store))
    end = written.batch([100, 200])
    longer = written.data + b"what it missed"
    assert not store.confirm(CHUNK, BIRTH, (SEAL, len(longer), digest_of(longer)))
    store.compare(CHUNK, SEAL, len(longer), digest_of(longer))
    assert store.get(CHUNK).condition == "fenced" and store.list_sealed() == ()
    assert store.get(CHUNK).header.end == end


def test_one_with_other_bytes_is_quarantined() -> None:
    store = open_store(MemoryDisk(RUNTIME))
    written = Written(make_tail(store))
    end = written.batch([100, 200])
    store.compare(CHUNK, SEAL, end, digest_of(bytes(end)))
    assert store.get(CHUNK).condition == "quarantined"


def test_a_damaged_sealed_tail_gives_way_to_a_copy(houses: list[House], tmp_path: Path) -> None:
    for house in houses[:2]:
        seal(house)
    path = tmp_path / "cs2" / houses[1].store.get(CHUNK).name
    with path.open("r+b") as file:
        file.seek(DATA_OFFSET + BLOCK_BYTES + 5)
        file.write(b"rotten")
    houses[1].store.note_damage(CHUNK)
    copy_now(houses[1].store, copy_order(houses[:1]))  # type: ignore[arg-type]
    assert houses[1].store.get(CHUNK).condition == "sealed"
    with client_room() as room:
        assert fetch(room, houses[1], 0, len(DATA))[0] == DATA
