"""One replica read by the scrub (D3): every kind of damage is found, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from chunk_house import CHUNK
from copy_house import CAPACITY, ORDER, SEALED
from replica_house import RUNTIME, append, digest_of, make_replica, noise, open_store

from gfs_ha.chunk import scrub_check
from gfs_ha.chunk.disk import File, opened
from gfs_ha.chunk.disk_memory import MemoryDisk, PowerCut
from gfs_ha.chunk.scrub_check import BLOCKS_TOLD_MAX, Checked, check_replica
from gfs_ha.chunk.slots.format import COPY_BYTES, DATA_OFFSET
from gfs_ha.chunk.slots.slot import read_header
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.errors import NotFound
from gfs_ha.limits import BLOCK_BYTES, MIB

DATA = noise(2 * MIB + 777)
BLOCKS = -(-len(DATA) // BLOCK_BYTES)


def read(file: File, offset: int, into: memoryview) -> int:
    return file.read(offset, into)


def sealed(disk: MemoryDisk, data: bytes = DATA) -> ChunkStore:
    store = open_store(disk)
    append(make_replica(store, capacity=CAPACITY), data)
    store.finish_seal(CHUNK, SEALED, len(data), digest_of(data))
    return store


def check(store: ChunkStore) -> Checked:
    found = check_replica(store, CHUNK, read)
    assert found is not None
    return found


@pytest.fixture
def disk() -> MemoryDisk:
    return MemoryDisk(RUNTIME)


def slot(store: ChunkStore) -> str:
    return store.get(CHUNK).name


def test_a_whole_replica_is_read_to_its_end(disk: MemoryDisk) -> None:
    found = check(sealed(disk))
    assert (found.trouble, found.bad_blocks, found.mended) == ("", [], False)
    assert found.bytes_read == len(DATA)


@pytest.mark.parametrize("block", [0, 1, 15, 16, BLOCKS - 1])
def test_a_flipped_byte_in_any_block_is_found(disk: MemoryDisk, block: int) -> None:
    store = sealed(disk)
    disk.flip(slot(store), DATA_OFFSET + block * BLOCK_BYTES + 5)
    found = check(store)
    assert found.bad_blocks == [block] and f"block {block}" in found.trouble


@pytest.mark.parametrize("block", [0, 17, BLOCKS - 1])
def test_a_block_that_cannot_be_read_is_damage_and_the_others_are_not(
    disk: MemoryDisk, block: int
) -> None:
    store = sealed(disk)
    disk.break_sector(slot(store), DATA_OFFSET + block * BLOCK_BYTES)
    assert check(store).bad_blocks == [block]


@pytest.mark.parametrize("left", [len(DATA) - 1, BLOCK_BYTES, 3, 0])
def test_a_file_that_was_cut_is_damaged_where_it_ends(disk: MemoryDisk, left: int) -> None:
    store = sealed(disk)
    disk.cut_file(slot(store), DATA_OFFSET + left)
    assert check(store).bad_blocks[0] == left // BLOCK_BYTES


@pytest.mark.parametrize("left", [0, 100, COPY_BYTES, COPY_BYTES + 100])
def test_a_file_cut_within_its_headers_is_damaged(disk: MemoryDisk, left: int) -> None:
    store = sealed(disk)
    disk.cut_file(slot(store), left)
    assert check(store).trouble


def test_a_file_that_is_gone_is_damage(disk: MemoryDisk) -> None:
    store = sealed(disk)
    disk.unlink(slot(store))
    assert "there is no" in check(store).trouble
    store.note_damage(CHUNK)
    assert [one.state for one in store.list_open()] == ["damaged"]
    store.delete(CHUNK, ORDER)
    assert store.chunk_count == 0, "what is gone can be deleted"


def test_very_many_damaged_blocks_are_told_in_part(disk: MemoryDisk) -> None:
    store = sealed(disk)
    for block in range(BLOCKS):
        disk.flip(slot(store), DATA_OFFSET + block * BLOCK_BYTES)
    assert check(store).bad_blocks == list(range(BLOCKS_TOLD_MAX))


@pytest.mark.parametrize("copy", [0, 1])
@pytest.mark.parametrize("at", [0, 40, COPY_BYTES // 2])
def test_one_damaged_header_is_written_anew_from_the_other(
    disk: MemoryDisk, copy: int, at: int
) -> None:
    data = noise(64 * BLOCK_BYTES) if at == COPY_BYTES // 2 else DATA
    store = sealed(disk, data)
    offset = copy * COPY_BYTES + (300 if at == COPY_BYTES // 2 else at)
    disk.flip(slot(store), offset)
    first = read_header(disk, slot(store))
    found = check(store)
    assert found.trouble == "" and found.mended == bool(first and first.copy_lost)
    after = read_header(disk, slot(store))
    assert after is not None and not after.copy_lost
    again = open_store(disk)
    assert again.get(CHUNK).condition == "sealed" and again.get(CHUNK).header.end == len(data)
    assert not check(again).mended


@pytest.mark.parametrize("copy", [0, 1])
def test_no_power_cut_amid_the_mending_loses_the_header(disk: MemoryDisk, copy: int) -> None:
    for cut in range(8):
        fresh = MemoryDisk(RUNTIME)
        store = sealed(fresh)
        name = slot(store)
        fresh.flip(name, copy * COPY_BYTES + 40)
        fresh.cut_after = cut
        try:
            check_replica(store, CHUNK, read)
        except PowerCut:
            pass
        fresh.power_cycle(lambda write, sector: (write + sector) % 2 == 0)
        reading = read_header(fresh, name)
        assert reading is not None and reading.header.end == len(DATA)
        assert not open_store(fresh).unidentified


@pytest.mark.parametrize("copy", [0, 1])
def test_the_good_copy_of_a_header_is_not_touched(disk: MemoryDisk, copy: int) -> None:
    store = sealed(disk)
    name = slot(store)
    disk.flip(name, copy * COPY_BYTES + 40)
    disk.cut_after = 1  # One write, and no sync.
    with pytest.raises(PowerCut):
        check_replica(store, CHUNK, read)
    disk.power_cycle(lambda write, sector: True)
    reading = read_header(disk, name)
    assert reading is not None and not reading.copy_lost


def test_a_header_is_not_mended_from_one_that_knows_other_bytes(disk: MemoryDisk) -> None:
    """The older copy is of before the seal, which cut the replica: its CRCs are others.

    So an older release left it, which stamped one copy only.
    """
    store = open_store(disk)
    append(make_replica(store, capacity=CAPACITY), DATA)
    older = memoryview(bytearray(COPY_BYTES))
    with opened(disk, slot(store)) as file:
        place = store.get(CHUNK).header.generation % 2 * COPY_BYTES
        file.read(place, older)
    length = BLOCK_BYTES + 9
    store.finish_seal(CHUNK, SEALED, length, digest_of(DATA[:length]))
    with opened(disk, slot(store)) as file:
        file.write(place, older)
    disk.flip(slot(store), COPY_BYTES - place + 40)
    found = check(store)
    assert "CRCs are lost" in found.trouble and not found.mended
    assert store.get(CHUNK).header.end == length


def test_a_replica_without_any_good_header_is_damaged(disk: MemoryDisk) -> None:
    store = sealed(disk)
    for copy in range(2):
        disk.flip(slot(store), copy * COPY_BYTES + 40)
    assert "header" in check(store).trouble


def test_blocks_that_were_given_back_are_no_damage(disk: MemoryDisk) -> None:
    store = sealed(disk)
    store.punch(CHUNK, ORDER, 0b1011)
    assert check(store).trouble == ""
    store.punch(CHUNK, ORDER, (1 << BLOCKS) - 1)
    found = check(store)
    assert found.trouble == "" and found.bytes_read == 0


def meanwhile(store: ChunkStore, act: Callable[[], object]) -> Checked | None:
    """Check a replica while something happens to it before the second piece is read."""
    pieces = 0

    def slow(file: File, offset: int, into: memoryview) -> int:
        nonlocal pieces
        pieces += 1
        if pieces == 2:
            act()
        return file.read(offset, into)

    return check_replica(store, CHUNK, slow)


def test_blocks_given_back_while_they_are_read_are_no_damage(disk: MemoryDisk) -> None:
    store = sealed(disk)
    found = meanwhile(store, lambda: store.punch(CHUNK, ORDER, 1 << 20))
    assert found is not None and found.trouble == ""


@pytest.mark.parametrize("act", ["punch", "delete"])
def test_what_goes_between_two_looks_at_a_block_is_no_damage(
    disk: MemoryDisk, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    store = sealed(disk)
    disk.flip(slot(store), DATA_OFFSET + 3)
    look = scrub_check._reads

    def go_first(*arguments: object) -> bool:
        if act == "punch":
            store.punch(CHUNK, ORDER, 1)
        else:
            store.delete(CHUNK, ORDER)
        return look(*arguments)

    monkeypatch.setattr(scrub_check, "_reads", go_first)
    assert check(store).trouble == ""


def test_a_replica_deleted_while_it_is_read_is_no_damage(disk: MemoryDisk) -> None:
    store = sealed(disk)

    def delete() -> None:
        disk.flip(slot(store), DATA_OFFSET + MIB + 3)
        store.delete(CHUNK, ORDER)

    found = meanwhile(store, delete)
    assert found is not None and found.trouble == ""
    assert check_replica(store, CHUNK, read) is None


def test_what_is_not_sealed_or_known_as_damaged_is_left_alone(disk: MemoryDisk) -> None:
    store = open_store(disk)
    assert check_replica(store, CHUNK, read) is None
    append(make_replica(store, capacity=CAPACITY), DATA)
    assert check_replica(store, CHUNK, read) is None
    store.finish_seal(CHUNK, SEALED, len(DATA), digest_of(DATA))
    store.note_damage(CHUNK)
    assert check_replica(store, CHUNK, read) is None


def test_a_bit_that_flips_on_its_way_is_no_damage(disk: MemoryDisk) -> None:
    store = sealed(disk)

    def flipping(file: File, offset: int, into: memoryview) -> int:
        count = file.read(offset, into)
        into[7] ^= 1
        return count

    found = check_replica(store, CHUNK, flipping)
    assert found is not None and found.trouble == ""


def test_a_disk_that_fails_as_a_whole_is_told(disk: MemoryDisk) -> None:
    store = sealed(disk)
    disk.failing = NotFound("no disk")
    assert check(store).trouble == "no disk"
