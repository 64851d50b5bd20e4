"""Spans and points of time as people type them: `90s`, `1h30m`, `14:00`, `2026-11-25T14:00`."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import click

_UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_SPAN = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{1,3})?[smhdw])+")
_PART = re.compile(r"([0-9.]+)([smhdw])")
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")


def read_span_ms(text: str) -> int | None:
    """Return a span of time in milliseconds, None when that is none."""
    if not _SPAN.fullmatch(text):
        return None
    return sum(int(float(count) * _UNITS_MS[unit]) for count, unit in _PART.findall(text))


def read_moment_ns(text: str, now_ns: int) -> int | None:
    """Return a moment by wall time: so long before now, today at a time of day, or a date.

    Local time unless it says otherwise. None when it is none of these.
    """
    span_ms = read_span_ms(text)
    if span_ms is not None:
        return now_ns - span_ms * 1_000_000
    today = datetime.fromtimestamp(now_ns / 1e9).astimezone()
    clock = _CLOCK.fullmatch(text)
    try:
        if clock:
            hour, minute, second = (int(one or 0) for one in clock.groups())
            found = today.replace(hour=hour, minute=minute, second=second, microsecond=0)
        else:
            found = datetime.fromisoformat(text)
            found = found if found.tzinfo else found.astimezone()
        return int(found.timestamp()) * 10**9
    except (ValueError, OverflowError, OSError):
        return None


class Span(click.ParamType):  # type: ignore[type-arg]  # Older ones take none.
    """A span of time, as milliseconds."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = read_span_ms(str(value))
        if found == 0:
            self.fail(f"{value!r} is no time at all; say 1s or more", param, ctx)
        if found is None:
            self.fail(f"{value!r} is no span of time; say 90s, 30m, 1h30m, 2d", param, ctx)
        return found
