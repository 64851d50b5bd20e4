"""Spans of time and shares as people read them, in what a master says and on screens alike."""

from __future__ import annotations


def duration_text(milliseconds: float) -> str:
    """Return a span of time by its two largest units: `0.7 s`, `41 s`, `3 h 12 m`, `5 d 2 h`."""
    seconds = milliseconds / 1000
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = int(seconds + 0.5)
    if whole < 60:
        return f"{whole} s"
    for unit, size, small, below in (("m", 60, "s", 1), ("h", 3600, "m", 60)):
        if whole < size * (60 if unit == "m" else 24):
            return f"{whole // size} {unit} {whole % size // below} {small}"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def seconds_text(seconds: float) -> str:
    """Return the same without tenths of a second: `5 s`, `14 m 10 s`."""
    return f"{seconds:.0f} s" if seconds < 10 else duration_text(seconds * 1000)


def share_text(share: float, digits: int = 0) -> str:
    """Return a share between 0 and 1 as `58 %`, or `58.3 %` with a digit after the point.

    One below 0, which nobody knows, is `? %`.
    """
    return "? %" if share < 0 else f"{share * 100:.{digits}f} %"
