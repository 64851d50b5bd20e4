"""Who does how much: sketches as chunkservers tell them, and the report made of all of them.

What is counted where, so that nothing is counted twice:
- by client and by operation: each request to the leader (its operations; it moves no bytes of
  files), and at the chunkservers each read, each push of a put (by the first server of its chain)
  and each appended record (by the tail's primary), with its bytes.
- by path: each request to the leader that names a path, under the first two directories above
  what it names; its bytes are those of the files that it opened or published, read or not.
Clients name themselves: a name is for people and proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from gfs_ha.latency import CLASSES, quantile_us
from gfs_ha.protocol.codec import Word
from gfs_ha.protocol.rates import AMOUNT_MAX
from gfs_ha.sketch import Sketch, Tally
from gfs_ha.sketch_windows import MINUTE, WINDOWS

CLIENT, PATH, OPERATION = "client", "path", "op"
KINDS = (CLIENT, PATH, OPERATION)
BYTES, OPERATIONS, P99 = "bytes", "ops", "p99"
SORTS = (BYTES, OPERATIONS, P99)

KEPT = 128  # Keys of one sketch that keep their place; it holds twice as many at most.
TOLD_MAX = 64  # Keys of one sketch that a chunkserver tells.
ROWS_MAX = 1_000
LABEL_BYTES_MAX = 64
KEY_BYTES_MAX = 160
UNNAMED = "(unnamed)"  # Who gives no name.

READ, WRITE, APPEND = "read", "write", "append"  # Operations of chunkservers.


class UsageEntry(Word, frozen=True):
    """One key of a sketch; `missed` is the cost that it may have had besides (sketch.py)."""

    key: str
    operations: int
    bytes: int
    missed: int = 0
    times: tuple[tuple[int, int], ...] = ()  # (class of time, how many): latency.py.


class UsageSketch(Word, frozen=True):
    """What was seen by one kind of key in one window, and over how long."""

    by: str
    window: str
    over_ms: int
    total: UsageEntry
    entries: tuple[UsageEntry, ...]
    floor: int = 0


class UsageFacts(Word, frozen=True):
    """What a chunkserver served, for whom: told whole, every few seconds."""

    sketches: tuple[UsageSketch, ...] = ()


class GetUsage(Word, frozen=True, tag="get_usage"):
    """-> UsageReport. Raises: InvalidArgument."""

    by: str = CLIENT
    window: str = MINUTE
    sort: str = BYTES
    limit: int = 20


class UsageRow(Word, frozen=True):
    """What was counted of one key, never too much; each may have so much more as `…_missed` says.

    Times are None where nothing was served.
    """

    name: str
    operations: int
    bytes: int
    operations_missed: int = 0
    bytes_missed: int = 0
    p50_us: int | None = None
    p99_us: int | None = None


class UsageReport(Word, frozen=True, tag="usage_report"):
    """-> kind UsageList. Items and `others` together are `total`.

    Fields: `operations_unlisted` and `bytes_unlisted`: nobody who is not named anywhere did more
    than that; `servers` of `servers_live` chunkservers have told; `leader_ms`: since when this
    leader leads, whose own part does not reach back behind the start of its process.
    """

    by: str
    window: str
    sort: str
    over_ms: int
    items: tuple[UsageRow, ...]
    others: UsageRow
    total: UsageRow
    others_count: int  # Keys that are known and not among the items.
    operations_unlisted: int
    bytes_unlisted: int
    servers: int
    servers_live: int
    leader: str
    leader_ms: int


UsageRequest = GetUsage
UsageReply = UsageReport


def clean_label(text: str) -> str:
    """Return a name that a peer gave itself as it may be shown: printable and bounded."""
    shown = "".join(one if one.isprintable() else "?" for one in text[:LABEL_BYTES_MAX])
    while len(shown.encode(errors="replace")) > LABEL_BYTES_MAX:
        shown = shown[:-1]
    return shown.encode(errors="replace").decode().strip() or UNNAMED


def path_prefix(path: str) -> str:
    """Return the first two directories above what a path names, cut to what a key may have."""
    first = path.find("/", 1)
    second = path.find("/", first + 1) if first > 0 else -1
    prefix = path[: second if second > 0 else first] if first > 0 else "/"
    if len(prefix) * 4 > KEY_BYTES_MAX or not prefix.isprintable():
        prefix = "".join(one if one.isprintable() else "?" for one in prefix)
        prefix = prefix.encode(errors="replace")[:KEY_BYTES_MAX].decode(errors="ignore")
    return prefix


def told_sketch(sketch: Sketch, by: str, window: str, over_s: float) -> UsageSketch:
    """Return a sketch as it is told; only its dearest keys stay in it."""
    sketch.cut(TOLD_MAX)
    entries = tuple(_told(key, tally) for key, tally in sketch.dearest())
    total = _told("", sketch.total)
    return UsageSketch(by, window, int(over_s * 1000), total, entries, sketch.floor)


def heard_sketch(told: UsageSketch) -> Sketch | None:
    """Return what a chunkserver told as a sketch; None if none of ours tells so."""
    words = (told.total, *told.entries)
    bounds = (told.floor, told.over_ms)
    if len(told.entries) > TOLD_MAX or min(bounds) < 0 or max(bounds) > AMOUNT_MAX:
        return None
    if told.by not in KINDS or told.window not in WINDOWS or not all(map(_sound, words)):
        return None
    sketch = Sketch(KEPT)
    sketch.floor = told.floor
    sketch.tallies = {entry.key: _heard(entry) for entry in told.entries}
    sketch.gone = _heard(told.total).without(sketch.tallies.values())
    return sketch if min(sketch.gone.operations, sketch.gone.bytes) >= 0 else None


def usage_row(name: str, tally: Tally) -> UsageRow:
    """Return what was counted of one key, for people."""
    return UsageRow(
        name=name,
        operations=tally.operations,
        bytes=tally.bytes,
        operations_missed=tally.operations_missed,
        bytes_missed=tally.missed,
        p50_us=quantile_us(tally.times, 0.5),
        p99_us=quantile_us(tally.times, 0.99),
    )


def ranked(sketch: Sketch, sort: str) -> list[tuple[str, Tally]]:
    """Return the keys of a sketch, the greatest first."""
    of = _SORTED_BY[sort]
    # Of those that are equal in it the dearest, then by name: the same in every answer.
    return sorted(sketch.tallies.items(), key=lambda one: (-of(one[1]), -one[1].cost, one[0]))


_SORTED_BY: dict[str, Callable[[Tally], int]] = {
    BYTES: lambda tally: tally.bytes,
    OPERATIONS: lambda tally: tally.operations,
    P99: lambda tally: quantile_us(tally.times, 0.99) or 0,
}


def _told(key: str, tally: Tally) -> UsageEntry:
    times = tuple(sorted(tally.times.items()))
    return UsageEntry(key, tally.operations, tally.bytes, tally.missed, times)


def _heard(entry: UsageEntry) -> Tally:
    tally = Tally(entry.missed)
    tally.operations, tally.bytes = entry.operations, entry.bytes
    tally.times = dict(entry.times)
    return tally


def _sound(entry: UsageEntry) -> bool:
    told = [number for pair in entry.times for number in pair]
    numbers = (entry.operations, entry.bytes, entry.missed, *told)
    fits = len(entry.key.encode(errors="replace")) <= KEY_BYTES_MAX and entry.key.isprintable()
    classes = {number for number, _ in entry.times}
    known = len(classes) == len(entry.times) and max(classes, default=0) < CLASSES
    return fits and known and min(numbers) >= 0 and max(numbers) <= AMOUNT_MAX
