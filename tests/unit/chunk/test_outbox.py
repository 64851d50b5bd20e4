"""What is to be told to the leader: bounded, the newest of a kind, nothing lost by a lost call."""

from __future__ import annotations

from gfs_ha.chunk.outbox import ANSWERS_MAX, ANSWERS_PER_BEAT_MAX, DAMAGE_MAX, Outbox
from gfs_ha.ids import ChunkId, DiskId, LogIndex
from gfs_ha.protocol.control import DamageFound, OrderDone
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
