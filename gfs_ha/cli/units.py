"""Sizes, counts, times and modes as people read them."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta

from gfs_ha.protocol.measures import duration_text as duration_text
from gfs_ha.protocol.measures import share_text as share_text

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def size_text(size: float) -> str:
    """Return a number of bytes like `1.2 GiB`; whole numbers below 1 KiB."""
    unit = 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size /= 1024
        unit += 1
    if size >= 1023.95 and 0 < unit < len(_UNITS) - 1:  # Else shown as 1024.0 of this unit.
        size, unit = 1.0, unit + 1
    return f"{size:.1f} {_UNITS[unit]}" if unit else f"{size:.0f} B"


def count_text(count: int, one: str = "", many: str = "") -> str:
    """Return `1,204`, or `1,204 files` when the words for one and for many are given."""
    if not one:
        return f"{count:,}"
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def least_text(milliseconds: float) -> str:
    """Return how long something takes at least; what is shorter than a second is no more than it.

    Nobody waits for less, and `0.0 s` would say that it takes no time.
    """
    return duration_text(max(1000, milliseconds))


def age_text(milliseconds: int) -> str:
    """Return `3.0 s ago`, or `never` for a negative age."""
    return "never" if milliseconds < 0 else f"{duration_text(milliseconds)} ago"


def time_text(nanoseconds: int) -> str:
    """Return local wall time like `2026-11-25 18:04:11`; years beyond 9999 as seconds."""
    try:
        moment = _EPOCH + timedelta(microseconds=nanoseconds // 1000)
        return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return f"@{nanoseconds // 1_000_000_000}"


def mode_text(kind: str, mode: int) -> str:
    """Return kind and permissions as `ls -l` shows them, `drwxr-xr-x`."""
    return stat.filemode((stat.S_IFDIR if kind == "directory" else stat.S_IFREG) | (mode & 0o7777))
