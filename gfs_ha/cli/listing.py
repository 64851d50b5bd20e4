"""Tables of things as all commands show them: numbers below each other, and nothing is cut."""

from __future__ import annotations

from rich.table import Table

_NUMBER, _WHOLE = ">", "="


def listing(*titles: str) -> Table:
    """Return an empty table of columns with these titles.

    `>Length` is a column of numbers, right-aligned and on one line. `=Chunk` is of words that
    people copy: on one line. All others fold where the terminal is narrow.
    """
    table = Table(box=None)
    for title in titles:
        if title.startswith(_NUMBER):
            table.add_column(title[1:], justify="right", no_wrap=True)
        elif title.startswith(_WHOLE):
            table.add_column(title[1:], no_wrap=True)
        else:
            table.add_column(title, overflow="fold")
    return table
