"""A chunk that cannot be sealed without loss, and a person who accepts it, as words of the wire."""

from __future__ import annotations

from gfs_ha.ids import ChunkId, LogIndex, ServerId
from gfs_ha.protocol.codec import Word

NO_LENGTH = -1


class GetLoss(Word, frozen=True, tag="get_loss"):
    """-> LossPlan. Raises: UnknownChunk."""

    chunk_id: ChunkId


class LossReplica(Word, frozen=True):
    """What a replica of the chunk said when it was fenced; `missing`: it would be given up."""

    server_id: ServerId
    name: str
    rack: str
    state: str  # Of its server.
    missing: bool
    said: str


class LossPlan(Word, frozen=True, tag="loss_plan"):
    """What would be sealed without the replicas that are out of reach.

    Fields:
        refused: why it cannot be, or must not; empty: it can.
        length: where the chunk would end; -1 = not known.
        reported: of a tail, how far its primary said that records are committed; -1 = not known.
        path: of a tail, the file whose end it is; it begins at `file_offset`.
        referenced: files refer to bytes of it, all of them before the published end.
    """

    chunk_id: ChunkId
    state: str
    begin_index: LogIndex
    blocked: str
    refused: str
    length: int
    published_end: int
    reported: int
    path: str
    file_offset: int
    referenced: bool
    replicas: tuple[LossReplica, ...]


class AcceptLoss(Word, frozen=True, tag="accept_loss"):
    """-> ChunkSealed. A person read this plan and accepts it.

    Raises: UnknownChunk, PreconditionFailed when it would not be as the plan said, Busy.
    """

    chunk_id: ChunkId
    begin_index: LogIndex
    length: int
    given_up: tuple[ServerId, ...]


LossRequest = GetLoss | AcceptLoss
LossReply = LossPlan
