"""`gfsctl admin jobs`: long work that was asked for, how far it is, what blocks it, its end."""

from __future__ import annotations

from collections.abc import Iterator

import click
import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gfs_ha.cli import output
from gfs_ha.cli.admin.jobs_wait import progress_text, wait_for_job
from gfs_ha.cli.names import printable
from gfs_ha.cli.options import NAME, TABLE, WIDE
from gfs_ha.cli.render import names, render
from gfs_ha.cli.session import Session, pass_session, watched
from gfs_ha.cli.units import count_text, duration_text, share_text, size_text, time_text
from gfs_ha.cli.verb import Family, Row, Verb
from gfs_ha.client.jobs import number_of, own_name
from gfs_ha.ids import format_id
from gfs_ha.protocol.jobs import (
    CANCEL,
    CANCELLED,
    DONE,
    FAILED,
    LETTERS,
    PAUSE,
    PAUSED,
    RESUME,
    RUNNING,
    JobEvent,
    JobLog,
    JobReport,
    JobRow,
)

_HERE = "gfs_ha.cli.admin.jobs"
_LISTED = 20  # Jobs that have ended, unless all are asked for.
_BLOCKERS_SHOWN = 10
_STYLES = {RUNNING: "green", PAUSED: "yellow", DONE: "", FAILED: "bold red", CANCELLED: "yellow"}


class OneJob(msgspec.Struct, frozen=True):
    """-> kind JobList with a single job, which people see on a screen of its own."""

    items: tuple[JobRow]


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
    session.show(OneJob((session.operations.jobs.get(number_of(job)),)))


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
    row = wait_for_job(session, job)
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
@pass_session
def pause(session: Session, job: str) -> None:
    """Begin nothing more of a job until `jobs resume`; saying it twice is no error."""
    change_job(session, job, PAUSE)


@click.command(
    "resume",
    cls=Verb,
    examples="""
    gfsctl admin jobs resume r-19    # it goes on where it was
    """,
)
@click.argument("job")
@pass_session
def resume(session: Session, job: str) -> None:
    """Let a job go on that was paused; saying it twice is no error."""
    change_job(session, job, RESUME)


@click.command(
    "cancel",
    cls=Verb,
    examples="""
    gfsctl admin jobs cancel r-19    # copies under way are given up, what was moved stays
    """,
)
@click.argument("job")
@pass_session
def cancel(session: Session, job: str) -> None:
    """End a job for good: nothing more of it begins. What was moved stays where it is.

    No chunk has fewer copies for it. A cancelled job is not resumed; a new one begins anew.
    """
    change_job(session, job, CANCEL)


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
    number = number_of(job)
    events = session.operations.jobs.log(number)
    row = session.operations.jobs.get(number)
    session.show(JobLog(tuple(events), row.id))


def change_job(session: Session, job: str, action: str) -> None:
    """Have a job changed, and say how it stands then."""
    who = own_name(session.config.client.machine)
    row = session.operations.jobs.change(number_of(job), action, who)
    if session.options.output in (TABLE, WIDE):
        if not session.options.quiet:
            output.write_lines([_changed_text(row)])
        return
    session.show(JobReport((row,)))


def _changed_text(row: JobRow) -> str:
    done = f"{count_text(row.moves, 'move')} done, {size_text(row.moved_bytes)}"
    return {
        PAUSED: f"{row.id} pauses ({done}); gfsctl admin jobs resume {row.id}",
        RUNNING: f"{row.id} goes on ({done}); gfsctl admin jobs wait {row.id}",
    }.get(row.phase, f"{row.id} is {row.phase} ({done})")


@names.register
def _(report: JobReport) -> Iterator[str]:
    for row in report.items:
        yield row.id


@names.register
def _(report: OneJob) -> Iterator[str]:
    yield report.items[0].id


@names.register
def _(report: JobLog) -> Iterator[str]:
    for event in report.items:
        yield str(event.number)


@render.register
def _(report: JobReport, wide: bool) -> RenderableType:
    if not report.items:
        return Text("no jobs")
    table = Table("Job", "Kind", "Phase", "Done", "Moved", "Rate", "ETA", box=None)
    if wide:
        for title in ("Moves", "Begun", "Ended", "Asked by"):
            table.add_column(title)
    notes = []
    for row in report.items:
        table.add_row(*_cells(row, wide))
        said = said_text(row)
        if said.plain:
            notes.append(Text(f"{row.id}: ").append_text(said))
    return Group(table, *notes)


@render.register
def _(report: OneJob, wide: bool) -> RenderableType:
    return job_screen(report.items[0], wide)


def _cells(row: JobRow, wide: bool) -> list[str | Text]:
    kind = f"{row.kind} {row.server}".rstrip()
    active = row.phase == RUNNING
    cells: list[str | Text] = [
        row.id,
        kind,
        phase_text(row),
        share_text(row.share),
        progress_text(row) if row.phase in (RUNNING, PAUSED) else size_text(row.moved_bytes),
        f"{size_text(row.bytes_per_s)}/s" if active else "-",
        duration_text(row.eta_ms) if active and row.eta_ms >= 0 else "-",
    ]
    if wide:
        ended = time_text(row.ended_ns) if row.ended_ns else "-"
        cells += [count_text(row.moves), time_text(row.made_ns), ended, printable(row.asked_by)]
    return cells


def phase_text(row: JobRow) -> Text:
    """Return the phase of a job, in its colour."""
    return Text(row.phase, _STYLES.get(row.phase, ""))


def said_text(row: JobRow) -> Text:
    """Return what there is to say of a job on one line: blockers, waits, its last error."""
    if row.phase in (RUNNING, PAUSED) and row.blocked:
        return Text(f"{count_text(row.blocked, 'chunk')} blocked", "bold yellow")
    if row.phase == RUNNING and row.waits:
        return Text(printable(row.waits), "yellow")
    return Text(printable(row.last_error), "red" if row.phase == FAILED else "yellow")


def job_screen(row: JobRow, wide: bool) -> Group:
    """Return one job on a screen of its own."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    head = Text(f"{row.id} {row.kind} {row.server}".rstrip() + "  ").append_text(phase_text(row))
    for name, value in _facts(row):
        table.add_row(name, value)
    parts: list[RenderableType] = [head, table]
    if row.blocked:
        parts.append(Text(f"{count_text(row.blocked, 'chunk')} cannot be moved:", "bold yellow"))
        shown = row.blockers if wide else row.blockers[:_BLOCKERS_SHOWN]
        for one in shown:
            path = f"  {printable(one.path)}" if one.path else ""
            parts.append(Text(f"  {format_id(one.chunk_id)}{path}  {one.why}"))
            parts += [Text(f"      {'or: ' if at else ''}{way}") for at, way in enumerate(one.ways)]
        if row.blocked > len(shown):
            parts.append(Text(f"  and {row.blocked - len(shown)} more"))
    return Group(*parts)


def _facts(row: JobRow) -> Iterator[tuple[str, str]]:
    yield "done", f"{share_text(row.share)}, {progress_text(row)}"
    yield "moves", f"{count_text(row.moves)} done{_left_text(row)}"
    if row.planned_bytes:
        moves = count_text(row.planned_moves, "move")
        yield "planned", f"{size_text(row.planned_bytes)}, {moves}"
    if row.phase == RUNNING:
        eta = duration_text(row.eta_ms) if row.eta_ms >= 0 else "not known yet"
        yield "rate", f"{size_text(row.bytes_per_s)}/s, time to go: {eta}"
    if row.waits and row.phase == RUNNING:
        yield "waits", printable(row.waits)
    yield from _limits(row)
    who = f" by {printable(row.asked_by)}" if row.asked_by else ""
    yield "begun", f"{time_text(row.made_ns)}{who}"
    if row.ended_ns:
        took = duration_text((row.ended_ns - row.made_ns) / 1e6)
        yield "ended", f"{time_text(row.ended_ns)}, after {took}"
    if row.last_error:
        yield "last error", f"{printable(row.last_error)} ({time_text(row.last_error_ns)})"


def _left_text(row: JobRow) -> str:
    return f", {count_text(row.left_moves)} left" if row.left_moves >= 0 else ""


def _limits(row: JobRow) -> Iterator[tuple[str, str]]:
    options = row.options
    if options.threshold:
        yield "threshold", f"within {options.threshold * 100:g} % of the mean"
    limits = []
    if options.bytes_per_s:
        limits.append(f"{size_text(options.bytes_per_s)}/s")
    if options.moves_max:
        limits.append(f"{count_text(options.moves_max, 'move')} at once")
    if options.window:
        limits.append(f"moves begin from {options.window} (the leader's clock)")
    if limits:
        yield "limits", ", ".join(limits)


@render.register
def _(report: JobLog, wide: bool) -> Table:
    table = Table("When", report.id, box=None)
    for event in report.items:
        table.add_row(*_event_cells(event))
    return table


def _event_cells(event: JobEvent) -> tuple[str, str]:
    return time_text(event.wall_ns), printable(event.text)
