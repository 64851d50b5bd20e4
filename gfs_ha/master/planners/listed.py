"""What a listed replica must be told: a function of its chunk's row and of the server's word."""

from __future__ import annotations

from gfs_ha.ids import NO_SESSION, ServerId
from gfs_ha.master.state.records import DEAD, SEALED, Chunk
from gfs_ha.protocol.control import (
    CompareReplica,
    DeleteReplica,
    FinishReplica,
    ForgetTombstone,
    OpenReplica,
    Order,
)

TOMBSTONE = "tombstone"
# Also a damaged one: a torn header says nothing about the bytes, their digest does.
_TO_SETTLE = ("open", "fenced", "damaged")


def order_for(server_id: ServerId, replica: OpenReplica, chunk: Chunk) -> Order | None:
    """Return the order for a replica that a server lists as not settled, if there is one.

    It follows from the tables alone, so a new leader comes to the same (C2, C4, C7, G2 a). A
    replica that is no holder says by its newest order that it compared itself.
    """
    chunk_id = replica.chunk_id
    if chunk.state == DEAD:
        return DeleteReplica(chunk_id, chunk.dead_index, "the chunk is dead")
    if chunk.state != SEALED:
        return None
    if replica.state == TOMBSTONE:
        # While a session claims the chunk it may still have a push on its way.
        forgettable = chunk.claimed_by == NO_SESSION
        return ForgetTombstone(chunk_id, chunk.sealed_index) if forgettable else None
    if replica.state not in _TO_SETTLE or replica.birth != chunk.birth:
        return None
    end = (chunk.length, chunk.digest)
    if server_id in chunk.holders:
        # It may have obeyed a newer order than the seal: one that was dropped, and kept again.
        index = max(chunk.sealed_index, replica.order_index)
        return FinishReplica(chunk_id, chunk.birth, index, *end)
    # Whoever compared takes no appends. One that was kept while it took them has a newer order.
    if replica.order_index < chunk.sealed_index or replica.state == "open":
        index = max(chunk.sealed_index, replica.order_index)
        return CompareReplica(chunk_id, chunk.birth, index, *end)
    return None
