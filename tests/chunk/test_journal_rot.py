"""A byte of the journal rots, the power goes: nobody proves less than was acknowledged (D4)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial

import pytest
from chunk_house import BIRTH, BOOT_ID, CHUNK
from journal_house import ORDER, OTHER, TailStory, open_journalled, with_journal
from replica_house import RUNTIME
from test_push_races import GatedDisk

from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.chunk.journal.frames import HEAD_BYTES, PAGE_BYTES, TITLE_BYTES
from gfs_ha.chunk.journal.reading import JOURNAL_NAME
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.ids import ChunkId

PATIENCE_S = 20.0
THIRD = ChunkId(CHUNK + 2)


@pytest.fixture
def disk() -> Iterator[GatedDisk]:
    made = GatedDisk()
    yield made
    made.gate.set()


def test_the_rotten_title_of_the_only_segment_makes_no_open_tail_proof(disk: MemoryDisk) -> None:
    store = with_journal(disk)
    story = TailStory(store, CHUNK)
    story.batch(100)
    disk.power_cycle()
    disk.flip(JOURNAL_NAME, 20)
    answer = open_journalled(disk, BOOT_ID + 1).fence(CHUNK, BIRTH, ORDER)
    assert (answer.end, answer.proof) == (0, False)


def test_a_tail_made_after_the_last_append_that_can_be_read_is_no_proof(disk: MemoryDisk) -> None:
    """Its appends may have borne any number behind the damage."""
    store = with_journal(disk)
    one = TailStory(store, CHUNK)
    one.batch(100)
    other = TailStory(store, OTHER)
    one.batch(100)
    other.batch(100)
    disk.power_cycle()
    disk.flip(JOURNAL_NAME, 2 * PAGE_BYTES + 40)
    answer = open_journalled(disk, BOOT_ID + 1).fence(OTHER, BIRTH, ORDER)
    assert (answer.end, answer.proof) == (0, False)


def batch_together(disk: GatedDisk, store: ChunkStore, stories: list[TailStory]) -> None:
    """Append to the first tail, and meanwhile to the others, which share one group of frames."""
    disk.gate.clear()
    disk.waiting.clear()
    bodies = [partial(one.batch, 60) for one in stories]
    threads = [threading.Thread(target=bodies[0])]
    threads[0].start()
    assert disk.waiting.wait(PATIENCE_S)
    ready = threading.Event()
    for count, body in enumerate(bodies[1:], 1):
        threads.append(threading.Thread(target=body))
        threads[-1].start()
        while len(store.shelves[0].journal._waiting) < count:
            assert not ready.wait(0.001)
    disk.gate.set()
    for thread in threads:
        thread.join(PATIENCE_S)


def copied(disk: MemoryDisk) -> MemoryDisk:
    """Return a disk with what is durable on another one."""
    made = MemoryDisk(RUNTIME)
    for name, inode in disk._durable_names.items():
        file = made.create(name)
        file.write(0, bytes(inode.durable))
        file.sync()
    made.sync_names()
    return made


def test_whichever_byte_rots_no_tail_proves_less_than_was_acknowledged(disk: GatedDisk) -> None:
    """One limit: of the newest group nothing tells that it was there, once its head rots."""
    with_journal(disk)  # From now on it is opened, so its syncs wait at the gate.
    store = with_journal(disk)
    stories = [TailStory(store, one) for one in (CHUNK, OTHER, THIRD)]
    batch_together(disk, store, stories)
    before = stories[0].acknowledged
    stories[0].batch(80)
    newest = store.shelves[0].journal.used_bytes - PAGE_BYTES
    disk.power_cycle()
    groups = range(PAGE_BYTES, newest + 1, PAGE_BYTES)
    assert len(groups) == 3, "alone, two together, alone"
    heads = [byte for group in groups for byte in range(group, group + 3 * HEAD_BYTES, 5)]
    for byte in (*range(0, TITLE_BYTES, 5), *heads):
        rotten = copied(disk)
        rotten.flip(JOURNAL_NAME, byte)
        again = open_journalled(rotten, BOOT_ID + 1)
        for one in stories:
            answer = again.fence(one.chunk_id, BIRTH, ORDER)
            in_newest_head = newest <= byte < newest + HEAD_BYTES
            least = before if in_newest_head and one is stories[0] else one.acknowledged
            assert not answer.proof or answer.end >= least, (byte, one.chunk_id, answer)
