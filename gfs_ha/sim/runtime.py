"""The Runtime of one simulated process: virtual time at its own rate, seeded chance, no threads."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import TracebackType
from typing import NoReturn, TypeVar

from gfs_ha.runtime import Condition, Future, Lock, Queue, Task
from gfs_ha.sim.scheduler import Scheduler

T = TypeVar("T")


class _NoLock:
    """One thread needs no exclusion."""

    def __enter__(self) -> bool:
        return True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None


class SimRuntime:
    """Time of one machine: its clock runs at `rate`, and ahead while a step takes time."""

    def __init__(self, scheduler: Scheduler, chance: random.Random, rate: float = 1.0) -> None:
        self.ahead_s = 0.0  # How long the running step has taken so far.
        self._scheduler = scheduler
        self._chance = chance
        self._rate = rate

    def monotonic_s(self) -> float:
        return (self._scheduler.now_s + self.ahead_s) * self._rate

    def monotonic_ns(self) -> int:
        return int(self.monotonic_s() * 1e9)

    def wall_ns(self) -> int:
        return self.monotonic_ns()

    def global_s(self, local_s: float) -> float:
        """Return when it is `local_s` on this machine's clock."""
        return local_s / self._rate

    def random_u64(self) -> int:
        return self._chance.getrandbits(64)

    def random_bytes(self, count: int) -> bytes:
        return self._chance.randbytes(count)

    def uniform(self, low: float, high: float) -> float:
        return self._chance.uniform(low, high)

    def lock(self) -> Lock:
        return _NoLock()

    def sleep(self, seconds: float) -> None:
        _never_waits()

    def spawn(self, name: str, body: Callable[[], None]) -> Task:
        _never_waits()

    def condition(self) -> Condition:
        _never_waits()

    def queue(self, limit: int) -> Queue[T]:
        _never_waits()

    def future(self) -> Future[T]:
        _never_waits()


def _never_waits() -> NoReturn:
    raise AssertionError("nothing in a simulated step waits or starts a thread")
