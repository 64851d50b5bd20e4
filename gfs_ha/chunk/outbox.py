"""What this server has to tell the leader with its next heartbeat: answers to orders, and damage.

Everything here can be lost without harm: the leader sends an order again until it is answered, and
a damaged block is found again. So the outbox is bounded, and the oldest leaves first.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from gfs_ha.protocol.control import DamageFound, FenceAnswer, OrderAnswer, ProofAnswer
from gfs_ha.runtime import Runtime

ANSWERS_MAX = 4096
DAMAGE_MAX = 1024
ANSWERS_PER_BEAT_MAX = 1000  # About 100 bytes each; a frame takes 4 MiB.


@dataclass(frozen=True, slots=True)
class News:
    """What one heartbeat takes along."""

    answers: tuple[OrderAnswer, ...] = ()
    damage: tuple[DamageFound, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.answers or self.damage)


class Outbox:
    """Thread-safe. `changed` is notified when there are news."""

    def __init__(self, runtime: Runtime) -> None:
        self.changed = runtime.condition()
        self._answers: dict[Hashable, OrderAnswer] = {}
        self._damage: dict[DamageFound, None] = {}

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

    def waiting(self) -> bool:
        """Return whether there are news that no heartbeat took yet."""
        return bool(self._answers or self._damage)

    def take(self) -> News:
        """Return the oldest news, for one heartbeat; `give_back` what could not be told."""
        with self.changed:
            keys = list(self._answers)[:ANSWERS_PER_BEAT_MAX]
            answers = tuple(self._answers.pop(key) for key in keys)
            damage = tuple(self._damage)
            self._damage.clear()
        return News(answers, damage)

    def give_back(self, news: News) -> None:
        """Keep news whose heartbeat was not answered; what came meanwhile is newer."""
        with self.changed:
            for answer in news.answers:
                held = self._answers.get(_key(answer))
                if held is None or held.order_index < answer.order_index:
                    self._keep(answer)
            for damage in news.damage:
                self._damage.setdefault(damage)

    def _keep(self, answer: OrderAnswer) -> None:
        key = _key(answer)
        self._answers.pop(key, None)
        self._answers[key] = answer
        while len(self._answers) > ANSWERS_MAX:
            del self._answers[next(iter(self._answers))]


def _key(answer: OrderAnswer) -> Hashable:
    if isinstance(answer, FenceAnswer):
        return answer.chunk_id, "fence"
    if isinstance(answer, ProofAnswer):
        return answer.chunk_id, "prove"
    return answer.chunk_id, answer.kind  # OrderDone, or OrderFailed of any kind.
