"""`gfsctl admin disks replace`: how to change an old or a dead disk, from where it stands now."""

from __future__ import annotations

from collections.abc import Iterator

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gfs_ha.cli import output
from gfs_ha.cli.admin.changed_servers import telling
from gfs_ha.cli.admin.disk_drain import DISK_CHANGED, begin_drain, plan_disks
from gfs_ha.cli.admin.disks import disk_name, disk_state_text, named_disks
from gfs_ha.cli.admin.drain import Emptying, ask_to_drain, show_plan
from gfs_ha.cli.admin.jobs_wait import wait_for_job
from gfs_ha.cli.admin.replace_steps import DiskGuide, MissedThere, guide_of, stands
from gfs_ha.cli.names import printable
from gfs_ha.cli.render import names, render
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.units import count_text, share_text, size_text, time_text
from gfs_ha.cli.verb import Verb
from gfs_ha.errors import PreconditionFailed
from gfs_ha.ids import format_id
from gfs_ha.protocol.disks import FAILED, LOST, DiskStanding
from gfs_ha.protocol.server_modes import DRAINED, DRAINING, IN_SERVICE
from gfs_ha.runtime import ThreadedRuntime

_LOOK_S = 2.0
_NAMED = 5


@click.command(
    "replace",
    cls=Verb,
    examples="""
    gfsctl admin disks replace cs7:0x3f2a            # where it stands, and what to do next
    gfsctl admin disks replace cs7:0x3f2a --wait     # drain it first, or wait for the repair
    gfsctl admin disks replace cs7:0x3f2a --forget   # it is gone, and does not come back
    """,
)
@click.argument("disk", metavar="DISK")
@click.option("--wait", is_flag=True, help="Drain it if it serves; come back when it may go.")
@click.option("--forget", is_flag=True, help="A lost disk does not come back: out of the tables.")
@click.option("-n", "--dry-run", is_flag=True, help="Only say what --wait or --forget would do.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@pass_session
def replace_disk(
    session: Session, disk: str, wait: bool, forget: bool, dry_run: bool, yes: bool
) -> None:
    """Say where a disk stands, what is on it alone, and the next step to change it for another.

    Without --wait and --forget nothing is changed. Exit status 4: it cannot be forgotten (yet), or
    with --wait: it may not go, as when its server is away or a chunk has its only copy there.
    """
    if wait and forget:
        raise click.UsageError("--wait comes before a disk goes, --forget after: one of them")
    row = _look(session, disk)
    if forget:
        _forget(session, row, dry_run, yes)
        return
    if wait and stands(row) == IN_SERVICE:
        plan, parts = plan_disks(session, [row], session.operations.disks.all().items)
        if dry_run:
            show_plan(session, plan, yes)
            return
        ask_to_drain(session, plan, yes)
        how = Emptying(dry_run, wait, yes)
        wait_for_job(session, begin_drain(session, row, parts[disk_name(row)], how).id)
    elif wait and not dry_run:
        _wait(session, row)
    row = _look(session, disk)
    missed = missed_there(session, row)
    session.show(guide_of(row, missed))
    if wait and not dry_run and not may_go(row, missed):
        why = f": {row.why}" if row.why else ""
        raise PreconditionFailed(f"{disk_name(row)} may not be taken out, it is {row.state}{why}")


def _look(session: Session, disk: str) -> DiskStanding:
    (row,) = named_disks(session.operations.disks.all().items, (disk,))
    return row


def may_go(row: DiskStanding, missed: MissedThere) -> bool:
    """Return whether a disk may be taken out: it is empty, or nothing on it is missed."""
    if row.state in (FAILED, LOST):
        return not missed.alone_count and not missed.waited_for
    return stands(row) == DRAINED


def missed_there(session: Session, row: DiskStanding) -> MissedThere:
    """Return what chunks have on a disk, and which of them have too few copies elsewhere."""
    found = MissedThere()
    for place in session.operations.server_modes.places(row.server_id, row.disk_id):
        found.add(row.server_id, place)
    return found


def _wait(session: Session, row: DiskStanding) -> None:
    """Come back when nothing on a disk is missed any more: by its job, or by repair."""
    name = disk_name(row)
    if stands(row) == DRAINING and row.job:
        wait_for_job(session, row.job)
        return
    if row.state not in (FAILED, LOST):
        return
    runtime, said = ThreadedRuntime(), -1
    shown = output.stderr_is_terminal() and not session.options.quiet
    try:
        while True:
            missed = missed_there(session, row)
            left = missed.waited_for
            if not left:
                return
            chunks = count_text(left, "chunk has", "chunks have")
            text = f"{name}: {chunks} too few copies elsewhere"
            if shown:
                output.overwrite(text)
            elif left != said and not session.options.quiet:
                output.say(text)
            said = left
            runtime.sleep(_LOOK_S)
    except KeyboardInterrupt:
        if shown:
            output.overwrite("")
        output.say(f"repair goes on; to wait again: gfsctl admin disks replace {name} --wait")
        raise
    finally:
        if shown:
            output.overwrite("")


def _forget(session: Session, row: DiskStanding, dry_run: bool, yes: bool) -> None:
    name = disk_name(row)
    disks = session.operations.disks
    plan = disks.plan_removal(row.server, row.disk_id)
    disks.check_removal(row.server, row.disk_id, plan)
    places = count_text(plan.places, "place")
    if dry_run:
        with telling(session, True, DISK_CHANGED) as tell:
            tell(name, f"{name} may go; {places} of chunks would be forgotten")
        return
    question = f"Forget disk {name} for good ({places} of chunks are forgotten)?"
    if not yes and not session.confirm(question):
        raise PreconditionFailed(f"{name} stays")
    shown = output.stderr_is_terminal() and not session.options.quiet
    try:
        disks.forget(
            row.server,
            row.disk_id,
            lambda count: output.overwrite(f"{count} places looked at") if shown else None,
        )
    finally:
        if shown:
            output.overwrite("")
    with telling(session, False, DISK_CHANGED) as tell:
        tell(name, f"{name} is no disk of {row.server} any more")


@names.register
def _(report: DiskGuide) -> Iterator[str]:
    for row in report.items:
        yield disk_name(row)


@render.register
def _(report: DiskGuide, wide: bool) -> Group:
    (row,) = report.items
    table = Table(show_header=False, box=None)
    used = f"{size_text(row.total_bytes - row.free_bytes)} of {size_text(row.total_bytes)}"
    share = f" ({share_text(1 - row.free_bytes / row.total_bytes)})" if row.total_bytes else ""
    since = f" since {time_text(row.since_ns)}" if row.since_ns else ""
    state = disk_state_text(row)
    state.append(since)
    # What works still is copied from; what does not is missed.
    short = "Too few elsewhere" if row.state in (FAILED, LOST) else "To be copied"
    lines: list[tuple[str, str | Text]] = [
        ("Disk", disk_name(row)),
        ("Directory", printable(row.directory) or "not told"),
        ("State", state),
        ("Why", printable(row.why) or "-"),
        ("Used", used + share if row.total_bytes and row.state != LOST else "-"),
        ("Other disks there", f"{count_text(row.serving)} in service"),
        ("Chunks there", f"{count_text(report.places)} ({size_text(report.length)}){_lag(report)}"),
        ("Only there", _ids_text(report.alone_count, report.alone)),
        (short, _ids_text(report.short_count, report.short)),
        ("Being written", count_text(report.open_count)),
    ]
    for title, value in lines:
        table.add_row(title, value)
    parts: list[RenderableType] = [table, Text(), Text(report.verdict)]
    parts += [Text(f"  {at}. {step}") for at, step in enumerate(report.steps, start=1)]
    return Group(*parts)


def _lag(report: DiskGuide) -> str:
    """Return what the server said last of how many chunks lie there, where that is another number.

    The tables know of a chunk before its server has told of it, and forget it sooner.
    """
    told = report.items[0].chunk_count
    if report.items[0].state in (FAILED, LOST) or told == report.places:
        return ""
    return f" by the tables; its server told of {count_text(told)} last"


def _ids_text(count: int, shown: tuple[int, ...]) -> str:
    if not count:
        return "no chunk"
    named = ", ".join(format_id(one) for one in shown[:_NAMED])
    return f"{count_text(count, 'chunk')} ({named}{', …' if count > _NAMED else ''})"
