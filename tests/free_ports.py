"""Ports for what tests start by themselves, in ranges that nobody else takes any from.

A port that was given and is not listened on yet, or is no longer, looks free to whoever asks next.
So none is given again before all others were, and local clusters choose theirs from elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import cycle

from gfs_ha.local.ports import is_free

HOST = "127.0.0.1"
# Test processes that run side by side have ranges of their own, and two runs mostly.
_FIRST = 10_000
_EACH = 2_000
_RANGES = 11
_OURS = 500  # Of each.
_STRIDE = 7


def _own() -> tuple[int, int]:
    """Return the first and the last port of this process."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", "")
    number = int(run, 16) if run else os.getpid()
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    low = _FIRST + (number + worker) % _RANGES * _EACH
    return low, low + _EACH - 1


def _around(ports: range) -> Iterator[int]:
    """Return these again and again, no two neighbours in a row: a test may want a wrong port."""
    return cycle([port for first in range(_STRIDE) for port in ports[first::_STRIDE]])


_LOW, _HIGH = _own()
OF_CLUSTERS = f"{_LOW + _OURS}-{_HIGH}"  # As GFS_LOCAL_PORTS wants it.
_GIVEN = _around(range(_LOW, _LOW + _OURS))


def free_ports(count: int) -> list[int]:
    """Return ports that nobody has now or was given lately, and no outgoing connection takes."""
    free = (port for port in _GIVEN if is_free(HOST, port))
    return [next(free) for _ in range(count)]
