"""Tails that their primaries end by themselves: as the leader seals, without a fence (C2, C5)."""

from __future__ import annotations

import pytest
from state_driver import Driver

from gfs_ha.ids import InodeId
from gfs_ha.limits import MIB
from gfs_ha.master.state import tail_reads
from gfs_ha.master.state.commands import BeginSeal, CommitSeal, SealWithLoss
from gfs_ha.protocol.append import AppendResult
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.metadata import ChunkSealed
from gfs_ha.protocol.records import RecordEntry

RECORD = RecordEntry(1, 3, 1, 0, 40)


def started() -> tuple[Driver, InodeId, int]:
    driver = Driver()
    inode_id = driver.file(driver.open_session())
    return driver, inode_id, driver.tail("/log")


def test_what_a_primary_ended_is_the_end_of_the_file_and_the_next_tail_begins_there() -> None:
    driver, inode_id, chunk_id = started()
    told = driver.finish(chunk_id, 40, RECORD)
    assert told == ChunkSealed(chunk_id, 40, 3, (1, 2, 3))
    with driver.view() as view:
        assert view.status("/log").size == 40
        assert tail_reads.tail_of(view, inode_id) is None
        known = tail_reads.records_known(view, inode_id, 1, (3, 4))
        assert known.results == (AppendResult(3, 0, 40),)
        assert "it is full" in [one.reason for one in tail_reads.lease_events(view, 9)]
    following = driver.tail("/log")
    with driver.view() as view:
        assert tail_reads.tail_of(view, inode_id).file_offset == 40
    assert driver.finish(following, 9).length == 9
    driver.check()


def test_it_ends_so_also_when_the_leader_had_begun_to_seal_it_and_the_first_end_counts() -> None:
    driver, _, chunk_id = started()
    driver.ok(BeginSeal(chunk_id, "its primary took no more appends"))
    with driver.view() as view:
        begin = view.chunk(chunk_id).begin_index
    told = driver.finish(chunk_id, 40, RECORD)
    assert driver.ok(CommitSeal(chunk_id, begin, 30, 5, (1,), 7)) == told
    assert driver.finish(chunk_id, 50, RECORD) == told
    with driver.view() as view:
        assert view.status("/log").size == 40
    driver.check()


def test_a_seal_that_came_first_stands() -> None:
    driver, _, chunk_id = started()
    driver.ok(BeginSeal(chunk_id, "blocked"))
    with driver.view() as view:
        begin = view.chunk(chunk_id).begin_index
    lossy = SealWithLoss(CommitSeal(chunk_id, begin, 30, 5, (2,), 7), (3,))
    accepted = driver.ok(lossy)
    assert driver.finish(chunk_id, 40, RECORD) == accepted
    driver.check()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"start_id": 2}, "StaleCommand"),  # Another run of the server: it holds nothing.
        ({"server_id": 2}, "StaleCommand"),
        ({"holders": (1, 2)}, "InvalidArgument"),
        ({"holders": (1, 2, 4)}, "InvalidArgument"),
        ({"holders": (1, 2, 3, 3)}, "InvalidArgument"),
        ({"length": 0}, "InvalidArgument"),
        ({"length": MIB + 1}, "InvalidArgument"),
        ({"digest": -1}, "InvalidArgument"),
        ({"crc": 1 << 32}, "InvalidArgument"),
        ({"records": (RecordEntry(1, 3, 1, 1, 40),)}, "InvalidArgument"),
        ({"chunk_id": 999}, "UnknownChunk"),
        ({"chunk_id": -1}, "InvalidArgument"),
    ],
)
def test_strange_facts_are_refused_and_the_tail_stays_as_it_was(changes, error) -> None:
    driver, inode_id, chunk_id = started()
    reply = driver.finish(chunk_id, 40, RECORD, **changes)
    assert isinstance(reply, Failure) and reply.error == error
    with driver.view() as view:
        assert tail_reads.tail_of(view, inode_id).chunk_id == chunk_id
    driver.check()


def test_what_was_never_opened_or_is_no_tail_is_not_ended_so() -> None:
    driver, _, _ = started()
    session = driver.open_session()
    other = driver.file(session, "/other")
    for chunk_id in (driver.place(other), driver.chunk(session).chunk_id):
        reply = driver.finish(chunk_id, 40)
        assert isinstance(reply, Failure) and reply.error == "StaleCommand"
    driver.check()
