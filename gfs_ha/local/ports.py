"""Free ports for a local cluster: below the ephemeral range, so that no client socket takes one.

They are drawn at random, not counted from a base, so that two clusters in two directories hardly
ever want the same ones, also while one of them is stopped.
"""

from __future__ import annotations

import socket
from pathlib import Path

from gfs_ha.errors import PortTaken
from gfs_ha.runtime import Runtime

PORT_MIN = 10_000
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


def choose_ports(host: str, count: int, runtime: Runtime) -> tuple[int, ...]:
    """Return `count` different ports that are free on `host`. Raises: PortTaken."""
    high = ephemeral_low()
    chosen: list[int] = []
    for _ in range(count * _TRIES_PER_PORT):
        if len(chosen) == count:
            break
        port = PORT_MIN + runtime.random_u64() % (high - PORT_MIN)
        if port not in chosen and is_free(host, port):
            chosen.append(port)
    if len(chosen) < count:
        raise PortTaken(f"no {count} free ports on {host} between {PORT_MIN} and {high - 1}")
    return tuple(chosen)
