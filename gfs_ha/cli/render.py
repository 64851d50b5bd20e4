"""Reports for people: each report's own table, registered beside the command that shows it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import singledispatch
from typing import TYPE_CHECKING, Any

from gfs_ha.cli import output

if TYPE_CHECKING:
    from rich.console import RenderableType

_UNLIMITED_COLUMNS = 10_000


@singledispatch
def render(report: object, wide: bool) -> RenderableType:
    """Return what rich shows of a report. `wide` adds the columns that few people need."""
    raise TypeError(f"nothing shows a {type(report).__name__}")


@singledispatch
def names(report: object) -> Iterator[str]:
    """Return the names that `-o name` prints, one a line."""
    items: tuple[Any, ...] = getattr(report, "items", ())
    for item in items:
        yield item.name


def text_of(renderable: RenderableType, color: bool, wide: bool) -> str:
    """Return the text of a renderable; names are shown as they are, no markup, no emoji codes.

    On a terminal the columns fold to its width; a pipe gets each row on one line.
    """
    from rich.console import Console

    terminal = output.stdout_is_terminal()
    buffer = io.StringIO()
    console = Console(
        file=buffer,
        force_terminal=terminal and color,
        no_color=not color,
        width=None if terminal and not wide else _UNLIMITED_COLUMNS,
        markup=False,
        emoji=False,
        highlight=False,
        soft_wrap=False,
        legacy_windows=False,
    )
    console.print(renderable)
    return "\n".join(line.rstrip() for line in buffer.getvalue().rstrip("\n").split("\n"))
