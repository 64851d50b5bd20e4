"""Forgets disks that servers came back without, once nothing of them is in the tables (D6).

A disk that was changed for another one is gone for good: nobody has to say so, and least of all of
one that was emptied in order to go. One that its server still tells of as broken is kept in sight,
and so is one that a job is emptying: it ends with what happened.
"""

from __future__ import annotations

from gfs_ha.ids import ChunkId
from gfs_ha.master.observed import LIVE
from gfs_ha.master.planners.plan import Cursors, Plan, PlanLimits, Seen
from gfs_ha.master.state.server_mode_commands import ForgetDisk
from gfs_ha.master.state.tables import ORPHANS, below, pair_key
from gfs_ha.master.state.view import View
from gfs_ha.protocol.server_modes import IN_SERVICE, LEAVING


def plan_lost_disks(view: View, seen: Seen, limits: PlanLimits, cursors: Cursors) -> Plan:
    """Return the end of lost disks without places, of servers that are heard."""
    made = Plan()
    if seen.repair.young:
        return made
    told = set(seen.repair.disks)
    for server_id, server in view.servers():
        lost = [one.disk_id for one in server.disks if one.lost]
        if not lost or seen.repair.states.get(server_id) != LIVE:
            continue
        heard = any((server_id, one.disk_id) in told for one in server.disks)
        for disk_id in lost if heard else ():
            key = (server_id, disk_id)
            row = view.disk_mode(*key)
            mode = IN_SERVICE if row is None else row.mode
            if key in told or mode in LEAVING:
                continue
            placed = view.replicas_of(server_id, (disk_id, ChunkId(0)), 1)
            orphan = next(view.rows.scan(ORPHANS, *below(pair_key(*key))), None)
            if orphan is None and all(found != disk_id for found, _ in placed):
                made.proposals.append(ForgetDisk(server_id, disk_id, mode))
    return made
