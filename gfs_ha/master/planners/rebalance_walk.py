"""Where the walks over the fuller disks are from which a rebalance takes copies; soft state."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from gfs_ha.ids import ChunkId
from gfs_ha.master.planners.balance import DiskKey

_FIRST = ChunkId(0)  # Below every id.
REST_S = 3.0  # After a look at all sources that found nothing to begin.
VAIN_ROUNDS = 3  # So many of these on end, and nothing under way: nothing more can be done...
VAIN_S = 60.0  # ...nor after so long, although servers come and go.


@dataclass(slots=True)
class RebalanceWalk:
    """The walks of one job over the copies on the disks that are too full.

    Fields:
        after: where the walk over a disk goes on.
        turned: the disks whose end was reached once since the last move was begun…
        through: …and those on which in a whole walk no copy was found that may go.
        reasons: why copies on a disk do not go, of these.
        paid_until_s: by when what was begun is moved at the rate that the job may have.
        begun_bytes, begun: what this leader has begun of the job.
    """

    number: int = 0
    after: dict[DiskKey, ChunkId] = field(default_factory=dict)
    through: set[DiskKey] = field(default_factory=set)
    turned: set[DiskKey] = field(default_factory=set)
    reasons: dict[DiskKey, Counter[str]] = field(default_factory=dict)
    vain_rounds: int = 0
    vain_since_s: float | None = None
    rest_until_s: float = 0.0
    paid_until_s: float = 0.0
    lacking_s: float = -1e9  # When a chunk that lacks a copy was given one last.
    begun_bytes: int = 0
    begun: int = 0

    def begin(self, now_s: float, length: int, bytes_per_s: int) -> None:
        """Note a move that is begun."""
        self.vain_rounds = 0
        self.vain_since_s = None
        self.through.clear()
        self.turned.clear()
        self.reasons.clear()
        self.begun += 1
        self.begun_bytes += length
        if bytes_per_s:
            self.paid_until_s = max(self.paid_until_s, now_s) + length / bytes_per_s

    def why_not(self, disk: DiskKey, reason: str) -> None:
        """Note why a copy on a disk does not go."""
        self.reasons.setdefault(disk, Counter())[reason] += 1

    def end_disk(self, disk: DiskKey, whole: bool) -> None:
        """Note that the last copy on a disk was looked at; the walk goes on with the first one.

        Args: `whole` says that the first one was looked at, too, a moment before.
        """
        self.after.pop(disk, None)
        (self.through if whole or disk in self.turned else self.turned).add(disk)

    def end_round(self, now_s: float, calm: bool) -> None:
        """Note that no source has a copy that may go now; `calm`: no server comes and goes."""
        if self.vain_since_s is None:
            self.vain_since_s = now_s
        self.vain_rounds += calm
        self.through.clear()
        self.turned.clear()
        self.rest_until_s = now_s + REST_S

    def fresh(self, disk: DiskKey) -> bool:
        """Return whether the walk over a disk begins with its first copy."""
        return disk not in self.after

    def given_up(self, now_s: float) -> bool:
        """Return whether it was looked in vain often enough, or for long enough."""
        since_s = now_s if self.vain_since_s is None else self.vain_since_s
        return self.vain_rounds >= VAIN_ROUNDS or now_s - since_s >= VAIN_S

    def of(self, disk: DiskKey) -> ChunkId:
        """Return after which copy the walk over a disk goes on."""
        return self.after.get(disk, _FIRST)

    def usual_reason(self, disk: DiskKey) -> str:
        """Return why most of the copies on a disk do not go."""
        found = self.reasons.get(disk)
        return found.most_common(1)[0][0] if found else ""
