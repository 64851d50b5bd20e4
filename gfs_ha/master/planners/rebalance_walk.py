"""What a leader knows of the rebalance that runs: its course, its rate, its looks; soft state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gfs_ha.master.planners.rebalance_course import Course

REST_S = 3.0  # After a course on which there was nothing to move.
VAIN_ROUNDS = 3  # So many of these on end, and nothing under way: nothing more can be done...
VAIN_S = 60.0  # ...nor after so long, although servers come and go.
UNFREED_S = 3.0  # Deletions take a moment after the last moves; that is no wait to be told.
SETTLE_S = 10.0  # For so long a course waits until all that was moved is deleted where it was.


@dataclass(slots=True)
class RebalanceWalk:
    """How one job goes on.

    Fields:
        course: what is moved next, in order; None: the disks are looked at first.
        settle_until_s: by when the next one is made although copies are still to be deleted.
        paid_until_s: by when what was begun is moved at the rate that the job may have.
        begun_bytes, begun: what this leader has begun of the job.
        outside: of the last course on which there was nothing to move, why disks stay outside.
    """

    number: int = 0
    course: Course | None = None
    settle_until_s: float = 0.0
    vain_rounds: int = 0
    vain_since_s: float | None = None
    rest_until_s: float = 0.0
    paid_until_s: float = 0.0
    lacking_s: float = -1e9  # When a chunk that lacks a copy was given one last.
    begun_bytes: int = 0
    begun: int = 0
    why_outside: str = ""
    unfreed_since_s: float | None = None  # It waits for deletions.

    @property
    def steps_left(self) -> int:
        """Return how many moves that were played ahead are still to be begun."""
        return len(self.course) if self.course is not None else 0

    def waits_long(self, for_deletions: bool, now_s: float) -> bool:
        """Return whether it is worth a word why the job waits: of deletions not at once."""
        if not for_deletions:
            self.unfreed_since_s = None
            return True
        if self.unfreed_since_s is None:
            self.unfreed_since_s = now_s
        return now_s - self.unfreed_since_s >= UNFREED_S

    def begin(self, now_s: float, length: int, bytes_per_s: int) -> None:
        """Note a move that is begun."""
        self.vain_rounds = 0
        self.vain_since_s = None
        self.begun += 1
        self.begun_bytes += length
        if bytes_per_s:
            self.paid_until_s = max(self.paid_until_s, now_s) + length / bytes_per_s

    def end_course(self, now_s: float, calm: bool) -> None:
        """Have the disks looked at anew; `calm`: no server comes and goes.

        After a course on which nothing could be moved that takes a rest.
        """
        course, self.course = self.course, None
        self.settle_until_s = now_s + SETTLE_S
        if course is None or course.begun:
            return
        if self.vain_since_s is None:
            self.vain_since_s = now_s
        self.vain_rounds += calm
        self.rest_until_s = now_s + REST_S

    def look_anew(self) -> None:
        """Forget looks in vain: the job waits, and they count only on end."""
        self.vain_rounds = 0
        self.vain_since_s = None

    def given_up(self, now_s: float) -> bool:
        """Return whether it was looked in vain often enough, or for long enough."""
        since_s = now_s if self.vain_since_s is None else self.vain_since_s
        return self.vain_rounds >= VAIN_ROUNDS or now_s - since_s >= VAIN_S
