"""How grave each line is, for the journal of systemd: `<3>` before it, as in sd-daemon(3).

Only where standard error is the journal itself: everywhere else the marks would be in the way.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

_PRIORITIES = (  # Of syslog(3); the first whose level a record reaches.
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
)
_DEBUG = 7


class PriorityFormatter(logging.Formatter):
    """Marks every line that another formatter makes; a traceback has many."""

    def __init__(self, lines: logging.Formatter) -> None:
        super().__init__()
        self._lines = lines

    def format(self, record: logging.LogRecord) -> str:
        """Return the marked lines."""
        mark = f"<{priority(record.levelno)}>"
        return "\n".join(mark + line for line in self._lines.format(record).split("\n"))


def priority(level: int) -> int:
    """Return the number of syslog(3) for a level of logging."""
    return next((number for least, number in _PRIORITIES if level >= least), _DEBUG)


def is_journal(environ: Mapping[str, str], descriptor: int) -> bool:
    """Return whether a descriptor is the stream of the journal that JOURNAL_STREAM tells of."""
    try:
        told = os.fstat(descriptor)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{told.st_dev}:{told.st_ino}"
