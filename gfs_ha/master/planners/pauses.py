"""Writes down the end of maintenance whose time is over; what holds follows from the time alone."""

from __future__ import annotations

from gfs_ha.master.planners.plan import Cursors, Plan, PlanLimits, Seen
from gfs_ha.master.state.server_mode_commands import SetMaintenance
from gfs_ha.master.state.server_modes import server_modes
from gfs_ha.master.state.view import View


def plan_pauses(view: View, seen: Seen, limits: PlanLimits, cursors: Cursors) -> Plan:
    """Return the end of every maintenance that is over, as it was seen."""
    made = Plan()
    now_ms = seen.cluster_ms(view.counters())
    for server_id, row in server_modes(view).items():
        until_ms = row.maintenance_until_ms
        if until_ms and not row.in_maintenance(now_ms) and len(made.proposals) < limits.items:
            made.proposals.append(SetMaintenance(server_id, 0, until_ms))
    return made
