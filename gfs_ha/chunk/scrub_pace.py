"""How fast the scrub of a disk may go now: as its plan says, and less while clients suffer."""

from __future__ import annotations

from typing import Protocol

from gfs_ha.chunk.back_off import BackOff
from gfs_ha.chunk.pace import Pace


class Clients(Protocol):
    """Who knows how the clients of this server fare (chunk/repair_pace.py)."""

    def suffering(self) -> bool:
        """Return whether they wait longer than usual."""
        ...

    def disturbed(self) -> None:
        """Know that the disk is read by others just now: what they wait is not what is usual."""
        ...


class ScrubPace:
    """Used by the scrub's own task.

    The disk itself says how much it bears (scrub_plan.py); a scrub that it bears well may still
    make clients wait. So it also goes by what they are served in, as repair does: down by factors
    while they suffer, whoever the reason is, up by steps; an eighth of the rate is always left.
    """

    def __init__(self, clients: Clients | None, now_s: float) -> None:
        """Args: without `clients` only the disk is listened to."""
        self._clients = clients
        self._pace = Pace(0, now_s)
        self._back_off = BackOff(now_s)

    @property
    def backing_off(self) -> bool:
        """Return whether clients get some of what the plan would take."""
        return self._back_off.backing_off

    def begin(self, planned: int, now_s: float) -> None:
        """Know how fast the next replica is to be read, before the first piece of it is taken.

        Without a limit nothing that was taken would be owed.
        """
        self._pace.change(self._left_of(planned), now_s)

    def take(self, count: int, now_s: float) -> None:
        """Take the bytes that are read next; `wait_s` says when."""
        self._pace.take(count, now_s)

    def wait_s(self, planned: int, used: int, now_s: float) -> float:
        """Return the seconds until what was taken may be read.

        Args: bytes per second: `planned` as the plan says (0: no limit), `used` as it reads now.
        """
        if self._clients is not None:
            self._back_off.limit(planned)  # What it shrinks from.
            self._back_off.step(self._clients.suffering(), used, now_s)
        self._pace.change(self._left_of(planned), now_s)
        return self._pace.wait_s(now_s)

    def _left_of(self, planned: int) -> int:
        limit = self._back_off.limit(planned)
        return min(planned, limit) if planned else limit

    def reading(self) -> None:
        """Know that a piece is read now."""
        if self._clients is not None:
            self._clients.disturbed()
