"""`gfsctl admin chunkservers drain|decommission|undrain`: servers emptied, and taken back."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import click
from msgspec.structs import replace

from gfs_ha.cli import output
from gfs_ha.cli.admin import job_screens as job_screens  # What reports of jobs look like.
from gfs_ha.cli.admin.changed_servers import telling
from gfs_ha.cli.admin.drain_plan import DrainPlan, lines_of, named_rows, plan_drain
from gfs_ha.cli.admin.dry_run import dry_run_option
from gfs_ha.cli.admin.jobs_wait import wait_for_job
from gfs_ha.cli.admin.rebalance import Rate
from gfs_ha.cli.options import TABLE, WIDE
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.units import count_text, size_text
from gfs_ha.cli.verb import Verb
from gfs_ha.client.jobs import own_name
from gfs_ha.errors import PreconditionFailed, UsageError
from gfs_ha.protocol.disks import DiskStanding
from gfs_ha.protocol.jobs import JobReport
from gfs_ha.protocol.reports import ServerRow
from gfs_ha.protocol.server_modes import DECOMMISSIONED, DRAINED, IN_SERVICE, LEAVING

_DRY = click.option("-n", "--dry-run", is_flag=True, help="Only show what would be moved.")
_WAIT = click.option("--wait", is_flag=True, help="Come back when it is done; Ctrl-C detaches.")
bwlimit_option = click.option(
    "--bwlimit", type=Rate(), metavar="SIZE/s", help="Bytes per second of all moves of it."
)
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
@bwlimit_option
@_YES
@pass_session
def drain(session: Session, /, **how: Any) -> None:
    """Move everything off a chunkserver; it stays registered, and takes nothing new.

    Each copy is made elsewhere before the old one goes, so no chunk has fewer copies for it, and
    reads and writes go on. Appends are handed on to other servers. The job is done when the tables
    place nothing there and the server's own tally says the same. Exit status 4: it is empty, or a
    job empties it; with -n also: it would not begin without -y.
    """
    _empty(session, how.pop("servers"), Emptying(**how))


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
@bwlimit_option
@_YES
@pass_session
def decommission(session: Session, /, **how: Any) -> None:
    """Empty a chunkserver for good: as drain, and then `remove` takes it out of the cluster."""
    _empty(session, how.pop("servers"), Emptying(decommission=True, **how))


@dataclass(frozen=True, slots=True)
class Emptying:
    """How servers or disks are to be emptied, as the options say."""

    dry_run: bool
    wait: bool
    yes: bool
    bwlimit: int | None = None
    decommission: bool = False

    def __post_init__(self) -> None:
        if self.bwlimit == 0:
            raise UsageError("--bwlimit 0 moves nothing; gfsctl admin jobs pause JOB holds a job")

    def limited(self, plan: DrainPlan) -> DrainPlan:
        """Return a plan that takes as long as the limit has it take, at least."""
        least = plan.move_bytes * 1000 // self.bwlimit if self.bwlimit else 0
        return replace(plan, eta_ms=max(plan.eta_ms, least))


def _empty(session: Session, servers: tuple[str, ...], how: Emptying) -> None:
    found, parts = plan_drain(session, servers)
    chosen = named_rows(session.operations.servers().items, servers)
    check_emptying(chosen, session.operations.disks.all().items, how.decommission)
    plan = how.limited(found)
    if how.dry_run:
        show_plan(session, plan, how.yes)
        return
    ask_to_drain(session, plan, how.yes)
    who = own_name(session.config.client.machine)
    started = []
    for name in plan.servers:
        size, copies = parts[name]
        asked = session.operations.server_modes.drain(
            name, how.decommission, parts[name], who, how.bwlimit or 0
        )
        started.append(asked)
        if session.options.output in (TABLE, WIDE) and not session.options.quiet:
            said = "decommissioned" if how.decommission else "drained"
            what = f"{count_text(copies, 'copy', 'copies')}, {size_text(size)}"
            how_far = "" if how.wait else f"; how far it is: gfsctl admin jobs show {asked.id}"
            output.write_lines([f"{asked.id}  {name} is being {said}: {what}{how_far}"])
    if session.options.output not in (TABLE, WIDE):
        rows = [session.operations.jobs.get(one.number) for one in started]
        session.show(JobReport(tuple(rows)))
    if how.wait:
        for one in started:
            wait_for_job(session, one.id)


def check_emptying(
    rows: Collection[ServerRow], disks: Collection[DiskStanding], decommission: bool
) -> None:
    """Raises: PreconditionFailed when the drain of one of these servers would not begin."""
    for row in rows:
        if row.mode == DECOMMISSIONED or (row.mode == DRAINED and not decommission):
            raise PreconditionFailed(
                f"{row.name} is {row.mode} already; to take it back: gfsctl admin chunkservers"
                f" undrain {row.name}"
            )
        jobs = [row.job] if row.mode in LEAVING else []
        jobs += [one.job for one in disks if one.server == row.name and one.mode in LEAVING]
        if jobs:
            raise PreconditionFailed(
                f"job {jobs[0]} is emptying {row.name} or a disk of it already: gfsctl admin jobs"
                f" show {jobs[0]}"
            )


def show_plan(session: Session, plan: DrainPlan, yes: bool) -> None:
    """Show what would be moved. Raises: PreconditionFailed when it would not begin without -y."""
    session.show(plan)
    if plan.doubtful and not yes:
        output.flush()
        raise PreconditionFailed(f"{plan.doubtful}; without -y it would not begin")


def ask_to_drain(session: Session, plan: DrainPlan, yes: bool) -> None:
    """Ask before what would stand still, or stop all writing. Raises: PreconditionFailed."""
    if yes or not plan.doubtful:
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
    rows = named_rows(session.operations.servers().items, servers)
    with telling(session, dry_run) as tell:
        for row in rows:
            job = f"; {row.job} is cancelled, what was moved stays" if row.mode in LEAVING else ""
            if row.mode == IN_SERVICE:
                idle.append(row.name)
            elif dry_run:
                tell(row.name, f"would take back {row.name}, {row.mode}{job}")
            else:
                session.operations.server_modes.undrain(row.name, who)
                tell(row.name, f"{row.name} is in service{job}")
    if idle:
        are = "is" if len(idle) == 1 else "are"
        raise PreconditionFailed(f"{', '.join(idle)} {are} in service already")
