"""How far the jobs are that run: what their planners see of them, and how fast they have been.

Soft state of a leader. What counts as moved lies in the tables; the rate and what is left are known
again a few seconds after a leader change. Reports look at it from another thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Set
from dataclasses import dataclass, field

from gfs_ha.protocol.jobs import Blocker

RATE_S = 30.0  # Over which a rate is taken, …
_STEP_S = 1.0  # … from samples so far apart.
_RATE_MIN_S = 2.0
_STILL_S = 5.0  # Who waited for so long, with nothing under way, begins anew: that is no pace.
BLOCKERS_KEPT = 100  # Of one job; all are counted.


@dataclass(frozen=True, slots=True)
class JobLeft:
    """What a planner knows of the rest of a job; -1: it cannot tell (yet)."""

    left_bytes: int = -1
    left_moves: int = -1
    waits: str = ""  # Why nothing of it is begun now, else empty.
    blocked: int = 0
    blockers: tuple[Blocker, ...] = ()
    moved_bytes: int = -1  # What the job had moved when that was the rest; -1: not said.
    moves: int = -1
    paced: bool = False  # Its limit holds it back now: so fast it is, and no faster.

    def after(self, moved_bytes: int, moves: int) -> tuple[int, int]:
        """Return what is left (bytes, moves) when a job has moved so much; -1: it cannot tell.

        A look is some time old when it is told: what was moved since is no more in the rest.
        """
        left_bytes, left_moves = self.left_bytes, self.left_moves
        if self.moved_bytes >= 0 and left_bytes >= 0:
            left_bytes = max(0, left_bytes - max(0, moved_bytes - self.moved_bytes))
            left_moves = max(0, left_moves - max(0, moves - self.moves))
        return left_bytes, left_moves

    def pace(self, bytes_per_s: int, limit: int) -> int:
        """Return how fast the job goes on, by its rate of late and by its own limit; 0: unknown.

        What is held back between two moves has no rate, and goes on as fast as its limit.
        """
        return bytes_per_s or (limit if self.paced else 0)


NOT_LOOKED_AT = JobLeft(waits="the leader looks first at what there is to do")


@dataclass(slots=True)
class JobBook:
    """What is known of the jobs that run, by number. What it holds is only replaced."""

    left: dict[int, JobLeft] = field(default_factory=dict)
    _samples: dict[int, tuple[tuple[float, int], ...]] = field(default_factory=dict)
    _still: dict[int, float] = field(default_factory=dict)  # Since when each has waited.

    def tell(self, number: int, left: JobLeft) -> None:
        """Note how a job stands; the planner of its kind does, whenever it knows better."""
        self.left[number] = left

    def of(self, number: int) -> JobLeft:
        """Return how a job stands."""
        return self.left.get(number, JobLeft())

    def seen(self, number: int, running: bool) -> JobLeft:
        """Return how a job stands, as reports tell it.

        Of one that was begun a moment ago, or under a new leader, nobody knows what blocks it: it
        waits for the look of its planner.
        """
        return self.left.get(number, NOT_LOOKED_AT if running else JobLeft())

    def note(self, now_s: float, done: dict[int, int], still: Set[int]) -> None:
        """Take how many bytes of each running job are done, with those of copies under way.

        All others are forgotten: one that pauses begins anew when it goes on. So does one of
        `still`, which wait and have nothing under way, after a while.
        """
        self._still = {number: self._still.get(number, now_s) for number in still}
        kept = {}
        for number, count in done.items():
            if now_s - self._still.get(number, now_s) >= _STILL_S:
                continue
            samples = deque(self._samples.get(number, ()))
            if number in still and len(samples) == 1:
                samples.clear()  # The rate is that from its first move on.
            # The bytes of a copy that is given up are gone, but nothing was moved backwards.
            most = max(count, samples[-1][1]) if samples else count
            if not samples or now_s - samples[-1][0] >= _STEP_S:
                samples.append((now_s, most))
            while len(samples) > 2 and now_s - samples[1][0] >= RATE_S:
                samples.popleft()
            kept[number] = tuple(samples)
        self._samples = kept

    def keep(self, numbers: set[int]) -> None:
        """Forget how jobs stand that have ended."""
        if self.left.keys() - numbers:
            self.left = {one: left for one, left in self.left.items() if one in numbers}

    def bytes_per_s(self, number: int) -> int:
        """Return how fast a job is, over the last half minute; 0: it stands still, or is new."""
        samples = self._samples.get(number, ())
        if len(samples) < 2 or samples[-1][0] - samples[0][0] < _RATE_MIN_S:
            return 0
        (since_s, before), (now_s, count) = samples[0], samples[-1]
        return max(0, int((count - before) / (now_s - since_s)))
