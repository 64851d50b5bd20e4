"""Finds files that keep results of appenders whose sessions have ended: nobody asks for these (C8).

A seal drops some of them, but a file that is appended to no more is never sealed again.
"""

from __future__ import annotations

from gfs_ha.master.planners.plan import NO_INODE, Cursors, Plan, PlanLimits, Seen
from gfs_ha.master.state.tail_commands import SweepResults
from gfs_ha.master.state.tail_reads import append_files
from gfs_ha.master.state.view import View

USES_PER_PLAN = 300  # Sessions that are looked up by one plan, about.


def plan_results(view: View, seen: Seen, limits: PlanLimits, cursors: Cursors) -> Plan:
    """Return the sweep of files that keep results of ended sessions, a few of them at a time."""
    if not view.counters().append_files:
        return Plan()
    due, looked = [], 0
    page = append_files(view, cursors.results, limits.items)
    cursors.results = page[-1][0] if len(page) == limits.items else NO_INODE
    for inode_id, file in page:
        if any(view.session(appender) is None for appender, _ in file.uses):
            due.append(inode_id)
        looked += 1 + len(file.uses)
        if looked >= USES_PER_PLAN:
            cursors.results = inode_id
            break
    return Plan(proposals=[SweepResults(tuple(due))] if due else [])
