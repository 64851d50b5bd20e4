"""What Ctrl-C and SIGTERM do: the work unwinds through its clean-up, and the status says why."""

from __future__ import annotations

import os
import signal
from types import FrameType

_PATIENCE = 3  # Signals after which the clean-up is given up.

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
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _answer)


def interrupted() -> bool:
    """Return whether a signal came: then waits of the clean-up are kept short."""
    return _caught > 0


def _answer(number: int, frame: FrameType | None) -> None:
    global _caught
    _caught += 1
    if _caught == 1:
        raise Interrupted(number)
    if _caught >= _PATIENCE:
        os._exit(128 + number)
