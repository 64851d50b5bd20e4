"""The replicated commands about garbage: blocks given back, orphans, and what was reclaimed.

Made by the leader alone, no session; each compares with the tables before it writes (G2, G8).
"""

from __future__ import annotations

from gfs_ha.ids import ChunkId, DiskId, LogIndex, ServerId
from gfs_ha.protocol.codec import Word


class PunchChunk(Word, frozen=True, tag="punch_chunk"):
    """-> Done. Blocks of a sealed chunk without a live byte are given up for good (G8).

    This command's index numbers the orders to all holders. Raises: StaleCommand unless sealed under
    `sealed_index`, unclaimed, not being copied, and no reference touches a block of `gone`;
    LimitExceeded when too many references would have to be looked at; UnknownChunk,
    InvalidArgument.
    """

    chunk_id: ChunkId
    sealed_index: LogIndex
    gone: bytes  # The set of blocks to give up, see protocol/gone.py.


class PunchesDone(Word, frozen=True, tag="punches_done"):
    """-> Done. Holders gave blocks back: (chunk, server, order, bytes that the disk got back).

    One that is not awaited under that order (any more) is passed over.
    """

    punched: tuple[tuple[ChunkId, ServerId, LogIndex, int], ...]


class NoteOrphans(Word, frozen=True, tag="note_orphans"):
    """-> Done. Replicas of chunks without a row were found: (server, disk, chunk).

    One of this incarnation whose id was given before can never have a row again, and is to be
    deleted under this command's index (G2). One of an older incarnation is quarantined, and is to
    be deleted once it is noted again after its time. All others are passed over.
    """

    orphans: tuple[tuple[ServerId, DiskId, ChunkId], ...]


class OrphansDeleted(Word, frozen=True, tag="orphans_deleted"):
    """-> Done. Orphans are gone: (server, disk, chunk, order, bytes that the disk got back).

    The order is that of the row, 0 for one in quarantine whose disk is lost. What does not fit is
    passed over.
    """

    orphans: tuple[tuple[ServerId, DiskId, ChunkId, LogIndex, int], ...]


class BeginCompaction(Word, frozen=True, tag="begin_compaction"):
    """-> Done. A holder is to copy what lives of a chunk into another one (G8).

    This command's index numbers its order, and MoveReferences must name it. Raises: StaleCommand
    unless sealed under `sealed_index`, unclaimed, held by the server, and without a copy, deletion
    or compaction under way; UnknownChunk.
    """

    chunk_id: ChunkId
    sealed_index: LogIndex
    server_id: ServerId


class EndCompaction(Word, frozen=True, tag="end_compaction"):
    """-> Done. It is over, whatever became of it: what was moved stays moved.

    Raises: StaleCommand unless it is under way with this index, UnknownChunk.
    """

    chunk_id: ChunkId
    order_index: LogIndex
    reason: str


GarbageCommand = (
    PunchChunk | PunchesDone | NoteOrphans | OrphansDeleted | BeginCompaction | EndCompaction
)
