"""Answers who asks this process for its newest log lines: page by page, from memory."""

from __future__ import annotations

import logging
from collections.abc import Callable

from gfs_ha.errors import InvalidArgument, NotReady
from gfs_ha.logs.ring import LogEntry, LogRing, ring_of_process
from gfs_ha.protocol.logs import (
    CRITICAL,
    DEBUG,
    ERROR,
    INFO,
    LEVELS,
    LINE_BYTES_MAX,
    PAGE_BYTES_MAX,
    PATTERN_CHARACTERS_MAX,
    WARNING,
    LogLine,
    LogPage,
    ReadLog,
)

_NUMBERS = {
    DEBUG: logging.DEBUG,
    INFO: logging.INFO,
    WARNING: logging.WARNING,
    ERROR: logging.ERROR,
    CRITICAL: logging.CRITICAL,
}
_LINE_COST = 64  # Of the encoded fields beside text and module.


def own_page(node: str, wanted: ReadLog) -> LogPage:
    """Return a page of the lines of this process. Raises: InvalidArgument, NotReady."""
    ring = ring_of_process()
    if ring is None:
        raise NotReady(f"{node} keeps no log lines in memory")
    return page_of(ring, node, wanted)


def page_of(ring: LogRing, node: str, wanted: ReadLog) -> LogPage:
    """Return the lines that are wanted, as many as a page holds. Raises: InvalidArgument."""
    after = wanted.after if wanted.run == ring.run else 0
    kept = [entry for entry in ring.entries() if entry.number > after]
    newest = kept[-1].number if kept else max(after, ring.newest)
    lost = newest - after - len(kept) if after else 0
    matches = _matcher(wanted)
    found = [entry for entry in kept if matches(entry)]
    if wanted.newest > 0:
        found = found[-wanted.newest :]
    lines: list[LogLine] = []
    room = PAGE_BYTES_MAX
    for entry in found:
        text = _cut(entry.text)
        room -= len(text.encode(errors="replace")) + len(entry.module) + _LINE_COST
        if lines and room < 0:
            return LogPage(node, ring.run, tuple(lines), lines[-1].number, True, max(0, lost))
        lines.append(
            LogLine(
                entry.number,
                entry.time_ms,
                _level(entry.level),
                entry.module,
                text,
                entry.trace_id,
            )
        )
    return LogPage(node, ring.run, tuple(lines), newest, False, max(0, lost))


def _matcher(wanted: ReadLog) -> Callable[[LogEntry], bool]:
    if wanted.level not in _NUMBERS:
        raise InvalidArgument(f"{wanted.level!r} is no level of a log: {', '.join(LEVELS)}")
    if len(wanted.pattern) > PATTERN_CHARACTERS_MAX:
        raise InvalidArgument(f"a pattern has at most {PATTERN_CHARACTERS_MAX} characters")
    level, pattern = _NUMBERS[wanted.level], wanted.pattern.lower()

    def matches(entry: LogEntry) -> bool:
        return (
            entry.level >= level
            and entry.time_ms >= wanted.since_ms
            and (not wanted.trace_id or entry.trace_id == wanted.trace_id)
            and (not pattern or pattern in entry.text.lower() or pattern in entry.module)
        )

    return matches


def _level(number: int) -> str:
    return next((name for name in reversed(LEVELS) if number >= _NUMBERS[name]), DEBUG)


def _cut(text: str) -> str:
    data = text.encode(errors="replace")
    if len(data) <= LINE_BYTES_MAX:
        return data.decode()
    return data[:LINE_BYTES_MAX].decode(errors="ignore") + "…"
