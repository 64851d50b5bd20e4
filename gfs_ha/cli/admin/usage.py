"""`gfsctl admin top --by client|path|op`: who does how much, as a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from gfs_ha.cli.live.spans import cells, cut_middle
from gfs_ha.cli.names import printable
from gfs_ha.cli.render import names, render
from gfs_ha.cli.session import Session
from gfs_ha.cli.units import count_text, duration_text, share_text, size_text
from gfs_ha.errors import UsageError
from gfs_ha.protocol.usage import (
    BYTES,
    CLIENT,
    OPERATION,
    PATH,
    ROWS_MAX,
    SORTS,
    UsageReport,
    UsageRow,
)
from gfs_ha.sketch_windows import MINUTE

ROWS = 16  # With what stands around them they fit a terminal of 24 lines.
_TITLES = {CLIENT: "Client", PATH: "Below", OPERATION: "Operation"}
_NAME_COLUMNS_MIN, _NAME_COLUMNS_MAX = 8, 32
_GAP = 2
_ELECTION_MS = 10_000  # What went by before somebody led at all is no news.


class Wanted(NamedTuple):
    """What of the usage is to be shown; None: as usual."""

    by: str
    window: str | None = None
    sort: str | None = None
    limit: int | None = None


def show_usage(session: Session, wanted: Wanted, watch: float | None) -> None:
    """Show who does how much, once or again and again. Raises: UsageError."""
    sort = wanted.sort or BYTES
    if sort not in SORTS:
        raise UsageError(f"--by {wanted.by} is sorted by {', '.join(SORTS)}, not by {sort}")
    limit = ROWS if wanted.limit is None else wanted.limit
    if not 1 <= limit <= ROWS_MAX:
        raise UsageError(f"--by {wanted.by} shows 1 to {ROWS_MAX} rows, not {limit}")
    asked = (wanted.by, wanted.window or MINUTE, sort, limit)

    def look() -> None:
        session.show(session.operations.usage.top(*asked))

    if watch is None:
        look()
    else:
        session.watch(watch, look)


class UsageTable:
    """The report as rich prints it: as many columns as fit, names cut before numbers are."""

    def __init__(self, report: UsageReport, wide: bool) -> None:
        self._report = report
        self._wide = wide

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        report = self._report
        rows = [*report.items, report.total]
        if report.others.operations or report.others_count:
            rows.insert(-1, report.others)
        texts = [printable(row.name) for row in rows]
        wished = min(max(map(cells, texts)), _NAME_COLUMNS_MAX)
        columns = _fitting(_columns(report, rows, self._wide), options.max_width - wished)
        # A row that leads into the next line of a narrow terminal is no row.
        room = options.max_width - sum(column.width for column in columns)
        table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
        table.add_column(_TITLES[report.by], no_wrap=True)
        for column in columns:
            table.add_column(column.title, justify="right", no_wrap=True)
        for at, text in enumerate(texts):
            # Its end tells processes and directories apart.
            name = cut_middle(text, max(_NAME_COLUMNS_MIN, room - _GAP))
            table.add_row(name, *(column.texts[at] for column in columns))
        yield Text(_heading(report), overflow="fold")
        yield table
        note = _bounds(report)
        if note:
            yield Text(note, style="dim", overflow="fold")


class _Column(NamedTuple):
    title: str
    rank: int  # The greatest go first where it is narrow; 0: never.
    texts: list[str]

    @property
    def width(self) -> int:
        return max(len(self.title), *map(len, self.texts)) + _GAP


def _columns(report: UsageReport, rows: list[UsageRow], wide: bool) -> list[_Column]:
    seconds = max(report.over_ms, 1) / 1000
    whole = report.total.bytes
    columns = [
        _Column("Bytes", 0, [size_text(row.bytes) for row in rows]),
        _Column("Bytes/s", 2, [size_text(row.bytes / seconds) for row in rows]),
        _Column("Share", 4, [share_text(row.bytes / whole) if whole else "-" for row in rows]),
        _Column("Ops", 0, [count_text(row.operations) for row in rows]),
        _Column("Ops/s", 3, [_rate(row.operations / seconds) for row in rows]),
        _Column("p50", 5, [_time(row.p50_us) for row in rows]),
        _Column("p99", 1, [_time(row.p99_us) for row in rows]),
    ]
    if wide:
        missed = [f"≤ {size_text(row.bytes_missed)}" if row.bytes_missed else "-" for row in rows]
        columns.append(_Column("Bytes missed", 6, missed))
        missed = [f"≤ {row.operations_missed:,}" if row.operations_missed else "-" for row in rows]
        columns.append(_Column("Ops missed", 6, missed))
    return columns


def _fitting(columns: list[_Column], room: int) -> list[_Column]:
    """Return the columns that fit; those that nobody can do without stay."""
    kept = list(columns)
    while sum(column.width for column in kept) > room:
        least = max(kept, key=lambda column: column.rank)
        if not least.rank:
            break
        kept.remove(least)
    return kept


def _heading(report: UsageReport) -> str:
    text = f"last {duration_text(report.over_ms)}, by {report.sort}; requests to {report.leader}"
    if report.by != PATH:
        told = f"{report.servers} of {count_text(report.servers_live, 'chunkserver')}"
        text += f", data of {told}"
    else:
        text += "; bytes are whole sizes of the files opened and published, read or not"
    if report.leader_ms + _ELECTION_MS < report.over_ms:
        text += (
            f"; it leads for {duration_text(report.leader_ms)}, what another one did is not in it"
        )
    return text


def _bounds(report: UsageReport) -> str:
    """Return what the numbers may lack, where they may lack anything."""
    if not report.bytes_unlisted and not any(row.bytes_missed for row in report.items):
        return ""
    return (
        "more names than are kept: a row may lack what -o wide shows as missed (it is in the"
        f" others); nobody who is not named did more than {count_text(report.operations_unlisted)}"
        f" operations or {size_text(report.bytes_unlisted)}"
    )


def _rate(per_s: float) -> str:
    return f"{per_s:,.0f}" if per_s >= 10 else f"{per_s:.1f}"


def _time(microseconds: int | None) -> str:
    if microseconds is None:
        return "-"
    milliseconds = microseconds / 1000
    if milliseconds < 10:
        return f"{milliseconds:.1f} ms"
    return f"{milliseconds:,.0f} ms" if milliseconds < 10_000 else duration_text(milliseconds)


@render.register
def _(report: UsageReport, wide: bool) -> UsageTable:
    return UsageTable(report, wide)


@names.register
def _(report: UsageReport) -> Iterator[str]:
    for row in report.items:
        yield row.name
