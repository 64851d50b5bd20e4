"""Where the walk for chunks that lie against their rule is, and when it rests; soft state."""

from __future__ import annotations

from dataclasses import dataclass

from gfs_ha.ids import ChunkId, ServerId

_FIRST = ChunkId(0)  # Below every id.
ROUND_S = 600.0  # A round over all chunks begins so often although the servers are the same...
SOON_S = 2.0  # ...and so soon after one that found something to do.

Fleet = frozenset[tuple[ServerId, str, str, bool]]  # Server, rack, machine, takes copies.


@dataclass(slots=True)
class PlacingWalk:
    """A walk over all chunks, again and again."""

    after: ChunkId = _FIRST
    fleet: Fleet = frozenset()
    found: int = 0  # Of this round: chunks that a copy was begun for, or will be.
    misplaced: int = 0  # Of this round: chunks that lie against their rule, helped or not.
    newest: int = 0  # The same of the last whole round.
    rest_until_s: float = 0.0
    began_s: float = 0.0  # When this round did.
    soon_s: float = float("-inf")  # When a chunk was placed against its rule last.

    def look(self, fleet: Fleet, now_s: float) -> bool:
        """Return whether to go on; begins anew when servers came, went, or changed their places."""
        if fleet != self.fleet:
            self.fleet, self.after, self.rest_until_s = fleet, _FIRST, 0.0
            self.found = self.misplaced = 0
        if self.after == _FIRST:
            self.began_s = now_s
        return now_s >= self.rest_until_s

    def soon(self, now_s: float) -> None:
        """Look again soon: a chunk lies against its rule since a moment ago."""
        self.soon_s = now_s
        self.rest_until_s = min(self.rest_until_s, now_s + SOON_S)

    def end_round(self, now_s: float) -> None:
        """Note that all chunks were looked at."""
        missed = self.began_s < self.soon_s + SOON_S  # It may have come by before that was placed.
        self.after = _FIRST
        self.rest_until_s = now_s + (SOON_S if self.found or missed else ROUND_S)
        self.newest, self.found, self.misplaced = self.misplaced, 0, 0
