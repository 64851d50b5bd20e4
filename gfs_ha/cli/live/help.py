"""The page of keys (pure)."""

from __future__ import annotations

from gfs_ha.cli.live.flow import wrap
from gfs_ha.cli.live.spans import FAINT, STRONG, Line, fit, line

KEYS = (
    ("Up Down k j", "choose a row; PgUp PgDn Home End g G by more"),
    ("Enter", "open it: a server, a master, a chunk, a file, a job"),
    ("Esc", "back; on a tab: end its filter"),
    ("Tab 1-6", "the tabs; also Left and Right"),
    ("s S", "sort servers by the next column, by the one before"),
    ("r", "sort the other way round"),
    ("/", "filter: the rows that have all these words"),
    (": o", "open by name: /path, 0x chunk, job like r-19, server"),
    ("Space", "pause, and go on"),
    ("+ -", "look more often, more seldom"),
    ("Ctrl-L", "draw the screen anew"),
    ("q Ctrl-C", "quit; Ctrl-Z suspends"),
)
WORDS = (
    "read, put and append are what clients do; written is what disks get, once for each copy.",
    "p50, p99: half, and 99 of 100, took at most so long. queue: under way or waiting.",
    "A row that is faint is old: no leader answers, and the first line says since when.",
)


def help_lines(columns: int) -> list[Line]:
    """Return the lines of help."""
    lines = [line(("keys", STRONG)), *(_key(name, text) for name, text in KEYS), ()]
    told = [row for word in WORDS for row in wrap(word, columns)]
    return [*lines, *(line((row, FAINT)) for row in told)]


def _key(name: str, text: str) -> Line:
    return line((f"  {fit(name, 13)}", STRONG), text)
