"""`gfsctl admin rebalance`: a plan of what would be moved, a job that does it, how even it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from gfs_ha.cli import output
from gfs_ha.cli.admin import rebalance_screens as rebalance_screens  # What reports look like.
from gfs_ha.cli.admin.dry_run import dry_run_option
from gfs_ha.cli.admin.job_screens import JobHistory
from gfs_ha.cli.admin.jobs import change_job
from gfs_ha.cli.admin.jobs_wait import wait_for_job
from gfs_ha.cli.options import NAME, TABLE, WIDE, Points, Size
from gfs_ha.cli.session import Session, pass_session, watched
from gfs_ha.cli.units import count_text, size_text
from gfs_ha.cli.verb import Row, Verb, VerbFamily
from gfs_ha.client.jobs import own_name
from gfs_ha.errors import NotFound, PreconditionFailed, UsageError
from gfs_ha.limits import REPAIR_COPIES_MAX
from gfs_ha.protocol.jobs import (
    CANCEL,
    FINAL,
    PAUSE,
    REBALANCE,
    RESUME,
    JobOptions,
    JobReport,
    window_minutes,
)
from gfs_ha.protocol.rebalance import LISTED_MAX, RebalancePlan

_HERE = "gfs_ha.cli.admin.rebalance"
_LISTED = 100
_HISTORY = 50


class Rate(Size):
    """A number of bytes per second: `50MiB/s`, or `50MiB`."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = value.removesuffix("/s").strip() if isinstance(value, str) else value
        return super().convert(text, param, ctx)


def _how(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb the options that say how a rebalance is to go about it."""
    for option in (
        click.option(
            "--window",
            metavar="HH:MM-HH:MM",
            help="Moves begin only then, by the leader's clock and time zone.",
        ),
        click.option(
            "--max-moves",
            type=click.IntRange(1, REPAIR_COPIES_MAX),
            metavar="N",
            help="Copies under way at once (default 64).",
        ),
        click.option(
            "--bwlimit", type=Rate(), metavar="SIZE/s", help="Bytes per second of all moves."
        ),
        click.option(
            "--threshold",
            type=Points(min=0.1, max=100),
            metavar="PCT",
            help="How far disks may be from the mean, in points of used share (default 5).",
        ),
    ):
        function = option(function)
    return function


def _starting(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb that starts a rebalance its options."""
    for option in (
        click.option("--wait", is_flag=True, help="Come back when it has ended."),
        click.option("-y", "--yes", is_flag=True, help="Do not ask."),
        click.option("-n", "--dry-run", is_flag=True, help="Only show the plan."),
    ):
        function = option(function)
    return _how(function)


def _options(more: dict[str, Any]) -> JobOptions:
    """Return how a rebalance is to go about it, as its words say. Raises: UsageError."""
    window = more.pop("window") or ""
    if window and window.partition("-")[0] == window.partition("-")[2]:
        raise UsageError(f"--window: {window!r} begins as it ends; without it moves begin always")
    if window and window_minutes(window) is None:
        raise UsageError(f"--window: {window!r} is not like 22:00-06:00")
    threshold, bwlimit, moves = (more.pop(one) for one in ("threshold", "bwlimit", "max_moves"))
    if bwlimit == 0:
        raise UsageError("--bwlimit 0 moves nothing; gfsctl admin rebalance pause holds a job")
    share = threshold / 100 if threshold is not None else 0.0
    return JobOptions(share, bwlimit or 0, moves or 0, window)


@click.group(
    "rebalance",
    cls=VerbFamily,
    examples="""
    gfsctl admin rebalance                        # show the plan, ask, begin
    gfsctl admin rebalance plan                   # only show what would be moved, and why
    gfsctl admin rebalance start -y --wait        # begin without asking, with a bar
    gfsctl admin rebalance start --bwlimit 200MiB/s --window 22:00-06:00
    gfsctl admin rebalance status -w              # how even the disks are, kept up to date
    """,
    rows={
        "plan": Row(_HERE, "plan", "What would be moved, before and after, how long, why"),
        "start": Row(_HERE, "start", "Show the plan, ask, begin"),
        "status": Row(_HERE, "show_status", "How even the disks are, how far the job is"),
        "pause": Row(_HERE, "pause", "Begin no more moves until it is resumed"),
        "resume": Row(_HERE, "resume", "Go on after a pause"),
        "cancel": Row(_HERE, "cancel", "End it for good; what was moved stays"),
        "history": Row(_HERE, "history", "The rebalances that were"),
    },
)
@_starting
@pass_session
def rebalance(session: Session, /, **more: Any) -> None:
    """Even out how full the servers are: by used share, within racks and rules, within a budget.

    Shows the plan and asks, then begins a job. A copy is dropped only after another one counts.
    """
    if click.get_current_context().invoked_subcommand is None:
        _start(session, more)
    elif any(value for value in more.values()):
        raise UsageError("say options behind the command that they are for")


@click.command(
    "plan",
    cls=Verb,
    examples="""
    gfsctl admin rebalance plan                  # bytes, moves, every disk before and after
    gfsctl admin rebalance plan -o wide          # with the first 100 moves, and the highest fill
    gfsctl admin rebalance plan --threshold 2    # nearer to the mean
    gfsctl admin rebalance plan -o json          # for programs: with the first 1,000 moves
    """,
)
@_how
@pass_session
def plan(session: Session, /, **more: Any) -> None:
    """Show what a rebalance would do: bytes, moves, each disk before and after, how long, and why.

    It is played through by the very rules that the job goes by, on the cluster as it is now.
    """
    options = _options(more)
    session.show(session.operations.rebalance.plan(options, _listed(session)))


@click.command(
    "start",
    cls=Verb,
    examples="""
    gfsctl admin rebalance start                              # show the plan, ask, begin
    gfsctl admin rebalance start -y --wait                    # with a bar
    gfsctl admin rebalance start -n                           # only show the plan
    gfsctl admin rebalance start --threshold 3 --max-moves 16 --bwlimit 100MiB/s
    """,
)
@_starting
@pass_session
def start(session: Session, /, **more: Any) -> None:
    """Begin to even out how full the servers are; where all are near the mean nothing begins.

    One rebalance runs at a time. It goes on through changes of the leader; `gfsctl admin rebalance
    status -w` shows how far it is.
    """
    _start(session, more)


def _start(session: Session, more: dict[str, Any]) -> None:
    dry_run, yes, wait = (more.pop(one) for one in ("dry_run", "yes", "wait"))
    options = _options(more)
    plan = session.operations.rebalance.plan(options, _listed(session))
    if plan.running:
        raise PreconditionFailed(
            f"{plan.running} has not ended: gfsctl admin rebalance status shows it, pause, resume"
            " and cancel change it"
        )
    people = session.options.output in (TABLE, WIDE)
    if dry_run or plan.balanced or not plan.move_count:
        session.show(plan)
        return
    if people and not session.options.quiet:
        session.show(plan)
        output.flush()
    if not yes and not session.confirm(_question(plan)):
        output.say("nothing was begun")
        return
    who = own_name(session.config.client.machine)
    begun = session.operations.rebalance.start(plan, options, who)
    if people and not session.options.quiet:
        how = "" if wait else f"; gfsctl admin jobs wait {begun.id}"
        output.write_lines([f"{begun.id} has begun{how}"])
        output.flush()
    elif session.options.output == NAME:
        output.write_lines([begun.id])
        output.flush()
    if wait:
        wait_for_job(session, begun.id)
    if session.options.machine_readable:
        session.show(JobReport((session.operations.jobs.get(begun.number),)))


def _question(plan: RebalancePlan) -> str:
    moves = count_text(plan.move_count, "move")
    return f"move {size_text(plan.moved_bytes)} in {moves} {_between(plan)}?"


def _between(plan: RebalancePlan) -> str:
    """Return between what is moved, by the moves that are listed."""
    inside = sum(move.source == move.target for move in plan.moves)
    if inside and inside == plan.move_count:
        return "between disks of one server"
    if inside or (len(plan.moves) < plan.move_count and any(row.several for row in plan.items)):
        return "between servers, and between disks of one server"
    return "between servers"


def _listed(session: Session) -> int:
    return LISTED_MAX if session.options.machine_readable else _LISTED


@click.command(
    "status",
    cls=Verb,
    examples="""
    gfsctl admin rebalance status       # how even the disks are, how far the job is
    gfsctl admin rebalance status -w    # kept up to date
    """,
)
@watched
@pass_session
def show_status(session: Session) -> None:
    """Show how far every disk is from the mean, and how far the newest rebalance is."""
    session.show(session.operations.rebalance.status())


@click.command(
    "pause",
    cls=Verb,
    examples="""
    gfsctl admin rebalance pause     # copies under way come to their end, no other one begins
    """,
)
@dry_run_option
@pass_session
def pause(session: Session, dry_run: bool) -> None:
    """Begin no more moves until `rebalance resume`."""
    change_job(session, _current(session), PAUSE, dry_run)


@click.command(
    "resume",
    cls=Verb,
    examples="""
    gfsctl admin rebalance resume    # it goes on where it was
    """,
)
@dry_run_option
@pass_session
def resume(session: Session, dry_run: bool) -> None:
    """Let the rebalance go on that was paused."""
    change_job(session, _current(session), RESUME, dry_run)


@click.command(
    "cancel",
    cls=Verb,
    examples="""
    gfsctl admin rebalance cancel    # for good; a new one begins anew
    """,
)
@dry_run_option
@pass_session
def cancel(session: Session, dry_run: bool) -> None:
    """End the rebalance for good: copies under way are given up, what was moved stays."""
    change_job(session, _current(session), CANCEL, dry_run)


def _current(session: Session) -> str:
    """Return the rebalance that has not ended. Raises: NotFound."""
    found = session.operations.rebalance.status().job
    if found is None or found.phase in FINAL:
        ended = f"; the last one, {found.id}, is {found.phase}" if found is not None else ""
        raise NotFound(f"no rebalance runs{ended}: gfsctl admin rebalance start")
    return found.id


@click.command(
    "history",
    cls=Verb,
    examples="""
    gfsctl admin rebalance history            # when, how long, foreseen and moved, how it ended
    gfsctl admin rebalance history -o json    # for programs
    """,
)
@pass_session
def history(session: Session) -> None:
    """List the rebalances, the newest first: what was foreseen, what came, and why they differ.

    200 jobs that have ended are kept, of all kinds.
    """
    rows = []
    for row in session.operations.jobs.all((REBALANCE,)):
        rows.append(row)
        if len(rows) == _HISTORY:
            break
    session.show(JobHistory(tuple(rows)))
