"""What the options of `gfsctl local` say: where a cluster lies, and what it is to be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from gfs_ha.cli.names import printable
from gfs_ha.cli.units import size_text
from gfs_ha.errors import UsageError
from gfs_ha.limits import CAPACITY_BYTES_MIN, CHUNK_BYTES_MAX, CHUNK_BYTES_MIN
from gfs_ha.strict_toml import parse_size

_RACKS_MAX = 100  # As many as servers.


def directory_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --dir to a command, as `directory`."""
    return click.option(
        *("--dir", "directory"),
        metavar="D",
        envvar="GFS_LOCAL_DIR",
        help="Where the cluster lies (default ~/.gfs-ha/local). [GFS_LOCAL_DIR]",
    )(function)


def racks_of(text: str | None) -> tuple[str, ...] | None:
    """Return the racks that are meant, by number or name; None for nothing said."""
    if text is None:
        return None
    if text.isdecimal():
        if not 1 <= (count := int(text)) <= _RACKS_MAX:
            raise UsageError(f"--racks {printable(text)}: 1 to {_RACKS_MAX} racks, or names: r1,r2")
        return tuple(f"r{number}" for number in range(1, count + 1))
    racks = tuple(rack.strip() for rack in text.split(","))
    if not all(racks):
        raise UsageError(f"--racks {text!r} names an empty rack; write r1,r2")
    return racks


def capacities_of(text: str | None) -> tuple[int, ...] | None:
    """Return the sizes of disks that are meant; None for nothing said. Raises: UsageError."""
    if text is None:
        return None
    try:
        sizes = tuple(parse_size(one.strip()) for one in text.split(","))
    except ValueError as error:
        raise UsageError(f"--capacity {printable(text)}: {error}") from error
    if any(0 < size < CAPACITY_BYTES_MIN for size in sizes):
        least = size_text(CAPACITY_BYTES_MIN)
        raise UsageError(
            f"--capacity {printable(text)}: a disk has at least {least}; 0 is all of the disk"
        )
    return sizes


def chunk_bytes_of(text: str | None) -> int | None:
    """Return the size of chunks that is meant; None for nothing said. Raises: UsageError."""
    if text is None:
        return None
    try:
        size = parse_size(text)
    except ValueError as error:
        raise UsageError(f"--chunk-size {printable(text)}: {error}") from error
    if not CHUNK_BYTES_MIN <= size <= CHUNK_BYTES_MAX:
        raise UsageError(
            f"--chunk-size {printable(text)}: a chunk has {size_text(CHUNK_BYTES_MIN)} to "
            f"{size_text(CHUNK_BYTES_MAX)}"
        )
    return size
