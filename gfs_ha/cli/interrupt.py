"""What Ctrl-C and SIGTERM do: the work unwinds through its clean-up, and the status says why."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gfs_ha.runtime import Runtime

_PATIENCE = 3  # Signals after which the clean-up is given up.

_RESEND_S = 0.2
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_listening = False
_caught = 0


class Interrupted(KeyboardInterrupt):
    """A signal asked this process to stop; raised in the main thread, once."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_status = 128 + number


def listen() -> None:
    """Turn SIGINT, SIGTERM and SIGHUP into `Interrupted`; only the first one unwinds.

    The clean-up that follows must not be cut off by a second Ctrl-C of an impatient hand, but it
    has bounded waits only, and the third signal ends the process on the spot.
    """
    global _listening
    _listening = True
    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _answer)


def guard(runtime: Runtime) -> None:
    """See to it that a signal is heard also when it comes just before a read that blocks.

    The interpreter only notes a signal, and acts on it between two instructions of the main
    thread. One that comes between the last look and the system call of a read from a terminal or
    a pipe would wait for its next byte; sent again, it breaks the read off.
    """
    if not _listening:
        return
    noted, note = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(note, False)
    signal.set_wakeup_fd(note, warn_on_full_buffer=False)

    def resend_all() -> None:
        while number := os.read(noted, 1):
            if number[0] not in _ENDING:
                continue  # A screen hears of Ctrl-Z, too.
            resend(runtime, number[0], lambda: _caught > 0)

    runtime.spawn("signal guard", resend_all)


def resend(runtime: Runtime, number: int, heard: Callable[[], bool]) -> None:
    """Send a signal to this process again and again until it was heard."""
    while True:
        runtime.sleep(_RESEND_S)
        if heard():
            return
        os.kill(os.getpid(), number)


def _answer(number: int, frame: FrameType | None) -> None:
    global _caught
    _caught += 1
    if _caught == 1:
        raise Interrupted(number)
    if _caught >= _PATIENCE:
        os._exit(128 + number)
