"""What a rebalance came to beside what its plan foresaw, and why the two differ, in words."""

from __future__ import annotations

from gfs_ha.master.planners.balance import Balance
from gfs_ha.master.planners.events import size_text
from gfs_ha.master.state.job_records import Job

_LEAST_PART = 0.02  # Of the bytes foreseen: less that came or went explains nothing.


def in_use(balance: Balance) -> int:
    """Return what is in use on all disks together, once everything under way is done."""
    return sum(disk.settled for disk in balance.disks.values())


def beside_plan(job: Job, balance: Balance) -> str:
    """Return `466 moves (466 MiB), foreseen 465 (465 MiB): why`; empty if nothing was foreseen."""
    if not job.planned_moves:
        return ""
    made = f"{job.moves:,} moves ({size_text(job.moved_bytes)})"
    if (job.moves, job.moved_bytes) == (job.planned_moves, job.planned_bytes):
        return f"{made}, as foreseen"
    foreseen = f"foreseen {job.planned_moves:,} ({size_text(job.planned_bytes)})"
    return f"{made}, {foreseen}: {_why(job, balance)}"


def _why(job: Job, balance: Balance) -> str:
    disks = len(balance.disks)
    if job.began_disks and disks != job.began_disks:
        return f"{disks} disks take part by now, {job.began_disks} did when it began"
    changed = in_use(balance) - job.began_bytes if job.began_disks else 0
    if changed > _LEAST_PART * job.planned_bytes:
        return f"{size_text(changed)} more is in use than when it began"
    if -changed > _LEAST_PART * job.planned_bytes:
        return f"{size_text(-changed)} less is in use than when it began"
    if job.last_error:
        return "moves that failed were made otherwise"
    return "what was left was played anew on the way, after a change of the leader or of the disks"
