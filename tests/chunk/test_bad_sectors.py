"""Sectors that cannot be read (EIO) when a server starts, or is asked for an end (C3, D3, D4)."""

from __future__ import annotations

import pytest
from chunk_house import BIRTH, BOOT_ID, CHUNK
from journal_house import ORDER, OTHER, TailStory, open_journalled, with_journal
from replica_house import RUNTIME, append, digest_of, make_replica, noise, open_store, readable
from tail_house import Written, make_tail

from gfs_ha.chunk.disk_memory import SECTOR_BYTES, MemoryDisk
from gfs_ha.chunk.journal.frames import PAGE_BYTES
from gfs_ha.chunk.journal.reading import JOURNAL_NAME
from gfs_ha.chunk.slots import start
from gfs_ha.chunk.slots.format import COPY_BYTES, DATA_OFFSET, HEADER_BYTES
from gfs_ha.errors import DiskFailed, UnknownReplica
from gfs_ha.ids import ChunkId, LogIndex
from gfs_ha.limits import BLOCK_BYTES, MIB

DATA = noise(200_000)


@pytest.fixture
def disk() -> MemoryDisk:
    return MemoryDisk(RUNTIME)


@pytest.mark.parametrize("page", range(4))
def test_a_journal_that_cannot_be_read_in_part_is_damaged_and_the_server_starts(
    disk: MemoryDisk, page: int
) -> None:
    """Also where the newest append may be: then nobody knows what is not there."""
    store = with_journal(disk)
    one, other = TailStory(store, CHUNK), TailStory(store, OTHER)
    one.batch(100)
    other.batch(200)
    disk.power_cycle()
    disk.break_sector(JOURNAL_NAME, page * PAGE_BYTES)
    again = open_journalled(disk, BOOT_ID + 1)
    answers = [again.fence(one, BIRTH, ORDER) for one in (CHUNK, OTHER)]
    assert not any(answer.proof for answer in answers)
    assert [answer.end for answer in answers] == [100 * (page > 1), 200 * (page > 2)]
    third = TailStory(again, ChunkId(CHUNK + 2))
    journal = again.shelves[0].journal
    assert not journal.takes(1) and journal.keep()
    third.batch(100)
    disk.power_cycle()
    third.check(open_journalled(disk, BOOT_ID + 2), disk, "the journal is used again")


@pytest.mark.parametrize("copy", [0, 1])
def test_a_replica_of_which_one_header_cannot_be_read_is_known_by_the_other(
    disk: MemoryDisk, copy: int
) -> None:
    replica = make_replica(open_store(disk))
    append(replica, DATA)
    replica.finish(ORDER, len(DATA), digest_of(DATA))
    disk.break_sector(replica.name, copy * COPY_BYTES)
    again = open_store(disk)
    again.finish_seal(CHUNK, ORDER, len(DATA), digest_of(DATA))
    assert again.get(CHUNK).condition == "sealed"
    assert readable(again.get(CHUNK), disk, len(DATA)) == DATA


def test_a_slot_that_cannot_be_read_at_all_is_kept_and_the_others_are_served(
    disk: MemoryDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = with_journal(disk)
    one, other = TailStory(store, CHUNK), TailStory(store, OTHER)
    other.batch(100)
    for at in range(0, HEADER_BYTES, SECTOR_BYTES):
        disk.break_sector(one.replica.name, at)
    again = open_journalled(disk)
    assert again.unidentified == (one.replica.name,)
    with pytest.raises(UnknownReplica):
        again.get(CHUNK)
    other.check(again, disk, "beside a slot that cannot be read")
    monkeypatch.setattr(start, "UNREADABLE_MAX", 0)
    with pytest.raises(DiskFailed):
        open_journalled(disk)  # One that reads nothing any more must not look empty.


@pytest.mark.parametrize(("page", "end"), [(0, 2000), (2, 2000), (18, 72_000)])
def test_an_open_tail_with_a_sector_that_cannot_be_read_tells_what_verifies(
    disk: MemoryDisk, page: int, end: int
) -> None:
    """Else it is asked for ever, and a chunk without another replica is blocked for ever."""
    written = Written(make_tail(open_store(disk)))
    for lengths in ([2000], [70_000], [30_000]):
        written.batch(lengths)
    again = open_store(disk)
    disk.break_sector(written.replica.name, DATA_OFFSET + page * PAGE_BYTES + 2500)
    answer = again.fence(CHUNK, BIRTH, LogIndex(20))
    assert (answer.end, answer.proof) == (end, False)
    assert len(again.prove(CHUNK, LogIndex(20), end).records) == (1 if end < 70_000 else 2)


def test_a_tail_whose_entries_cannot_be_read_ends_before_them(disk: MemoryDisk) -> None:
    written = Written(make_tail(open_store(disk)))
    end = written.batch([10] * 113)  # Their frame fills the first page.
    written.batch([30])
    again = open_store(disk)
    disk.break_sector(written.replica.name, DATA_OFFSET + MIB + PAGE_BYTES)
    answer = again.fence(CHUNK, BIRTH, LogIndex(20))
    assert (answer.end, answer.proof) == (end, False)


def test_an_open_chunk_of_a_put_with_a_bad_sector_tells_the_whole_blocks_before(
    disk: MemoryDisk,
) -> None:
    replica = make_replica(open_store(disk))
    append(replica, DATA)
    again = open_store(disk)
    disk.break_sector(replica.name, DATA_OFFSET + 2 * BLOCK_BYTES + 100)
    answer = again.fence(CHUNK, BIRTH, LogIndex(20))
    assert (answer.end, answer.proof) == (2 * BLOCK_BYTES, False)
