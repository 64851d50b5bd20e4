"""The power goes at every operation of a disk with a journal, and again while it is brought in."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest
from chunk_house import BIRTH, BOOT_ID, CHUNK
from journal_house import ORDER, OTHER, TailStory, checked, content, open_journalled, with_journal
from replica_house import RUNTIME, digest_of
from test_power_cuts import survival

from gfs_ha.chunk.disk_memory import MemoryDisk, PowerCut
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.errors import UnknownReplica
from gfs_ha.ids import ChunkId, LogIndex

Told = dict[ChunkId, TailStory]
Story = Callable[[ChunkStore, Told], None]
THIRD, FOURTH = ChunkId(CHUNK + 2), ChunkId(CHUNK + 3)


def made(store: ChunkStore, told: Told, chunk_id: ChunkId) -> TailStory:
    told[chunk_id] = TailStory(store, chunk_id)
    return told[chunk_id]


def many_appends(store: ChunkStore, told: Told) -> None:
    """Small and big ones of two tails, twice around the journal."""
    one, other = made(store, told, CHUNK), made(store, told, OTHER)
    for number in range(9):
        one.batch(100 + number, 3000)
        other.batch(4000)
        if number == 3:
            one.batch(70_000)  # To its slot at once, across a block.
        store.shelves[0].journal.keep()
    other.batch(50)


def without_a_keeper(store: ChunkStore, told: Told) -> None:
    """The journal fills up, and appends go on in the slots."""
    one, other = made(store, told, CHUNK), made(store, told, OTHER)
    for _ in range(8):
        one.batch(2000)
        other.batch(300, 20)


def fences_and_seals(store: ChunkStore, told: Told) -> None:
    """Appends of a tail that is fenced or sealed are in the journal still."""
    one, other = made(store, told, CHUNK), made(store, told, OTHER)
    for number in range(3):
        one.batch(3000)
        other.batch(1000 + number)
    one.fence()
    other.batch(60_000)
    other.batch(9000 - 4500)
    other.seal()
    third = made(store, told, THIRD)
    third.batch(10)
    third.batch(20)
    store.shelves[0].journal.keep()
    store.get(THIRD).keep(LogIndex(20))
    third.batch(30)
    fourth = made(store, told, FOURTH)
    fourth.batch(2500)
    digest = digest_of(content(FOURTH, 0, 2500))
    store.finish_seal(FOURTH, ORDER, 2500, digest)  # Without a fence before.


STORIES = [many_appends, without_a_keeper, fences_and_seals]


def cut_everywhere(story: Story, luck: range = range(4)) -> Iterator[tuple[MemoryDisk, Told, str]]:
    cut = 0
    complete = False
    while not complete:
        for number in luck:
            disk = MemoryDisk(RUNTIME)
            told: Told = {}
            store = with_journal(disk)
            disk.cut_after = cut
            try:
                story(store, told)
                complete = True
            except PowerCut:
                pass
            disk.power_cycle(survival(number, cut))
            yield disk, told, f"cut after {cut}, luck {number}"
        cut += 1
        if cut % 16 == 0:
            gc.collect()  # Disks in memory, in circles of objects too few for the collector.
    assert cut >= 40, "the story was too short to mean anything"


@pytest.mark.parametrize("story", STORIES)
def test_an_append_that_was_acknowledged_survives_every_power_cut(story: Story) -> None:
    for disk, told, where in cut_everywhere(story):
        checked(open_journalled(disk, BOOT_ID + 1), disk, list(told.values()), where)


@pytest.mark.parametrize("story", STORIES)
def test_a_power_cut_while_the_journal_is_brought_in_loses_nothing(story: Story) -> None:
    for first, (disk, told, where) in enumerate(cut_everywhere(story, range(2, 3))):
        if first % 4:
            continue
        for second in range(200):
            disk.cut_after = second
            try:
                open_journalled(disk, BOOT_ID + 1)
            except PowerCut:
                disk.power_cycle(survival(2 + second % 4, second))
                if second % 16 == 0:
                    gc.collect()
                continue
            break
        disk.cut_after = None
        checked(open_journalled(disk, BOOT_ID + 2), disk, list(told.values()), where)


@pytest.mark.parametrize("story", STORIES)
def test_a_killed_server_finds_all_that_it_acknowledged_as_proof(story: Story) -> None:
    """The page cache outlives the process: its header is old, the journal tells the rest."""
    disk = MemoryDisk(RUNTIME)
    told: Told = {}
    story(with_journal(disk), told)
    store = open_journalled(disk)
    for one in told.values():
        replica = store.get(one.chunk_id)
        assert replica.header.end == one.acknowledged
        assert store.fence(one.chunk_id, replica.header.birth, LogIndex(60)).proof
        one.check(store, disk, "killed")


def test_a_torn_copy_of_a_header_is_not_forgotten_when_the_journal_is_brought_in() -> None:
    disk = MemoryDisk(RUNTIME)
    store = with_journal(disk)
    story = TailStory(store, CHUNK)
    story.batch(100)
    story.replica.settle()
    story.batch(50)
    disk.power_cycle()
    disk.flip(
        story.replica.name, 8192 + 20
    )  # What counts the first batch, which is in the journal too.
    for boot in range(3):
        again = open_journalled(disk, BOOT_ID + 1 + boot)
        assert again.get(CHUNK).condition == "damaged"
    assert not again.fence(CHUNK, BIRTH, ORDER).proof


def test_a_tail_that_is_deleted_and_made_again_gets_nothing_of_the_old_one() -> None:
    def story(store: ChunkStore, told: Told) -> None:
        one = made(store, told, CHUNK)
        one.batch(100)
        one.batch(2000)
        del told[CHUNK]
        store.delete(CHUNK, LogIndex(50))
        again = made(store, told, CHUNK)
        assert again.replica.header.end == 0
        made(store, told, OTHER).batch(5)
        for number in range(8):
            again.batch(500 + number)

    for disk, told, where in cut_everywhere(story):
        store = open_journalled(disk, BOOT_ID + 1)
        try:
            checked(store, disk, list(told.values()), where)
        except UnknownReplica:
            raise AssertionError(where) from None
