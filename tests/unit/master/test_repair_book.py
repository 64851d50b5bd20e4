"""What the leader remembers of copies: failures with pauses, stalls, doubts, the rate; bounded."""

from __future__ import annotations

import pytest

from gfs_ha.ids import ChunkId, LogIndex, ServerId
from gfs_ha.master.handlers.repair import reasons_of
from gfs_ha.master.planners.plan import NO_CHUNK
from gfs_ha.master.planners.seen import Answered
from gfs_ha.master.repairs import BUSY_REST_S, NOTES_MAX, REST_MIN_S, STALLED_S, RepairBook
from gfs_ha.master.state.bounds import check_text
from gfs_ha.protocol.control import CopyProgress
from gfs_ha.protocol.repair import WaitingReason, WaitingRow

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


def test_a_copy_that_came_before_its_sources_were_sealed_is_tried_again_soon() -> None:
    book = RepairBook(0.0)
    book.failed(order(), ("ReplicaBusy", "chunk 0x7 is not sealed here yet"), 100.0)
    assert book.resting(100.0 + BUSY_REST_S - 0.1) == {(7, 1)}
    assert not book.resting(100.0 + BUSY_REST_S) and BUSY_REST_S < REST_MIN_S


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


def follow(book: RepairBook, rate: int, lacking: int, allowed: int) -> list[tuple[float, float]]:
    """Copy one chunk after another, heard of twice a second; return (told, right) times to go."""
    length, told = 4 * rate, []
    number, now_s, done = 1, 0.0, 0
    book.wanted(order(number), length, 0.0)
    book.note_round(1)
    while done < lacking:
        now_s += 0.5
        done += rate // 2
        if done % length == 0:
            book.copied(order(number), now_s)
            number += 1
            book.wanted(order(number), length, now_s)
        else:
            progress = CopyProgress(ChunkId(number), LogIndex(50), done % length, length)
            book.heard(ServerId(1), (progress,), now_s)
        eta_s = book.eta_s(lacking, allowed, 0.0, now_s)
        assert eta_s is not None
        told.append((eta_s, (lacking - done) / rate))
    return told


def test_the_time_to_go_is_right_from_a_tenth_of_the_work_on() -> None:
    for allowed in (10_000, 0, 9_500):
        told = follow(RepairBook(0.0), 10_000, 400_000, allowed)
        for eta_s, right_s in told[len(told) // 10 :]:
            assert abs(eta_s - right_s) <= 0.15 * right_s + 0.6


def test_a_few_small_copies_before_many_do_not_make_the_time_to_go_long() -> None:
    book = RepairBook(0.0)
    for number in range(20):  # One after another while there was little to copy.
        began_s = 80.0 + number
        book.wanted(order(1_000 + number), 10, began_s)
        book.copied(order(1_000 + number), began_s + 0.05)
    book.note_round(7)
    book.wanted(order(), 100_000, 100.0)
    for at_s in (100.0, 101.0, 102.0):
        done = int(10_000 * (at_s - 100.0))
        book.heard(ServerId(1), (CopyProgress(ChunkId(7), LogIndex(50), done, 100_000),), at_s)
        eta_s = book.eta_s(100_000, 10_000, 0.0, at_s)
        right_s = (100_000 - done) / 10_000
        assert eta_s is not None and abs(eta_s - right_s) <= 0.15 * right_s + 1.0


def test_the_time_to_go_is_told_from_the_first_second_and_follows_what_is_measured() -> None:
    book = RepairBook(0.0)
    assert book.eta_s(100_000, 0, 0.0, 0.0) is None, "no limit, and nothing was copied yet"
    book.wanted(order(), 100_000, 100.0)
    first_s = book.eta_s(100_000, 10_000, 0.0, 100.0)
    assert first_s is not None and 10.0 <= first_s <= 11.0
    # The disks give half of what is allowed.
    told = follow(RepairBook(0.0), 5_000, 200_000, 10_000)
    eta_s, right_s = told[12]
    assert abs(eta_s - right_s) <= 0.05 * right_s + 0.6
    # What was found by a later round is not counted as copied twice.
    book.copied(order(), 120.0)
    before_s = book.eta_s(100_000, 10_000, 0.0, 120.0)
    book.note_round(2)
    after_s = book.eta_s(100_000, 10_000, 0.0, 120.0)
    assert before_s is not None and before_s < 1.0
    assert after_s is not None and after_s > 9.0


def test_chunks_that_wait_for_the_same_are_told_together_whenever_they_were_looked_at() -> None:
    def row(chunk: int, silent_s: int, stuck: bool = True) -> WaitingRow:
        why = f"no server can take a copy: cs4 is dead (no heartbeat for {silent_s} s)"
        return WaitingRow(ChunkId(chunk), 3, 100, why, stuck)

    waiting = [row(1, 40), row(2, 41), row(3, 42), row(4, 43), row(5, 43, stuck=False)]
    most, other = reasons_of(waiting)
    assert most == WaitingReason(row(4, 43).reason, 4, 400, True, (1, 2, 3))
    assert (other.chunk_count, other.stuck) == (1, False)
