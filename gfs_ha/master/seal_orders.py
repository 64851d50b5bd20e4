"""The orders of a seal, and which of them an answer is to."""

from __future__ import annotations

from gfs_ha.master.orders import FENCE, PROVE
from gfs_ha.master.sealing import Fence, Prove, SealingChunk
from gfs_ha.protocol.control import (
    FenceAnswer,
    FenceReplica,
    OrderFailed,
    ProofAnswer,
    ProveReplica,
)


def order_of(chunk: SealingChunk, decision: Fence | Prove) -> FenceReplica | ProveReplica:
    """Return the order that asks for what a decision wants to know."""
    if isinstance(decision, Fence):
        return FenceReplica(chunk.chunk_id, chunk.birth, chunk.begin_index, chunk.published_end)
    return ProveReplica(chunk.chunk_id, chunk.birth, chunk.begin_index, decision.length)


def kind_of(answer: FenceAnswer | ProofAnswer | OrderFailed) -> str:
    """Return which kind of order an answer is to."""
    if isinstance(answer, OrderFailed):
        return answer.kind
    return FENCE if isinstance(answer, FenceAnswer) else PROVE
