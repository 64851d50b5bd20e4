"""What operators ask about chunks in trouble, as it is sent, shown and printed as JSON."""

from __future__ import annotations

from gfs_ha.ids import ChunkId, ServerId
from gfs_ha.protocol.codec import Word
from gfs_ha.protocol.reports import ChunkRow

# Kinds of trouble; a chunk may have several. docs/operations.md defines them for people.
MISSING = "missing"  # It lives, and no server that is live has a valid copy of it.
UNDER = "under"  # It lives, with fewer valid copies on live servers than its goal.
SHORT = "short"  # It is sealed, and a server holds a replica of it with fewer bytes.
CORRUPT = "corrupt"  # A server holds a replica of it that is damaged, or has other bytes.
ORPHAN = "orphan"  # It is dead or unknown to the tables, and a server holds a replica of it.
BLOCKED = "blocked"  # It has to be sealed, and the replicas that answer cannot prove its end.
TROUBLES = (MISSING, UNDER, SHORT, CORRUPT, ORPHAN, BLOCKED)

# What a holder's look at its copy came to.
INTACT = "ok"
UNREACHABLE = "unreachable"
BUSY = "busy"
WAITING = "waiting"  # Its server has been asked and has not answered yet.

UNKNOWN = "unknown"  # The state of a chunk without a row.
SHOWN_MAX = 100  # Chunks of one request.


class ShowChunks(Word, frozen=True, tag="show_chunks"):
    """-> ChunkDetails, of 1 to 100 chunks. Raises: UnknownChunk."""

    chunk_ids: tuple[ChunkId, ...]


class ChunkDetail(Word, frozen=True):
    """All that is known of one chunk; `row` has every replica, also those that do not count."""

    row: ChunkRow
    birth: str
    capacity: int
    min_copies: int
    published_end: int
    digest: int  # Of a sealed one.
    sealed_index: int
    begin_index: int  # Of the BeginSeal, if it was sealed by the leader.
    reason: str  # Why it was.
    referenced: bool  # Some file needs bytes of it.
    path: str = ""  # Of a tail: the file at whose end it is.


class ChunkDetails(Word, frozen=True, tag="chunk_details"):
    """-> kind ChunkDetailList."""

    items: tuple[ChunkDetail, ...]


class VerifyChunk(Word, frozen=True, tag="verify_chunk"):
    """-> VerifiedChunk, when every holder has read its copy from the disk, or time is short.

    Asked again it goes on with what is under way. Raises: UnknownChunk, WrongState, Overloaded.
    """

    chunk_id: ChunkId


class VerifiedReplica(Word, frozen=True):
    """What a holder found: `verdict` is one of the words above."""

    server_id: ServerId
    name: str
    rack: str
    verdict: str
    why: str


class VerifiedChunk(Word, frozen=True, tag="verified_chunk"):
    """-> an item of kind VerifiedChunkList."""

    chunk_id: ChunkId
    length: int
    goal: int
    replicas: tuple[VerifiedReplica, ...] = ()


DamageRequest = ShowChunks | VerifyChunk
DamageReply = ChunkDetails | VerifiedChunk
