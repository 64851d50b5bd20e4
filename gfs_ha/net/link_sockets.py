"""Sockets of members' links: bound, tuned, and their names looked up beside the loop."""

from __future__ import annotations

import errno
import logging
import socket

from gfs_ha.errors import ConfigError, PortTaken
from gfs_ha.net.links import Address
from gfs_ha.runtime import Runtime

logger = logging.getLogger(__name__)

_RESOLVED_S = 30.0
_USER_TIMEOUT_MS = 3000


class Resolver:
    """Numeric addresses of members. The loop asks and never waits."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._resolved: dict[Address, tuple[float, list[Address]]] = {}
        self._resolving: set[Address] = set()

    def resolve(self, address: Address) -> list[Address]:
        """Return what is known of an address; a name is looked up again in a while."""
        try:
            return _lookup(address, socket.AI_NUMERICHOST)
        except OSError:
            pass
        now = self._runtime.monotonic_s()
        known = self._resolved.get(address)
        if (known is None or now - known[0] > _RESOLVED_S) and address not in self._resolving:
            self._resolving.add(address)
            self._runtime.spawn(f"resolve {address[0]}", lambda: self._look_up(address))
        return [] if known is None else known[1]

    def _look_up(self, address: Address) -> None:
        try:
            found = _lookup(address, 0)
            self._resolved[address] = (self._runtime.monotonic_s(), found)
        except OSError as error:
            logger.warning("cannot resolve a member's name host=%s error=%s", address[0], error)
        finally:
            self._resolving.discard(address)


def _lookup(address: Address, flags: int) -> list[Address]:
    """Raises: OSError, also for what cannot be a name of a host."""
    try:
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=flags)
    except UnicodeError as error:
        raise socket.gaierror(socket.EAI_NONAME, str(error)) from error
    return [(str(entry[4][0]), int(entry[4][1])) for entry in found]


def listening_socket(address: Address) -> socket.socket:
    """Return a socket that listens for members. Raises: PortTaken, ConfigError."""
    try:
        target = _lookup(address, socket.AI_PASSIVE)[0]
        family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as error:
        raise ConfigError(f"cannot listen on {address[0]}:{address[1]}: {error}") from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(target)
        sock.listen(64)
    except OSError as error:
        sock.close()
        where = f"{address[0]}:{address[1]}"
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(
                f"port {where} is taken; stop the other process or change it"
            ) from error
        raise ConfigError(f"cannot listen on {where}: {error}") from error
    return sock


def tune_link(sock: socket.socket) -> None:
    """Make a socket send at once and notice a dead peer soon."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)
    for name in (b"cubic", b"reno"):  # BBR, a common default, costs twice the CPU on loopback.
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name)
            return
        except OSError:
            continue
