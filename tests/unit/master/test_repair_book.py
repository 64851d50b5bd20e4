"""What the leader remembers of copies: failures with pauses, stalls, doubts, the rate; bounded."""

from __future__ import annotations

import pytest

from gfs_ha.ids import ChunkId, LogIndex, ServerId
from gfs_ha.master.planners.plan import NO_CHUNK
from gfs_ha.master.planners.seen import Answered
from gfs_ha.master.repairs import NOTES_MAX, REST_MIN_S, STALLED_S, RepairBook
from gfs_ha.master.state.bounds import check_text
from gfs_ha.protocol.control import CopyProgress

FULL = ("DiskFull", "no room")
LOST = ("Unreachable", "no source answers")


def order(chunk: int = 7, server: int = 1, index: int = 50) -> Answered:
    return ChunkId(chunk), ServerId(server), LogIndex(index)


def test_a_place_that_failed_rests_longer_each_time_until_a_copy_succeeds() -> None:
    book = RepairBook(0.0)
    book.failed(order(), LOST, 100.0)
    assert book.resting(100.0 + REST_MIN_S - 0.1) == {(7, 1)}
    assert not book.resting(100.0 + REST_MIN_S)
    book.failed(order(), LOST, 200.0)
    assert book.resting(200.0 + 2 * REST_MIN_S - 0.1) == {(7, 1)}
    assert book.take_failed() == {order(): "no source answers"} and not book.take_failed()
    book.copied(order(), 300.0)
    assert not book.failures and not book.resting(200.0)


def test_a_server_whose_disk_is_full_rests_with_all_chunks() -> None:
    book = RepairBook(0.0)
    book.failed(order(), FULL, 100.0)
    assert (NO_CHUNK, 1) in book.resting(101.0)


def test_many_copies_that_fail_on_one_server_at_once_are_one_failure_of_it() -> None:
    book = RepairBook(0.0)
    for chunk in range(12):
        book.failed(order(chunk + 1), FULL, 100.0 + 0.1 * chunk)
    assert (NO_CHUNK, 1) in book.resting(100.0 + REST_MIN_S - 0.1)
    assert (NO_CHUNK, 1) not in book.resting(100.0 + REST_MIN_S)


def test_a_copy_without_progress_fails_and_one_that_moves_does_not() -> None:
    book = RepairBook(0.0)
    book.wanted(order(server=1), 100, 0.0)
    book.wanted(order(server=2), 100, 0.0)
    book.heard(ServerId(2), (CopyProgress(ChunkId(7), LogIndex(50), 10, 100),), 20.0)
    book.look_for_stalled(STALLED_S + 1)
    assert list(book.take_failed()) == [order(server=1)]


@pytest.mark.parametrize(
    "said", ["/größe/" * 40, "目录" * 120, "one line\nand another", "\x1b[31m"]
)
def test_whatever_a_server_says_of_a_failure_can_stand_in_a_command(said: str) -> None:
    """Else no copy that failed for such a reason would ever be given up, and tried elsewhere."""
    book = RepairBook(0.0)
    book.failed(order(), ("DiskFailed", said), 1.0)
    [why] = book.take_failed().values()
    check_text("reason", why, 255)


def test_a_doubted_copy_that_is_not_there_is_gone_until_it_is_made_or_its_server_returns() -> None:
    book = RepairBook(0.0)
    book.compared(ChunkId(7), ServerId(1), there=False)
    assert not book.gone, "nobody had asked"
    for chunk in (7, 8):
        book.doubt(ChunkId(chunk), ServerId(1))
        book.compared(ChunkId(chunk), ServerId(1), there=False)
    book.doubt(ChunkId(9), ServerId(1))
    book.compared(ChunkId(9), ServerId(1), there=True)
    assert set(book.gone) == {(7, 1), (8, 1)} and not book.doubted
    book.copied(order(7, 1), 1.0)
    assert set(book.gone) == {(8, 1)}
    book.registered(ServerId(1))
    assert not book.gone


def test_the_rate_is_that_of_the_last_seconds_and_the_notes_are_bounded() -> None:
    book = RepairBook(0.0)
    for number in range(NOTES_MAX + 10):
        book.wanted(order(number + 1), 1_000, 0.0)
        book.failed(order(number + 1), LOST, 0.0)
    assert len(book.take_failed()) == len(book.failures) == NOTES_MAX
    book.wanted(order(1), 5_000, 1.0)
    book.copied(order(1), 2.0)
    assert [book.bytes_per_s(at_s) for at_s in (2.0, 5.0, 11.5, 100.0)] == [5_000, 1_250, 500, 0]
    assert book.copies_done == {order(1)}
