"""Where the leader is with looking for dead blocks, and what its rounds found; soft state (G8)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from gfs_ha.ids import ChunkId

FIRST = ChunkId(0)  # Below every id.
SPARSE_MAX = 200  # Chunks less than half alive that are named.
ROUND_PAUSE_S = 5.0
RESTS_MAX = 10_000
REASONS_MAX = 50
REST_MIN_S = 5.0
REST_MAX_S = 300.0


@dataclass(slots=True)
class Sparse:
    """A chunk of which less than half is alive of what it takes, dead blocks left out."""

    chunk_id: ChunkId
    length: int
    alive_bytes: int
    copies: int
    scattered: bool = False  # What lives lies in too many parts to be copied elsewhere.


@dataclass(frozen=True, slots=True)
class Rest:
    """Until when a chunk is not compacted again, and how the last time ended."""

    until_s: float
    pause_s: float
    why: str


@dataclass(slots=True)
class DeadTally:
    """What one round over the chunks found.

    Fields:
        bytes: dead and not given up yet, on all copies together.
        waits: why some of that is not given up now: (chunks, bytes) by reason.
        unpunchable_bytes: dead, but in blocks in which something else is alive.
    """

    chunks: int = 0
    bytes: int = 0
    unpunchable_bytes: int = 0
    waits: dict[str, tuple[int, int]] = field(default_factory=dict)
    sparse: list[Sparse] = field(default_factory=list)
    sparse_count: int = 0

    def wait(self, reason: str, dead_bytes: int) -> None:
        """Note dead bytes that are not given up now; of very many reasons some together."""
        if reason not in self.waits and len(self.waits) >= REASONS_MAX:
            reason = "and for other reasons of that kind"
        chunks, found = self.waits.get(reason, (0, 0))
        self.waits[reason] = chunks + 1, found + dead_bytes


@dataclass(slots=True)
class DeadWalk:
    """The round that is under way, and the tables' counter of what came loose at its begin."""

    after: ChunkId = FIRST
    walking: bool = False
    loosened: int = -1  # As it was when the last round began; -1 = there was none.
    again: bool = False  # Something waits that no counter tells of.
    began_s: float = 0.0
    ended_s: float = 0.0
    rounds: int = 0
    found: DeadTally = field(default_factory=DeadTally)  # By the last whole round.
    running: DeadTally = field(default_factory=DeadTally)
    resting: OrderedDict[ChunkId, Rest] = field(default_factory=OrderedDict)

    def rest(self, chunk_id: ChunkId, now_s: float, why: str) -> None:
        """Have a chunk not compacted for a while, each time for longer."""
        before = self.resting.pop(chunk_id, None)
        pause_s = REST_MIN_S if before is None else min(REST_MAX_S, 2 * before.pause_s)
        self.resting[chunk_id] = Rest(now_s + pause_s, pause_s, why)
        while len(self.resting) > RESTS_MAX:
            self.resting.popitem(last=False)

    def rests(self, chunk_id: ChunkId, now_s: float) -> bool:
        """Return whether a chunk was compacted a moment ago, or could not be."""
        rest = self.resting.get(chunk_id)
        return rest is not None and now_s < rest.until_s

    def due(self, loosened: int, now_s: float, wanted: bool) -> bool:
        """Return whether a round is to begin: something came loose since the last one began."""
        if self.walking:
            return False
        news = loosened != self.loosened or self.again
        # Where files change all the time, a fifth of it is spent on rounds at most.
        pause_s = max(ROUND_PAUSE_S, 4 * (self.ended_s - self.began_s))
        return wanted or (news and now_s - self.ended_s >= pause_s)

    def begin(self, loosened: int, now_s: float) -> None:
        """Begin a round."""
        self.began_s = now_s
        self.walking, self.again, self.after = True, False, FIRST
        self.loosened = loosened
        self.running = DeadTally()

    def end(self, now_s: float) -> None:
        """Note that the walk came to its end."""
        self.walking = False
        self.found, self.ended_s = self.running, now_s
        self.rounds += 1
