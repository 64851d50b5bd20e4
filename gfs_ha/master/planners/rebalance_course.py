"""The course of a rebalance: its moves played ahead, and carried out in that order (G4).

So what comes is what the plan said. Moves whose servers are busy wait, and others go before them.
One that the tables do not allow any more falls out; when more than that changed, because disks come
and go or clients filled and emptied them, the rest is given up and played anew.
"""

from __future__ import annotations

from collections import Counter

from gfs_ha.ids import ChunkId
from gfs_ha.limits import SLOT_HEAD_BYTES
from gfs_ha.master.planners.balance import Balance, Disk, DiskKey
from gfs_ha.master.planners.fullness import movable
from gfs_ha.master.planners.rebalance_ahead import Ahead, Step
from gfs_ha.master.planners.scene import Scene
from gfs_ha.master.state.view import View

STEPS_MAX = 4_096  # Played ahead: a MB or two.
ASTRAY_S = 5.0  # So long disks are otherwise than foreseen before the rest is played anew.
_JUDGED_S = 1.0
_LANDED_S = 300.0  # A chunk that was begun so long ago is what the tables say.
STUCK_S = 10.0  # So long no step can be begun, and none is under way, before the same.


class Course:
    """The steps of a rebalance that are still to be begun. Args: a balance that is its own."""

    def __init__(self, balance: Balance) -> None:
        self.ahead = Ahead(balance, self._take)
        self.whole = False  # It is played to its end.
        self.begun = 0
        self._left_bytes = 0
        self._steps: dict[tuple[ChunkId, DiskKey], Step] = {}
        self._of_chunk: Counter[ChunkId] = Counter()
        self._due: Counter[DiskKey] = Counter()  # What steps still bring, less what they take.
        self._flying: dict[ChunkId, float] = {}  # Begun while it was played, and when.
        self._shape = _shape(balance)
        self._largest = 0  # Room that a step takes.
        self._judged_s: float | None = None
        self._astray_since_s: float | None = None
        self._stuck_since_s: float | None = None

    def __len__(self) -> int:
        return len(self._steps)

    def left(self) -> tuple[int, int]:
        """Return how many bytes and moves are still to be begun; what is not played is reckoned."""
        ahead = self.ahead
        if self.whole or not ahead.move_count:
            return self._left_bytes, len(self._steps)
        usual = ahead.moved_bytes / ahead.move_count
        more = ahead.balance.left_bytes() / (usual + SLOT_HEAD_BYTES)
        return self._left_bytes + int(more * usual), len(self._steps) + int(more)

    def why_outside(self, disk: Disk) -> str:
        """Return why a disk stays outside the threshold on this course."""
        played = self.ahead.balance.disks.get(disk.key)
        return self.ahead.why_outside(played) if played is not None else ""

    def __contains__(self, step: Step) -> bool:
        return step.key in self._steps

    def steps(self) -> list[Step]:
        """Return what is to be begun, in order."""
        return list(self._steps.values())

    def play(self, view: View, scene: Scene, rows: int) -> int:
        """Play on until enough is ahead; return how many copies were looked at, at most `rows`."""
        self._land(view, scene)
        before = self.ahead.rows
        until = before + rows
        while not self.whole and len(self._steps) < STEPS_MAX and self.ahead.rows < until:
            part = min(until - self.ahead.rows, STEPS_MAX - len(self._steps))
            self.whole = not self.ahead.step(view, scene, part)
        return self.ahead.rows - before

    def _land(self, view: View, scene: Scene) -> None:
        """Have the play look chunks up again that lie where their steps brought them."""
        if self.whole:
            self._flying.clear()
        for chunk_id, since_s in list(self._flying.items()):
            if chunk_id in self._of_chunk:
                continue
            chunk = view.chunk(chunk_id)
            found = movable(scene, chunk_id, chunk) if chunk is not None else None
            there = found is not None and frozenset(found.holders) == self.ahead.places(chunk_id)
            if there or scene.seen.now_s - since_s >= _LANDED_S:
                del self._flying[chunk_id]
                self.ahead.forget(chunk_id)

    def begin(self, step: Step, now_s: float) -> None:
        """Note that a step is begun."""
        self._drop(step)
        self.begun += 1
        if not self.whole:
            self._flying[step.chunk_id] = now_s

    def give_up(self, step: Step) -> None:
        """Drop a step that cannot be made; what comes after it of the chunk falls with it."""
        later = [step]
        if self._of_chunk[step.chunk_id] > 1:
            later = [one for one in self._steps.values() if one.chunk_id == step.chunk_id]
        for one in reversed(later):
            self._drop(one)
            self.ahead.take_back(one)

    def astray(self, balance: Balance, now_s: float) -> bool:
        """Return whether the disks are not what they were to be by now, and have been for long.

        After a wait, in which nobody looked, for long is at once. With thousands of disks a look
        takes tens of ms: one in a second is enough.
        """
        if balance.disks.keys() != self._shape.keys():
            return True
        before_s = self._judged_s
        if before_s is not None and now_s - before_s < _JUDGED_S:
            return False
        self._judged_s = now_s
        off = (self._off(disk, balance) for disk in balance.disks.values())
        wrong = _shape(balance) != self._shape or any(off)
        self._astray_since_s = _since(self._astray_since_s, wrong, now_s)
        if self._astray_since_s is None:
            return False
        since_s = self._astray_since_s if before_s is None else min(self._astray_since_s, before_s)
        return now_s - since_s >= ASTRAY_S

    def stuck(self, now_s: float, vain: bool) -> bool:
        """Return whether nothing can be begun; `vain`: not now, and no move is under way."""
        self._stuck_since_s = _since(self._stuck_since_s, vain, now_s)
        return self._stuck_since_s is not None and now_s - self._stuck_since_s >= STUCK_S

    def _off(self, disk: Disk, balance: Balance) -> bool:
        """Return whether clients or others made a disk fuller or emptier than foreseen."""
        planned = self.ahead.balance.disks[disk.key].settled - self._due[disk.key]
        allowed = max(balance.threshold / 4 * disk.total, 2 * self._largest)
        return abs(disk.settled - planned) > allowed + disk.coming + disk.going + disk.freeing

    def _take(self, step: Step) -> None:
        self._steps[step.key] = step
        self._largest = max(self._largest, step.room)
        self._count(step, 1)

    def _drop(self, step: Step) -> None:
        del self._steps[step.key]
        self._count(step, -1)

    def _count(self, step: Step, sign: int) -> None:
        self._left_bytes += sign * step.length
        self._due[step.target] += sign * step.room
        self._due[step.source] -= sign * step.room
        self._of_chunk[step.chunk_id] += sign
        if not self._of_chunk[step.chunk_id]:
            del self._of_chunk[step.chunk_id]


def _shape(balance: Balance) -> dict[DiskKey, tuple[bool, bool]]:
    """Return what must not change of the disks, lest another course be better.

    In what words the trouble is told makes no difference: for how long a server is silent is one.
    """
    return {key: (not one.trouble, one.gives) for key, one in balance.disks.items()}


def _since(since_s: float | None, true: bool, now_s: float) -> float | None:
    if not true:
        return None
    return now_s if since_s is None else since_s
