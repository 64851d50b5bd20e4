"""Reports as they look in a terminal of so many columns, without colours."""

from __future__ import annotations

import io
import os
from pathlib import Path

from rich.console import Console

from gfs_ha.cli.render import render

GOLDEN = Path(__file__).parent / "golden"


def screen(report: object, columns: int, wide: bool = False) -> str:
    """Return the lines of a report, without what follows their last letter."""
    buffer = io.StringIO()
    console = Console(
        file=buffer,
        width=columns,
        no_color=True,
        force_terminal=False,
        markup=False,
        emoji=False,
        highlight=False,
        legacy_windows=False,
    )
    console.print(render(report, wide))
    lines = [line.rstrip() for line in buffer.getvalue().rstrip("\n").split("\n")]
    assert all(len(line) <= columns for line in lines)
    return "\n".join(lines)


def compare(name: str, shown: str) -> None:
    """Compare a screen with the one that a person has looked at, a file of `golden/`.

    `GFS_WRITE_GOLDEN=1` writes what it looks like now.
    """
    golden = GOLDEN / name
    if os.environ.get("GFS_WRITE_GOLDEN"):
        golden.write_text(shown, encoding="utf-8")
    assert shown == golden.read_text(encoding="utf-8")
