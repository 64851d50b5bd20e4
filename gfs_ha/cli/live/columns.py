"""Tables of a screen (pure): columns as wide as their contents, the least important left out first.

Rows never wrap. What is too long is cut with `…`; what does not fit at all is on the page that
Enter opens, and in JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gfs_ha.cli.live.spans import FAINT, PLAIN, TITLE, Line, Span, cells, cut_middle, cut_path, fit

GAP = 2


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `rank` 0 is always there; of the others the highest rank leaves first."""

    title: str
    right: bool = False
    rank: int = 0
    least: int = 0  # Columns to which it may be cut; 0: it is not cut.
    most: int = 60
    usual: int = 0  # So wide it is at least: what stands beside it stays where it is.
    path: bool = False  # What is cut is cut at its beginning.
    name: bool = False  # What is cut is cut in its middle.
    sort: str = ""  # The key that sorts by it.


@dataclass(frozen=True, slots=True)
class Table:
    """A table at a width: its title line and its rows."""

    title: Line
    rows: tuple[Line, ...]


def lay_out(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str | Span]],
    width: int,
    sorted_by: tuple[str, str] = ("", ""),
) -> Table:
    """Return a table. Args: `sorted_by` is the key of a column, and the mark beside its title."""
    titles = [_titled(column, sorted_by) for column in columns]
    cell_rows = [[one if isinstance(one, tuple) else (one, PLAIN) for one in row] for row in rows]
    wanted = [
        min(
            column.most,
            max([column.usual, cells(title), *(cells(row[at][0]) for row in cell_rows)]),
        )
        for at, (column, title) in enumerate(zip(columns, titles, strict=True))
    ]
    shown = _choose(columns, wanted, width)
    widths = _shrink(columns, wanted, shown, width)
    words = [fit(titles[at], widths[at], columns[at].right) for at in shown]
    lines = tuple(_row(columns, row, shown, widths) for row in cell_rows)
    return Table((((" " * GAP).join(words), TITLE),), lines)


def _titled(column: Column, sorted_by: tuple[str, str]) -> str:
    mark = sorted_by[1] if column.sort and column.sort == sorted_by[0] else ""
    return f"{column.title} {mark}" if mark else column.title


def _row(
    columns: Sequence[Column], row: Sequence[Span], shown: Sequence[int], widths: dict[int, int]
) -> Line:
    pieces: list[Span] = []
    for at in shown:
        text, style = row[at]
        if columns[at].path:
            text = cut_path(text, widths[at])
        elif columns[at].name:
            text = cut_middle(text, widths[at])
        pieces += [(fit(text, widths[at], columns[at].right), style), (" " * GAP, PLAIN)]
    return tuple(pieces[:-1])


def _total(wanted: Sequence[int], shown: Sequence[int]) -> int:
    return sum(wanted[at] for at in shown) + GAP * max(0, len(shown) - 1)


def _choose(columns: Sequence[Column], wanted: Sequence[int], width: int) -> list[int]:
    """Return the columns that are shown: before one leaves, those that may be cut are cut."""
    shown = list(range(len(columns)))
    least = [column.least or need for column, need in zip(columns, wanted, strict=True)]
    smallest = [min(one, need) for one, need in zip(least, wanted, strict=True)]
    while _total(smallest, shown) > width:
        out = max(shown, key=lambda at: (columns[at].rank, at))
        if not columns[out].rank:
            break
        shown.remove(out)
    return shown


def _shrink(
    columns: Sequence[Column], wanted: Sequence[int], shown: Sequence[int], width: int
) -> dict[int, int]:
    widths = {at: wanted[at] for at in shown}
    over = sum(widths.values()) + GAP * max(0, len(shown) - 1) - width
    while over > 0:
        soft = [at for at in shown if columns[at].least and widths[at] > columns[at].least]
        if not soft:
            break
        widest = max(soft, key=lambda at: widths[at])
        widths[widest] -= 1
        over -= 1
    return widths


def faint(text: str) -> Span:
    """Return a cell that is of little weight."""
    return text, FAINT
