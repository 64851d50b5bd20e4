"""The scrub of a disk: rounds that find damage, go on after a restart, and give way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from copy_house import SEALED
from replica_house import RUNTIME, append, digest_of, make_replica, noise, open_store

from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.chunk.scrub import USUAL, Scrubber
from gfs_ha.chunk.scrub_plan import FINDS_MAX, SUSPECTS_MAX, WHY_CHARS, Round
from gfs_ha.chunk.scrub_state import COPY_BYTES, SCRUB_NAME, ScrubBook
from gfs_ha.chunk.slots.format import DATA_OFFSET
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.errors import DiskFull
from gfs_ha.ids import ChunkId, make_chunk_id
from gfs_ha.limits import BLOCK_BYTES, MIB
from gfs_ha.protocol.scrub import ScrubFacts, ScrubWanted

PATIENCE_S = 60.0
DATA = noise(2 * BLOCK_BYTES + 77)
FAST = ScrubWanted(0, 7 * 24 * 3600)
NEVER = ScrubWanted(0, 0)


def chunk(number: int) -> ChunkId:
    return make_chunk_id(1, number)


def filled(disk: MemoryDisk, count: int = 5) -> ChunkStore:
    store = open_store(disk)
    for number in range(1, count + 1):
        append(make_replica(store, chunk_id=chunk(number)), DATA)
        store.finish_seal(chunk(number), SEALED, len(DATA), digest_of(DATA))
    return store


def wait_until(predicate: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not predicate():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.005)


class House:
    """A scrubber with its store, and what it told."""

    def __init__(self, store: ChunkStore, wanted: ScrubWanted = FAST) -> None:
        self.store = store
        self.damage: list[tuple[ChunkId, int]] = []
        self.scrubber = Scrubber(store, self.report, RUNTIME)
        self.scrubber.take(wanted)

    def report(self, chunk_id: ChunkId, block: int) -> None:
        self.store.note_damage(chunk_id)
        self.damage.append((chunk_id, block))
        self.scrubber.suspect(chunk_id, f"block {block} is damaged")

    @property
    def facts(self) -> ScrubFacts:
        return self.scrubber.facts()

    def ended(self, number: int) -> bool:
        facts = self.facts
        return facts.number == number and facts.ended_ms > 0 and facts.state == "idle"

    def rest(self, number: int = 1) -> None:
        wait_until(lambda: self.ended(number), f"the end of round {number}")


@contextmanager
def scrubbing(store: ChunkStore, wanted: ScrubWanted = FAST) -> Iterator[House]:
    house = House(store, wanted)
    house.scrubber.start()
    try:
        yield house
    finally:
        assert house.scrubber.stop(PATIENCE_S)


def test_a_round_reads_every_sealed_replica_once() -> None:
    store = filled(MemoryDisk(RUNTIME))
    append(make_replica(store, chunk_id=chunk(99)), DATA)
    with scrubbing(store) as house:
        house.rest()
        facts = house.facts
    assert (facts.replicas_done, facts.bytes_done) == (5, 5 * len(DATA))
    assert (facts.found, facts.last_found, house.damage) == (0, 0, [])
    assert facts.replicas_total == 5 and facts.eta_ms == -1
    assert facts.next_ms == facts.began_ms + FAST.period_s * 1000


def test_damage_is_told_with_its_block_listed_and_never_served() -> None:
    disk = MemoryDisk(RUNTIME)
    store = filled(disk)
    disk.flip(store.get(chunk(3)).name, DATA_OFFSET + BLOCK_BYTES)
    with scrubbing(store) as house:
        house.rest()
        assert house.facts.last_found == 1
        assert house.facts.found_ever == 1
        [find] = house.facts.finds
        assert (find.chunk_id, find.why) == (chunk(3), "block 1 is damaged") and find.found_ms
    assert house.damage == [(chunk(3), 1)]
    assert [(one.chunk_id, one.state) for one in store.list_open()] == [(chunk(3), "damaged")]


def test_damage_is_remembered_by_the_next_run_before_its_round_comes_there() -> None:
    disk = MemoryDisk(RUNTIME)
    store = filled(disk)
    disk.flip(store.get(chunk(5)).name, DATA_OFFSET)
    with scrubbing(store) as house:
        house.rest()
    again = open_store(disk)
    assert again.list_open() == (), "the headers know nothing of it"
    with scrubbing(again, NEVER) as house:
        wait_until(lambda: house.damage, "the damage to be found again")
        assert house.facts.found_ever == 1, "it is counted once"
    assert house.damage == [(chunk(5), 0)]
    assert [one.state for one in again.list_open()] == ["damaged"]


def test_what_others_found_is_remembered_once() -> None:
    disk = MemoryDisk(RUNTIME)
    store = filled(disk)
    with scrubbing(store, NEVER) as house:
        store.note_damage(chunk(2))
        house.scrubber.listed([chunk(2)])
        house.scrubber.listed([chunk(2)])
        assert [find.chunk_id for find in house.facts.finds] == [chunk(2)]
        assert house.facts.found_ever == 1
    assert ScrubBook(disk).state.suspects == (chunk(2),)


def test_what_was_healed_is_no_suspect_any_more() -> None:
    disk = MemoryDisk(RUNTIME)
    store = filled(disk)
    name = store.get(chunk(5)).name
    disk.flip(name, DATA_OFFSET)
    with scrubbing(store) as house:
        house.rest()
    disk.flip(name, DATA_OFFSET)
    again = open_store(disk)
    with scrubbing(again, NEVER) as house:
        wait_until(lambda: house.facts.state == "idle", "nothing to do")
    assert house.damage == []
    assert ScrubBook(disk).state.suspects == ()


def test_a_round_goes_on_where_the_last_run_stood() -> None:
    disk = MemoryDisk(RUNTIME)
    store = filled(disk)
    slow = ScrubWanted(1, 24 * 3600)  # After a burst of 1 MiB it all but stands still.
    big = noise(MIB)
    append(make_replica(store, chunk_id=chunk(6)), big)
    store.finish_seal(chunk(6), SEALED, MIB, digest_of(big))
    with scrubbing(store, slow) as house:
        wait_until(lambda: house.facts.replicas_done == 5, "the small ones")
        assert house.facts.replicas_total == 6 and house.facts.state == "reading"
    with scrubbing(open_store(disk)) as house:
        house.rest()
        facts = house.facts
    assert (facts.number, facts.replicas_done, facts.bytes_done) == (1, 6, 5 * len(DATA) + MIB)


def test_an_asked_round_begins_at_once_and_only_once() -> None:
    disk = MemoryDisk(RUNTIME)
    store = filled(disk)
    asked = ScrubWanted(0, 0, asked=8)
    with scrubbing(store, NEVER) as house:
        wait_until(lambda: house.facts.state == "idle", "nothing to do")
        assert house.facts.number == 0
        house.scrubber.take(asked)
        house.rest()
        assert house.facts.asked
    with scrubbing(open_store(disk), asked) as house:
        wait_until(lambda: house.facts.state == "idle", "nothing to do")
        assert house.facts.number == 1


def test_an_asked_round_breaks_off_the_one_that_runs() -> None:
    store = filled(MemoryDisk(RUNTIME), 1)
    big = noise(MIB)
    append(make_replica(store, chunk_id=chunk(6)), big)
    store.finish_seal(chunk(6), SEALED, MIB, digest_of(big))
    with scrubbing(store, ScrubWanted(1, 24 * 3600)) as house:
        wait_until(lambda: house.facts.replicas_done == 1, "the small one")
        house.scrubber.take(ScrubWanted(1, 24 * 3600, asked=3, asked_bytes_per_s=100 * MIB))
        house.rest(2)
        assert house.facts.replicas_done == 2


def test_paused_it_reads_nothing_and_goes_on_when_it_may() -> None:
    store = filled(MemoryDisk(RUNTIME))
    with scrubbing(store, ScrubWanted(0, 3600, paused=True, asked=4)) as house:
        wait_until(lambda: house.facts.state == "paused", "the pause")
        assert house.facts.number == 0
        house.scrubber.take(ScrubWanted(0, 3600, asked=4))
        house.rest()


def test_a_full_disk_does_not_end_the_scrub() -> None:
    disk = MemoryDisk(RUNTIME)
    with scrubbing(filled(disk), NEVER) as house:
        disk.failing = DiskFull("no room")
        house.scrubber.take(FAST)
        wait_until(lambda: "no room" in house.facts.note, "the reason")
        assert house.facts.state == "waiting"
        disk.failing = None


def test_a_memory_that_cannot_be_read_is_begun_anew() -> None:
    disk = MemoryDisk(RUNTIME)
    store = filled(disk)
    ScrubBook(disk).keep(Round(number=5))
    for at in (0, COPY_BYTES):
        disk.break_sector(SCRUB_NAME, at)
    with scrubbing(store) as house:
        house.rest()
    assert ScrubBook(disk).state.number == 1


def test_its_memory_survives_any_power_cut_and_a_damaged_file_costs_a_round_at_most() -> None:
    for cut in range(6):
        disk = MemoryDisk(RUNTIME)
        book = ScrubBook(disk)
        book.keep(Round(number=1))
        book.keep(Round(number=2))
        disk.cut_after = cut
        try:
            ScrubBook(disk).keep(Round(number=3))
        except BaseException as error:
            assert type(error).__name__ == "PowerCut"
        disk.power_cycle(lambda write, sector: (write + sector) % 2 == 0)
        assert ScrubBook(disk).state.number in (2, 3)
    disk.flip(SCRUB_NAME, 3)
    disk.flip(SCRUB_NAME, COPY_BYTES + 3)
    assert ScrubBook(disk).state == Round()


def test_its_memory_is_bounded() -> None:
    disk = MemoryDisk(RUNTIME)
    house = House(filled(disk, 1), NEVER)
    for number in range(SUSPECTS_MAX + 100):
        house.scrubber.suspect(ChunkId((1 << 63) + number), "x" * 500)
    suspects = tuple((1 << 63) + number for number in range(SUSPECTS_MAX))
    finds = house.scrubber._state.finds
    assert len(finds) == FINDS_MAX and len(finds[0].why) == WHY_CHARS
    ScrubBook(disk).keep(Round(number=1 << 60, suspects=suspects, finds=finds))
    assert ScrubBook(disk).state.suspects == suspects
    assert USUAL.bytes_per_s and USUAL.period_s
