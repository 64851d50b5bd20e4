"""What one reign has answered lately of the whole cluster, so that many may look at it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from gfs_ha.ids import ServerId
from gfs_ha.protocol.overview import LeaseTotals, Overview, RepairTotals, ServerTotals
from gfs_ha.protocol.reports import HealthReport
from gfs_ha.sketch import Sketch

T = TypeVar("T")

_FRESH_S = 0.4
_HEALTH_FRESH_S = 2.0
_SHARE = 0.04  # Of the door's time.


class Kept(Generic[T]):
    """An answer that is made anew at most so often that it costs the door a small share.

    So whatever many people look at the cluster costs as much as one of them.
    """

    def __init__(self, fresh_s: float, share: float = _SHARE) -> None:
        self._fresh_s = fresh_s
        self._share = share
        self._until_s = 0.0
        self._value: T | None = None

    def get(self, now_s: Callable[[], float], make: Callable[[], T]) -> T:
        """Return the answer that is kept, or a new one when that is too old."""
        begun_s = now_s()
        if self._value is None or begun_s >= self._until_s:
            self._value = make()
            took_s = now_s() - begun_s
            self._until_s = begun_s + max(self._fresh_s, took_s / self._share)
        return self._value


class LiveBoard:
    """Used on the door's thread only."""

    def __init__(self) -> None:
        self.health: Kept[tuple[HealthReport, int]] = Kept(_HEALTH_FRESH_S)
        self.overview: Kept[Overview] = Kept(_FRESH_S)
        # The part of it that who watches is told: servers tell of their load themselves.
        self.totals: Kept[tuple[ServerTotals, LeaseTotals, RepairTotals]] = Kept(_FRESH_S)
        self.latencies: Kept[dict[ServerId, float]] = Kept(_FRESH_S)  # By which it is sorted.
        self._usage: dict[tuple[str, str], Kept[tuple[Sketch, float]]] = {}

    def usage(self, key: tuple[str, str]) -> Kept[tuple[Sketch, float]]:
        """Return who does how much, by kind of key and window; of these there are few."""
        return self._usage.setdefault(key, Kept(_FRESH_S))
