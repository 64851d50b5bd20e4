"""The trace of a run: what happened when, as one digest, and as lines when somebody reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from gfs_ha.sim.scheduler import Scheduler


class Trace:
    """Takes every event that can be seen from outside; equal digests mean equal runs."""

    def __init__(self, scheduler: Scheduler, show: Callable[[str], None] | None = None) -> None:
        self._scheduler = scheduler
        self._show = show
        self._digest = hashlib.blake2b(digest_size=16)

    def note(self, line: str) -> None:
        """Take a line for readers."""
        text = f"{self._scheduler.now_s - 1000.0:12.6f} {line}"
        self._digest.update(text.encode())
        self._digest.update(b"\n")
        if self._show is not None:
            self._show(text)

    def count(self, data: bytes) -> None:
        """Take bytes that nobody wants to read."""
        self._digest.update(data)

    def digest(self) -> str:
        return self._digest.hexdigest()
