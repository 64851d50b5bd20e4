"""How much a process does: counters that only grow, as they are told, and the rates made of them.

A time is counted in a class; there are two of them for each doubling, so that what is said of half
or of 99 of 100 operations is off by a fifth at most.
"""

from __future__ import annotations

from collections.abc import Sequence

from gfs_ha.protocol.codec import Word

TIME_CLASSES = 56  # The last one begins at three minutes.
AMOUNT_MAX = 1 << 56  # No process comes near it, and sums of many can still be told.


class Served(Word, frozen=True):
    """What was served of one kind since the process started."""

    count: int = 0
    length: int = 0  # Bytes of all of them.
    times: tuple[int, ...] = ()  # How many by class of time, without the empty ones at the end.


class LoadFacts(Word, frozen=True):
    """What a chunkserver did for clients since it started, and what is under way now.

    Reads of copies are not counted. A put is a write on each of its servers.
    """

    read: Served = Served()
    write: Served = Served()
    append: Served = Served()  # Records to tails that this server is the primary of.
    put_bytes: int = 0  # Of those writes whose chain ends here: each byte of a client once.
    queue: int = 0  # Reads and writes under way, and records that wait.


class CallFacts(Word, frozen=True):
    """What a master answered since it started, without heartbeats, which it parks."""

    served: Served = Served()


class ServedRate(Word, frozen=True):
    """What is served of one kind now. Times in microseconds; None = nothing was served."""

    per_s: float = 0.0
    bytes_per_s: int = 0
    p50_us: int | None = None
    p99_us: int | None = None


class LoadRates(Word, frozen=True):
    """What a chunkserver, or all of them together, does for clients now."""

    read: ServedRate = ServedRate()
    write: ServedRate = ServedRate()
    append: ServedRate = ServedRate()
    put_bytes_per_s: int = 0
    queue: int = 0
    over_ms: int = 0  # The time that it was measured over; 0 = not measured yet.


def is_sound(load: LoadFacts) -> bool:
    """Return whether a server of ours can tell so."""
    kinds = (load.read, load.write, load.append)
    if any(len(one.times) > TIME_CLASSES for one in kinds):
        return False
    numbers = [number for one in kinds for number in (one.count, one.length, *one.times)]
    numbers += (load.put_bytes, load.queue)
    return min(numbers) >= 0 and max(numbers) <= AMOUNT_MAX


def time_class(microseconds: int) -> int:
    """Return the class of a time."""
    if microseconds < 2:
        return 0
    bits = microseconds.bit_length()
    return min(2 * (bits - 1) + (microseconds >> (bits - 2) & 1), TIME_CLASSES - 1)


def class_begins_us(number: int) -> float:
    """Return the shortest time of a class, in microseconds."""
    return float(1 << number // 2) * (1.5 if number % 2 else 1.0)


def quantile_us(times: Sequence[int], share: float) -> int | None:
    """Return the time within which this share was served, in microseconds; None = nothing was."""
    total = sum(times)
    if total <= 0:
        return None
    wanted = share * total
    passed = 0.0
    for number, count in enumerate(times):
        if count and passed + count >= wanted:
            begins, ends = class_begins_us(number), class_begins_us(number + 1)
            return int(begins * (ends / begins) ** ((wanted - passed) / count))
        passed += count
    return int(class_begins_us(len(times)))


def times_between(before: Sequence[int], after: Sequence[int]) -> list[int]:
    """Return how many were served by class between two tellings of one process."""
    longer = [*before, *[0] * (len(after) - len(before))]
    return [max(0, new - old) for new, old in zip(after, longer, strict=False)]


def add_times(into: list[int], times: Sequence[int], sign: int = 1) -> None:
    """Add counts by class to others, or (-1) take away what was added before."""
    if len(into) < len(times):
        into.extend([0] * (len(times) - len(into)))
    for number, count in enumerate(times):
        into[number] += sign * count


def rate_of(count: float, length: int, times: Sequence[int], over_s: float) -> ServedRate:
    """Return the rate of what was served within so many seconds."""
    return ServedRate(
        per_s=round(count / over_s, 3),
        bytes_per_s=int(length / over_s),
        p50_us=quantile_us(times, 0.5),
        p99_us=quantile_us(times, 0.99),
    )
