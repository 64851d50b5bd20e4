"""Has chunks of which little lives copied elsewhere, a few at a time, after repair (G8).

What whole dead blocks take is given back in place (planners/punching.py); this is for living bytes
that lie scattered, so that their blocks cannot go. A holder copies them as any client would write
them. Whatever ends such a job, the next one goes on with what is left.
"""

from __future__ import annotations

from collections.abc import Iterable

from gfs_ha.ids import NO_SESSION, ChunkId, ServerId
from gfs_ha.limits import COMPACTION_RANGES_MAX, KIB, MIB
from gfs_ha.master.observed import LIVE
from gfs_ha.master.planners.plan import NO_CHUNK, Cursors, Plan, PlanLimits, Seen
from gfs_ha.master.state.garbage_commands import BeginCompaction, EndCompaction
from gfs_ha.master.state.living import living, ranges
from gfs_ha.master.state.records import SEALED, Chunk
from gfs_ha.master.state.view import View
from gfs_ha.protocol.control import CompactChunk
from gfs_ha.protocol.gone import bytes_of

AT_ONCE = 4  # In the cluster; one on each server.
BYTES_PER_S = 16 * MIB  # Of one job: it reads so fast, and writes as much on each server.
GAIN_BYTES_MIN = 256 * KIB  # On each copy; below that a chunk more costs as much.

DONE = "it is done"
NO_HOLDER = "its server does not hold the chunk any more, or does not answer"


def plan_compaction(view: View, seen: Seen, limits: PlanLimits, cursors: Cursors) -> Plan:
    """Return the jobs that begin, those under way, and those that are over."""
    made = Plan()
    busy: set[ServerId] = set()
    page = view.compacting_chunks(NO_CHUNK, limits.rows)
    for chunk_id, chunk in page:
        busy.add(chunk.compactor)
        _follow(made, view, seen, cursors, (chunk_id, chunk))
    if seen.repair.young or seen.repair.hold or cursors.queue.newest.makeable:
        return made  # Lost copies go first.
    for sparse in cursors.dead_blocks.found.sparse:
        if len(busy) >= AT_ONCE:
            break
        command = _begin(view, seen, cursors, sparse.chunk_id, busy)
        if command is not None:
            made.proposals.append(command)
            busy.add(command.server_id)
    return made


def _follow(
    made: Plan, view: View, seen: Seen, cursors: Cursors, known: tuple[ChunkId, Chunk]
) -> None:
    chunk_id, chunk = known
    server_id, index = chunk.compactor, chunk.compact_index
    why = seen.garbage.compacted.get((chunk_id, server_id, index))
    if why is None and (server_id not in chunk.holders or not _beats(seen, server_id)):
        why = NO_HOLDER
    if why is not None:
        cursors.dead_blocks.rest(chunk_id, seen.now_s, why or DONE)
        made.proposals.append(EndCompaction(chunk_id, index, why or DONE))
        return
    found = live_ranges(ranges(view.rows, chunk_id))
    if found is None:
        made.proposals.append(EndCompaction(chunk_id, index, "too many ranges live by now"))
        return
    order = CompactChunk(
        chunk_id=chunk_id,
        birth=chunk.birth,
        order_index=index,
        length=chunk.length,
        digest=chunk.digest,
        goal=chunk.goal,
        capacity=chunk.capacity,
        ranges=found,
        bytes_per_s=BYTES_PER_S,
        rule=chunk.rule,
    )
    made.orders.append((server_id, order))


def _beats(seen: Seen, server_id: ServerId) -> bool:
    """Return whether a job's server lives; a leader that is new takes nobody for lost."""
    return seen.repair.young or seen.repair.states.get(server_id) == LIVE


def _begin(
    view: View, seen: Seen, cursors: Cursors, chunk_id: ChunkId, busy: set[ServerId]
) -> BeginCompaction | None:
    """Return the command that begins to compact a chunk, if it is worth it and can be done now."""
    chunk = view.chunk(chunk_id)
    if chunk is None or chunk.state != SEALED or cursors.dead_blocks.rests(chunk_id, seen.now_s):
        return None
    if chunk.compactor or why_it_waits(chunk) or not worth_it(view, chunk_id, chunk):
        return None
    free = [one for one in chunk.holders if one not in busy and _good(seen, chunk_id, one)]
    if not free:
        return None
    server_id = min(free, key=lambda one: (seen.repair.streams.get(one, 0), one))
    return BeginCompaction(chunk_id, chunk.sealed_index, server_id)


def why_it_waits(chunk: Chunk) -> str:
    """Return why a sealed chunk is not compacted now by what its own row says, else empty."""
    if chunk.claimed_by != NO_SESSION:
        return "a client still claims the chunk"
    if len(chunk.holders) < chunk.goal:
        return "it has fewer copies than wanted: repair goes first"
    if chunk.copying or chunk.deleting or chunk.punching:
        return "copies of it are being made, deleted or punched"
    return ""


def worth_it(view: View, chunk_id: ChunkId, chunk: Chunk) -> bool:
    """Return whether so little of a sealed chunk lives that it is to be compacted."""
    alive = living(view.rows, chunk_id)
    if alive is None:
        return False
    stored = bytes_of(alive.blocks, chunk.length)  # The other blocks are given back in place.
    if 2 * alive.bytes >= stored or stored - alive.bytes < GAIN_BYTES_MIN:
        return False
    return live_ranges(ranges(view.rows, chunk_id)) is not None


def _good(seen: Seen, chunk_id: ChunkId, server_id: ServerId) -> bool:
    """Return whether a holder beats and its copy is whole, as far as anybody knows."""
    key = (chunk_id, server_id)
    known_bad = key in seen.damaged or key in seen.repair.gone
    listed = chunk_id in seen.repair.listed.get(server_id, {})
    return server_id in seen.repair.settled and not known_bad and not listed


def live_ranges(references: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...] | None:
    """Return (offset, length) of what lives, joined where it touches; None when in too many parts.

    A reference that is made later lies within one of them: it is to bytes that a file has.
    """
    found: list[tuple[int, int]] = []
    for offset, length in references:
        if found and offset <= sum(found[-1]):
            start, known = found[-1]
            found[-1] = start, max(known, offset + length - start)
        elif len(found) == COMPACTION_RANGES_MAX:
            return None
        else:
            found.append((offset, length))
    return tuple(found)
