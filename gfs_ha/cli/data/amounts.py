"""Amounts as `head`, `tail`, `find` and `touch` have taught people to write them."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, NamedTuple

import click

from gfs_ha.limits import SIZE_MAX, TIME_NS_MAX

_UNITS = {
    "": 1,
    "b": 512,
    **{f"{letter}B": 1000**power for power, letter in enumerate("kMGT", 1)},
    "KB": 1000,
    **{letter: 1024**power for power, letter in enumerate("KMGT", 1)},
    **{f"{letter}iB": 1024**power for power, letter in enumerate("KMGT", 1)},
    "k": 1024,
    "m": 1024**2,
}
_AMOUNT = re.compile(r"([+-]?)(\d{1,19})([A-Za-z]{0,3})", re.ASCII)
_FIND_UNITS = {
    "": 1,
    "c": 1,
    "k": 1024,
    **{letter: 1024**power for power, letter in enumerate("KMGT", 1)},
    **{f"{letter}iB": 1024**power for power, letter in enumerate("KMGT", 1)},
}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


class Signed(NamedTuple):
    """A number with the sign that stood before it: `+`, `-` or none."""

    sign: str
    number: int


class _Signed(click.ParamType):  # type: ignore[type-arg]  # Older ones take none.
    """A number with a unit, and perhaps a sign before it."""

    units: dict[str, int]
    told: str  # What it is and looks like, to who wrote it otherwise.

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Signed:
        if isinstance(value, Signed):
            return value
        found = _AMOUNT.fullmatch(value)
        if found is None or found[3] not in self.units:
            self.fail(f"{value!r} is no {self.told}", param, ctx)
        size = int(found[2]) * self.units[found[3]]
        if size > SIZE_MAX:
            self.fail(f"{value!r} is more than any size here; all are below 8 EiB", param, ctx)
        return Signed(found[1], size)


class Amount(_Signed):
    """Lines or bytes: `10`, `-5`, `+3`, `1K` (1024), `2MB` (two million), `1MiB`."""

    name = "amount"
    units = _UNITS
    told = "number; numbers look like 10, 1K or 2MiB"


class Compared(_Signed):
    """A size that is compared: `+1M` for more than it, `-4096` for less, `0` for just that."""

    name = "size"
    units = _FIND_UNITS
    told = "size; sizes look like +1M, -4096 or 0"


class Age(click.ParamType):  # type: ignore[type-arg]
    """An age that is compared: `-1` for less than a day, `+7` for a week and more, `-30m`.

    The number is that of whole days, as `find -mtime` has it; with a unit (s, m, h, d, w) it is an
    exact span.
    """

    name = "age"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Signed, bool]:
        """Return the age in seconds, and whether it counts whole days."""
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(r"([+-]?)(\d{1,9})([smhdw]?)", value, re.ASCII)
        if found is None:
            self.fail(f"{value!r} is no age; ages look like -1 (days), +7 or -30m", param, ctx)
        seconds = int(found[2]) * _SECONDS[found[3] or "d"]
        return Signed(found[1], seconds), not found[3]


class Moment(click.ParamType):  # type: ignore[type-arg]
    """A moment: `2026-11-25 18:04:11.5`, `2026-11-25T18:04Z`, `@1795634651`, `202611251804.11`."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            moment_ns = parse_moment(value)
        except (ValueError, OverflowError, OSError):
            self.fail(
                f"{value!r} is no time; times look like '2026-11-25 18:04:11' (here), "
                "2026-11-25T18:04Z, @1795634651 or 202611251804.11",
                param,
                ctx,
            )
        if abs(moment_ns) > TIME_NS_MAX:
            self.fail(f"{value!r} is no time here; all are from 1678 to 2261", param, ctx)
        return moment_ns


def parse_moment(text: str) -> int:
    """Return nanoseconds since 1970; without a zone it is this machine's. Raises: ValueError."""
    if found := re.fullmatch(r"@(-?\d{1,12})(?:\.(\d{1,9}))?", text, re.ASCII):
        nanoseconds = int((found[2] or "").ljust(9, "0"))
        return int(found[1]) * 10**9 + (-nanoseconds if text[1] == "-" else nanoseconds)
    if found := re.fullmatch(r"(\d{2})?(\d{2})(\d{8})(?:\.(\d{2}))?", text, re.ASCII):
        return _touch_moment(found)
    fraction = re.search(r"\.(\d{1,9})(?=$|Z|[+-]\d\d:?\d\d$)", text, re.ASCII)
    whole = text if fraction is None else text[: fraction.start()] + text[fraction.end() :]
    seconds = int(datetime.fromisoformat(whole).timestamp())
    return seconds * 10**9 + (int(fraction[1].ljust(9, "0")) if fraction else 0)


def compare(sign: str, found: float, wanted: float) -> bool:
    """Return whether what was found is more (+), less (-) or just what was wanted."""
    if sign == "+":
        return found > wanted
    return found < wanted if sign == "-" else found == wanted


def _touch_moment(found: re.Match[str]) -> int:
    """Return the moment of touch's `[CC]YYMMDDhhmm[.ss]`; two digits are 1969 to 2068."""
    century, year, rest, seconds = found.groups()
    full = int(year) + (1900 if int(year) >= 69 else 2000)
    if century is not None:
        full = int(century + year)
    month, day, hour, minute = (int(rest[at : at + 2]) for at in (0, 2, 4, 6))
    moment = datetime(full, month, day, hour, minute, int(seconds or 0))
    return int(moment.timestamp()) * 10**9
