"""Claims: which session holds which chunk alive, and what ends that (C11).

While claimed a chunk is never dead. Only the claiming session seals it, or stages extents into it.
"""

from __future__ import annotations

import msgspec

from gfs_ha.errors import LimitExceeded, NotClaimed
from gfs_ha.ids import NO_SESSION, ChunkId, SessionId, format_id
from gfs_ha.limits import CLAIMS_PER_SESSION_MAX, ITEMS_PER_COMMAND_MAX
from gfs_ha.master.state.bounds import U64_MAX, check_count, check_range
from gfs_ha.master.state.chunk_rows import put_chunk, settle
from gfs_ha.master.state.commands import EndClaims
from gfs_ha.master.state.draft import Draft, step
from gfs_ha.master.state.records import Chunk, Claim
from gfs_ha.master.state.tables import CLAIMS, SESSIONS, id_key, pair_key
from gfs_ha.protocol.metadata import Done, ReleaseChunks


@step(ReleaseChunks, session=True)
def release_chunks(draft: Draft, command: ReleaseChunks) -> Done:
    """End claims of the session; those that it does not hold (any more) are passed over."""
    check_count("chunks", command.chunk_ids, ITEMS_PER_COMMAND_MAX)
    for chunk_id in command.chunk_ids:
        release(draft, draft.stamp.session_id, chunk_id)
    return Done()


@step(EndClaims)
def end_claims(draft: Draft, command: EndClaims) -> Done:
    """End the claims of sessions that have been silent; those that do not stand are passed over."""
    check_count("claims", command.claims, ITEMS_PER_COMMAND_MAX)
    for session_id, chunk_id in command.claims:
        check_range("session", session_id, 1, U64_MAX)
        release(draft, session_id, chunk_id)
    return Done()


def require_claim(draft: Draft, chunk_id: ChunkId, chunk: Chunk) -> None:
    """Raises: NotClaimed unless the command's session claims the chunk."""
    if chunk.claimed_by != draft.stamp.session_id:
        raise NotClaimed(
            f"session {draft.stamp.session_id} does not claim chunk {format_id(chunk_id)}"
            " (any more); write its bytes again into a new one"
        )


def check_claim_count(draft: Draft) -> None:
    """Raises: LimitExceeded when the command's session may claim no more chunks."""
    session = draft.view.session(draft.stamp.session_id)
    if session is not None and session.claim_count >= CLAIMS_PER_SESSION_MAX:
        raise LimitExceeded(
            f"session {draft.stamp.session_id} claims {session.claim_count} chunks; release some"
        )


def claim(draft: Draft, chunk_id: ChunkId) -> None:
    """Write down the claim of the command's session; the chunk's row is the caller's to write."""
    session_id = draft.stamp.session_id
    draft.rows.put(CLAIMS, pair_key(session_id, chunk_id), Claim(draft.counters.cluster_ms))
    _count(draft, session_id, +1)


def release(draft: Draft, session_id: SessionId, chunk_id: ChunkId) -> None:
    """End a claim if it stands; the chunk dies at once when nothing refers to it."""
    check_range("chunk id", chunk_id, 0, U64_MAX)
    key = pair_key(session_id, chunk_id)
    if draft.rows.get(CLAIMS, key) is None:
        return
    draft.rows.delete(CLAIMS, key)
    _count(draft, session_id, -1)
    draft.counters.loosened += 1
    chunk = draft.view.chunk(chunk_id)
    assert chunk is not None and chunk.claimed_by == session_id, f"claim without chunk {chunk_id}"
    put_chunk(draft, chunk_id, chunk, msgspec.structs.replace(chunk, claimed_by=NO_SESSION))
    settle(draft, chunk_id)


def release_all(draft: Draft, session_id: SessionId) -> None:
    """End every claim of a session."""
    for chunk_id in draft.view.claims_of(session_id):
        release(draft, session_id, chunk_id)


def _count(draft: Draft, session_id: SessionId, by: int) -> None:
    draft.counters.claims += by
    session = draft.view.session(session_id)
    assert session is not None, f"a claim of session {session_id}, which is not there"
    counted = msgspec.structs.replace(session, claim_count=session.claim_count + by)
    draft.rows.put(SESSIONS, id_key(session_id), counted)
