"""How much servers do now: what they tell of their counters, kept for some seconds (no clock).

What all of them do together is a sum that is kept: with each question some servers are reckoned
anew, those that were the longest ago, so that the leader's door is never held up by many.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from gfs_ha.ids import ServerId
from gfs_ha.protocol.rates import (
    LoadFacts,
    LoadRates,
    add_times,
    is_sound,
    rate_of,
    times_between,
)

WINDOW_S = 3.0  # What is done now is what was done since the last telling before that.
STEP_S = 0.7  # Of tellings that come sooner after another one only the newest is kept.
STALE_S = 3.5  # Whoever was not heard for so long does nothing that is known.

SLICE = 512  # Servers that one question reckons anew: about 15 ms.

_Told = tuple[float, LoadFacts]


class Loads:
    """What the servers told one leader. Used by one thread at a time."""

    def __init__(self) -> None:
        self._told: dict[ServerId, deque[_Told]] = {}
        self._sum = _Sum()
        self._parts: dict[ServerId, _Part] = {}  # What the sum has of each.
        self._next = 0  # Of the servers that were asked about, who is reckoned next.

    def heard(self, server_id: ServerId, load: LoadFacts, now_s: float) -> None:
        """Keep what a run of a server tells of its counters."""
        if not is_sound(load):
            return
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
        part = self._part(server_id, now_s)
        if part is None:
            return None
        alone = _Sum()
        alone.add(part, 1)
        return alone.rates(1)

    def together(self, servers: Iterable[ServerId], now_s: float) -> tuple[LoadRates, int]:
        """Return what some servers do together, and of how many of them that is known.

        Of very many only some are reckoned anew, all others as they were a few questions before.
        """
        asked = list(servers)
        if not self._parts or len(asked) <= SLICE:
            self._sum, self._parts, self._next = _Sum(), {}, 0
            anew = asked
        else:
            for server_id in self._parts.keys() - set(asked):
                self._sum.add(self._parts.pop(server_id), -1)
            begin = self._next % len(asked)
            anew = (asked[begin:] + asked[:begin])[:SLICE]
            self._next = begin + SLICE
        for server_id in anew:
            self._reckon(server_id, now_s)
        return self._sum.rates(len(self._parts)), len(self._parts)

    def _reckon(self, server_id: ServerId, now_s: float) -> None:
        before = self._parts.pop(server_id, None)
        if before is not None:
            self._sum.add(before, -1)
        part = self._part(server_id, now_s)
        if part is not None:
            self._parts[server_id] = part
            self._sum.add(part, 1)

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

    def _part(self, server_id: ServerId, now_s: float) -> _Part | None:
        span = self._span(server_id, now_s)
        if span is None:
            return None
        (began_s, old), (ended_s, new) = span
        return _part_of(old, new, ended_s - began_s)

    def _span(self, server_id: ServerId, now_s: float) -> tuple[_Told, _Told] | None:
        told = self._told.get(server_id)
        if not told or len(told) < 2 or now_s - told[-1][0] > STALE_S:
            return None
        first, last = told[0], told[-1]
        return (first, last) if last[0] - first[0] >= STEP_S / 2 else None


@dataclass(frozen=True, slots=True)
class _Part:
    """What one server did per second, of each kind: how often, how many bytes, and the times."""

    per_s: tuple[float, float, float]
    bytes_per_s: tuple[float, float, float]
    times: tuple[list[int], list[int], list[int]]
    put_bytes_per_s: float
    queue: int
    over_s: float


class _Sum:
    """What several servers do, each in its own span of time."""

    def __init__(self) -> None:
        self._per_s = [0.0] * 3
        self._bytes_per_s = [0.0] * 3
        self._times: tuple[list[int], list[int], list[int]] = ([], [], [])
        self._put = self._over_s = 0.0
        self._queue = 0

    def add(self, part: _Part, sign: int) -> None:
        """Count a server, or (-1) count it no more."""
        for kind in range(3):
            self._per_s[kind] += sign * part.per_s[kind]
            self._bytes_per_s[kind] += sign * part.bytes_per_s[kind]
            add_times(self._times[kind], part.times[kind], sign)
        self._put += sign * part.put_bytes_per_s
        self._queue += sign * part.queue
        self._over_s += sign * part.over_s

    def rates(self, count: int) -> LoadRates:
        """Return it as people see it, of so many servers."""
        if not count:
            return LoadRates()
        read, write, append = (
            rate_of(
                max(0.0, self._per_s[kind]),
                max(0, int(self._bytes_per_s[kind])),
                self._times[kind],
                1.0,
            )
            for kind in range(3)
        )
        return LoadRates(
            read=read,
            write=write,
            append=append,
            put_bytes_per_s=max(0, int(self._put)),
            queue=self._queue,
            over_ms=int(self._over_s / count * 1000),
        )


def _part_of(old: LoadFacts, new: LoadFacts, over_s: float) -> _Part:
    pairs = ((old.read, new.read), (old.write, new.write), (old.append, new.append))
    counts = [after.count - before.count for before, after in pairs]
    lengths = [after.length - before.length for before, after in pairs]
    read, write, append = (
        times_between(before.times, after.times) if after.count != before.count else []
        for before, after in pairs
    )
    return _Part(
        per_s=(counts[0] / over_s, counts[1] / over_s, counts[2] / over_s),
        bytes_per_s=(lengths[0] / over_s, lengths[1] / over_s, lengths[2] / over_s),
        times=(read, write, append),
        put_bytes_per_s=(new.put_bytes - old.put_bytes) / over_s,
        queue=new.queue,
        over_s=over_s,
    )
