"""One page of a live screen (pure): what stands above its rows, its rows, and what each opens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gfs_ha.cli.live.columns import Column, lay_out
from gfs_ha.cli.live.sight import Target
from gfs_ha.cli.live.spans import FAINT, STRONG, Line, Span, fit, line

Row = Sequence[str | Span]  # The cells of a table's row.


@dataclass(frozen=True, slots=True)
class Item:
    """A row. One without a target says something and opens nothing."""

    line: Line
    target: Target | None = None


@dataclass(slots=True)
class Page:
    """`first` is the place of the first item among `count`, when not all of them are here."""

    head: list[Line] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    first: int = 0
    count: int = -1
    empty: str = "nothing"

    @property
    def total(self) -> int:
        """Return how many items there are, here or not."""
        return len(self.items) if self.count < 0 else self.count

    def item(self, at: int) -> Item | None:
        """Return an item by its place among all; None when it is not here."""
        at -= self.first
        return self.items[at] if 0 <= at < len(self.items) else None


def fact(label: str, *pieces: str | Span) -> Item:
    """Return a row with a label and what it says."""
    return Item(line((fit(label, 12), FAINT), *pieces))


def section(title: str) -> Item:
    """Return a row that begins a part of a page."""
    return Item(line((title, STRONG)))


def blank() -> Item:
    """Return an empty row."""
    return Item(())


def table_page(
    columns: Sequence[Column],
    rows: Sequence[tuple[Target | None, Row]],
    width: int,
    wanted: str,
    empty: str,
) -> Page:
    """Return a page of all rows that fit a filter."""
    parts = wanted.lower().split()
    chosen = [(target, row) for target, row in rows if _fits(row, parts)]
    table = lay_out(columns, [row for _, row in chosen], width)
    items = [Item(text, target) for (target, _), text in zip(chosen, table.rows, strict=True)]
    if rows and not chosen:
        empty = f"none of {len(rows)} fits {wanted!r}"
    return Page([table.title], items, empty=empty)


def _fits(row: Row, parts: Sequence[str]) -> bool:
    if not parts:
        return True
    told = " ".join(one if isinstance(one, str) else one[0] for one in row).lower()
    return all(part in told for part in parts)
