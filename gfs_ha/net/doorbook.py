"""The door's book: counts of what happened, and log lines that a flood of peers cannot multiply."""

from __future__ import annotations

import logging
from dataclasses import dataclass

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class DoorStats:
    """What happened at a door since it was opened, and what it holds now."""

    accepted: int = 0
    turned_away: int = 0  # No descriptor or no place for them.
    broke_protocol: int = 0
    refused: int = 0  # By their hello or their certificate.
    overdue: int = 0  # Dropped for a deadline of the connection.
    calls: int = 0
    calls_expired: int = 0
    connections: int = 0
    calls_in_flight: int = 0
    held_bytes: int = 0


class DoorBook:
    """Counts everything, writes one line about peers and then counts until `turn_page`."""

    def __init__(self) -> None:
        self.counts = DoorStats()
        self._line_written = False
        self._left_out = 0

    def note(self, line: str) -> None:
        """Log what happened with a peer, unless another line has been written on this page."""
        if self._line_written:
            self._left_out += 1
            return
        self._line_written = True
        logger.warning("%s", line)

    def turn_page(self) -> None:
        """Say how many lines were left out, and allow the next one."""
        if self._left_out:
            logger.warning("more lines about peers were left out count=%d", self._left_out)
        self._line_written = False
        self._left_out = 0
