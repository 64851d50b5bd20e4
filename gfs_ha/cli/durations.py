"""Times as people write them on the command line: `90s`, `30m`, `1h30m`, `1d`."""

from __future__ import annotations

import re
from typing import Any

import click

_UNITS_S = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_PARTS = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?")


class Duration(click.ParamType):  # type: ignore[type-arg]  # Older ones take none.
    """A time in milliseconds; a plain number is seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = duration_ms(value)
        if found is None:
            self.fail(f"{value!r} is no time: say 90s, 30m, 1h30m or 1d", param, ctx)
        return found


def duration_ms(text: str) -> int | None:
    """Return a time in milliseconds; None when it is none."""
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return int(text) * 1000
    parts = _PARTS.fullmatch(text) if text.isascii() else None
    if parts is None or not text:
        return None
    numbers = zip(parts.groups(), _UNITS_S.values(), strict=True)
    return sum(int(number) * unit_s for number, unit_s in numbers if number) * 1000
