"""The chunks that wait for a copy: fewest copies first, then by age; found round by round."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Set
from dataclasses import dataclass, field

from gfs_ha.ids import ChunkId, ServerId
from gfs_ha.master.planners.chunk_paths import ChunkPaths

_FIRST = ChunkId(0)  # Below every id.
QUEUED_MAX = 50_000  # Of each number of copies; the next round finds the rest.
UNPLACED_KEPT = 8  # Chunks that no server can take, which a round remembers by id.


@dataclass(frozen=True, slots=True)
class Unplaced:
    """A chunk that wants more copies than servers can hold; on those that stay, `possible`."""

    chunk_id: ChunkId
    goal: int
    possible: int
    length: int


@dataclass(slots=True)
class Tally:
    """What one round found: chunks below their goal, the copies they lack, and these in bytes.

    Of these the ones that no server can take are counted once more, and the first chunks kept.
    """

    chunks: int = 0
    copies: int = 0
    lacking_bytes: int = 0
    without_copy: int = 0
    unplaced_chunks: int = 0
    unplaced_copies: int = 0
    unplaced_bytes: int = 0
    unplaced: list[Unplaced] = field(default_factory=list)
    helpers: set[ServerId] = field(default_factory=set)  # Who would take a copy of these.
    way: str = ""  # What would give them a server.

    def add(self, copies: int, goal: int, length: int) -> None:
        """Count a chunk with so many copies left."""
        self.chunks += 1
        if copies:
            self.copies += goal - copies
            self.lacking_bytes += (goal - copies) * length
        else:
            self.without_copy += 1

    @property
    def makeable(self) -> int:
        """Return the copies that repair can make: what comes after repair waits for these alone."""
        return self.copies - self.unplaced_copies

    def add_unplaced(self, one: Unplaced, copies: int, helpers: Set[ServerId]) -> None:
        """Count a chunk of which servers cannot take so many copies."""
        self.unplaced_chunks += 1
        self.unplaced_copies += copies
        self.unplaced_bytes += copies * one.length
        if len(self.unplaced) < UNPLACED_KEPT:
            self.unplaced.append(one)
            self.helpers |= helpers


@dataclass(slots=True)
class _Line:
    """The chunks with as many copies left: by age, and from the one on that was taken last.

    So whom nobody can help now keeps none from its turn.
    """

    _now: list[ChunkId] = field(default_factory=list)  # Heaps; here the ids above that one.
    _later: list[ChunkId] = field(default_factory=list)
    _last: ChunkId = _FIRST

    def add(self, chunk_id: ChunkId) -> None:
        heapq.heappush(self._now if chunk_id > self._last else self._later, chunk_id)

    def take(self) -> ChunkId:
        if not self._now:
            self._now, self._later = self._later, []
        self._last = heapq.heappop(self._now)
        return self._last

    def __len__(self) -> int:
        return len(self._now) + len(self._later)


@dataclass(slots=True)
class RepairQueue:
    """Soft state of the planner; a new leader's first round fills a new one."""

    after: ChunkId = _FIRST  # Where the round goes on.
    found: Tally = field(default_factory=Tally)  # By the last whole round.
    running: Tally = field(default_factory=Tally)
    rounds: int = 0
    paths: ChunkPaths = field(default_factory=ChunkPaths)  # Files of what is unplaced.
    _waiting: dict[int, _Line] = field(default_factory=dict)
    _known: dict[ChunkId, int] = field(default_factory=dict)

    def add(self, chunk_id: ChunkId, copies: int) -> None:
        """Queue a chunk, or move it to where it belongs by the copies that are left."""
        if self._known.get(chunk_id) == copies:
            return
        waiting = self._waiting.setdefault(copies, _Line())
        if len(waiting) < QUEUED_MAX:
            self._known[chunk_id] = copies
            waiting.add(chunk_id)

    def counts(self) -> list[int]:
        """Return the numbers of copies with which chunks are queued, the most urgent first."""
        return sorted(copies for copies, waiting in self._waiting.items() if waiting)

    def take(self, copies: int) -> Iterator[ChunkId]:
        """Yield and forget the queued chunks with so many copies left, in turns."""
        waiting = self._waiting[copies]
        while waiting:
            chunk_id = waiting.take()
            if self._known.get(chunk_id) == copies:  # Else it was moved.
                del self._known[chunk_id]
                yield chunk_id

    def end_round(self) -> None:
        """Note that the walk came to its end, and begin anew."""
        self.found, self.running = self.running, Tally()
        self.after = _FIRST
        self.rounds += 1

    @property
    def newest(self) -> Tally:
        """Return what is known of all chunks: the last whole round, or the first one so far."""
        return self.found if self.rounds else self.running

    def __len__(self) -> int:
        return len(self._known)
