"""Ports for what tests start by themselves, in ranges that nobody else takes any from.

A port that was given and is not listened on yet, or is no longer, looks free to whoever asks next.
So none is given again before all others were, and local clusters choose theirs from elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import cycle

from gfs_ha.local.ports import is_free, port_range

HOST = "127.0.0.1"
# Test processes that run side by side have ranges of their own.
_FIRST = 10_000
_EACH = 2_000
_WORKERS_MAX = 11
_STRIDE = 7


def _own() -> tuple[int, int]:
    """Return the first and the last port of this process."""
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        low = _FIRST + int(worker.removeprefix("gw")) % _WORKERS_MAX * _EACH
        return low, low + _EACH - 1
    return port_range()


def _around(ports: range) -> Iterator[int]:
    """Return these again and again, no two neighbours in a row: a test may want a wrong port.

    Two runs without workers hardly begin at the same one.
    """
    spread = [port for first in range(_STRIDE) for port in ports[first::_STRIDE]]
    begin = os.getpid() % len(spread)
    return cycle([*spread[begin:], *spread[:begin]])


_LOW, _HIGH = _own()
_MIDDLE = (_LOW + _HIGH) // 2
OF_CLUSTERS = f"{_LOW}-{_MIDDLE}"  # As GFS_LOCAL_PORTS wants it.
_GIVEN = _around(range(_MIDDLE + 1, _HIGH + 1))


def free_ports(count: int) -> list[int]:
    """Return ports that nobody has now or was given lately, and no outgoing connection takes."""
    free = (port for port in _GIVEN if is_free(HOST, port))
    return [next(free) for _ in range(count)]
