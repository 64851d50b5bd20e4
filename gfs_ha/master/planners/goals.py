"""Goes on with the goals of chunks that are to fit what their files want, a step at a time."""

from __future__ import annotations

from itertools import islice

from gfs_ha.ids import ChunkId
from gfs_ha.master.planners.plan import Cursors, Plan, PlanLimits, Seen
from gfs_ha.master.state.commands import FitGoals
from gfs_ha.master.state.goals import CHUNKS_PER_STEP
from gfs_ha.master.state.records import UNSEALED
from gfs_ha.master.state.tables import CHUNK_FITS, CONTENT_FITS, read_id
from gfs_ha.master.state.view import View


def plan_goals(view: View, seen: Seen, limits: PlanLimits, cursors: Cursors) -> Plan:
    """Return the next step while there is one; chunks that are not sealed yet are waited for."""
    made = Plan()
    if view.counters().fits and _something_to_do(view):
        made.proposals.append(FitGoals(CHUNKS_PER_STEP))
    return made


def _something_to_do(view: View) -> bool:
    if next(view.rows.scan(CONTENT_FITS), None) is not None:
        return True
    for key, _ in islice(view.rows.scan(CHUNK_FITS), CHUNKS_PER_STEP):
        chunk = view.chunk(ChunkId(read_id(key)))
        if chunk is None or chunk.state not in UNSEALED:
            return True
    return False
