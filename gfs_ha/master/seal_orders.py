"""The orders of a seal, and which of them an answer is to."""

from __future__ import annotations

from gfs_ha.ids import ANY_DISK, ServerId
from gfs_ha.master.orders import FENCE, PROVE
from gfs_ha.master.sealing import Fence, Prove, SealingChunk
from gfs_ha.protocol.control import (
    FenceAnswer,
    FenceReplica,
    OrderFailed,
    ProofAnswer,
    ProveReplica,
)


def order_of(
    chunk: SealingChunk, decision: Fence | Prove, server_id: ServerId
) -> FenceReplica | ProveReplica:
    """Return the order that asks a server for what a decision wants to know."""
    about = (chunk.chunk_id, chunk.birth, chunk.begin_index)
    disk_id = chunk.disks.get(server_id, ANY_DISK)
    if isinstance(decision, Fence):
        return FenceReplica(*about, chunk.published_end, disk_id)
    return ProveReplica(*about, decision.length, disk_id)


def kind_of(answer: FenceAnswer | ProofAnswer | OrderFailed) -> str:
    """Return which kind of order an answer is to."""
    if isinstance(answer, OrderFailed):
        return answer.kind
    return FENCE if isinstance(answer, FenceAnswer) else PROVE
