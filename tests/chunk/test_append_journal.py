"""The journal of a disk: what shares its syncs; when it is full, fails or is damaged (D4)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from chunk_house import BIRTH, BOOT_ID, CHUNK
from journal_house import (
    ORDER,
    OTHER,
    SMALL,
    TailStory,
    content,
    open_journalled,
    with_journal,
)
from replica_house import RUNTIME, digest_of
from tail_house import entries_of, make_tail
from test_push_races import GatedDisk

from gfs_ha.checksum import crc32c
from gfs_ha.chunk.disk_memory import MemoryDisk, MemoryFile, PowerCut
from gfs_ha.chunk.journal.frames import (
    PAGE_BYTES,
    Append,
    Frame,
    SegmentState,
    Title,
    encode_frame,
    read_segment,
)
from gfs_ha.chunk.journal.journal import Journal, JournalShape
from gfs_ha.chunk.journal.reading import JOURNAL_NAME
from gfs_ha.chunk.slots.recovery import bring_in
from gfs_ha.chunk.slots.slot import read_header
from gfs_ha.chunk.slots.start import read_slots
from gfs_ha.errors import DiskFailed, Fenced
from gfs_ha.ids import ChunkId, DiskId, Epoch, LogIndex
from gfs_ha.net.buffers import BufferPool
from gfs_ha.protocol.data import Durability
from gfs_ha.protocol.records import pack_entries

PATIENCE_S = 20.0
SHAPE = JournalShape(segments=3, segment_bytes=64 * PAGE_BYTES, append_bytes_max=5000)


@pytest.fixture
def disk() -> MemoryDisk:
    return MemoryDisk(RUNTIME)


def in_header(disk: MemoryDisk, story: TailStory) -> int:
    """Return the end that the header of a slot tells on the disk."""
    reading = read_header(disk, story.replica.name)
    assert reading is not None
    return reading.header.end


# What goes where ----------------------------------------------------------------------------------


def test_a_small_append_is_safe_with_one_sync_of_the_journal_and_its_header_follows(
    disk: MemoryDisk,
) -> None:
    store = with_journal(disk)
    story = TailStory(store, CHUNK)
    story.batch(100)  # The first one opens a segment.
    before = disk.operations
    story.batch(100, 200)
    # Reserving nothing: data and entries to the slot, a group to the journal, a sync.
    assert disk.operations - before == 4
    assert (story.replica.header.end, in_header(disk, story)) == (400, 0)
    story.replica.settle()
    assert in_header(disk, story) == 400


def test_a_big_append_goes_to_its_slot_and_takes_along_what_is_in_the_journal(
    disk: MemoryDisk,
) -> None:
    store = with_journal(disk)
    story = TailStory(store, CHUNK)
    story.batch(100)
    used = store.shelves[0].journal.used_bytes
    story.batch(SMALL.append_bytes_max + 1)
    assert store.shelves[0].journal.used_bytes == used
    assert in_header(disk, story) == story.acknowledged


def test_appends_kept_in_memory_only_need_no_journal(disk: MemoryDisk) -> None:
    store = with_journal(disk)
    make_tail(store, Durability.MEMORY)
    story = TailStory.__new__(TailStory)
    story.chunk_id, story.lengths, story.acknowledged = CHUNK, [], 0
    story.replica = store.get(CHUNK)
    story.batch(100)
    assert store.shelves[0].journal.used_bytes == 0


def test_a_journal_that_is_full_takes_no_more_until_it_was_kept(disk: MemoryDisk) -> None:
    store = with_journal(disk)
    one, other = TailStory(store, CHUNK), TailStory(store, OTHER)
    other.batch(10)
    for _ in range(20):
        one.batch(3000)
    full = SMALL.segments * SMALL.segment_bytes
    assert store.shelves[0].journal.used_bytes == full
    assert in_header(disk, one) == one.acknowledged
    assert in_header(disk, other) == 0
    assert store.shelves[0].journal.keep()
    assert in_header(disk, other) == 10
    assert store.shelves[0].journal.used_bytes < full
    one.batch(3000)
    assert in_header(disk, one) < one.acknowledged


def test_a_journal_that_is_gone_begins_above_what_the_replicas_are_not_of(
    disk: MemoryDisk,
) -> None:
    store = with_journal(disk)
    TailStory(store, OTHER).batch(100)
    floor = TailStory(store, CHUNK).replica.header.journal_floor
    assert floor > 0, "what was in the journal before it was made is not of it"
    disk.unlink(JOURNAL_NAME)
    assert open_journalled(disk).shelves[0].journal.last_lsn >= floor


def test_the_journal_of_a_server_that_stops_is_empty_then(disk: MemoryDisk) -> None:
    store = with_journal(disk)
    story = TailStory(store, CHUNK)
    story.batch(100)
    store.shelves[0].journal.end()
    assert in_header(disk, story) == 100
    assert store.shelves[0].journal.used_bytes == 0
    story.batch(100)  # Whatever still comes goes to the slot.
    assert in_header(disk, story) == 200


def test_on_a_disk_that_is_nearly_full_there_is_no_journal() -> None:
    disk = MemoryDisk(RUNTIME, capacity=17 << 20)
    store = open_journalled(disk)
    story = TailStory(store, CHUNK)
    story.batch(100)
    assert not store.shelves[0].journal.keep()
    story.batch(100)
    assert in_header(disk, story) == 200
    assert JOURNAL_NAME not in disk.names()


# Several at once ----------------------------------------------------------------------------------


@pytest.fixture
def gated() -> Iterator[GatedDisk]:
    made = GatedDisk()
    with_journal(made, SHAPE)  # From now on it is opened, so its syncs wait at the gate.
    yield made
    made.gate.set()


def start(body: object) -> threading.Thread:
    thread = threading.Thread(target=body)  # type: ignore[arg-type]
    thread.start()
    return thread


def wait_until_waiting(store: object, count: int) -> None:
    """Return when so many appends wait for the one that is being synced."""
    journal = store.shelves[0].journal  # type: ignore[attr-defined]
    ready = threading.Event()
    while len(journal._waiting) < count:
        assert not ready.wait(0.001)


def test_appends_of_several_tails_that_come_during_a_sync_share_the_next_one(
    gated: GatedDisk,
) -> None:
    store = with_journal(gated, SHAPE)
    stories = [TailStory(store, ChunkId(CHUNK + number)) for number in range(6)]
    stories[0].batch(10)
    gated.gate.clear()
    threads = [start(lambda: stories[0].batch(20))]
    assert gated.waiting.wait(PATIENCE_S)
    threads += [start(lambda one=one: one.batch(500)) for one in stories[1:]]
    wait_until_waiting(store, 5)
    before = gated.operations
    gated.gate.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert [one.acknowledged for one in stories] == [30, 500, 500, 500, 500, 500]
    assert gated.operations - before == 3  # The sync that hung, one write, one sync.


def test_a_fence_that_comes_while_the_journal_syncs_tells_of_the_append(
    gated: GatedDisk,
) -> None:
    """It waits for it; the acknowledgement that has not left yet is taken back (C2)."""
    store = with_journal(gated, SHAPE)
    story = TailStory(store, CHUNK)
    gated.gate.clear()
    appending = start(lambda: story.batch(700))
    assert gated.waiting.wait(PATIENCE_S)
    fencing = start(story.fence)
    assert story.fenced is None
    gated.gate.set()
    appending.join(PATIENCE_S)
    fencing.join(PATIENCE_S)
    assert story.fenced is not None
    assert (story.fenced.end, story.fenced.proof) == (700, True)
    assert in_header(gated, story) == 700
    with pytest.raises(Fenced):
        story.replica.look_before_ack()


def test_an_append_that_comes_after_the_fence_leaves_nothing_in_the_journal(
    disk: MemoryDisk,
) -> None:
    store = with_journal(disk)
    story = TailStory(store, CHUNK)
    story.batch(10)
    entries = b"\0" * 36
    push = story.replica.begin_push(10, 5, entries)
    push.append(memoryview(b"12345"), [0])
    story.fence()
    used = store.shelves[0].journal.used_bytes
    with pytest.raises(Fenced):
        push.commit()
    push.close()
    assert store.shelves[0].journal.used_bytes == used


# Failures -----------------------------------------------------------------------------------------


def fail_syncs(monkeypatch: pytest.MonkeyPatch, first: int, count: int = 1) -> None:
    """Let some of the syncs from now on fail."""
    sync, numbers = MemoryFile.sync, iter(range(1 << 30))

    def failing(self: MemoryFile) -> None:
        if first <= next(numbers) < first + count:
            raise DiskFailed("no sector left to remap to")
        sync(self)

    monkeypatch.setattr(MemoryFile, "sync", failing)


def test_after_a_failed_sync_the_journal_takes_nothing_and_the_tail_is_no_proof(
    disk: MemoryDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = with_journal(disk)
    one, other = TailStory(store, CHUNK), TailStory(store, OTHER)
    one.batch(100)
    other.batch(100)
    fail_syncs(monkeypatch, 0)
    with pytest.raises(DiskFailed):
        one.batch(200)
    assert store.shelves[0].journal.broken
    other.batch(300)
    assert in_header(disk, other) == 400
    answer = one.fence()
    assert (answer.end, answer.proof) == (100, False)
    assert other.fence().proof
    disk.power_cycle()
    one.check(open_journalled(disk, BOOT_ID + 1), disk, "after the cut")


def test_a_slot_that_cannot_be_settled_answers_no_fence_and_keeps_its_segment(
    disk: MemoryDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later sync that succeeds says nothing of the pages that the first one lost."""
    store = with_journal(disk)
    one, other = TailStory(store, CHUNK), TailStory(store, OTHER)
    one.batch(100)
    one.batch(2000)
    with monkeypatch.context() as patched:
        fail_syncs(patched, 0)
        with pytest.raises(DiskFailed):
            one.replica.settle()
    for _ in range(2):
        with pytest.raises(DiskFailed):
            store.fence(CHUNK, BIRTH, ORDER)
    for _ in range(20):
        other.batch(3000)
        store.shelves[0].journal.keep()
    other.batch(3000)
    assert in_header(disk, other) < other.acknowledged, "it goes on in the other segments"
    disk.power_cycle()
    again = open_journalled(disk, BOOT_ID + 1)
    assert again.fence(CHUNK, BIRTH, ORDER).proof
    one.check(again, disk, "after the cut")
    other.check(again, disk, "after the cut")


def test_a_tail_whose_slot_failed_is_sealed_by_its_bytes_all_the_same(
    disk: MemoryDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = with_journal(disk)
    one, other = TailStory(store, CHUNK), TailStory(store, OTHER)
    one.batch(100)
    other.batch(100)
    digest = store.prove(OTHER, ORDER, 100).digest  # Of other bytes.
    with monkeypatch.context() as patched:
        fail_syncs(patched, 0)
        with pytest.raises(DiskFailed):
            one.replica.settle()
    assert not store.confirm(CHUNK, BIRTH, (ORDER, 100, digest))
    store.delete(CHUNK, LogIndex(70))
    assert store.shelves[0].journal.keep() is False
    assert not any(
        one.replica in segment.pending for segment in store.shelves[0].journal._segments.used()
    )


def test_who_is_to_lead_a_journal_that_was_just_given_up_fails_like_all_others(
    gated: GatedDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one that waited for as long as one waits was faster."""
    store = with_journal(gated, SHAPE)
    one, other = TailStory(store, CHUNK), TailStory(store, OTHER)
    lead = Journal._lead
    told: list[object] = []

    def late(self: Journal, leader: object) -> bool:
        if told:
            self._break(DiskFailed("the journal of the disk hangs"))
        told.append(leader)
        return lead(self, leader)  # type: ignore[arg-type]

    monkeypatch.setattr(Journal, "_lead", late)
    failures: list[BaseException] = []

    def append() -> None:
        try:
            other.batch(200)
        except BaseException as error:
            failures.append(error)

    gated.gate.clear()
    threads = [start(lambda: one.batch(100))]
    assert gated.waiting.wait(PATIENCE_S)
    threads.append(start(append))
    wait_until_waiting(store, 1)
    gated.gate.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert [type(error) for error in failures] == [DiskFailed]
    assert one.fence().proof and not other.fence().proof


# Damage -------------------------------------------------------------------------------------------


def damaged(disk: MemoryDisk, page: int, byte: int = 40) -> None:
    disk.flip(JOURNAL_NAME, page * PAGE_BYTES + byte)


@pytest.mark.parametrize("byte", [40, 150])
def test_a_damaged_append_that_others_followed_makes_no_open_tail_proof(
    disk: MemoryDisk, byte: int
) -> None:
    store = with_journal(disk)
    one, other = TailStory(store, CHUNK), TailStory(store, OTHER)
    one.batch(100)
    one.batch(200)
    other.batch(300)
    third = TailStory(store, ChunkId(CHUNK + 2))
    disk.power_cycle()
    damaged(disk, 2, byte)  # The second append; none of them is in its slot.
    for _ in range(2):  # It is remembered beyond the next start.
        again = open_journalled(disk, BOOT_ID + 1)
        assert again.get(CHUNK).condition == "damaged"
    answers = {one: again.fence(one, BIRTH, ORDER) for one in (CHUNK, OTHER, third.chunk_id)}
    assert (answers[CHUNK].end, answers[CHUNK].proof) == (100, False)
    assert (answers[OTHER].end, answers[OTHER].proof) == (0, False)
    assert not answers[third.chunk_id].proof, "it may have had some, for all that is known"


@pytest.mark.parametrize(("byte", "proof"), [(40, True), (150, False)])
def test_of_the_last_append_only_its_tail_is_doubted_if_its_head_is_there(
    disk: MemoryDisk, byte: int, proof: bool
) -> None:
    """It may have been torn by the cut; without its head nothing tells it from old bytes."""
    store = with_journal(disk)
    one, other = TailStory(store, CHUNK), TailStory(store, OTHER)
    other.batch(100)
    one.batch(100)
    disk.power_cycle()
    damaged(disk, 2, byte)
    again = open_journalled(disk, BOOT_ID + 1)
    assert again.fence(CHUNK, BIRTH, ORDER).proof is proof
    assert again.fence(OTHER, BIRTH, ORDER).proof
    other.check(again, disk, "")


@pytest.mark.parametrize("page", [0, 4])
def test_a_damaged_title_of_a_segment_makes_no_open_tail_proof(disk: MemoryDisk, page: int) -> None:
    store = with_journal(disk)
    one, other = TailStory(store, CHUNK), TailStory(store, OTHER)
    for _ in range(2):
        one.batch(3000)
        other.batch(3000)
    disk.power_cycle()
    damaged(disk, page, 20)
    again = open_journalled(disk, BOOT_ID + 1)
    assert not again.fence(CHUNK, BIRTH, ORDER).proof
    assert not again.fence(OTHER, BIRTH, ORDER).proof


def test_a_segment_that_lost_its_end_while_the_next_was_used_is_damaged(
    disk: MemoryDisk,
) -> None:
    store = with_journal(disk)
    one, other = TailStory(store, CHUNK), TailStory(store, OTHER)
    for _ in range(3):
        one.batch(3000)
    other.batch(3000)
    disk.power_cycle()
    damaged(disk, 3)
    again = open_journalled(disk, BOOT_ID + 1)
    assert not again.fence(CHUNK, BIRTH, ORDER).proof
    assert not again.fence(OTHER, BIRTH, ORDER).proof


def test_what_a_server_was_told_after_a_start_is_not_undone_by_the_journal_of_before(
    disk: MemoryDisk,
) -> None:
    """The journal of a run counts once: then its segments are free."""
    store = with_journal(disk)
    story = TailStory(store, CHUNK)
    story.batch(100)
    again = open_journalled(disk)
    operations = disk.operations
    assert open_journalled(disk).fence(CHUNK, BIRTH, ORDER).end == 100
    assert again.shelves[0].journal.last_lsn == 1
    assert disk.operations - operations == 4  # Of the fence: two copies, each synced.


def test_a_segment_that_is_begun_anew_when_the_power_goes_is_not_damaged(disk: MemoryDisk) -> None:
    """It said that it is free before: what is left of its old life misses nobody."""
    store = with_journal(disk)
    story = TailStory(store, CHUNK)
    for _ in range(3 * 3):  # Pages of the three segments.
        story.batch(3000)
        store.shelves[0].journal.keep()
    disk.cut_after = 4  # Bytes, entries, title, group: the sync does not come.
    with pytest.raises(PowerCut):
        story.batch(3000)
    disk.power_cycle(lambda write, sector: write == 1)
    again = open_journalled(disk, BOOT_ID + 1)
    assert again.get(CHUNK).condition == "open"
    answer = again.fence(CHUNK, BIRTH, ORDER)
    assert (answer.end, answer.proof) == (story.acknowledged, True)


# What is not brought in ---------------------------------------------------------------------------


def test_an_append_that_failed_does_not_come_back_behind_the_end_that_a_fence_told(
    disk: MemoryDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sync failed, all the same the append is on the disk."""
    store = with_journal(disk)
    story = TailStory(store, CHUNK)
    story.batch(100)
    sync = MemoryFile.sync

    def failing(self: MemoryFile) -> None:
        sync(self)
        raise DiskFailed("the answer got lost")

    with monkeypatch.context() as patched:
        patched.setattr(MemoryFile, "sync", failing)
        with pytest.raises(DiskFailed):
            story.batch(200)
    assert story.fence().end == 100
    disk.power_cycle()
    again = open_journalled(disk, BOOT_ID + 1)
    assert again.get(CHUNK).header.end == 100
    story.check(again, disk, "after the cut")


def append_of(chunk_id: ChunkId, offset: int, end: int) -> Append:
    data = content(chunk_id, offset, end)
    entries = pack_entries(entries_of(offset, [end - offset]))
    return Append(chunk_id, BIRTH, offset, 0, crc32c(data), entries, data)


def test_a_sealed_replica_gets_nothing_from_the_journal(disk: MemoryDisk) -> None:
    store = with_journal(disk)
    story = TailStory(store, CHUNK)
    story.batch(100)
    story.fence()
    story.seal()
    before = disk.operations
    again = open_journalled(disk)
    assert disk.operations - before == SMALL.segments + 1  # The titles, and nothing else.
    assert again.get(CHUNK).condition == "sealed"


@pytest.mark.parametrize(
    ("changed", "end"),
    [({}, 100), ({"birth": Epoch(1, 4)}, 0), ({"offset": 5}, 0), ({"block_crc": 1}, 0)],
)
def test_only_what_was_appended_to_this_very_replica_is_brought_in(
    disk: MemoryDisk, changed: dict[str, object], end: int
) -> None:
    TailStory(open_journalled(disk), CHUNK)
    slots = read_slots(disk, BufferPool(RUNTIME)).slots
    append = replace(append_of(CHUNK, 0, 100), **changed)  # type: ignore[arg-type]
    bring_in(slots, [Frame(1, append)])
    assert slots[CHUNK].header.end == end
    assert bool(slots[CHUNK].copy_lost) == bool(changed.keys() & {"offset", "block_crc"})


def test_a_seal_that_the_power_cuts_short_never_outlives_the_bytes(disk: MemoryDisk) -> None:
    """No fence came before it: they may be safe in the journal only."""
    store = with_journal(disk)
    story = TailStory(store, CHUNK)
    story.batch(2500)
    disk.cut_after = 1  # A header is written, and not synced.
    with pytest.raises(PowerCut):
        store.finish_seal(CHUNK, ORDER, 2500, digest_of(content(CHUNK, 0, 2500)))
    disk.power_cycle(lambda write, sector: write == 2)  # It survives; bytes and entries do not.
    story.check(open_journalled(disk, BOOT_ID + 1), disk, "after the cut")


def test_an_append_of_another_run_that_has_the_same_number_is_none() -> None:
    title = Title(SegmentState.USED, BOOT_ID, DiskId(1), run=5, base=1)
    append = append_of(CHUNK, 0, 100)
    for run, count in ((5, 1), (6, 0)):
        frame = encode_frame(replace(title, run=run), 1, 1, append)
        content_found = read_segment(title, memoryview(bytes(PAGE_BYTES) + frame))
        assert len(content_found.frames) == count
        assert not content_found.damage
