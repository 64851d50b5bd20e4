"""Tails: placed, opened, abandoned, and what their seal adds to a file (C8, C10)."""

from __future__ import annotations

import pytest
from state_driver import Driver, empty_file, server, small_file

from gfs_ha.ids import Epoch, InodeId, order_index
from gfs_ha.limits import MIB
from gfs_ha.master.state import tail_reads
from gfs_ha.master.state.commands import (
    BeginSeal,
    CommitSeal,
    LeaderElected,
    ReplicasDeleted,
    grows,
)
from gfs_ha.master.state.tail_commands import AbandonTails, HoldInodes, OpenTail, PlaceTail
from gfs_ha.protocol.append import AppendResult
from gfs_ha.protocol.metadata import (
    Extent,
    FinishChunk,
    Mkdir,
    Publish,
    ReleaseChunks,
    Rename,
    StageExtents,
)
from gfs_ha.protocol.records import RecordEntry

REPLICAS = ((1, 101), (2, 102), (3, 103))


def started(path: str = "/log") -> tuple[Driver, int, InodeId]:
    driver = Driver()
    session = driver.open_session()
    return driver, session, driver.file(session, path)


def test_a_placed_tail_lives_although_nobody_claims_it_and_nothing_refers_to_it() -> None:
    driver, _, inode_id = started()
    placed = driver.ok(PlaceTail(inode_id, REPLICAS, durability="memory"))
    with driver.view() as view:
        chunk = view.chunk(placed.chunk_id)
        assert (chunk.kind, chunk.state, chunk.claimed_by, chunk.tail_of) == ("tail", "open", 0, 0)
        assert (placed.durability, placed.birth, placed.goal) == ("memory", Epoch(1, 1), 3)
        assert [one for one, _ in tail_reads.unopened_tails(view, 0, 9)] == [placed.chunk_id]
        assert tail_reads.open_tails(view, 0, 9) == []
    driver.check()


def test_a_tail_is_opened_at_the_end_of_its_file_and_its_primary_is_the_head() -> None:
    driver, session, _ = started()
    chunk_id = driver.chunk(session).chunk_id
    driver.ok(Publish((small_file("/log", chunk_id, 0, 30),)), session)
    tail_id = driver.tail("/log", first=1)
    opened = driver.index
    with driver.view() as view:
        inode_id = view.resolve("/log").inode_id
        tail = tail_reads.tail_of(view, inode_id)
        assert (tail.chunk_id, tail.server_id, tail.start_id) == (tail_id, 1, 1)
        assert (tail.file_offset, tail.path) == (30, "/log")
        assert tail.granted_index == order_index(1, opened)
        assert view.chunk(tail_id).tail_of == inode_id
        assert tail_reads.open_tails(view, 0, 9) == [(tail_id, inode_id, tail)]
        assert tail_reads.tails_of_server(view, 1, 0, 9) == [(inode_id, tail)]
        assert tail_reads.tails_of_server(view, 2, 0, 9) == []
    driver.check()


def test_a_file_never_has_two_tails() -> None:
    driver, _, inode_id = started()
    first, second = driver.place(inode_id), driver.place(inode_id, first=2, copies=2)
    driver.ok(OpenTail(inode_id, first, "/log", 1, 1))
    assert driver.error(OpenTail(inode_id, second, "/log", 2, 1)) == "StaleCommand"
    assert driver.error(PlaceTail(inode_id, REPLICAS)) == "StaleCommand"
    driver.ok(BeginSeal(first, "test"))
    assert driver.error(OpenTail(inode_id, second, "/log", 2, 1)) == "StaleCommand"
    with driver.view() as view:
        assert tail_reads.tail_of(view, inode_id).chunk_id == first
    driver.check()


def test_a_tail_that_is_placed_ahead_is_opened_when_the_one_before_has_ended() -> None:
    driver, _, inode_id = started()
    first = driver.place(inode_id)
    driver.ok(OpenTail(inode_id, first, "/log", 1, 1))
    ahead = driver.ok(PlaceTail(inode_id, REPLICAS, ahead=True)).chunk_id
    driver.check()
    assert driver.error(OpenTail(inode_id, ahead, "/log", 1, 1)) == "StaleCommand"
    driver.seal(first, 10)
    driver.ok(OpenTail(inode_id, ahead, "/log", 1, 1))
    with driver.view() as view:
        tail = tail_reads.tail_of(view, inode_id)
    assert (tail.chunk_id, tail.file_offset) == (ahead, 10)
    driver.check()


def test_a_chunk_is_the_tail_of_one_file() -> None:
    driver, session, inode_id = started()
    other = driver.file(session, "/other")
    chunk_id = driver.tail("/log")
    assert driver.error(OpenTail(other, chunk_id, "/other", 1, 1)) == "StaleCommand"
    put = driver.chunk(session).chunk_id
    assert driver.error(OpenTail(other, put, "/other", 1, 1)) == "StaleCommand"
    driver.seal(chunk_id, 10)
    assert driver.error(OpenTail(inode_id, chunk_id, "/log", 1, 1)) == "StaleCommand"
    driver.check()


def test_only_the_epoch_that_placed_a_tail_opens_it() -> None:
    driver, _, inode_id = started()
    chunk_id = driver.place(inode_id)
    driver.term += 1
    assert driver.error(OpenTail(inode_id, chunk_id, "/log", 1, 1)) == "StaleCommand"
    driver.ok(AbandonTails((chunk_id,)))
    with driver.view() as view:
        assert view.chunk(chunk_id).state == "dead"
        assert tail_reads.unopened_tails(view, 0, 9) == []
    driver.check()


def test_a_tail_that_may_still_be_opened_is_abandoned_only_by_its_opener() -> None:
    driver, _, inode_id = started()
    kept, left = driver.place(inode_id), driver.place(inode_id)
    driver.ok(AbandonTails((kept, left)))
    with driver.view() as view:
        assert view.chunk(kept).state == view.chunk(left).state == "open"
    driver.ok(AbandonTails((left,), given_up=True))
    assert driver.error(OpenTail(inode_id, left, "/log", 1, 1)) == "StaleCommand"
    driver.ok(OpenTail(inode_id, kept, "/log", 1, 1))
    driver.check()
    driver.ok(ReplicasDeleted(tuple((left, *one) for one in REPLICAS)))
    with driver.view() as view:
        assert view.chunk(left) is None


def test_what_was_opened_is_never_abandoned() -> None:
    driver, session, inode_id = started()
    tail, put = driver.tail("/log"), driver.chunk(session).chunk_id
    driver.term += 1
    driver.ok(AbandonTails((tail, put, 99), given_up=True))
    with driver.view() as view:
        assert view.chunk(tail).state == view.chunk(put).state == "open"
        assert tail_reads.tail_of(view, inode_id) is not None
    driver.check()


def test_a_tail_that_was_not_opened_is_never_sealed() -> None:
    driver, _, inode_id = started()
    chunk_id = driver.place(inode_id)
    assert driver.error(BeginSeal(chunk_id, "test")) == "StaleCommand"


def test_a_path_that_leads_elsewhere_by_now_opens_nothing() -> None:
    driver, session, inode_id = started()
    chunk_id = driver.place(inode_id)
    driver.ok(Rename("/log", "/moved"), session)
    assert driver.error(OpenTail(inode_id, chunk_id, "/log", 1, 1)) == "NotFound"
    driver.file(session, "/log")
    assert driver.error(OpenTail(inode_id, chunk_id, "/log", 1, 1)) == "StaleCommand"
    driver.ok(Mkdir("/d"), session)
    assert driver.error(OpenTail(inode_id, chunk_id, "/d", 1, 1)) == "StaleCommand"
    assert driver.error(OpenTail(inode_id, chunk_id, "/", 1, 1)) == "IsADirectory"
    driver.ok(OpenTail(inode_id, chunk_id, "/moved", 1, 1))
    driver.check()


def test_a_server_that_started_again_is_primary_of_nothing_that_it_had() -> None:
    driver, _, inode_id = started()
    chunk_id = driver.place(inode_id)
    driver.ok(server(1, start_id=2))
    assert driver.error(OpenTail(inode_id, chunk_id, "/log", 1, 1)) == "StaleCommand"
    assert driver.error(OpenTail(inode_id, chunk_id, "/log", 2, 1)) == "InvalidArgument"
    driver.ok(OpenTail(inode_id, chunk_id, "/log", 1, 2))


def test_a_sealed_tail_is_the_end_of_its_file_and_its_records_are_known() -> None:
    driver, session, inode_id = started()
    records = (RecordEntry(session, 4, 3, 0, 60), RecordEntry(session, 5, 3, 60, 40))
    for begin in (0, 100):
        chunk_id = driver.tail("/log")
        driver.seal(chunk_id, 100, *records, reason="full")
        with driver.view() as view:
            opened = view.open_file("/log", 0, 9)
            assert opened.status.size == begin + 100
            assert opened.status.mtime_ns == 1_000_000_000_000 + driver.index - 1
            assert opened.extents[-1] == Extent(begin, chunk_id, 0, 100, 7)
            assert tail_reads.tail_of(view, inode_id) is None
            assert view.chunk(chunk_id).tail_of == 0
            known = tail_reads.records_known(view, inode_id, session, (4, 5, 6))
        records = tuple(
            RecordEntry(session, one.sequence + 2, 3, one.offset, one.length) for one in records
        )
        driver.check()
    assert known.results == (
        AppendResult(4, 0, 60),
        AppendResult(5, 60, 40),
        AppendResult(6, 100, 60),
    )
    assert (known.window_start, known.expired) == (3, False)


def test_appends_do_not_change_the_generation_and_a_pinned_reader_reads_on() -> None:
    driver, _, inode_id = started()
    driver.seal(driver.tail("/log"), 10)
    with driver.view() as view:
        before = view.open_file("/log", 0, 9).status
    driver.seal(driver.tail("/log"), 10)
    with driver.view() as view:
        pinned = (before.content_id, before.generation)
        again = view.read_extents(inode_id, pinned, 10, 9)
    assert [one.file_offset for one in again.extents] == [10]


def test_a_tail_that_ends_empty_is_dead_and_leaves_its_file_as_it_was() -> None:
    driver, _, inode_id = started()
    chunk_id = driver.tail("/log")
    driver.seal(chunk_id, 0)
    with driver.view() as view:
        assert view.chunk(chunk_id).state == "dead"
        assert view.open_file("/log", 0, 9).extents == ()
        assert tail_reads.tail_of(view, inode_id) is None
    driver.check()
    driver.tail("/log")


def test_the_first_seal_of_a_tail_counts_and_a_second_adds_nothing() -> None:
    driver, _, _ = started()
    chunk_id = driver.tail("/log")
    sealed = driver.seal(chunk_id, 40)
    with driver.view() as view:
        begin_index = view.chunk(chunk_id).begin_index
    assert driver.ok(CommitSeal(chunk_id, begin_index, 50, 3, (1,), 7)) == sealed
    with driver.view() as view:
        assert view.status("/log").size == 40
    driver.check()


@pytest.mark.parametrize(
    ("length", "crc", "records", "error"),
    [
        (10, None, (), "InvalidArgument"),
        (10, 1 << 32, (), "InvalidArgument"),
        (10, -1, (), "InvalidArgument"),
        (MIB + 1, 7, (), "InvalidArgument"),
        (10, 7, (RecordEntry(0, 1, 1, 0, 1),), "InvalidArgument"),
        (10, 7, (RecordEntry(1, 1, 2, 0, 1),), "InvalidArgument"),
        (10, 7, (RecordEntry(1, 1025, 1, 0, 1),), "InvalidArgument"),
        (10, 7, (RecordEntry(1, 1, 1, 0, 11),), "InvalidArgument"),
        (10, 7, (RecordEntry(1, 1, 1, -1, 1),), "InvalidArgument"),
        (10, 7, (RecordEntry(1, 1, 1, 0, 0),), "InvalidArgument"),
        (10, 7, (RecordEntry(1, 2, 1, 0, 1), RecordEntry(1, 1, 1, 1, 1)), "InvalidArgument"),
        (10, 7, (RecordEntry(1, 1, 1, 0, 1), RecordEntry(1, 1, 1, 1, 1)), "InvalidArgument"),
        (0, 7, (RecordEntry(1, 1, 1, 0, 1),), "InvalidArgument"),
        (MIB, 7, tuple(RecordEntry(one, 1, 1, one, 1) for one in range(1, 5122)), "LimitExceeded"),
    ],
)
def test_a_seal_with_strange_facts_leaves_the_tail_as_it_was(length, crc, records, error) -> None:
    driver, _, inode_id = started()
    chunk_id = driver.tail("/log")
    driver.ok(BeginSeal(chunk_id, "test"))
    with driver.view() as view:
        begin_index = view.chunk(chunk_id).begin_index
    seal = CommitSeal(chunk_id, begin_index, length, 3, (1, 2), crc, records)
    assert driver.error(seal) == error
    with driver.view() as view:
        assert tail_reads.tail_of(view, inode_id).chunk_id == chunk_id
    driver.check()


def test_records_of_any_number_that_the_wire_carries_are_sealed() -> None:
    driver, _, inode_id = started()
    last = (1 << 64) - 1
    records = (
        RecordEntry(1, 0, 0, 0, 1),
        RecordEntry(1, 1023, 0, 1, 1),
        RecordEntry(last, last, last - 1023, 2, MIB - 2),
    )
    driver.seal(driver.tail("/log"), MIB, *records)
    driver.seal(driver.tail("/log"), 1, RecordEntry(1, last, last, 0, 1))
    with driver.view() as view:
        known = tail_reads.records_known(view, inode_id, 1, (last,))
        assert known.results == (AppendResult(last, MIB, 1),)
    driver.check()


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (PlaceTail(99, REPLICAS), "NotFound"),
        (PlaceTail(1, REPLICAS), "IsADirectory"),
        (PlaceTail(-1, REPLICAS), "InvalidArgument"),
        (PlaceTail(2, REPLICAS, goal=9), "InvalidArgument"),
        (PlaceTail(2, REPLICAS, durability="tape"), "InvalidArgument"),
        (PlaceTail(2, REPLICAS[:1]), "TooFewCopies"),
        (PlaceTail(2, ((1, 101), (1, 101))), "InvalidArgument"),
        (PlaceTail(2, ((1, 101), (9, 109))), "UnknownServer"),
        (PlaceTail(2, ((1, 101), (-9, 109))), "InvalidArgument"),
        (AbandonTails((-1,)), "InvalidArgument"),
        (AbandonTails(tuple(range(251))), "LimitExceeded"),
        (OpenTail(2, -1, "/log", 1, 1), "InvalidArgument"),
        (OpenTail(2, 99, "/log", 1, 1), "UnknownChunk"),
        (OpenTail(2, 99, "log", 1, 1), "InvalidPath"),
        (OpenTail(2, 99, "/log/x", 1, 1), "NotADirectory"),
        (OpenTail(2, 99, "/none/x", 1, 1), "NotFound"),
        (OpenTail(-2, 99, "/log", 1, 1), "StaleCommand"),
    ],
)
def test_strange_commands_are_refused_and_change_nothing(command, error) -> None:
    driver, _, inode_id = started()
    assert inode_id == 2
    assert driver.error(command) == error
    driver.check()


def test_no_session_seals_writes_or_releases_a_tail() -> None:
    driver, session, _ = started()
    chunk_id = driver.tail("/log")
    finish = FinishChunk(chunk_id, 5, 1, (1, 2))
    assert driver.error(finish, session) == "NotClaimed"
    staged = StageExtents(0, (Extent(0, chunk_id, 0, 5, 1),))
    assert driver.error(staged, session) == "NotClaimed"
    driver.ok(ReleaseChunks((chunk_id,)), session)
    with driver.view() as view:
        assert view.chunk(chunk_id).state == "open"
        assert view.chunk(chunk_id).published_end == 0
    driver.check()


def test_a_seal_that_an_older_incarnation_began_is_begun_anew_for_a_tail_too() -> None:
    driver, _, _ = started()
    chunk_id = driver.tail("/log")
    driver.ok(BeginSeal(chunk_id, "before"))
    driver.term += 1
    driver.ok(LeaderElected("m1", 2))
    driver.ok(BeginSeal(chunk_id, "anew"))
    with driver.view() as view:
        begin_index = view.chunk(chunk_id).begin_index
    driver.ok(CommitSeal(chunk_id, begin_index, 8, 3, (2,), 7))
    with driver.view() as view:
        assert view.status("/log").size == 8
    driver.check()


def test_placing_and_opening_grow_and_nothing_else_of_tails_does() -> None:
    assert grows(PlaceTail(2, REPLICAS)) and grows(OpenTail(2, 5, "/log", 1, 1))
    for command in (AbandonTails((5,)), BeginSeal(5, ""), CommitSeal(5, 1, 0, 0, (1,))):
        assert not grows(command)
    assert not grows(HoldInodes((2,)))


def test_a_tail_takes_the_copies_that_its_file_wants() -> None:
    driver, session, _ = started()
    driver.ok(Publish((empty_file("/two", goal=2),)), session)
    with driver.view() as view:
        inode_id = view.resolve("/two").inode_id
    assert driver.error(PlaceTail(inode_id, REPLICAS)) == "InvalidArgument"
    assert driver.ok(PlaceTail(inode_id, REPLICAS[:2])).goal == 2
    assert driver.ok(PlaceTail(inode_id, REPLICAS, goal=4)).goal == 4
