"""One question of a shell: the line up to the cursor in, words out, and never an error."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gfs_ha.cli.complete.shells import INSTRUCTION, LINE, SCRIPTS, Candidate, answer, typed

if TYPE_CHECKING:
    from gfs_ha.cli.options import Options


def run() -> int:
    """Answer the shell that asks in the environment; return the exit status."""
    shell = os.environ.get(INSTRUCTION, "")
    if shell not in SCRIPTS:
        return 1
    try:
        words = typed(os.environ.get(LINE, ""))
        found = answer(shell, words, _candidates(words.before, words.last), os.environ)
        sys.stdout.buffer.write("".join(f"{line}\n" for line in found).encode())
    except Exception:  # A person is typing: an error here would land in the middle of their line.
        return 1
    return 0


def _candidates(before: list[str], last: str) -> list[Candidate]:
    from gfs_ha.cli.complete.words import Words
    from gfs_ha.cli.options import Options
    from gfs_ha.cli.shell import root

    options = Options()
    return Words(root(), options, _look_up).candidates(before, last)


def _look_up(kind: str, options: Options, text: str) -> Sequence[Candidate]:
    """Look up names only when they are asked for: that is what takes long."""
    from gfs_ha.cli.complete.sources import look_up
    from gfs_ha.errors import GfsError

    try:
        return look_up(kind, options, text)
    except (GfsError, OSError):
        return []  # Of another kind there may be some.
