"""Jobs: begun, paused, ended, and what is written down of them on the way.

How far a job is, is counted where a copy of it begins to count (copies.py), in that very command.
So it is the same on every master and after every change of the leader.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import msgspec

from gfs_ha.errors import InvalidArgument, LimitExceeded, NotFound, StaleCommand, WrongState
from gfs_ha.ids import format_id
from gfs_ha.limits import (
    JOB_EVENTS_MAX,
    JOB_TEXT_BYTES_MAX,
    JOBS_KEPT,
    JOBS_RUNNING_MAX,
    REPAIR_COPIES_MAX,
)
from gfs_ha.master.state.bounds import SIZE_MAX, U64_MAX, check_range, check_text
from gfs_ha.master.state.draft import Draft, step
from gfs_ha.master.state.events import note_event
from gfs_ha.master.state.job_commands import NoteJob, SetJobPhase, StartJob
from gfs_ha.master.state.job_records import Job, JobEventRow
from gfs_ha.master.state.records import MARK
from gfs_ha.master.state.server_modes import begin_leaving, end_leaving
from gfs_ha.master.state.tables import (
    JOB_EVENTS,
    JOBS,
    RUNNING_JOBS,
    below,
    id_key,
    pair_key,
    read_id,
    read_pair,
)
from gfs_ha.master.state.view import View
from gfs_ha.protocol.events import INFO, JOB, WARNING
from gfs_ha.protocol.jobs import (
    CANCELLED,
    DISK_DRAIN,
    DONE,
    FAILED,
    FINAL,
    LETTERS,
    PAUSED,
    REBALANCE,
    RUNNING,
    JobOptions,
    JobStarted,
    job_id,
    window_minutes,
)
from gfs_ha.protocol.metadata import Done

_ASKED_BY_BYTES_MAX = 255
_BEFORE = {  # What a job may come from.
    RUNNING: (PAUSED,),
    PAUSED: (RUNNING,),
    DONE: (RUNNING,),
    FAILED: (RUNNING, PAUSED),
    CANCELLED: (RUNNING, PAUSED),
}
_PHASE_TEXTS = {
    RUNNING: "goes on",
    PAUSED: "pauses",
    DONE: "is done",
    FAILED: "has failed",
    CANCELLED: "was cancelled",
}


@step(StartJob)
def start_job(draft: Draft, command: StartJob) -> JobStarted:
    """Begin a job. Refuses: WrongState, LimitExceeded, InvalidArgument."""
    _check(command)
    running = list(running_jobs(draft.view))
    for number, other in running:
        if _disturb(command, other):
            raise WrongState(
                f"job {job_id(other.kind, number)} is {other.phase}; let it end, or cancel it:"
                f" gfsctl admin jobs cancel {job_id(other.kind, number)}"
            )
    if len(running) >= JOBS_RUNNING_MAX:
        raise LimitExceeded(f"{len(running)} jobs have not ended; wait for one of them")
    draft.counters.last_job += 1
    number = draft.counters.last_job
    server = draft.view.server(command.server_id) if command.server_id else None
    job = Job(
        kind=command.kind,
        phase=RUNNING,
        server_id=command.server_id,
        disk_id=command.disk_id,
        options=command.options,
        planned_bytes=command.planned_bytes,
        planned_moves=command.planned_moves,
        made_ms=draft.counters.cluster_ms,
        made_wall_ns=draft.stamp.wall_ns,
        asked_by=command.asked_by,
        server_name=server.name if server is not None else "",
        began_disks=command.began_disks,
        began_bytes=command.began_bytes,
    )
    draft.rows.put(RUNNING_JOBS, id_key(number), MARK)
    begin_leaving(draft, number, job)
    said = f"begins, asked for by {command.asked_by or 'nobody named'}"
    _note(draft, number, job, said)
    note_event(draft, JOB, job_id(command.kind, number), f"{_whose(draft, job)} {said}")
    return JobStarted(number, job_id(command.kind, number))


@step(SetJobPhase)
def set_job_phase(draft: Draft, command: SetJobPhase) -> Done:
    """Let a job go on, pause, or end. Refuses: NotFound, StaleCommand, InvalidArgument."""
    job = _get(draft, command.number)
    check_text("text", command.text, JOB_TEXT_BYTES_MAX, bytes_min=0)
    if command.phase not in _BEFORE:
        raise InvalidArgument(f"{command.phase!r} is no phase of a job")
    if job.phase != command.seen or job.phase not in _BEFORE[command.phase]:
        name = job_id(job.kind, command.number)
        raise StaleCommand(f"job {name} is {job.phase} by now, not {command.seen}")
    ended_ns = draft.stamp.wall_ns if command.phase in FINAL else 0
    changed = msgspec.structs.replace(job, phase=command.phase, ended_wall_ns=ended_ns)
    if changed.ended:
        end_leaving(draft, command.number, changed)
        draft.rows.delete(RUNNING_JOBS, id_key(command.number))
    said = _PHASE_TEXTS[command.phase]
    said += f": {command.text}" if command.text else ""
    _note(draft, command.number, changed, said)
    severity = WARNING if command.phase == FAILED else INFO
    told = f"{_whose(draft, job)} {said}"
    note_event(draft, JOB, job_id(job.kind, command.number), told, severity)
    if changed.ended:
        _forget_oldest(draft)
    return Done()


@step(NoteJob)
def note_job(draft: Draft, command: NoteJob) -> Done:
    """Write down something about a job. Refuses: NotFound, StaleCommand, InvalidArgument."""
    job = _get(draft, command.number)
    check_text("text", command.text, JOB_TEXT_BYTES_MAX)
    for name, value in zip(("bytes", "moves"), command.planned, strict=True):
        check_range(f"planned {name}", value, -1, SIZE_MAX)
    if job.ended:
        raise StaleCommand(f"job {job_id(job.kind, command.number)} is {job.phase}")
    changed = job
    if command.error:
        changed = msgspec.structs.replace(
            changed, last_error=command.text, last_error_wall_ns=draft.stamp.wall_ns
        )
    if command.planned != (-1, -1):
        changed = msgspec.structs.replace(
            changed, planned_bytes=command.planned[0], planned_moves=command.planned[1]
        )
    _note(draft, command.number, changed, command.text)
    return Done()


def count_move(draft: Draft, number: int, length: int) -> None:
    """Count a copy of a job that counts from now on; also of one that was paused or has ended."""
    job = draft.rows.get(JOBS, id_key(number))
    if job is not None:
        moved = msgspec.structs.replace(
            job, moved_bytes=job.moved_bytes + length, moves=job.moves + 1
        )
        draft.rows.put(JOBS, id_key(number), moved)


def get_job(view: View, number: int) -> Job | None:
    """Return a job; None when there is none (any more)."""
    return view.rows.get(JOBS, id_key(number)) if 0 < number <= U64_MAX else None


def running_jobs(view: View) -> Iterator[tuple[int, Job]]:
    """Yield the jobs that have not ended, oldest first; at most JOBS_RUNNING_MAX."""
    for key, _ in view.rows.scan(RUNNING_JOBS):
        job = view.rows.get(JOBS, key)
        assert job is not None, f"job {read_id(key)} runs, and is not there"
        yield read_id(key), job


def jobs_below(view: View, below_number: int) -> Iterator[tuple[int, Job]]:
    """Yield all jobs with a number below the one given (0: all), the newest first."""
    end = id_key(below_number) if below_number else None
    for key, job in view.rows.scan(JOBS, b"", end, reverse=True):
        yield read_id(key), job


def job_events(view: View, number: int, after: int, limit: int) -> list[tuple[int, JobEventRow]]:
    """Return what happened to a job after event `after`, oldest first."""
    _, end = below(id_key(number))
    found = view.rows.scan(JOB_EVENTS, pair_key(number, after + 1), end)
    return [(read_pair(key)[1], row) for key, row in islice(found, limit)]


def check_jobs(view: View) -> Iterator[str]:
    """Yield what is wrong: jobs and their events that do not fit each other (an invariant)."""
    numbers = {}
    for key, job in view.rows.scan(JOBS):
        number = read_id(key)
        numbers[number] = job
        if job.kind not in LETTERS or job.phase not in _BEFORE:
            yield f"job {number} is a {job.kind} that is {job.phase}"
        marked = view.rows.get(RUNNING_JOBS, key) is not None
        if marked == job.ended or bool(job.ended_wall_ns) != job.ended:
            yield f"job {number} is {job.phase}, runs by its mark: {marked}"
        events = [event for event, _ in job_events(view, number, 0, 2 * JOB_EVENTS_MAX)]
        first = max(1, job.last_event - JOB_EVENTS_MAX + 1)
        if events != list(range(first, job.last_event + 1)):
            yield f"job {number} has events {events[:3]}…, the last is {job.last_event}"
    told = {read_id(key) for key, _ in view.rows.scan(RUNNING_JOBS)}
    told |= {read_id(key) for key, _ in view.rows.scan(JOB_EVENTS)}
    if not told <= numbers.keys():
        yield f"marks and events tell of jobs {sorted(told - numbers.keys())}, which are none"
    ended = sum(1 for job in numbers.values() if job.ended)
    if ended > JOBS_KEPT or view.counters().ended_jobs != ended:
        yield f"{ended} ended jobs are kept, counted {view.counters().ended_jobs}"


def _check(command: StartJob) -> None:
    if command.kind not in LETTERS:
        raise InvalidArgument(f"{command.kind!r} is no kind of job")
    check_text("asked by", command.asked_by, _ASKED_BY_BYTES_MAX, bytes_min=0)
    check_options(command.options)
    for name, value in (("bytes", command.planned_bytes), ("moves", command.planned_moves)):
        check_range(f"planned {name}", value, 0, SIZE_MAX)
    check_range("began disks", command.began_disks, 0, SIZE_MAX)
    check_range("began bytes", command.began_bytes, 0, SIZE_MAX)
    for name, number in (("server", command.server_id), ("disk", command.disk_id)):
        check_range(name, number, 0, U64_MAX)
    if (command.kind == REBALANCE) == bool(command.server_id):
        raise InvalidArgument(f"a {command.kind} of server {command.server_id}")
    if (command.kind == DISK_DRAIN) != bool(command.disk_id):
        raise InvalidArgument(f"a {command.kind} of disk {command.disk_id:#x}")


def check_options(options: JobOptions) -> None:
    """Raises: InvalidArgument."""
    if not 0.0 <= options.threshold <= 1.0:
        raise InvalidArgument(f"a threshold is a share from 0 to 1, not {options.threshold}")
    check_range("bytes_per_s", options.bytes_per_s, 0, SIZE_MAX)
    check_range("moves_max", options.moves_max, 0, REPAIR_COPIES_MAX)
    if options.window and window_minutes(options.window) is None:
        raise InvalidArgument(f"a window is like 22:00-06:00, not {options.window!r}")


def _disturb(command: StartJob, other: Job) -> bool:
    """Return whether a job cannot run beside another one."""
    if REBALANCE in (command.kind, other.kind):
        return command.kind == other.kind
    return command.server_id == other.server_id and (
        not (command.disk_id and other.disk_id) or command.disk_id == other.disk_id
    )


def _whose(draft: Draft, job: Job) -> str:
    """Return what kind of job it is, and whose chunks leave."""
    server = draft.view.server(job.server_id) if job.server_id else None
    name = server.name if server is not None else job.server_name
    disk = f":{format_id(job.disk_id)}" if job.disk_id else ""
    return f"{job.kind} of {name}{disk}" if name else job.kind


def _get(draft: Draft, number: int) -> Job:
    job = get_job(draft.view, number)
    if job is None:
        raise NotFound(f"there is no job {number} (any more)")
    return job


def _note(draft: Draft, number: int, job: Job, text: str) -> None:
    """Write a job's row with one more event; the oldest event leaves."""
    event = job.last_event + 1
    draft.rows.put(JOBS, id_key(number), msgspec.structs.replace(job, last_event=event))
    draft.rows.put(JOB_EVENTS, pair_key(number, event), JobEventRow(draft.stamp.wall_ns, text))
    if event > JOB_EVENTS_MAX:
        draft.rows.delete(JOB_EVENTS, pair_key(number, event - JOB_EVENTS_MAX))


def _forget_oldest(draft: Draft) -> None:
    """Keep the newest of the jobs that have ended; each end adds one, so one leaves."""
    draft.counters.ended_jobs += 1
    if draft.counters.ended_jobs <= JOBS_KEPT:
        return
    oldest = next(read_id(key) for key, job in draft.rows.scan(JOBS, b"", None) if job.ended)
    draft.rows.delete(JOBS, id_key(oldest))
    for event, _ in job_events(draft.view, oldest, 0, 2 * JOB_EVENTS_MAX):
        draft.rows.delete(JOB_EVENTS, pair_key(oldest, event))
    draft.counters.ended_jobs -= 1
