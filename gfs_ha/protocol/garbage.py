"""What operators read of garbage, as it is sent, shown and printed as JSON."""

from __future__ import annotations

from gfs_ha.ids import ChunkId, ServerId
from gfs_ha.protocol.codec import Word


class GarbageRow(Word, frozen=True):
    """Something that waits to be collected, and why it is still there.

    Fields:
        kind: "names", "claims", "dead", "deleting", "surplus", "late", "punching", "dead blocks",
            "compacting", "sparse", "orphans".
        bytes: that disks will get back by it, on all copies; -1 = not known before it is done.
        now: it waits for nothing but its turn or a server's answer, and `gc run` hurries it.
    """

    kind: str
    count: int
    bytes: int
    why: str
    now: bool = False


class OrphanRow(Word, frozen=True):
    """A replica that no chunk knows of. `due_ms`: until it is deleted; 0 = it is being."""

    chunk_id: ChunkId
    server: str
    due_ms: int


class SparseRow(Word, frozen=True):
    """A chunk of which less than half lives; `length` is that of the blocks that have some life."""

    chunk_id: ChunkId
    length: int
    alive_bytes: int
    copies: int


class GarbageServerRow(Word, frozen=True):
    """What is to be deleted or given back on one server; `bytes` of what is known."""

    server_id: ServerId
    name: str
    state: str  # "live", "suspect", "dead".
    count: int  # Replicas.
    bytes: int


class ReclaimedRow(Word, frozen=True):
    """What disks got back for one reason, as their servers acknowledged it, over all leaders."""

    kind: str  # "dead", "surplus", "orphans", "punched".
    bytes: int
    count: int
    since_ms: int  # Wall time of the first and the last of them.
    last_ms: int


class GarbageReport(Word, frozen=True, tag="garbage_report"):
    """-> kind Garbage: what waits to be collected and why, and what was reclaimed.

    `looked_ms`: since the last round over all chunks ended, -1 = this leader has not made one yet;
    dead blocks and sparse chunks are as of that round.
    """

    waiting: tuple[GarbageRow, ...]
    waiting_bytes: int  # Of what is known of them.
    orphans: tuple[OrphanRow, ...]
    sparse: tuple[SparseRow, ...]
    reclaimed: tuple[ReclaimedRow, ...]
    reclaimed_bytes: int
    bytes_per_s: int  # Of the last minute, under this leader.
    looked_ms: int
    looking: bool  # A round is under way.
    more: bool = False  # There is more of something than was counted.
    servers: tuple[GarbageServerRow, ...] = ()  # On which it lies; the most bytes first.
    eta_ms: int = -1  # Until what waits for nothing else is gone, at the rate of now; -1 = unknown.


class GetGarbage(Word, frozen=True, tag="get_garbage"):
    """-> GarbageReport."""

    limit: int = 200  # Of the lists in it.


class RunGarbage(Word, frozen=True, tag="run_garbage"):
    """-> GarbageReport. Everything that waits for nothing but its turn has it now.

    No evidence is skipped: what waits for a server, a client or the end of a quarantine still does.
    """

    limit: int = 200


GarbageRequest = GetGarbage | RunGarbage
GarbageReply = GarbageReport
