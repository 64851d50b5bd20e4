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

    return Words(root(), Options(), _LookUp()).candidates(before, last)


class _LookUp:
    """Looks up names only when they are asked for: that is what takes long.

    A cluster that did not answer is not asked for names of the next kind: a person waits.
    """

    def __init__(self) -> None:
        self._silent = False

    def __call__(self, kind: str, options: Options, text: str) -> Sequence[Candidate]:
        from gfs_ha.cli.complete import words
        from gfs_ha.cli.complete.sources import look_up
        from gfs_ha.errors import GfsError

        if self._silent and kind not in words.HERE:
            return []
        try:
            return look_up(kind, options, text)
        except (GfsError, OSError):
            self._silent = self._silent or kind not in words.HERE
            return []  # Of another kind there may be some.
