"""`gfsctl admin chunkservers drain|decommission|undrain`: servers emptied, and taken back."""

from __future__ import annotations

import click

from gfs_ha.cli import output
from gfs_ha.cli.admin import job_screens as job_screens  # What reports of jobs look like.
from gfs_ha.cli.admin.drain_plan import DrainPlan, lines_of, named_rows, plan_drain
from gfs_ha.cli.admin.jobs import dry_run_option
from gfs_ha.cli.admin.jobs_wait import wait_for_job
from gfs_ha.cli.options import TABLE, WIDE
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.units import count_text, size_text
from gfs_ha.cli.verb import Verb
from gfs_ha.client.jobs import own_name
from gfs_ha.errors import PreconditionFailed
from gfs_ha.protocol.jobs import JobReport
from gfs_ha.protocol.server_modes import IN_SERVICE, LEAVING

_DRY = click.option("-n", "--dry-run", is_flag=True, help="Only show what would be moved.")
_WAIT = click.option("--wait", is_flag=True, help="Come back when it is done; Ctrl-C detaches.")
_YES = click.option("-y", "--yes", is_flag=True, help="Do not ask, also if chunks cannot be moved.")


@click.command(
    "drain",
    cls=Verb,
    examples="""
    gfsctl admin chunkservers drain cs7 -n      # what would be moved, where to, how long
    gfsctl admin chunkservers drain cs7         # begin; prints the job's id
    gfsctl admin chunkservers drain cs7 --wait  # with a bar; Ctrl-C only ends the waiting
    gfsctl admin chunkservers undrain cs7       # take it back, also in the middle
    """,
)
@click.argument("servers", metavar="SERVER...", nargs=-1, required=True)
@_DRY
@_WAIT
@_YES
@pass_session
def drain(session: Session, servers: tuple[str, ...], dry_run: bool, wait: bool, yes: bool) -> None:
    """Move everything off a chunkserver; it stays registered, and takes nothing new.

    Each copy is made elsewhere before the old one goes, so no chunk has fewer copies for it, and
    reads and writes go on. Appends are handed on to other servers. The job is done when the tables
    place nothing there and the server's own tally says the same.
    """
    _empty(session, servers, (False, dry_run, wait, yes))


@click.command(
    "decommission",
    cls=Verb,
    examples="""
    gfsctl admin chunkservers decommission cs7 -n   # what would be moved, what cannot
    gfsctl admin chunkservers decommission cs7      # empty it for good
    gfsctl admin chunkservers remove cs7            # and then take it out of the cluster
    """,
)
@click.argument("servers", metavar="SERVER...", nargs=-1, required=True)
@_DRY
@_WAIT
@_YES
@pass_session
def decommission(
    session: Session, servers: tuple[str, ...], dry_run: bool, wait: bool, yes: bool
) -> None:
    """Empty a chunkserver for good: as drain, and then `remove` takes it out of the cluster."""
    _empty(session, servers, (True, dry_run, wait, yes))


def _empty(session: Session, servers: tuple[str, ...], how: tuple[bool, bool, bool, bool]) -> None:
    decommission, dry_run, wait, yes = how
    plan, parts = plan_drain(session, servers)
    if dry_run:
        session.show(plan)
        return
    ask_to_drain(session, plan, yes)
    who = own_name(session.config.client.machine)
    started = []
    for name in plan.servers:
        size, copies = parts[name]
        asked = session.operations.server_modes.drain(name, decommission, parts[name], who)
        started.append(asked)
        if session.options.output in (TABLE, WIDE) and not session.options.quiet:
            said = "decommissioned" if decommission else "drained"
            what = f"{count_text(copies, 'copy', 'copies')}, {size_text(size)}"
            how_far = "" if wait else f"; how far it is: gfsctl admin jobs show {asked.id}"
            output.write_lines([f"{asked.id}  {name} is being {said}: {what}{how_far}"])
    if session.options.output not in (TABLE, WIDE):
        rows = [session.operations.jobs.get(one.number) for one in started]
        session.show(JobReport(tuple(rows)))
    if wait:
        for one in started:
            wait_for_job(session, one.id)


def ask_to_drain(session: Session, plan: DrainPlan, yes: bool) -> None:
    """Ask before what would stand still, or stop all writing. Raises: PreconditionFailed."""
    if yes or (plan.writable and not plan.blocked_count):
        return
    if session.options.output in (TABLE, WIDE):
        session.show(plan)
        output.flush()
    else:
        for line in lines_of(plan):
            output.say(line)
    if not session.confirm("Begin all the same?"):
        raise PreconditionFailed("nothing was begun")


@click.command(
    "undrain",
    cls=Verb,
    examples="""
    gfsctl admin chunkservers undrain cs7       # it takes new chunks again; its job is cancelled
    gfsctl admin chunkservers undrain cs7 -n    # only say which job that would be
    """,
)
@click.argument("servers", metavar="SERVER...", nargs=-1, required=True)
@dry_run_option
@pass_session
def undrain(session: Session, servers: tuple[str, ...], dry_run: bool) -> None:
    """Take a server back into service that is drained, being drained, or decommissioned.

    What was moved stays where it is. Exit status 4: one of them is in service; the others are
    taken back all the same.
    """
    who = own_name(session.config.client.machine)
    idle = []
    for row in named_rows(session.operations.servers().items, servers):
        if row.mode == IN_SERVICE:
            idle.append(row.name)
            continue
        job = f"; {row.job} is cancelled, what was moved stays" if row.mode in LEAVING else ""
        if dry_run:
            say_done(session, row.name, f"would take back {row.name}, {row.mode}{job}")
            continue
        session.operations.server_modes.undrain(row.name, who)
        say_done(session, row.name, f"{row.name} is in service{job}")
    if idle:
        are = "is" if len(idle) == 1 else "are"
        raise PreconditionFailed(f"{', '.join(idle)} {are} in service already")


def say_done(session: Session, name: str, text: str) -> None:
    """Tell what was done about a server, in the way that was asked for."""
    if session.options.machine_readable:
        session.show_plain("ChunkserverChanged", [{"name": name}])
    elif session.options.output in (TABLE, WIDE):
        if not session.options.quiet:
            output.write_lines([text])
    else:
        output.write_lines([name])
