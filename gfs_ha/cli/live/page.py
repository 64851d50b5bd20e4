"""One page of a live screen (pure): what stands above its rows, its rows, and what each opens."""

from __future__ import annotations

from dataclasses import dataclass, field

from gfs_ha.cli.live.sight import Target
from gfs_ha.cli.live.spans import FAINT, STRONG, Line, Span, fit, line


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
