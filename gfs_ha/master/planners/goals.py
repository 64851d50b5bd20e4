"""Goes on with the goals of chunks that are to fit what their files want, a step at a time."""

from __future__ import annotations

from itertools import islice

from gfs_ha.ids import ChunkId
from gfs_ha.master.planners.plan import NO_CHUNK, Cursors, Plan, PlanLimits, Seen
from gfs_ha.master.state.commands import FitGoals
from gfs_ha.master.state.goals import CHUNKS_PER_STEP
from gfs_ha.master.state.records import UNSEALED
from gfs_ha.master.state.tables import CHUNK_FITS, CONTENT_FITS, id_key, read_id
from gfs_ha.master.state.view import View

CHUNKS_PER_LOOK = 500


def plan_goals(view: View, seen: Seen, limits: PlanLimits, cursors: Cursors) -> Plan:
    """Return the next step while there is one; chunks that are not sealed yet are passed over.

    They may be any number, and none of them keeps those behind them waiting.
    """
    made = Plan()
    if not view.counters().fits:
        return made
    found = _next(view, cursors)
    if found is not None or next(view.rows.scan(CONTENT_FITS), None) is not None:
        made.proposals.append(FitGoals(CHUNKS_PER_STEP, found or NO_CHUNK))
    return made


def _next(view: View, cursors: Cursors) -> ChunkId | None:
    """Return the next noted chunk that can be fitted, and begin there the next time."""
    looked = list(islice(view.rows.scan(CHUNK_FITS, id_key(cursors.goals)), CHUNKS_PER_LOOK))
    for key, _ in looked:
        chunk_id = ChunkId(read_id(key))
        chunk = view.chunk(chunk_id)
        if chunk is None or chunk.state not in UNSEALED:
            cursors.goals = chunk_id
            return chunk_id
    more = len(looked) == CHUNKS_PER_LOOK
    cursors.goals = ChunkId(read_id(looked[-1][0]) + 1) if more else NO_CHUNK
    return None
