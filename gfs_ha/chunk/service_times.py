"""How long this server takes for what clients ask of it, against what is usual here (no clock).

Operations are compared with others of their kind and size only. What is usual is the time within
which nine of ten were served while nothing was copied. It goes on being learned while copies run,
but so slowly that repair does not become what is usual within minutes.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

READ, PUSH = "read", "push"

WINDOW_S = 3.0
_NOTES_MAX = 2_000
_KNOWN_COUNT = 40  # Operations of a class before others are judged by it.
_SHARE = 0.9
_STEP = 0.03  # Of the logarithm: 25 slow ones in a row make what is usual twice as long.
_STEP_COPYING, _PAUSE_COPYING_S = 0.002, 1.0  # While copies run: six minutes of slow ones.
_JUDGED_MIN = 10
SLOW_FACTOR, SLOW_S = 2.0, 0.002  # Slow is who took more than this much longer than usual...
SLOW_SHARE = 0.25  # ...and clients suffer when more than a quarter are slow; usual is a tenth.


@dataclass(slots=True)
class _Usual:
    """The time within which nine of ten operations of one class are served."""

    log_s: float
    count: int = 0
    learned_s: float = 0.0

    def learn(self, took_s: float, now_s: float, copying: bool) -> None:
        step = _STEP_COPYING if copying else _STEP
        if self.count < _KNOWN_COUNT:
            step = 1.0 / (1 + self.count)
        elif copying and now_s - self.learned_s < _PAUSE_COPYING_S:
            return
        above = math.log(max(took_s, 1e-6)) > self.log_s
        self.log_s += step * (_SHARE if above else _SHARE - 1.0)
        self.count, self.learned_s = self.count + 1, now_s


@dataclass(frozen=True, slots=True)
class Judgement:
    """How many of the operations of the last seconds were slow."""

    slow_count: int = 0
    count: int = 0

    @property
    def suffering(self) -> bool:
        """Return whether clients wait longer than usual."""
        return self.count >= _JUDGED_MIN and self.slow_count > SLOW_SHARE * self.count


class ServiceTimes:
    """What was served lately; used under the lock of its owner."""

    def __init__(self) -> None:
        self._usual: dict[tuple[str, int], _Usual] = {}  # Two kinds, 27 sizes at most.
        self._judged: deque[tuple[float, bool]] = deque(maxlen=_NOTES_MAX)

    def note(self, kind: str, length: int, took_s: float, now: tuple[float, bool]) -> None:
        """Note an operation. Args: `now` is the time, and whether something is being copied."""
        now_s, copying = now
        key = (kind, length.bit_length())
        usual = self._usual.get(key)
        if usual is None:
            usual = self._usual[key] = _Usual(math.log(max(took_s, 1e-6)))
        if usual.count >= _KNOWN_COUNT:
            slow = took_s > math.exp(usual.log_s) * SLOW_FACTOR + SLOW_S
            self._judged.append((now_s, slow))
        usual.learn(took_s, now_s, copying)

    def judge(self, now_s: float) -> Judgement:
        """Return how clients fared in the last seconds."""
        while self._judged and now_s - self._judged[0][0] > WINDOW_S:
            self._judged.popleft()
        return Judgement(sum(slow for _, slow in self._judged), len(self._judged))
