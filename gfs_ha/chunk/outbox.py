"""What this server has to tell the leader with its next heartbeat: answers, damage, ends of tails.

Everything here can be lost without harm: the leader sends an order again until it is answered,
seals a tail whose end it was not told, and a damaged block is found again. So the outbox is
bounded, and the oldest leaves first.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TypeVar

from gfs_ha.ids import ChunkId
from gfs_ha.protocol.control import (
    DamageFound,
    FenceAnswer,
    FinishedTail,
    OrderAnswer,
    ProofAnswer,
)
from gfs_ha.runtime import Runtime

K = TypeVar("K")
V = TypeVar("V")

ANSWERS_MAX = 4096
DAMAGE_MAX = 1024
FINISHED_MAX = 256
ANSWERS_PER_BEAT_MAX = 1000  # About 100 bytes each; a frame takes 4 MiB.
RECORDS_PER_BEAT_MAX = 40_000  # Of proofs and ends of tails; at most 47 bytes each.


@dataclass(frozen=True, slots=True)
class News:
    """What one heartbeat takes along."""

    answers: tuple[OrderAnswer, ...] = ()
    damage: tuple[DamageFound, ...] = ()
    finished: tuple[FinishedTail, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.answers or self.damage or self.finished)


class Outbox:
    """Thread-safe. `changed` is notified when there are news."""

    def __init__(self, runtime: Runtime) -> None:
        self.changed = runtime.condition()
        self._answers: dict[Hashable, OrderAnswer] = {}
        self._damage: dict[DamageFound, None] = {}
        self._finished: dict[ChunkId, FinishedTail] = {}

    def add_answer(self, answer: OrderAnswer) -> None:
        """Keep an answer until it is told; the newest one of a chunk and kind is enough."""
        with self.changed:
            self._keep(answer)
            self.changed.notify_all()

    def add_damage(self, damage: DamageFound) -> None:
        """Keep a damaged block until it is told."""
        with self.changed:
            if damage in self._damage:
                return
            self._damage[damage] = None
            while len(self._damage) > DAMAGE_MAX:
                del self._damage[next(iter(self._damage))]
            self.changed.notify_all()

    def add_finished(self, tail: FinishedTail) -> None:
        """Keep the end of a tail until it is told."""
        with self.changed:
            self._keep_finished(tail)
            self.changed.notify_all()

    def waiting(self) -> bool:
        """Return whether there are news that no heartbeat took yet."""
        return bool(self._answers or self._damage or self._finished)

    def take(self) -> News:
        """Return the oldest news, for one heartbeat; `give_back` what could not be told."""
        with self.changed:
            room = [RECORDS_PER_BEAT_MAX]
            finished = _pop_within(self._finished, FINISHED_MAX, room)
            answers = _pop_within(self._answers, ANSWERS_PER_BEAT_MAX, room)
            damage = tuple(self._damage)
            self._damage.clear()
        return News(answers, damage, finished)

    def give_back(self, news: News) -> None:
        """Keep news whose heartbeat was not answered; what came meanwhile is newer."""
        with self.changed:
            for answer in news.answers:
                held = self._answers.get(_key(answer))
                if held is None or held.order_index < answer.order_index:
                    self._keep(answer)
            for damage in news.damage:
                self._damage.setdefault(damage)
            for tail in news.finished:
                self._keep_finished(tail)

    def _keep(self, answer: OrderAnswer) -> None:
        key = _key(answer)
        self._answers.pop(key, None)
        self._answers[key] = answer
        while len(self._answers) > ANSWERS_MAX:
            del self._answers[next(iter(self._answers))]

    def _keep_finished(self, tail: FinishedTail) -> None:
        self._finished[tail.chunk_id] = tail
        while len(self._finished) > FINISHED_MAX:
            del self._finished[next(iter(self._finished))]


def _pop_within(kept: dict[K, V], count_max: int, room: list[int]) -> tuple[V, ...]:
    """Take out the oldest, as long as there is room for the records that they carry."""
    taken: list[V] = []
    for key in list(kept)[:count_max]:
        records = len(getattr(kept[key], "records", ()))
        if records > room[0]:
            break
        room[0] -= records
        taken.append(kept.pop(key))
    return tuple(taken)


def _key(answer: OrderAnswer) -> Hashable:
    if isinstance(answer, FenceAnswer):
        return answer.chunk_id, "fence"
    if isinstance(answer, ProofAnswer):
        return answer.chunk_id, "prove"
    return answer.chunk_id, answer.kind  # OrderDone, or OrderFailed of any kind.
