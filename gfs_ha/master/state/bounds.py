"""The checks of numbers and texts that come from outside, before anything is packed or stored."""

from __future__ import annotations

from collections.abc import Sized

from gfs_ha.errors import InvalidArgument, LimitExceeded
from gfs_ha.limits import (
    BLOCK_BYTES,
    CHUNK_BYTES_MAX,
    CHUNK_BYTES_MIN,
    OWNER_BYTES_MAX,
    PLACEMENT_RULES,
)
from gfs_ha.limits import SIZE_MAX as SIZE_MAX
from gfs_ha.limits import TIME_NS_MAX as TIME_NS_MAX

U32_MAX = (1 << 32) - 1
U64_MAX = (1 << 64) - 1
MODE_MAX = 0o7777


def check_range(name: str, value: int, low: int, high: int) -> None:
    """Raises: InvalidArgument unless low <= value <= high."""
    if not low <= value <= high:
        raise InvalidArgument(f"{name} {value} is not within {low}..{high}")


def check_text(name: str, text: str, bytes_max: int, bytes_min: int = 1) -> None:
    """Raises: InvalidArgument unless the text is printable and of a fitting length in bytes."""
    if not bytes_min <= len(text.encode()) <= bytes_max:
        raise InvalidArgument(
            f"{name} has {len(text.encode())} bytes, not {bytes_min}..{bytes_max}"
        )
    if not text.isprintable():
        raise InvalidArgument(f"{name} {text!r} holds control characters")


def fitting_text(text: str, bytes_max: int) -> str:
    """Return somebody else's words as `check_text` takes them: cut, without control characters."""
    plain = "".join(one if one.isprintable() else " " for one in text[:bytes_max])
    return plain.encode("utf-8", "replace")[:bytes_max].decode("utf-8", "ignore")


def check_count(name: str, items: Sized, limit: int) -> None:
    """Raises: LimitExceeded when a command carries more than `limit` of something."""
    if len(items) > limit:
        raise LimitExceeded(f"{len(items)} {name} in one command, at most {limit} are taken")


def check_chunk_bytes(size: int) -> None:
    """Raises: InvalidArgument unless chunks can be of this size."""
    if not CHUNK_BYTES_MIN <= size <= CHUNK_BYTES_MAX or size % BLOCK_BYTES:
        raise InvalidArgument(
            f"chunk size {size} is not a multiple of {BLOCK_BYTES} within"
            f" {CHUNK_BYTES_MIN}..{CHUNK_BYTES_MAX}"
        )


def check_rule(rule: str) -> None:
    """Raises: InvalidArgument unless it is a rule of placement."""
    if rule not in PLACEMENT_RULES:
        raise InvalidArgument(f"{rule!r} is no rule of placement: {', '.join(PLACEMENT_RULES)}")


def check_attributes(mode: int, mtime_ns: int, owner: str, group: str) -> None:
    """Raises: InvalidArgument unless these can be stored. Times before 1970 are negative."""
    check_range("mode", mode, 0, MODE_MAX)
    check_range("mtime_ns", mtime_ns, -TIME_NS_MAX, TIME_NS_MAX)
    check_text("owner", owner, OWNER_BYTES_MAX, bytes_min=0)
    check_text("group", group, OWNER_BYTES_MAX, bytes_min=0)
