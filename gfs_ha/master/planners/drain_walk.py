"""Where the walks over servers and disks are that are emptied, and what they met; soft state.

Reports look at it from another thread: what a round came to is only replaced, never changed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from gfs_ha.ids import ChunkId, DiskId

BLOCKED_KEPT = 100  # Blocked chunks that are remembered by name; all are counted.
REST_S = 1.0  # After a round that found nothing to begin.


@dataclass(frozen=True, slots=True)
class Blocked:
    """A chunk that cannot be moved: what stands in the way, and how many copies would do.

    `fewer`: with so many copies wanted it could be moved; 0: fewer would not help.
    """

    chunk_id: ChunkId
    why: str
    fewer: int
    tail: str = ""  # The file at whose end it is open.


@dataclass(slots=True)
class DrainRound:
    """What one walk over all places met."""

    places: int = 0
    left_bytes: int = 0  # Of sealed chunks that are still there.
    moving: int = 0
    waits: Counter[str] = field(default_factory=Counter)  # Places by why they wait.
    blocked: list[Blocked] = field(default_factory=list)
    blocked_count: int = 0
    reasons: Counter[str] = field(default_factory=Counter)  # Blocked chunks by what blocks them.

    def block(self, blocked: Blocked) -> None:
        """Count a blocked chunk, and keep the first of them."""
        self.blocked_count += 1
        self.reasons[blocked.why] += 1
        if len(self.blocked) < BLOCKED_KEPT:
            self.blocked.append(blocked)


@dataclass(slots=True)
class JobWalk:
    """The walk of one job; `newest` is what its last whole round came to."""

    after: tuple[DiskId, ChunkId] | None = None
    running: DrainRound = field(default_factory=DrainRound)
    newest: DrainRound | None = None
    rest_until_s: float = 0.0
    began: int = 0  # Moves of this round.

    def end_round(self, now_s: float) -> DrainRound:
        """Begin anew, and return what the round came to."""
        self.newest, self.running = self.running, DrainRound()
        self.after = None
        self.rest_until_s = 0.0 if self.began else now_s + REST_S
        self.began = 0
        return self.newest


@dataclass(slots=True)
class DrainWalks:
    """The walks of all jobs that empty something, by number."""

    jobs: dict[int, JobWalk] = field(default_factory=dict)
    turn: int = 0  # Which job comes first: they take turns.

    def of(self, number: int) -> JobWalk:
        """Return the walk of a job."""
        return self.jobs.setdefault(number, JobWalk())

    def keep(self, numbers: set[int]) -> None:
        """Forget the walks of jobs that have ended."""
        if self.jobs.keys() - numbers:
            self.jobs = {number: walk for number, walk in self.jobs.items() if number in numbers}
