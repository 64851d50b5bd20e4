"""Ranged reads from one replica: any range, any state, any damage."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from chunk_house import BIRTH, CHUNK, House, client_room, fetch, push, street, target
from relay import relays
from replica_house import digest_of, noise

from gfs_ha.checksum import crc32c
from gfs_ha.chunk.slots.format import DATA_OFFSET
from gfs_ha.client.data_room import DataRoom
from gfs_ha.client.fetch import Fetch, FetchTarget
from gfs_ha.errors import (
    ChunkUnavailable,
    CorruptData,
    ReplicaBusy,
    UnknownReplica,
    Unreachable,
    WrongBirth,
)
from gfs_ha.ids import Epoch, LogIndex, ServerId
from gfs_ha.limits import BLOCK_BYTES, KIB, MIB
from gfs_ha.protocol.data import Hop
from gfs_ha.protocol.grid import part_crcs

ORDER = LogIndex(9)
DATA = noise(2 * MIB + 777)


@pytest.fixture
def room() -> Iterator[DataRoom]:
    with client_room() as made:
        yield made


@pytest.fixture
def house(tmp_path: Path, room: DataRoom) -> Iterator[House]:
    with street(tmp_path, 1) as (made,):
        assert push(room, target([made]), DATA).complete
        yield made


def seal(house: House, length: int = len(DATA)) -> None:
    house.store.finish_seal(CHUNK, ORDER, length, digest_of(DATA[:length]))


def rot(house: House, offset: int, tmp_path: Path) -> None:
    path = tmp_path / "cs1" / house.store.get(CHUNK).name
    with path.open("r+b") as file:
        file.seek(DATA_OFFSET + offset)
        byte = file.read(1)
        file.seek(DATA_OFFSET + offset)
        file.write(bytes([byte[0] ^ 4]))


EDGES = [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 128 * KIB, len(DATA) - 1, len(DATA)]


@pytest.mark.parametrize("sealed", [False, True])
def test_every_range_comes_back_with_its_crcs(room: DataRoom, house: House, sealed: bool) -> None:
    if sealed:
        seal(house)
    ranges = [(start, end) for start in EDGES for end in EDGES if start <= end]
    chance = random.Random(7)
    ranges += [tuple(sorted(chance.choices(range(len(DATA) + 1), k=2))) for _ in range(60)]  # type: ignore[misc]
    for start, end in ranges:
        data, found = fetch(room, house, start, end - start)
        assert data == DATA[start:end]
        assert found.crc == crc32c(data)
        assert found.crcs == part_crcs(start, memoryview(data))
        assert found.sealed == sealed


def test_nothing_is_served_beyond_the_end(room: DataRoom, house: House) -> None:
    with pytest.raises(ChunkUnavailable):
        fetch(room, house, len(DATA) - 10, 11)
    seal(house, MIB)
    with pytest.raises(ChunkUnavailable):
        fetch(room, house, MIB - 10, 11)
    assert fetch(room, house, MIB - 10, 10)[0] == DATA[MIB - 10 : MIB]


def test_a_read_beside_a_push_sees_what_counted_before(room: DataRoom, house: House) -> None:
    with house.store.get(CHUNK).begin_push(len(DATA), 1000) as under_way:
        more = memoryview(bytes(1000))
        under_way.append(more, part_crcs(len(DATA), more))
        assert fetch(room, house, 0, len(DATA))[0] == DATA
        with pytest.raises(ChunkUnavailable):
            fetch(room, house, len(DATA), 1)
        under_way.commit()
    assert fetch(room, house, len(DATA), 1000)[0] == bytes(1000)


@pytest.mark.parametrize("length", [100, 200 * KIB, len(DATA)])
def test_damage_on_the_disk_is_found_and_reported(
    room: DataRoom, house: House, tmp_path: Path, length: int
) -> None:
    seal(house)
    rot(house, 50, tmp_path)
    with pytest.raises(CorruptData) as found:
        fetch(room, house, 0, length)
    assert found.value.details["block"] == 0
    assert house.damage == [(CHUNK, 0)]
    beyond = BLOCK_BYTES
    assert fetch(room, house, beyond, 300_000)[0] == DATA[beyond : beyond + 300_000]


def test_damage_under_an_edge_of_the_range_is_found(
    room: DataRoom, house: House, tmp_path: Path
) -> None:
    seal(house)
    rot(house, BLOCK_BYTES - 1, tmp_path)
    with pytest.raises(CorruptData):
        fetch(room, house, 10, 500_000)
    assert (CHUNK, 0) in house.damage


def test_damage_of_an_open_chunk_is_not_reported(
    room: DataRoom, house: House, tmp_path: Path
) -> None:
    rot(house, 50, tmp_path)
    with pytest.raises(CorruptData):
        fetch(room, house, 0, len(DATA))
    assert house.damage == []


def test_a_bit_flipped_on_the_wire_is_not_blamed_on_the_disk(room: DataRoom, house: House) -> None:
    seal(house)
    with relays([house.port.port]) as (wire,):
        wire.flip_up_at = 1_000_000
        hop = Hop(ServerId(1), "127.0.0.1", wire.port)
        into = memoryview(bytearray(len(DATA)))
        with pytest.raises(CorruptData) as found:
            Fetch(room, FetchTarget(hop, CHUNK, BIRTH), 10.0).read(0, into)
        assert found.value.details["confirmed"] == 0
    assert house.damage == []
    assert fetch(room, house, 0, len(DATA))[0] == DATA


def test_a_flipped_answer_header_is_refused(room: DataRoom, house: House) -> None:
    for at in (0, 10, 20, 40):
        with relays([house.port.port]) as (wire,):
            wire.flip_up_at = at
            hop = Hop(ServerId(1), "127.0.0.1", wire.port)
            with pytest.raises(Exception) as found:
                Fetch(room, FetchTarget(hop, CHUNK, BIRTH), 5.0).read(0, memoryview(bytearray(100)))
            assert type(found.value).__name__ in ("ProtocolError", "Unreachable")


def test_a_server_that_stops_amid_its_answer_is_given_up(
    room: DataRoom, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gfs_ha.client.fetch.FETCH_SILENCE_S", 0.5)
    with relays([house.port.port]) as (wire,):
        wire.freeze_at = 0
        hop = Hop(ServerId(1), "127.0.0.1", wire.port)
        with pytest.raises(Unreachable, match="silent"):
            Fetch(room, FetchTarget(hop, CHUNK, BIRTH), 10.0).read(0, memoryview(bytearray(100)))


def test_the_block_array_of_a_sealed_chunk_fits_its_digest(room: DataRoom, house: House) -> None:
    where = FetchTarget(house.hop, CHUNK, BIRTH)
    with pytest.raises(ReplicaBusy):
        Fetch(room, where, 10.0).read_blocks()
    seal(house)
    blocks = Fetch(room, where, 10.0).read_blocks()
    assert blocks.length == len(DATA) and blocks.digest == digest_of(DATA)
    assert blocks.crcs == part_crcs(0, memoryview(DATA))


def test_what_is_not_here_is_refused(room: DataRoom, house: House) -> None:
    into = memoryview(bytearray(1))
    with pytest.raises(UnknownReplica):
        fetch(room, house, 0, 1, CHUNK + 1)  # type: ignore[arg-type]
    with pytest.raises(WrongBirth):
        Fetch(room, FetchTarget(house.hop, CHUNK, Epoch(1, 9)), 10.0).read(0, into)
    stranger = Hop(ServerId(5), "127.0.0.1", house.port.port)
    with pytest.raises(UnknownReplica):
        Fetch(room, FetchTarget(stranger, CHUNK, BIRTH), 10.0).read(0, into)
    house.store.delete(CHUNK, ORDER)
    with pytest.raises(UnknownReplica):
        fetch(room, house, 0, 1)


def test_a_read_that_began_outlives_a_deletion(room: DataRoom, house: House) -> None:
    plan = house.store.get(CHUNK).plan_read(0, len(DATA))
    file = house.store.shelves[0].disk.open(plan.name)
    house.store.delete(CHUNK, ORDER)
    into = memoryview(bytearray(len(DATA)))
    assert file.read(DATA_OFFSET, into) == len(DATA) and into == DATA
    file.close()
