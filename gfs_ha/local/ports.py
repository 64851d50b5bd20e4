"""Free ports for a local cluster: below the ephemeral range, so that no client socket takes one.

They are drawn at random, not counted from a base, so that two clusters in two directories hardly
ever want the same ones, also while one of them is stopped. GFS_LOCAL_PORTS=LOW-HIGH narrows the
range, for those who have opened only some ports or who run several clusters at once.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Collection
from pathlib import Path

from gfs_ha.errors import PortTaken, UsageError
from gfs_ha.runtime import Runtime

PORT_MIN = 10_000
PORTS_VARIABLE = "GFS_LOCAL_PORTS"
_PORT_LOWEST = 1_024
_PORT_HIGHEST = 65_535
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_EPHEMERAL_LOW_DEFAULT = 32_768
_TRIES_PER_PORT = 200


def ephemeral_low() -> int:
    """Return the first port that the kernel gives to outgoing connections."""
    try:
        low = int(_EPHEMERAL.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return _EPHEMERAL_LOW_DEFAULT
    return low if low > PORT_MIN else _EPHEMERAL_LOW_DEFAULT


def port_range() -> tuple[int, int]:
    """Return the first and the last port that may be chosen. Raises: UsageError."""
    wanted = os.environ.get(PORTS_VARIABLE, "")
    if not wanted:
        return PORT_MIN, ephemeral_low() - 1
    found = re.fullmatch(r"([0-9]{1,5})-([0-9]{1,5})", wanted)
    low, high = (int(found[1]), int(found[2])) if found else (0, 0)
    if not _PORT_LOWEST <= low <= high <= _PORT_HIGHEST:
        raise UsageError(
            f"{PORTS_VARIABLE} is {wanted!r}; say LOW-HIGH, two ports from {_PORT_LOWEST} to "
            f"{_PORT_HIGHEST}, as in 20000-20999"
        )
    return low, high


def is_free(host: str, port: int) -> bool:
    """Return whether a server could listen there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As a server does: a connection of a process that ended holds the port no longer.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def choose_ports(
    host: str, count: int, runtime: Runtime, taken: Collection[int] = ()
) -> tuple[int, ...]:
    """Return `count` different ports that are free on `host`, and none of those `taken`.

    Raises: PortTaken, UsageError for a range that is none.
    """
    low, high = port_range()
    chosen: list[int] = []
    for _ in range(count * _TRIES_PER_PORT):
        if len(chosen) == count:
            break
        port = low + runtime.random_u64() % (high - low + 1)
        if port not in chosen and port not in taken and is_free(host, port):
            chosen.append(port)
    if len(chosen) < count:
        raise PortTaken(
            f"no {count} free ports on {host} between {low} and {high}; another range:"
            f" {PORTS_VARIABLE}=LOW-HIGH"
        )
    return tuple(chosen)
