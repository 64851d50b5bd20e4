"""One chunk's row and everything that must change with it: indexes, replicas, counters.

Nobody else writes these tables, so they cannot drift apart. Also the death of a chunk: at once
when neither a claim nor a reference is left (C11), its row kept until its replicas are deleted.
"""

from __future__ import annotations

import msgspec

from gfs_ha.errors import UnknownChunk
from gfs_ha.ids import NO_SESSION, ChunkId, LogIndex, ServerId, format_id, incarnation_of_order
from gfs_ha.master.state.bounds import U64_MAX, check_range
from gfs_ha.master.state.draft import Draft
from gfs_ha.master.state.records import (
    ALIVE,
    DEAD,
    MARK,
    OPEN,
    SEALED,
    SEALING,
    UNSEALED,
    Chunk,
    Counters,
    Mark,
    ReplicaCount,
)
from gfs_ha.master.state.tables import (
    BUSY_CHUNKS,
    CHUNKS,
    COMPACTING_CHUNKS,
    DEAD_CHUNKS,
    LEAVING_CHUNKS,
    PUNCHING_CHUNKS,
    REPLICA_COUNTS,
    REPLICAS_BY_SERVER,
    SURPLUS_CHUNKS,
    TAIL_CHUNKS,
    UNDER_CHUNKS,
    UNOPENED_TAILS,
    UNSEALED_CHUNKS,
    RowTable,
    id_key,
    replica_key,
)


def get_chunk(draft: Draft, chunk_id: ChunkId) -> Chunk:
    """Return a chunk's row. Raises: UnknownChunk, InvalidArgument."""
    check_range("chunk id", chunk_id, 0, U64_MAX)
    chunk = draft.view.chunk(chunk_id)
    if chunk is None:
        raise UnknownChunk(f"chunk {format_id(chunk_id)} is not known (any more)")
    return chunk


def put_chunk(draft: Draft, chunk_id: ChunkId, before: Chunk | None, after: Chunk | None) -> None:
    """Write a chunk's row, new (`before` None), changed, or gone (`after` None).

    Nobody waits for a server to give blocks back that is no holder any more, and no holder leaves
    of which the chunk has not too many.
    """
    key = id_key(chunk_id)
    if after is not None and after.leaving:
        spare = after.state == SEALED and len(after.holders) > after.goal
        named = tuple(one for one in after.leaving if spare and one in after.holders)
        after = msgspec.structs.replace(after, leaving=named)
    if after is not None and not set(after.punching) <= set(after.holders):
        kept = tuple(one for one in after.punching if one in after.holders)
        after = msgspec.structs.replace(after, punching=kept)
    if after is None:
        draft.rows.delete(CHUNKS, key)
    else:
        draft.rows.put(CHUNKS, key, after)
    _mark(draft, UNSEALED_CHUNKS, key, _unsealed(before), _unsealed(after))
    _mark(draft, DEAD_CHUNKS, key, _dead(before), _dead(after))
    _mark(draft, UNDER_CHUNKS, key, below_goal(before), below_goal(after))
    _mark(draft, BUSY_CHUNKS, key, busy(before), busy(after))
    _mark(draft, SURPLUS_CHUNKS, key, surplus(before), surplus(after))
    _mark(draft, LEAVING_CHUNKS, key, leaving(before), leaving(after))
    _mark(draft, PUNCHING_CHUNKS, key, punching(before), punching(after))
    _mark(draft, COMPACTING_CHUNKS, key, compacting(before), compacting(after))
    _mark(draft, TAIL_CHUNKS, key, _tail(before), _tail(after))
    _mark(draft, UNOPENED_TAILS, key, _unopened(before), _unopened(after))
    draft.counters.unopened_tails += _unopened(after) - _unopened(before)
    draft.counters.under_chunks += below_goal(after) - below_goal(before)
    _count(draft.counters, before, -1)
    _count(draft.counters, after, +1)
    _place_replicas(draft, chunk_id, before, after)


def settle(draft: Draft, chunk_id: ChunkId) -> None:
    """Make the chunk dead when nothing claims it and nothing refers to it.

    A tail is alive until it is sealed, or abandoned before it was opened.
    """
    chunk = draft.view.chunk(chunk_id)
    if chunk is None or chunk.state == DEAD or chunk.claimed_by != NO_SESSION:
        return
    if not (chunk.tail_of or chunk.unopened or draft.view.referenced(chunk_id)):
        bury(draft, chunk_id, chunk)


def bury(draft: Draft, chunk_id: ChunkId, chunk: Chunk) -> None:
    """Make a chunk dead; its row goes with its last replica."""
    died = msgspec.structs.replace(
        chunk, state=DEAD, dead_index=draft.order_index, copying=(), deleting=()
    )
    put_chunk(draft, chunk_id, chunk, died if died.replicas else None)


def below_goal(chunk: Chunk | None) -> bool:
    """Return whether an alive chunk has fewer recorded copies than its goal."""
    return chunk is not None and chunk.state in ALIVE and chunk.copies < chunk.goal


def busy(chunk: Chunk | None) -> bool:
    """Return whether servers are ordered to copy the chunk or to delete their copy of it."""
    return chunk is not None and bool(chunk.copying or chunk.deleting)


def surplus(chunk: Chunk | None) -> bool:
    """Return whether a sealed chunk has more recorded copies than its goal, or late places."""
    if chunk is None or chunk.state != SEALED:
        return False
    return len(chunk.holders) > chunk.goal or bool(chunk.late)


def leaving(chunk: Chunk | None) -> bool:
    """Return whether a job named holders of the chunk that are to go first."""
    return chunk is not None and bool(chunk.leaving)


def punching(chunk: Chunk | None) -> bool:
    """Return whether holders still have to give blocks back (G8); of a dead chunk all goes."""
    return chunk is not None and chunk.state == SEALED and bool(chunk.punching)


def compacting(chunk: Chunk | None) -> bool:
    """Return whether a holder is copying what lives of it into another chunk (G8)."""
    return chunk is not None and chunk.state == SEALED and bool(chunk.compactor)


def begin_sealing(chunk: Chunk, index: LogIndex, reason: str) -> Chunk:
    return msgspec.structs.replace(chunk, state=SEALING, begin_index=index, reason=reason)


def begun_before(chunk: Chunk, incarnation: int) -> bool:
    """Return whether the seal of a chunk was begun by an older incarnation."""
    return incarnation_of_order(chunk.begin_index) < incarnation


def seal(chunk: Chunk, index: LogIndex, end: tuple[int, int, tuple[ServerId, ...]]) -> Chunk:
    """Return the chunk sealed at `end`: (length, digest, holders)."""
    length, digest, holders = end
    return msgspec.structs.replace(
        chunk, state=SEALED, length=length, digest=digest, holders=holders, sealed_index=index
    )


def _unsealed(chunk: Chunk | None) -> bool:
    return chunk is not None and chunk.state in UNSEALED


def _tail(chunk: Chunk | None) -> bool:
    return chunk is not None and bool(chunk.tail_of)


def _unopened(chunk: Chunk | None) -> bool:
    return chunk is not None and chunk.unopened


def _dead(chunk: Chunk | None) -> bool:
    return chunk is not None and chunk.state == DEAD


def _mark(draft: Draft, table: RowTable[Mark], key: bytes, before: bool, after: bool) -> None:
    if after and not before:
        draft.rows.put(table, key, MARK)
    elif before and not after:
        draft.rows.delete(table, key)


def _count(counters: Counters, chunk: Chunk | None, by: int) -> None:
    if chunk is None:
        return
    if chunk.state == DEAD:
        counters.dead_chunks += by
        return
    if chunk.state == OPEN:
        counters.open_chunks += by
    elif chunk.state == SEALING:
        counters.sealing_chunks += by
    else:
        counters.sealed_chunks += by
    if chunk.copies == 0:
        counters.chunks_without_copy += by
    elif chunk.copies == 1:
        counters.chunks_with_one += by
    elif chunk.copies == 2:
        counters.chunks_with_two += by
    else:
        counters.chunks_with_more += by


def _place_replicas(
    draft: Draft, chunk_id: ChunkId, before: Chunk | None, after: Chunk | None
) -> None:
    old = set(before.replicas) if before else set()
    new = set(after.replicas) if after else set()
    if old == new:
        return
    for replica in sorted(old - new):
        key = replica_key(replica.server_id, replica.disk_id, chunk_id)
        draft.rows.delete(REPLICAS_BY_SERVER, key)
        _count_replica(draft, replica.server_id, -1)
    for replica in sorted(new - old):
        key = replica_key(replica.server_id, replica.disk_id, chunk_id)
        draft.rows.put(REPLICAS_BY_SERVER, key, MARK)
        _count_replica(draft, replica.server_id, +1)


def _count_replica(draft: Draft, server_id: ServerId, by: int) -> None:
    count = draft.view.replica_count(server_id) + by
    if count:
        draft.rows.put(REPLICA_COUNTS, id_key(server_id), ReplicaCount(count))
    else:
        draft.rows.delete(REPLICA_COUNTS, id_key(server_id))
