"""A seal that a person accepts: what it compares, and that what is beyond it is in no file."""

from __future__ import annotations

import pytest
from state_driver import Driver

from gfs_ha.ids import ChunkId, InodeId
from gfs_ha.limits import LEASE_MS
from gfs_ha.master.state import tail_reads
from gfs_ha.master.state.commands import BeginSeal, CommitSeal, SealWithLoss
from gfs_ha.protocol.append import AppendResult
from gfs_ha.protocol.metadata import Extent, StageExtents
from gfs_ha.protocol.records import RecordEntry

FIRST = RecordEntry(1, 1, 1, 0, 40)
SECOND = RecordEntry(1, 2, 1, 40, 60)


def sealing_tail() -> tuple[Driver, InodeId, ChunkId, int]:
    """Return a tail of /log on servers 1 (the primary), 2, 3 that is being sealed."""
    driver = Driver()
    inode_id = driver.file(driver.open_session())
    chunk_id = driver.tail("/log")
    driver.ok(BeginSeal(chunk_id, "its lease ended"))
    with driver.view() as view:
        chunk = view.chunk(chunk_id)
    assert chunk is not None
    return driver, inode_id, chunk_id, chunk.begin_index


def test_a_record_beyond_the_accepted_end_is_unknown_and_is_appended_once_more() -> None:
    driver, inode_id, chunk_id, begin = sealing_tail()
    seal = CommitSeal(chunk_id, begin, 40, 3, (1, 2), 7, (FIRST,))
    assert driver.ok(SealWithLoss(seal, (3,))).length == 40
    with driver.view() as view:
        known = tail_reads.records_known(view, inode_id, 1, (1, 2))
        chunk = view.chunk(chunk_id)
    assert known.results == (AppendResult(1, 0, 40),) and not known.expired
    assert chunk.holders == (1, 2) and chunk.reason.startswith("a person gave up server 3: its")
    # The appender asks again for the second one: it lies in the next tail, and once in the file.
    driver.seal(driver.tail("/log"), 60, RecordEntry(1, 2, 1, 0, 60))
    with driver.view() as view:
        known = tail_reads.records_known(view, inode_id, 1, (1, 2))
        assert known.results == (AppendResult(1, 0, 40), AppendResult(2, 40, 60))
        assert view.status("/log").size == 100
    # What the replica that was given up tells later changes nothing: the first end stands.
    late = CommitSeal(chunk_id, begin, 100, 3, (3,), 7, (FIRST, SECOND))
    assert driver.ok(late).length == 40
    driver.check()


def test_records_beyond_the_accepted_end_are_refused_with_it() -> None:
    driver, _, chunk_id, begin = sealing_tail()
    seal = CommitSeal(chunk_id, begin, 40, 3, (1, 2), 7, (FIRST, SECOND))
    assert driver.error(SealWithLoss(seal, (3,))) == "InvalidArgument"
    driver.check()


def test_a_primary_is_not_given_up_while_it_may_answer_appenders() -> None:
    driver, _, chunk_id, begin = sealing_tail()
    accepted = SealWithLoss(CommitSeal(chunk_id, begin, 40, 3, (2, 3), 7, (FIRST,)), (1,))
    assert driver.error(accepted) == "StaleCommand"
    driver.elapsed_ms += LEASE_MS - 100
    assert driver.error(accepted) == "StaleCommand"
    driver.elapsed_ms += 200
    assert driver.ok(accepted).holders == (2, 3)
    driver.check()


@pytest.mark.parametrize(
    ("given_up", "holders", "begin", "error"),
    [
        ((), (1, 2), 0, "InvalidArgument"),  # Nobody is given up: that is a plain seal.
        ((3, 3), (1, 2), 0, "InvalidArgument"),
        ((2,), (1, 2), 0, "InvalidArgument"),  # Who holds it is there.
        ((9,), (1, 2), 0, "InvalidArgument"),
        ((3,), (), 0, "InvalidArgument"),
        ((3,), (1, 2), -1, "StaleCommand"),  # Evidence of another seal.
    ],
)
def test_what_does_not_fit_is_refused(given_up, holders, begin, error) -> None:
    driver, _, chunk_id, index = sealing_tail()
    seal = CommitSeal(chunk_id, index + begin, 40, 3, holders, 7, (FIRST,))
    assert driver.error(SealWithLoss(seal, given_up)) == error
    driver.check()


def test_what_files_refer_to_is_never_given_up() -> None:
    driver = Driver()
    session = driver.open_session()
    chunk_id = driver.chunk(session).chunk_id
    assert driver.error(SealWithLoss(CommitSeal(chunk_id, 1, 0, 0, (1,)), (2, 3))) == "StaleCommand"
    driver.ok(StageExtents(0, (Extent(0, chunk_id, 0, 100, 7),)), session)
    driver.ok(BeginSeal(chunk_id, "test"))
    with driver.view() as view:
        begin = view.chunk(chunk_id).begin_index
    lossy = SealWithLoss(CommitSeal(chunk_id, begin, 99, 3, (1,)), (2, 3))
    assert driver.error(lossy) == "StaleCommand"
    kept = SealWithLoss(CommitSeal(chunk_id, begin, 100, 3, (1,)), (2, 3))
    assert driver.ok(kept).length == 100
    driver.check()
