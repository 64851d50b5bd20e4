"""The newest log lines of this process, in memory and bounded, for who asks from elsewhere."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from gfs_ha.ids import TraceId
from gfs_ha.limits import KIB, MIB
from gfs_ha.logs.facts import line_text, trace_of
from gfs_ha.logs.formats import module_of
from gfs_ha.runtime import process_start_id

RING_LINES_MAX = 16_000
RING_CHARACTERS_MAX = 4 * MIB
# Warnings and worse outlive what is written beside them.
KEPT_LINES_MAX = 1_000
KEPT_CHARACTERS_MAX = 256 * KIB
TRACEBACK_CHARACTERS_MAX = 4_000
_LINE_COST = 100  # Of what belongs to a line besides its text.


class LogEntry(NamedTuple):
    """One line. Numbers grow by one from 1; a process that starts again begins anew."""

    number: int
    time_ms: int  # Wall time.
    level: int  # As in `logging`.
    module: str
    text: str
    trace_id: TraceId


class _Kept:
    """The newest entries of a bounded number and size."""

    def __init__(self, lines_max: int, characters_max: int) -> None:
        self.entries: deque[LogEntry] = deque()
        self._lines_max = lines_max
        self._characters_max = characters_max
        self._characters = 0

    def add(self, entry: LogEntry) -> None:
        self.entries.append(entry)
        self._characters += len(entry.text) + _LINE_COST
        while self._characters > self._characters_max or len(self.entries) > self._lines_max:
            self._characters -= len(self.entries.popleft().text) + _LINE_COST


class LogRing(logging.Handler):
    """Keeps what is logged. Thread-safe."""

    def __init__(self) -> None:
        super().__init__()
        self.run = process_start_id() >> 1 or 1  # Random, of this run of the process.
        self._number = 0
        self._all = _Kept(RING_LINES_MAX, RING_CHARACTERS_MAX)
        self._bad = _Kept(KEPT_LINES_MAX, KEPT_CHARACTERS_MAX)
        self._formatter = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line. Under the handler's lock."""
        try:
            self._keep(record)
        except Exception:
            # A line that cannot be made is told as by every handler; who logs goes on.
            self.handleError(record)

    def _keep(self, record: logging.LogRecord) -> None:
        text = line_text(record)
        if record.exc_info:
            # Its end says what went wrong.
            text += (
                "\n" + self._formatter.formatException(record.exc_info)[-TRACEBACK_CHARACTERS_MAX:]
            )
        self._number += 1
        entry = LogEntry(
            self._number,
            int(record.created * 1000),
            record.levelno,
            module_of(record),
            text,
            trace_of(record),
        )
        self._all.add(entry)
        if record.levelno >= logging.WARNING:
            self._bad.add(entry)

    @property
    def newest(self) -> int:
        """Return the number of the newest line, 0 if there is none."""
        return self._number

    def entries(self) -> list[LogEntry]:
        """Return all that is kept, the oldest first."""
        lock = self.lock
        assert lock is not None, "made by the constructor"
        with lock:
            kept = list(self._all.entries)
            first = kept[0].number if kept else self._number + 1
            return [entry for entry in self._bad.entries if entry.number < first] + kept


def ring_of_process() -> LogRing | None:
    """Return what keeps the lines of this process, if its logging was started."""
    return next(_rings(), None)


def _rings() -> Iterator[LogRing]:
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LogRing):
            yield handler
