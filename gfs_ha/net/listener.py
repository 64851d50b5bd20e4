"""A listening socket that survives a process without descriptors."""

from __future__ import annotations

import errno
import os
import socket

from gfs_ha.net.network import Address
from gfs_ha.net.sockets import format_address, tune
from gfs_ha.net.sockets import listen as listen_on

_ACCEPTS_MAX = 64
_RESERVE_FLAGS = os.O_RDONLY | os.O_CLOEXEC
_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Starved(Exception):
    """The process has no descriptor left for a peer that waits in the queue."""


class Listener:
    """A port. It keeps a descriptor in reserve: without one it could not even say no.

    A queue that is not emptied makes a level-triggered poll return at once, for ever; accepting
    and closing empties it. Raises: PortTaken, ConfigError.
    """

    def __init__(self, address: Address) -> None:
        self._socket = listen_on(address)
        self._reserve: int | None = os.open(os.devnull, _RESERVE_FLAGS)
        self.descriptor = self._socket.fileno()
        self.address: Address = self._socket.getsockname()[:2]

    @property
    def port(self) -> int:
        return self.address[1]

    def accept(self) -> list[tuple[socket.socket, str]]:
        """Return the tuned sockets and names of the peers that wait (not all). Raises: Starved."""
        found: list[tuple[socket.socket, str]] = []
        for _ in range(_ACCEPTS_MAX):
            try:
                sock, address = self._socket.accept()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno not in _NO_DESCRIPTOR:
                    continue  # ECONNABORTED and its like: that peer has gone.
                if found:
                    break  # The next call will say so again.
                raise Starved from error
            try:
                tune(sock)
            except OSError:
                sock.close()
                continue
            found.append((sock, format_address(address[:2])))
        return found

    def turn_away(self) -> bool:
        """Close one waiting peer with the help of the reserve; return False if that failed.

        After False the caller leaves the port alone for a moment and calls `refill`.
        """
        if self._reserve is None:
            return False
        os.close(self._reserve)
        self._reserve = None
        try:
            sock, _ = self._socket.accept()
            sock.close()
        except OSError:
            pass  # Another thread took the descriptor, or the peer has gone.
        return self.refill()

    def refill(self) -> bool:
        """Take a new reserve if there is none; return False if that failed."""
        if self._reserve is None:
            try:
                self._reserve = os.open(os.devnull, _RESERVE_FLAGS)
            except OSError:
                return False
        return True

    def close(self) -> None:
        self._socket.close()
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None
