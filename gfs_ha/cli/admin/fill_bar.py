"""Bars of how full disks are: what stays, what leaves, what comes, and where the mean is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

BAR_LEAST = 10
_BAR_USUAL, _BAR_MOST = 40, 100
_PIPE_COLUMNS = 1_000  # No terminal is so wide: what is written there ends in a file or a mail.
_BESIDE = 80  # Columns that a table with bars has for all else.
_BAR_BESIDE = 4  # Columns around a bar: its brackets, and what is between it and its neighbours.
_WORDS_LEAST = 20  # Columns in which a reason can be read still.
_STAYS, _LEAVES, _COMES, _MEAN = "#", "-", "+", "|"
_STYLES = {_STAYS: "cyan", _LEAVES: "yellow", _COMES: "green", _MEAN: "bold"}


class Fill:
    """A bar of how full a disk is; `#` stays, `-` leaves, `+` comes, `|` is the mean."""

    def __init__(self, before: float, after: float, mean: float) -> None:
        self._before, self._after, self._mean = before, after, mean

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = max(BAR_LEAST, min(options.max_width - 2, _BAR_MOST))
        cells = [" "] * width
        before, after = (round(width * min(1.0, one)) for one in (self._before, self._after))
        cells[: min(before, after)] = _STAYS * min(before, after)
        for at in range(min(before, after), max(before, after)):
            cells[at] = _LEAVES if after < before else _COMES
        cells[min(width - 1, round(width * self._mean))] = _MEAN
        text = Text("[")
        for cell in cells:
            text.append(cell, _STYLES.get(cell, ""))
        yield text.append("]")


class BarKey:
    """What the marks of the bars below it mean, as far as there is room for that."""

    def __init__(self, changing: bool) -> None:
        self._words = ("stays", "goes", "comes", "mean") if changing else ("used", "", "", "mean")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        text, mean = Text(), Text(f"{_MEAN} {self._words[-1]}", "not bold")
        for mark, word in zip((_STAYS, _LEAVES, _COMES), self._words, strict=False):
            if word:
                text.append(mark, f"not bold {_STYLES[mark]}").append(f" {word}  ", "not bold")
        text.append_text(mean)
        yield text if len(text) <= options.max_width else mean


class WithBars:
    """A table with bars as long as the terminal has room for.

    Args: `make` gets their columns; 0: none at all, where the rest would not fit beside them.
    """

    def __init__(self, make: Callable[[int], Table]) -> None:
        self._make = make

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = options.max_width
        beside = max(_BAR_USUAL, min(_BAR_MOST, room - _BESIDE))
        plain = self._make(0)
        if _columns(console, options, plain) + BAR_LEAST + _BAR_BESIDE > room:
            yield plain
        else:
            yield self._make((_BAR_USUAL if room >= _PIPE_COLUMNS else beside) + 2)


class Narrowing:
    """A table whose last column tells why, and gives way where there is no room for its words.

    Args: `make` gets the names of its columns, as `listing` takes them. Those of words that people
    copy fold only where all others together have no room for them.
    """

    def __init__(self, make: Callable[[Sequence[str]], Table], titles: Sequence[str]) -> None:
        self._make = make
        self._titles = titles

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room, least = options.max_width, self._titles[:-1]
        taken = _columns(console, options, self._make(least))
        if taken > room:
            least = [title.removeprefix("=") for title in least]
        yield self._make(self._titles if taken + _WORDS_LEAST <= room else least)


def _columns(console: Console, options: ConsoleOptions, table: Table) -> int:
    """Return how many columns a table takes that has all the room it wants."""
    return console.measure(table, options=options.update(max_width=_PIPE_COLUMNS)).maximum


def add_bars(table: Table, key: BarKey, columns: int) -> None:
    """Add a column of bars so long at most; none for 0 columns."""
    if columns:
        table.add_column(key, ratio=1, min_width=BAR_LEAST + 2, max_width=columns)


def bar_cells(fill: Fill, columns: int) -> list[RenderableType]:
    """Return what a row has in that column."""
    return [fill] if columns else []
