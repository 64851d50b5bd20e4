"""What the leader hears of garbage: answers with what disks got back, strays, wishes, the rate.

Soft and bounded; what is under way stands in the tables, and is ordered again.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field

from gfs_ha.ids import ChunkId, DiskId, ServerId
from gfs_ha.limits import CHUNK_BYTES_MAX
from gfs_ha.master.planners.garbage_seen import GarbageSeen, Place
from gfs_ha.master.planners.garbage_walk import DeadWalk
from gfs_ha.master.planners.seen import Answered
from gfs_ha.master.state.bounds import fitting_text

NOTES_MAX = 10_000
STRAYS_PER_PLAN = 250
_FREED_MAX = 2 * CHUNK_BYTES_MAX  # No slot takes more, whatever a server says.
_WHY_BYTES = 200  # It goes into a command.
RATE_S = 60.0  # The rate is that of the last so many seconds.
_SPAN_MIN_S = 5.0  # One answer alone is no rate.


@dataclass(slots=True)
class GarbageBook:
    """Soft facts about garbage in one reign; used by the door's thread."""

    walk: DeadWalk = field(default_factory=DeadWalk)  # The planner's, to be looked at by reports.
    _punched: OrderedDict[Answered, int] = field(default_factory=OrderedDict)
    _freed: OrderedDict[Answered, int] = field(default_factory=OrderedDict)
    _compacted: OrderedDict[Answered, str] = field(default_factory=OrderedDict)
    _strays: OrderedDict[Place, None] = field(default_factory=OrderedDict)
    _recent: deque[tuple[float, int]] = field(default_factory=deque)
    _wanted: bool = False

    def punched(self, answered: Answered, freed: int, now_s: float) -> None:
        """Note that a holder gave blocks back."""
        self._note(self._punched, answered, freed, now_s)

    def deleted(self, answered: Answered, freed: int, now_s: float) -> None:
        """Note that a replica was deleted."""
        self._note(self._freed, answered, freed, now_s)

    def compacted(self, answered: Answered, why: str) -> None:
        """Note that a compaction is over; `why` is empty when it is done."""
        self._compacted[answered] = fitting_text(why, _WHY_BYTES)
        while len(self._compacted) > NOTES_MAX:
            self._compacted.popitem(last=False)

    def stray(self, server_id: ServerId, disk_id: DiskId, chunk_id: ChunkId) -> None:
        """Note a replica that the tables know no chunk of."""
        if len(self._strays) < NOTES_MAX:
            self._strays[server_id, disk_id, chunk_id] = None

    def want(self) -> None:
        """Have the next plan do everything that waits for nothing but its turn."""
        self._wanted = True

    def seen(self, take: bool) -> GarbageSeen:
        """Return what the planners go by.

        Args: `take` tells strays and wishes, once; nobody plans with them otherwise.
        """
        if not take:
            return self._told((), wanted=False)
        strays = tuple(list(self._strays)[:STRAYS_PER_PLAN])
        for place in strays:
            del self._strays[place]
        wanted, self._wanted = self._wanted, False
        return self._told(strays, wanted)

    def _told(self, strays: tuple[Place, ...], wanted: bool) -> GarbageSeen:
        return GarbageSeen(
            punched=dict(self._punched),
            freed=dict(self._freed),
            strays=strays,
            wanted=wanted,
            compacted=dict(self._compacted),
        )

    def bytes_per_s(self, now_s: float) -> int:
        """Return the bytes per second that disks got back lately, since that began."""
        while self._recent and now_s - self._recent[0][0] > RATE_S:
            self._recent.popleft()
        if not self._recent:
            return 0
        span_s = max(_SPAN_MIN_S, now_s - self._recent[0][0])
        return int(sum(freed for _, freed in self._recent) / span_s)

    def _note(
        self, notes: OrderedDict[Answered, int], answered: Answered, freed: int, now_s: float
    ) -> None:
        # An answer of a server that started again says 0 the second time: the first one counts.
        known = notes.get(answered, 0)
        freed = max(0, min(freed, _FREED_MAX))
        notes[answered] = max(known, freed)
        notes.move_to_end(answered)
        while len(notes) > NOTES_MAX:
            notes.popitem(last=False)
        if freed > known:
            self._recent.append((now_s, freed - known))
            if len(self._recent) > NOTES_MAX:
                self._recent.popleft()
