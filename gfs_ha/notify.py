"""What a daemon tells the service manager that started it, by systemd's protocol of notifications.

Datagrams of `NAME=value` lines go to the socket that NOTIFY_SOCKET names. Where nobody named one,
nothing is sent. A daemon never fails, waits or stops because of a manager that does not listen.
Source: sd_notify(3), systemd.service(5).
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

from gfs_ha.pulse import Pulse
from gfs_ha.runtime import Runtime

STATUS_CHARACTERS_MAX = 200
_BEATS_PER_WATCHDOG = 3  # One of them may be late, and one may get lost.
_EXTEND_S = 30.0  # How much more time is asked for at once; asked again at a third of it.

logger = logging.getLogger(__name__)


class Notifier:
    """The socket of the service manager. Thread-safe.

    Args: `environ` is that of the process, `pid` its id: a watchdog may be meant for another one.
    """

    def __init__(self, environ: Mapping[str, str], pid: int) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self.watchdog_s = _watchdog_s(environ, pid) if self._address else None
        self._told = False
        self._socket: socket.socket | None = None
        if self._address is not None:
            self._socket = socket.socket(
                socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            )

    @property
    def listening(self) -> bool:
        """Return whether somebody wants to be told."""
        return self._socket is not None

    def say(self, **variables: str) -> bool:
        """Send `NAME=value` lines; False where nobody listens, or it could not be sent.

        Line ends inside a value become spaces, so that none can say more than it is.
        """
        if self._socket is None or self._address is None:
            return False
        lines = [f"{name}={' '.join(text.split())}" for name, text in variables.items()]
        try:
            self._socket.sendto("\n".join(lines).encode("utf-8", "replace"), self._address)
        except OSError as error:
            if not self._told:
                self._told = True
                logger.warning("the service manager cannot be told because=%s", error.strerror)
            return False
        return True

    def close(self) -> None:
        """Give the socket back; nothing is said after that."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class ServiceNotes:
    """What is told of one run of a daemon, in order. All calls are made by one thread.

    `starting` and `look` want to be called several times per second: they decide when to speak.
    """

    def __init__(self, notifier: Notifier, pulse: Pulse, runtime: Runtime) -> None:
        self._notifier = notifier
        self._pulse = pulse
        self._runtime = runtime
        self._status = ""
        self._next_beat_s = 0.0
        self._next_extend_s = 0.0
        self._ready = self._unsaid = False  # Whether READY was said, and whether it is due.
        self._hung = 0  # Looks in a row that found a loop which hangs.

    def starting(self, status: str, within_limit: bool = False) -> None:
        """Tell what a start waits for.

        Args: `within_limit` leaves it to the unit how long that may take; else the time that a
        start may take grows for as long as this is called.
        """
        if not within_limit:
            self._extend()
        self._tell_status(status)

    def ready(self, status: str) -> None:
        """Tell that it serves from now on: once, and by `look` until it could be said."""
        if self._ready:
            return
        self._status = _short(status)
        self._ready = self._notifier.say(READY="1", STATUS=self._status)
        self._unsaid = self._notifier.listening and not self._ready
        self._beat()

    def look(self, status: str) -> None:
        """Tell that it is alive if its loops turn, and what it does if that is another thing."""
        if self._unsaid:
            self.ready(status)
        stalls = self._pulse.stalls()
        if not stalls:
            self._hung = 0
            self._tell_status(status)
            if self._runtime.monotonic_s() >= self._next_beat_s:
                self._beat()
            return
        self._hung += 1
        words = ", ".join(f"{one.loop} for {one.silent_s:.0f} s" for one in stalls)
        if self._hung == 2:  # After a machine slept, all seem to hang for a moment.
            logger.critical("loops hang loops=%s", words)
        if self._hung >= 2:
            self._tell_status(f"hangs: {stalls[0].loop}")

    def stopping(self, status: str) -> None:
        """Tell that it ends, which may take a little: a leader hands over first."""
        self._status = _short(status)
        self._notifier.say(
            STOPPING="1",
            STATUS=self._status,
            EXTEND_TIMEOUT_USEC=_microseconds(_EXTEND_S),
        )

    def _beat(self) -> None:
        watchdog_s = self._notifier.watchdog_s
        if watchdog_s is None:
            self._next_beat_s = float("inf")
            return
        self._next_beat_s = self._runtime.monotonic_s() + watchdog_s / _BEATS_PER_WATCHDOG
        self._notifier.say(WATCHDOG="1")

    def _extend(self) -> None:
        now_s = self._runtime.monotonic_s()
        if now_s >= self._next_extend_s:
            self._next_extend_s = now_s + _EXTEND_S / 3
            self._notifier.say(EXTEND_TIMEOUT_USEC=_microseconds(_EXTEND_S))

    def _tell_status(self, status: str) -> None:
        status = _short(status)
        # What finds the queue of the manager full is said again with the next look.
        if status != self._status and self._notifier.say(STATUS=status):
            self._status = status


def service_notes(pulse: Pulse, runtime: Runtime) -> ServiceNotes:
    """Return the notes of this process, to whoever started it."""
    return ServiceNotes(Notifier(os.environ, os.getpid()), pulse, runtime)


def _address(named: str) -> str | None:
    """Return where to send to; None for nobody, and for what is no socket of this host."""
    if named.startswith("@"):
        return "\0" + named[1:]  # Of the abstract names of Linux.
    return named if named.startswith("/") else None


def _watchdog_s(environ: Mapping[str, str], pid: int) -> float | None:
    try:
        if int(environ.get("WATCHDOG_PID", str(pid))) != pid:
            return None
        microseconds = int(environ["WATCHDOG_USEC"])
    except (KeyError, ValueError):
        return None
    return microseconds / 1e6 if microseconds > 0 else None


def _microseconds(seconds: float) -> str:
    return str(round(seconds * 1e6))


def _short(status: str) -> str:
    return " ".join(status.split())[:STATUS_CHARACTERS_MAX]
