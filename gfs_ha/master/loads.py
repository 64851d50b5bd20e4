"""How much servers do now: what they tell of their counters, kept for some seconds (no clock)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from gfs_ha.ids import ServerId
from gfs_ha.protocol.rates import (
    TIME_CLASSES,
    LoadFacts,
    LoadRates,
    Served,
    ServedRate,
    add_times,
    rate_of,
    times_between,
)

WINDOW_S = 3.0  # What is done now is what was done since the last telling before that.
STEP_S = 0.7  # Of tellings that come sooner after another one only the newest is kept.
STALE_S = 3.5  # Whoever was not heard for so long does nothing that is known.

_Told = tuple[float, LoadFacts]


class Loads:
    """What the servers told one leader. Used by one thread at a time."""

    def __init__(self) -> None:
        self._told: dict[ServerId, deque[_Told]] = {}

    def heard(self, server_id: ServerId, load: LoadFacts, now_s: float) -> None:
        """Keep what a run of a server tells of its counters."""
        if any(len(one.times) > TIME_CLASSES for one in (load.read, load.write, load.append)):
            return  # No server of ours counts so.
        told = self._told.setdefault(server_id, deque())
        if len(told) > 1 and told[-1][0] - told[-2][0] < STEP_S:
            told.pop()
        told.append((now_s, load))
        while len(told) > 2 and told[1][0] <= now_s - WINDOW_S:
            told.popleft()

    def forget(self, server_id: ServerId) -> None:
        """Forget an earlier run of a server: the next one counts from nothing."""
        self._told.pop(server_id, None)

    def rates(self, server_id: ServerId, now_s: float) -> LoadRates | None:
        """Return what a server does now; None when that cannot be told (yet)."""
        span = self._span(server_id, now_s)
        return None if span is None else _Sum([span]).rates()

    def together(self, servers: Iterable[ServerId], now_s: float) -> tuple[LoadRates, int]:
        """Return what some servers do together, and of how many of them that is known."""
        spans = [span for one in servers if (span := self._span(one, now_s)) is not None]
        return _Sum(spans).rates(), len(spans)

    def amounts(self, server_id: ServerId, now_s: float) -> tuple[float, float, float, int]:
        """Return bytes per second read, written, appended, and what is under way: to sort by."""
        span = self._span(server_id, now_s)
        if span is None:
            return -1.0, -1.0, -1.0, -1
        (began_s, old), (ended_s, new) = span
        over_s = ended_s - began_s
        return (
            (new.read.length - old.read.length) / over_s,
            (new.write.length - old.write.length) / over_s,
            (new.append.length - old.append.length) / over_s,
            new.queue,
        )

    def _span(self, server_id: ServerId, now_s: float) -> tuple[_Told, _Told] | None:
        told = self._told.get(server_id)
        if not told or len(told) < 2 or now_s - told[-1][0] > STALE_S:
            return None
        first, last = told[0], told[-1]
        return (first, last) if last[0] - first[0] >= STEP_S / 2 else None


class _Sum:
    """What several servers did, each in its own span of time."""

    def __init__(self, spans: list[tuple[_Told, _Told]]) -> None:
        self._spans = spans

    def rates(self) -> LoadRates:
        if not self._spans:
            return LoadRates()
        over_s = [new[0] - old[0] for old, new in self._spans]
        put = sum(
            (new.put_bytes - old.put_bytes) / span
            for ((_, old), (_, new)), span in zip(self._spans, over_s, strict=True)
        )
        return LoadRates(
            read=self._of([(old.read, new.read) for (_, old), (_, new) in self._spans], over_s),
            write=self._of([(old.write, new.write) for (_, old), (_, new) in self._spans], over_s),
            append=self._of(
                [(old.append, new.append) for (_, old), (_, new) in self._spans], over_s
            ),
            put_bytes_per_s=max(0, int(put)),
            queue=sum(new.queue for _, (_, new) in self._spans),
            over_ms=int(sum(over_s) / len(over_s) * 1000),
        )

    @staticmethod
    def _of(pairs: list[tuple[Served, Served]], over_s: list[float]) -> ServedRate:
        count = length = 0.0
        times: list[int] = []
        for (old, new), span_s in zip(pairs, over_s, strict=True):
            if new.count != old.count:
                count += (new.count - old.count) / span_s
                length += (new.length - old.length) / span_s
                add_times(times, times_between(old.times, new.times))
        return rate_of(max(0.0, count), max(0, int(length)), times, 1.0)
