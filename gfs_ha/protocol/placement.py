"""What operators read of where a chunk lies and why, as it is sent, shown and printed as JSON."""

from __future__ import annotations

from gfs_ha.ids import ChunkId, ServerId
from gfs_ha.protocol.codec import Word
from gfs_ha.protocol.reports import ChunkRow


class PlacedRow(Word, frozen=True):
    """A server that holds a copy, or would take one. `score`: 1 is an empty disk, 0 a full one."""

    server_id: ServerId
    name: str
    rack: str
    why: str
    score: float
    used_share: float


class RejectedRow(Word, frozen=True):
    """A server that takes no copy of the chunk now."""

    server_id: ServerId
    name: str
    rack: str
    why: str


class SuccessorRow(Word, frozen=True):
    """What comes if a server with a copy dies: who gets the next one, and from whom."""

    lost: str
    target: str  # Empty when nobody can take it.
    rack: str
    score: float
    source: str  # Empty when no good copy would be left.
    why: str  # Of the target, or why there is none.


class PlacementExplained(Word, frozen=True, tag="placement_explained"):
    """-> kind PlacementExplained: why a chunk lies where it does, and what would come next."""

    chunk: ChunkRow
    rule: str
    rule_text: str
    misplaced: str  # What the rule has against it, and what is done; else empty.
    holders: tuple[PlacedRow, ...]
    open_to: tuple[PlacedRow, ...]  # Who would take one more copy, the best ones first.
    rejected: tuple[RejectedRow, ...]
    if_lost: tuple[SuccessorRow, ...]
    changes: tuple[str, ...] = ()  # What would let a server take a copy that takes none now.
    way: str = ""  # What gives copies a server that nobody can take, now or after a death.
    possible: int = 0  # With so many copies wanted nobody would be missed; 0: nobody is.


class ExplainPlacement(Word, frozen=True, tag="explain_placement"):
    """-> PlacementExplained. Raises: UnknownChunk."""

    chunk_id: ChunkId


class NewPlacementExplained(Word, frozen=True, tag="new_placement_explained"):
    """-> kind NewPlacementExplained: where a chunk of a new file would go now, and why."""

    path: str
    goal: int
    rule: str
    rule_text: str
    chosen: tuple[PlacedRow, ...]  # In the order of the chain.
    rejected: tuple[RejectedRow, ...]
    remarks: tuple[str, ...]
    refused: str  # Why it could not be placed at all, else empty.


class ExplainNewPlacement(Word, frozen=True, tag="explain_new_placement"):
    """-> NewPlacementExplained. For a writer on a machine, in a rack; nothing is allocated."""

    path: str
    machine: str = ""
    rack: str = ""


PlacementRequest = ExplainPlacement | ExplainNewPlacement
PlacementReply = PlacementExplained | NewPlacementExplained


class FillRow(Word, frozen=True):
    """How full a server is, and would be."""

    name: str
    rack: str
    fate: str  # "stays", "lost", "added", or why it takes nothing.
    total_bytes: int
    used_before: float  # Shares of its disks.
    used_after: float
    bytes_in: int
    bytes_out: int


class PlacementSimulation(Word, frozen=True):
    """-> kind PlacementSimulation: what planners would do with the servers of another day."""

    items: tuple[FillRow, ...]
    chunk_count: int  # Chunks that were looked at.
    copy_count: int  # Copies that would be made because some are lost,
    copy_bytes: int
    moved_count: int  # and because others lie against their rule then.
    moved_bytes: int
    below_goal: int  # Chunks that would stay with fewer copies than they want.
    against_rule: int  # Chunks that would stay against their rule.
    lost_count: int  # Chunks without any copy left,
    lost_bytes: int
    new_count: int  # New chunks that were placed,
    refused_count: int  # and that could not be.
    reasons: tuple[str, ...]  # Why, the first few.
    below: tuple[ChunkId, ...] = ()  # The first of those that would stay below their goal.
