"""What is to be told to the leader: bounded, the newest of a kind, nothing lost by a lost call."""

from __future__ import annotations

from gfs_ha.chunk.outbox import (
    ANSWERS_MAX,
    ANSWERS_PER_BEAT_MAX,
    DAMAGE_MAX,
    FINISHED_MAX,
    RECORDS_PER_BEAT_MAX,
    Outbox,
)
from gfs_ha.ids import ChunkId, DiskId, LogIndex, ServerId
from gfs_ha.limits import BATCH_RECORDS_MAX, FRAME_BYTES_MAX, TAIL_RESULTS_MAX
from gfs_ha.protocol.codec import encode
from gfs_ha.protocol.control import DamageFound, FinishedTail, OrderDone, ProofAnswer
from gfs_ha.protocol.records import RecordEntry
from gfs_ha.runtime import ThreadedRuntime


def done(chunk: int, index: int) -> OrderDone:
    return OrderDone(ChunkId(chunk), LogIndex(index), "delete")


def damage(block: int) -> DamageFound:
    return DamageFound(ChunkId(1), DiskId(2), block)


def test_what_was_taken_is_told_once() -> None:
    outbox = Outbox(ThreadedRuntime())
    outbox.add_answer(done(1, 5))
    outbox.add_damage(damage(3))
    outbox.add_damage(damage(3))
    assert outbox.waiting()
    news = outbox.take()
    assert news.answers == (done(1, 5),) and news.damage == (damage(3),)
    assert not outbox.waiting() and not outbox.take()


def test_news_whose_heartbeat_was_lost_are_told_again_but_never_instead_of_newer_ones() -> None:
    outbox = Outbox(ThreadedRuntime())
    outbox.add_answer(done(1, 5))
    outbox.add_answer(done(2, 6))
    outbox.add_damage(damage(3))
    news = outbox.take()
    outbox.add_answer(done(1, 9))
    outbox.give_back(news)
    again = outbox.take()
    assert set(again.answers) == {done(1, 9), done(2, 6)}
    assert again.damage == (damage(3),)


def test_everything_is_bounded_and_the_oldest_leaves_first() -> None:
    outbox = Outbox(ThreadedRuntime())
    for number in range(ANSWERS_MAX + 10):
        outbox.add_answer(done(number, number))
    for number in range(DAMAGE_MAX + 10):
        outbox.add_damage(damage(number))
    news = outbox.take()
    assert len(news.answers) == ANSWERS_PER_BEAT_MAX
    assert news.answers[0] == done(10, 10)
    assert len(news.damage) == DAMAGE_MAX and news.damage[0] == damage(10)
    assert len(outbox.take().answers) == ANSWERS_PER_BEAT_MAX, "the rest goes with the next"


def end(chunk: int, records: tuple[RecordEntry, ...] = ()) -> FinishedTail:
    return FinishedTail(ChunkId(chunk), 10, 3, 7, (ServerId(1), ServerId(2)), records)


def test_the_end_of_a_tail_is_told_once_and_again_when_its_heartbeat_was_lost() -> None:
    outbox = Outbox(ThreadedRuntime())
    outbox.add_finished(end(1))
    news = outbox.take()
    assert news and news.finished == (end(1),) and not outbox.waiting()
    outbox.give_back(news)
    assert outbox.take() == news
    for number in range(FINISHED_MAX + 10):
        outbox.add_finished(end(number))
    assert outbox.take().finished[0] == end(10)


def test_what_many_tails_bring_along_fits_the_frames_of_some_heartbeats() -> None:
    """A server that led hundreds of tails is fenced: each proof has thousands of records."""
    outbox = Outbox(ThreadedRuntime())
    big = (1 << 64) - 1
    many = tuple(
        RecordEntry(big, big, big, 1 << 26, 1 << 23)
        for _ in range(TAIL_RESULTS_MAX + BATCH_RECORDS_MAX)
    )
    for number in range(20):
        outbox.add_finished(end(number, many))
        outbox.add_answer(ProofAnswer(ChunkId(number), LogIndex(1), 10, 3, 7, many))
    told = 0
    while outbox.waiting():
        news = outbox.take()
        assert news.finished or news.answers
        told += len(news.finished) + len(news.answers)
        count = sum(len(one.records) for one in (*news.finished, *news.answers))
        assert count <= RECORDS_PER_BEAT_MAX
        assert len(encode(news.finished)) + len(encode(news.answers)) < FRAME_BYTES_MAX
    assert told == 40
