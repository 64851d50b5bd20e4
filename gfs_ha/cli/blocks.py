"""Facts by name, one block a thing: for what is explained rather than listed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gfs_ha.cli.names import printable
from gfs_ha.cli.runbooks import Step

Said = str | Text | Table | Sequence[Step] | None
Line = tuple[str, Said]
_NAME_COLUMNS = 7
_COMMAND_COLUMNS = 36
_WHOLE_COLUMNS = 54


def block(head: Text, lines: Iterable[Line]) -> RenderableType:
    """Return a head and below it names with what is to be said of each; empty ones are left out.

    Long texts fold beside their name. Steps are commands, each with what it is good for.
    """
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", style="dim", no_wrap=True, min_width=_NAME_COLUMNS)
    table.add_column("", overflow="fold")
    for name, said in lines:
        if not said:
            continue
        if isinstance(said, str):
            table.add_row(name, Text(printable(said)))
            continue
        if isinstance(said, Text | Table):
            table.add_row(name, said)
            continue
        table.add_row(name, _steps(said))
    if not table.row_count:
        return head
    return Group(head, Padding(table, (0, 0, 0, 2), expand=False))


def facts_lines(name: str, facts: Iterable[tuple[str, str]]) -> list[Line]:
    """Return facts, one a line, the first one beside the name."""
    lines: list[Line] = []
    for fact, value in facts:
        lines.append((name if not lines else "", f"{fact}: {value}"))
    return lines


def _steps(steps: Sequence[Step]) -> Table:
    """Return commands one below the other, and beside each what it is good for."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    # A command in one piece can be copied; what it is good for folds.
    whole = all(len(one.command) <= _WHOLE_COLUMNS for one in steps)
    table.add_column(style="bold", overflow="fold", no_wrap=whole, min_width=_COMMAND_COLUMNS)
    table.add_column(style="dim", overflow="fold")
    for step in steps:
        table.add_row(printable(step.command), f"# {step.why}" if step.why else "")
    return table
