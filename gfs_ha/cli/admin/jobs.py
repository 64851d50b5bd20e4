"""`gfsctl admin jobs`: long work that was asked for, how far it is, what blocks it, its end."""

from __future__ import annotations

import click

from gfs_ha.cli import output
from gfs_ha.cli.admin.dry_run import dry_run_option
from gfs_ha.cli.admin.job_screens import OneJob
from gfs_ha.cli.admin.jobs_wait import progress_text, wait_for_job
from gfs_ha.cli.options import NAME, TABLE, WIDE
from gfs_ha.cli.session import Session, pass_session, watched
from gfs_ha.cli.units import count_text, share_text, size_text
from gfs_ha.cli.verb import Family, Row, Verb
from gfs_ha.client.jobs import number_of, own_name
from gfs_ha.errors import NotFound, PreconditionFailed
from gfs_ha.protocol.jobs import (
    CANCEL,
    CANCELLED,
    FINAL,
    LETTERS,
    PAUSE,
    PAUSED,
    RESUME,
    RUNNING,
    JobLog,
    JobReport,
    JobRow,
)

_HERE = "gfs_ha.cli.admin.jobs"
_LISTED = 20  # Jobs that have ended, unless all are asked for.
_AIMS = {PAUSE: PAUSED, RESUME: RUNNING, CANCEL: CANCELLED}

jobs = Family(
    "jobs",
    help="Long work: how far it is, what is in its way, what happened to it.",
    examples="""
    gfsctl admin jobs ls               # what runs, and what ended lately
    gfsctl admin jobs show r-19        # one job: percent, rate, time to go, blockers
    gfsctl admin jobs wait r-19        # until it ends; Ctrl-C only ends the waiting
    gfsctl admin jobs cancel r-19      # for good; what was moved stays where it is
    """,
    rows={
        "ls": Row(_HERE, "list_jobs", "What runs, and what ended lately"),
        "show": Row(_HERE, "show_job", "One job, and what is in its way"),
        "wait": Row(_HERE, "wait", "Until a job has ended (exit 8: failed, 11: cancelled)"),
        "pause": Row(_HERE, "pause", "Begin nothing of it until it is resumed"),
        "resume": Row(_HERE, "resume", "Go on after a pause"),
        "cancel": Row(_HERE, "cancel", "End it for good"),
        "logs": Row(_HERE, "show_logs", "What happened to it"),
    },
)


@click.command(
    "ls",
    cls=Verb,
    examples="""
    gfsctl admin jobs ls                   # all that runs, and the newest that ended
    gfsctl admin jobs ls --running -w      # what runs, kept up to date
    gfsctl admin jobs ls --kind rebalance  # of one kind
    gfsctl admin jobs ls --all -o json     # all that are kept, for programs
    """,
)
@click.option("--running", is_flag=True, help="Only those that have not ended.")
@click.option("--all", "everything", is_flag=True, help="Also those that ended long ago.")
@click.option(
    "--kind", "kinds", type=click.Choice(tuple(LETTERS)), multiple=True, help="Of this kind."
)
@watched
@pass_session
def list_jobs(session: Session, running: bool, everything: bool, kinds: tuple[str, ...]) -> None:
    """List the jobs, the newest first: how far they are, how fast, how long still."""
    rows: list[JobRow] = list(session.operations.jobs.all(kinds, running=True))
    ended = 0
    if not running:
        for row in session.operations.jobs.all(kinds):
            if row.phase in (RUNNING, PAUSED):
                continue
            ended += 1
            if not everything and ended > _LISTED:
                break
            rows.append(row)
    session.show(JobReport(tuple(rows)))


@click.command(
    "show",
    cls=Verb,
    examples="""
    gfsctl admin jobs show r-19           # how far, how fast, how long still, what is in its way
    gfsctl admin jobs show d-7 -o wide    # with all blockers that are known
    gfsctl admin jobs show r-19 -w        # kept up to date
    """,
)
@click.argument("job")
@watched
@pass_session
def show_job(session: Session, job: str) -> None:
    """Show one job with what is in its way. Exit status 3: there is no such job (any more)."""
    session.show(OneJob((job_named(session, job),)))


@click.command(
    "wait",
    cls=Verb,
    examples="""
    gfsctl admin jobs wait r-19                          # a bar; Ctrl-C only ends the waiting
    gfsctl admin jobs wait d-7 -q && shutdown-the-host   # exit 0 only when it is done
    """,
)
@click.argument("job")
@pass_session
def wait(session: Session, job: str) -> None:
    """Wait until a job has ended. Exit status 0: it is done, 8: it failed, 11: it was cancelled.

    The job does not depend on who waits for it: Ctrl-C ends the waiting, the job goes on.
    """
    row = wait_for_job(session, job_named(session, job).id)
    if session.options.machine_readable or session.options.output == NAME:
        session.show(JobReport((row,)))


@click.command(
    "pause",
    cls=Verb,
    examples="""
    gfsctl admin jobs pause r-19     # copies under way come to their end, no other one begins
    """,
)
@click.argument("job")
@dry_run_option
@pass_session
def pause(session: Session, job: str, dry_run: bool) -> None:
    """Begin nothing more of a job until `jobs resume`; saying it twice is no error."""
    change_job(session, job, PAUSE, dry_run)


@click.command(
    "resume",
    cls=Verb,
    examples="""
    gfsctl admin jobs resume r-19    # it goes on where it was
    """,
)
@click.argument("job")
@dry_run_option
@pass_session
def resume(session: Session, job: str, dry_run: bool) -> None:
    """Let a job go on that was paused; saying it twice is no error."""
    change_job(session, job, RESUME, dry_run)


@click.command(
    "cancel",
    cls=Verb,
    examples="""
    gfsctl admin jobs cancel r-19       # copies under way are given up, what was moved stays
    gfsctl admin jobs cancel r-19 -n    # only say what would be ended
    """,
)
@click.argument("job")
@dry_run_option
@pass_session
def cancel(session: Session, job: str, dry_run: bool) -> None:
    """End a job for good: nothing more of it begins. What was moved stays where it is.

    No chunk has fewer copies for it. A cancelled job is not resumed; a new one begins anew.
    """
    change_job(session, job, CANCEL, dry_run)


@click.command(
    "logs",
    cls=Verb,
    examples="""
    gfsctl admin jobs logs r-19             # when it began, paused, failed; and who said so
    gfsctl admin jobs logs r-19 -o jsonl    # for programs
    """,
)
@click.argument("job")
@watched
@pass_session
def show_logs(session: Session, job: str) -> None:
    """Show what happened to a job, oldest first; the newest 100 events are kept."""
    row = job_named(session, job)
    events = session.operations.jobs.log(number_of(row.id))
    session.show(JobLog(tuple(events), row.id))


def job_named(session: Session, text: str) -> JobRow:
    """Return the job that a person names: `r-19`, or 19. Raises: NotFound, UsageError."""
    number = number_of(text)
    try:
        row = session.operations.jobs.get(number)
    except NotFound:
        raise NotFound(
            f"there is no job {text} (any more); gfsctl admin jobs ls --all shows all"
        ) from None
    if not text.isdigit() and row.id != text:
        raise NotFound(f"there is no job {text}; job {number} is {row.id}, a {row.kind}")
    return row


def change_job(session: Session, job: str, action: str, dry_run: bool = False) -> None:
    """Have a job changed, and say how it stands then; or only what would become of it."""
    row = job_named(session, job)
    if dry_run:
        _show_change(session, row, action)
        return
    who = own_name(session.config.client.machine)
    row = session.operations.jobs.change(number_of(row.id), action, who)
    if session.options.output in (TABLE, WIDE):
        if not session.options.quiet:
            output.write_lines([changed_text(row)])
        return
    session.show(JobReport((row,)))


def _show_change(session: Session, row: JobRow, action: str) -> None:
    """Show what a change would do. Raises: PreconditionFailed when the job has ended."""
    there = row.phase == _AIMS[action]
    if row.phase in FINAL and not there:
        raise PreconditionFailed(f"job {row.id} is {row.phase}: its end is final")
    if session.options.machine_readable:
        from gfs_ha.cli.document import plain

        session.show_plain("JobList", [plain(row)], dry_run=True)
    elif session.options.output == NAME:
        output.write_lines([row.id])
    elif there:
        output.write_lines([f"{row.id} is {row.phase} already: nothing would change"])
    else:
        done = f"{share_text(row.share)}, {progress_text(row)}"
        after = _after_cancel(row) if action == CANCEL else ""
        output.write_lines([f"would {action} {row.id}, {row.phase} ({done}){after}"])


def changed_text(row: JobRow) -> str:
    """Return what became of a job that was to be changed, as it stood when that was asked for."""
    done = f"{count_text(row.moves, 'move')} done, {size_text(row.moved_bytes)}"
    late = "" if row.ended_ns else "; one whose copy is whole already still counts"
    return {
        PAUSED: f"{row.id} pauses ({done}; those under way come to their end);"
        f" gfsctl admin jobs resume {row.id}",
        RUNNING: f"{row.id} goes on ({done}); gfsctl admin jobs wait {row.id}",
        CANCELLED: f"{row.id} is cancelled ({done}{late}){_after_cancel(row)}",
    }.get(row.phase, f"{row.id} is {row.phase} ({done})")


def _after_cancel(row: JobRow) -> str:
    """Return what holds once a job is cancelled."""
    of = "a disk of " if row.disk_id else ""
    server = f"; {of}{row.server} is in service again" if row.server else ""
    return f"{server}; what was moved stays"
