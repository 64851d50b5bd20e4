"""What operators ask of jobs: which there are, how far they are, what blocks them; and their say.

How far a job is comes from the tables; how fast it is, and what is left of it, from the planners of
the reign. A new leader shows the same job at once, and its pace as soon as it has seen it.
"""

from __future__ import annotations

from functools import partial

import msgspec

from gfs_ha.errors import InvalidArgument, NotFound, StaleCommand, WrongState
from gfs_ha.master.handlers.call import Slot
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.handlers.mutations import once_visible, result_of
from gfs_ha.master.planners.job_book import JobLeft
from gfs_ha.master.proposals import MARGIN_S, reply_of
from gfs_ha.master.raft.contract import Outcome
from gfs_ha.master.state.bounds import check_range
from gfs_ha.master.state.job_commands import SetJobPhase
from gfs_ha.master.state.job_records import Job
from gfs_ha.master.state.jobs import get_job, job_events, jobs_below, running_jobs
from gfs_ha.master.state.view import View
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.jobs import (
    CANCEL,
    CANCELLED,
    DONE,
    JOBS_PAGE_MAX,
    PAUSE,
    PAUSED,
    REBALANCE,
    RESUME,
    RUNNING,
    ChangeJob,
    GetJob,
    GetJobLog,
    JobEvent,
    JobLog,
    JobReport,
    JobRow,
    ListJobs,
    job_id,
)

_LOG_PAGE = 200
_TRIES = 4
_AIMS = {PAUSE: PAUSED, RESUME: RUNNING, CANCEL: CANCELLED}
_NUMBER_MAX = (1 << 63) - 1


def list_jobs(desk: Desk, view: View, request: ListJobs, slot: Slot) -> JobReport:
    """Return a page of jobs, the newest first."""
    desk.leading()
    if not 1 <= request.limit <= JOBS_PAGE_MAX:
        raise InvalidArgument(f"a page has 1 to {JOBS_PAGE_MAX} jobs, not {request.limit}")
    check_range("below", request.below, 0, _NUMBER_MAX)
    if request.running:
        known = sorted(running_jobs(view), reverse=True)
        found = [one for one in known if not request.below or one[0] < request.below]
    else:
        found = list(jobs_below(view, request.below))
    chosen = [one for one in found if not request.kinds or one[1].kind in request.kinds]
    rows = [
        msgspec.structs.replace(job_row(desk, view, number, job), blockers=())
        for number, job in chosen[: request.limit]
    ]
    return JobReport(tuple(rows), more=len(chosen) > request.limit)


def show_job(desk: Desk, view: View, request: GetJob, slot: Slot) -> JobReport:
    """Return one job with its blockers."""
    return JobReport((job_row(desk, view, request.number, _job(view, request.number)),))


def show_log(desk: Desk, view: View, request: GetJobLog, slot: Slot) -> JobLog:
    """Return what happened to one job."""
    job = _job(view, request.number)
    check_range("after", request.after, 0, _NUMBER_MAX)
    events = job_events(view, request.number, request.after, _LOG_PAGE)
    items = tuple(JobEvent(number, row.wall_ns, row.text) for number, row in events)
    return JobLog(items, job_id(job.kind, request.number))


def change_job(desk: Desk, request: ChangeJob, slot: Slot) -> None:
    """Let a job pause, go on, or end for good, and answer with the job after it."""
    desk.leading()
    _look(desk, request, slot, _TRIES)


def _look(desk: Desk, request: ChangeJob, slot: Slot, tries: int) -> None:
    once_visible(desk, slot, partial(_change, desk, request, slot, tries))


def _change(desk: Desk, request: ChangeJob, slot: Slot, tries: int) -> None:
    desk.leading()
    aim = _AIMS.get(request.action)
    if aim is None:
        raise InvalidArgument(f"{request.action!r} is nothing that can be done with a job")
    with desk.kv.read() as reader:
        view = View(reader)
        job = _job(view, request.number)
        row = job_row(desk, view, request.number, job)
    if job.phase == aim:
        slot.reply(JobReport((row,)))
        return
    if job.ended:
        raise WrongState(f"job {row.id} is {job.phase}: its end is final")

    def done(outcome: Outcome) -> None:
        result = result_of(desk, slot, outcome)
        if result is None:
            return
        reply = reply_of(outcome)
        if isinstance(reply, Failure) and reply.error == StaleCommand.__name__ and tries > 1:
            # Its phase changed meanwhile: what was asked for is judged by what it is now.
            desk.post_or_fail(partial(_look, desk, request, slot, tries - 1), slot.fail)
        elif isinstance(reply, Failure):
            slot.reply_encoded(result)
        else:
            slot.reply(JobReport((msgspec.structs.replace(row, phase=aim),)))

    said = f"asked for by {request.asked_by}" if request.asked_by else ""
    command = SetJobPhase(request.number, job.phase, aim, said)
    desk.proposer.propose(command, slot.left_s() - MARGIN_S, done)


def job_row(desk: Desk, view: View, number: int, job: Job) -> JobRow:
    """Return a job as operators see it."""
    reign = desk.leading()
    seen = JobLeft() if job.ended else reign.jobs.seen(number, job.phase == RUNNING)
    per_s = 0 if job.ended else reign.jobs.bytes_per_s(number)
    left_bytes, left_moves = left_of(job, seen)
    pace = seen.pace(per_s, job.options.bytes_per_s)
    return JobRow(
        id=job_id(job.kind, number),
        kind=job.kind,
        phase=job.phase,
        server=_name(view, job) if job.server_id else "",
        disk_id=job.disk_id,
        share=share_done(job, left_bytes),
        planned_bytes=job.planned_bytes,
        planned_moves=job.planned_moves,
        moved_bytes=job.moved_bytes,
        moves=job.moves,
        left_bytes=left_bytes,
        left_moves=left_moves,
        bytes_per_s=per_s,
        eta_ms=-1 if seen.blocked or seen.waits else _eta_ms(job, left_bytes, pace),
        made_ns=job.made_wall_ns,
        ended_ns=job.ended_wall_ns,
        asked_by=job.asked_by,
        last_error=job.last_error,
        last_error_ns=job.last_error_wall_ns,
        options=job.options,
        waits=seen.waits,
        blocked=seen.blocked,
        blockers=seen.blockers,
        end=_end(view, number, job),
    )


def share_done(job: Job, left_bytes: int) -> float:
    """Return how much of a job is done; 1 is only said of one that is done, -1: nobody knows."""
    if job.phase == DONE:
        return 1.0
    if left_bytes < 0 and job.moved_bytes and not job.ended:
        return -1.0
    whole = job.moved_bytes + left_bytes if left_bytes >= 0 else job.planned_bytes
    return min(0.99, job.moved_bytes / whole) if whole else 0.0


def left_of(job: Job, seen: JobLeft) -> tuple[int, int]:
    """Return what is left by the newest look, or as it was foreseen; -1: nobody knows.

    What is left of a rebalance that has begun is seldom what was foreseen: a new leader that has
    not looked yet says nothing of it.
    """
    if job.phase == DONE:
        return 0, 0
    if seen.left_bytes >= 0:
        return seen.after(job.moved_bytes, job.moves)
    begun = job.kind == REBALANCE and bool(job.moves) and not job.ended
    if begun or not job.planned_bytes:
        return -1, -1
    left_bytes = max(0, job.planned_bytes - job.moved_bytes)
    return left_bytes, max(0, job.planned_moves - job.moves)


def _eta_ms(job: Job, left_bytes: int, per_s: int) -> int:
    if job.phase != RUNNING or left_bytes <= 0:
        return -1  # Of a job that goes on without bytes to move, nobody knows when it ends.
    return left_bytes * 1000 // per_s if per_s else -1


def _job(view: View, number: int) -> Job:
    job = get_job(view, number)
    if job is None:
        raise NotFound(f"there is no job {number} (any more); gfsctl admin jobs ls shows all")
    return job


def _end(view: View, number: int, job: Job) -> str:
    """Return how a job ended, as its log says."""
    last = job_events(view, number, job.last_event - 1, 1) if job.ended else []
    return last[0][1].text if last else ""


def _name(view: View, job: Job) -> str:
    server = view.server(job.server_id)
    return server.name if server is not None else job.server_name or f"#{job.server_id}"
