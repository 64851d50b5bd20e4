"""What a replica answers to an order of the seal, fenced or proved by its real store."""

from __future__ import annotations

from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.errors import GfsError
from gfs_ha.master.sealing import Fence, Prove, SealingChunk
from gfs_ha.protocol.codec import failure
from gfs_ha.protocol.control import FenceAnswer, OrderFailed, ProofAnswer


def answer_of(
    store: ChunkStore, facts: SealingChunk, decision: Fence | Prove
) -> FenceAnswer | ProofAnswer | OrderFailed:
    """Return the answer, after the store did what is ordered."""
    chunk_id, index = facts.chunk_id, facts.begin_index
    try:
        if isinstance(decision, Fence):
            return store.fence(chunk_id, facts.birth, index)
        store.get(chunk_id, facts.birth)
        proof = store.prove(chunk_id, index, decision.length)
    except GfsError as error:
        kind = "fence" if isinstance(decision, Fence) else "prove"
        return OrderFailed(chunk_id, index, kind, failure(error))
    proved = (proof.digest, proof.crc, proof.records)
    return ProofAnswer(chunk_id, index, decision.length, *proved)
