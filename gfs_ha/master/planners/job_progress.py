"""Keeps count of how far the running jobs are, for reports."""

from __future__ import annotations

from gfs_ha.master.planners.plan import NO_CHUNK, Cursors, Plan, PlanLimits, Seen
from gfs_ha.master.state.jobs import running_jobs
from gfs_ha.master.state.view import View
from gfs_ha.protocol.jobs import RUNNING


def plan_progress(view: View, seen: Seen, limits: PlanLimits, cursors: Cursors) -> Plan:
    """Note how far the running jobs are; there is never anything to do."""
    jobs = dict(running_jobs(view))
    cursors.jobs.keep(set(jobs))
    done = {number: job.moved_bytes for number, job in jobs.items() if job.phase == RUNNING}
    still = {number for number in done if cursors.jobs.of(number).waits}
    if done:
        for chunk_id, chunk in view.busy_chunks(NO_CHUNK, limits.busy_rows):
            for order in chunk.copying:
                still.discard(order.job)
                told = seen.repair.running.get((chunk_id, order.server_id))
                if order.job in done and told is not None:
                    done[order.job] += min(told.bytes_done, chunk.length)
    cursors.jobs.note(seen.now_s, done, still)
    return Plan()
