"""Finds blocks that no file has any more, gives them up, and has every holder give them back (G8).

The chunks are walked in rounds of bounded steps, and only while references have been dropped since
the last one began: nothing else makes a byte dead. A plan is only a proposal: apply looks at the
references of its own moment.
"""

from __future__ import annotations

from gfs_ha.ids import NO_SESSION, ChunkId, ServerId
from gfs_ha.limits import COMPACTION_RANGES_MAX
from gfs_ha.master.planners.garbage_walk import SPARSE_MAX, DeadWalk, Sparse
from gfs_ha.master.planners.plan import NO_CHUNK, Cursors, Plan, PlanLimits, Seen
from gfs_ha.master.state.garbage_commands import PunchChunk, PunchesDone
from gfs_ha.master.state.living import REFERENCES_MAX, Living, living
from gfs_ha.master.state.records import SEALED, Chunk
from gfs_ha.master.state.view import View
from gfs_ha.protocol.control import PunchReplica
from gfs_ha.protocol.gone import blocks_of, bytes_of, pack_blocks, unpack_blocks

AT_ONCE = 256  # Chunks whose holders are giving blocks back.
PROPOSED_REFERENCES = REFERENCES_MAX  # That the commands of one plan have apply look at again.

CLAIMED = "a client still claims the chunk"
COPIED = "the chunk is being copied"
CROWDED = f"the chunk has more than {REFERENCES_MAX} references"
TURN = f"{AT_ONCE} others are being given back"


def plan_punching(view: View, seen: Seen, limits: PlanLimits, cursors: Cursors) -> Plan:
    """Return the orders under way, what their answers come to, and blocks to give up."""
    made = Plan()
    under_way = _follow(made, view, seen, limits)
    walk = cursors.dead_blocks
    loosened = view.counters().loosened
    if walk.due(loosened, seen.now_s, seen.garbage.wanted):
        walk.begin(loosened, seen.now_s)
    if walk.walking and _step(made, view, limits, walk, AT_ONCE - under_way):
        walk.end(seen.now_s)
    return made


def _follow(made: Plan, view: View, seen: Seen, limits: PlanLimits) -> int:
    """Order what is given up, and note what is given back; return how many chunks that are."""
    done = []
    page = view.punching_chunks(NO_CHUNK, 2 * AT_ONCE)
    for chunk_id, chunk in page:
        for server_id in chunk.punching:
            answered = (chunk_id, server_id, chunk.punch_index)
            if answered in seen.garbage.punched:
                done.append((*answered, seen.garbage.punched[answered]))
            elif not _has_another_order(seen, chunk_id, server_id):
                order = PunchReplica(chunk_id, chunk.birth, chunk.punch_index, chunk.gone)
                made.orders.append((server_id, order))
    for start in range(0, len(done), limits.items):
        made.proposals.append(PunchesDone(tuple(done[start : start + limits.items])))
    return len(page)


def _has_another_order(seen: Seen, chunk_id: ChunkId, server_id: ServerId) -> bool:
    """Return whether something older goes first, which a newer order would keep from being given.

    It is not stamped as sealed yet, has damage to heal, or is to say whether it is there at all.
    """
    place = (chunk_id, server_id)
    listed = seen.repair.listed.get(server_id, {})
    return chunk_id in listed or place in seen.repair.doubted or place in seen.repair.gone


def _step(made: Plan, view: View, limits: PlanLimits, walk: DeadWalk, room: int) -> bool:
    """Look at some more chunks, by the number of their references; return whether it is through."""
    looked = proposed = 0
    page = view.chunks_after(walk.after, limits.rows)
    for chunk_id, chunk in page:
        walk.after = chunk_id
        looked += 1
        if chunk.state == SEALED and chunk.length:
            alive = living(view.rows, chunk_id)
            looked += alive.references if alive else REFERENCES_MAX
            command = _judge(view, walk, (chunk_id, chunk), alive, room > 0)
            if command is not None:
                made.proposals.append(command)
                walk.again = True  # Apply may refuse it.
                room -= 1
                proposed += alive.references if alive else 0
        if looked >= limits.references or proposed >= PROPOSED_REFERENCES:
            return False
    return len(page) < limits.rows


def _judge(
    view: View, walk: DeadWalk, known: tuple[ChunkId, Chunk], alive: Living | None, room: bool
) -> PunchChunk | None:
    """Return the command that gives up the dead blocks of a chunk; note why there is none."""
    chunk_id, chunk = known
    found = walk.running
    if alive is None:
        found.wait(CROWDED, 0)
        return None
    gone, whole = unpack_blocks(chunk.gone), blocks_of(0, chunk.length)
    dead = whole & ~alive.blocks & ~gone
    copies = max(1, len(chunk.holders))
    _note_sparse(walk, known, alive)
    found.unpunchable_bytes += copies * (
        chunk.length - alive.bytes - bytes_of(whole & ~alive.blocks, chunk.length)
    )
    if not dead:
        return None
    dead_bytes = copies * bytes_of(dead, chunk.length)
    found.chunks += 1
    found.bytes += dead_bytes
    why = ""
    if chunk.claimed_by != NO_SESSION:
        why = _who_claims(view, chunk)  # Its end is counted.
    elif chunk.copying or not room:
        why = COPIED if chunk.copying else TURN
        walk.again = True
    if why:
        found.wait(why, dead_bytes)
        return None
    return PunchChunk(chunk_id, chunk.sealed_index, pack_blocks(dead))


def _who_claims(view: View, chunk: Chunk) -> str:
    session = view.session(chunk.claimed_by)
    return f"{CLAIMED}: {session.client}" if session is not None and session.client else CLAIMED


def _note_sparse(walk: DeadWalk, known: tuple[ChunkId, Chunk], alive: Living) -> None:
    chunk_id, chunk = known
    stored = bytes_of(alive.blocks, chunk.length)
    if 2 * alive.bytes >= stored or chunk.claimed_by != NO_SESSION:
        return
    found = walk.running
    found.sparse_count += 1
    if len(found.sparse) < SPARSE_MAX:
        copies = len(chunk.holders)
        scattered = alive.parts > COMPACTION_RANGES_MAX
        found.sparse.append(Sparse(chunk_id, stored, alive.bytes, copies, scattered))
