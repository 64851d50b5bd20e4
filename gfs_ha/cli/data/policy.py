"""`gfsctl policy`: how what is written below a directory is kept, and when it counts as stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import click
from rich.table import Table

from gfs_ha.cli import output
from gfs_ha.cli.names import pasted, printable
from gfs_ha.cli.options import NAME, TABLE, WIDE
from gfs_ha.cli.render import names, render
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.units import size_text
from gfs_ha.cli.verb import Family, Row, Verb
from gfs_ha.client.room_for_copies import RoomForCopies
from gfs_ha.errors import UsageError
from gfs_ha.limits import GOAL_MAX, PLACEMENT_RULES
from gfs_ha.protocol.metadata import DIRECTORY, DISK, MEMORY
from gfs_ha.protocol.policy import PolicyReport
from gfs_ha.strict_toml import parse_size

_HERE = "gfs_ha.cli.data.policy"
_USUAL = "usual"
_SEED = PLACEMENT_RULES[0]

policy = Family(
    "policy",
    help="How new files below a directory are kept: copies, rule of placement, chunk size.",
    examples="""
    gfsctl policy get /logs                         # what holds there, and who says so
    gfsctl policy set /logs --replicas 2            # of files that are made from now on
    gfsctl policy set /db --rule spread             # each copy in a rack of its own
    gfsctl policy unset /logs                       # as the directories above say
    """,
    rows={
        "get": Row(_HERE, "get_policy", "What holds in a directory, or of a file, and who says so"),
        "set": Row(_HERE, "set_policy", "Let a directory say how new files below it are kept"),
        "unset": Row(_HERE, "unset_policy", "Let a directory say nothing any more"),
    },
)


class _Change(NamedTuple):
    """What a directory is to say from now on; None leaves it as it is."""

    goal: int | None
    rule: str | None
    chunk_bytes: int | None
    durability: str | None


@click.command(
    "get",
    cls=Verb,
    examples="""
    gfsctl policy get /logs              # what new files below it get, and who says so
    gfsctl policy get /logs/today.log    # how that file is kept
    """,
)
@click.argument("path")
@pass_session
def get_policy(session: Session, path: str) -> None:
    """Show how new files below a directory are kept, or how a file is."""
    wanted = session.path(path)
    session.show(session.cluster.policies.get(wanted))


@click.command(
    "set",
    cls=Verb,
    examples="""
    gfsctl policy set /logs --replicas 2 --rule hdfs
    gfsctl policy set /logs --chunk-size 16MiB      # the others stay as they are
    gfsctl policy set /tmp --durability memory      # for writers that do not say it themselves
    gfsctl policy set /logs --replicas usual        # as the directories above say
    gfsctl policy set -n /logs --replicas 2         # only say what would hold then
    """,
)
@click.argument("path")
@click.option("--replicas", metavar="N", help=f"Copies of each chunk, 1 to {GOAL_MAX}; or usual.")
@click.option(
    "--rule",
    type=click.Choice((*PLACEMENT_RULES, _USUAL)),
    help="seed: two in one rack, the rest elsewhere. hdfs: one here, two in one other rack. "
    "spread: each in a rack of its own.",
)
@click.option("--chunk-size", metavar="SIZE", help="1MiB to 64MiB, in steps of 64KiB; or usual.")
@click.option(
    "--durability",
    type=click.Choice((DISK, MEMORY, _USUAL)),
    help="When a byte counts as stored for writers that do not say it themselves.",
)
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would hold then.")
@pass_session
def set_policy(
    session: Session,
    path: str,
    replicas: str | None,
    rule: str | None,
    chunk_size: str | None,
    durability: str | None,
    dry_run: bool,
) -> None:
    """Let a directory say how new files below it are kept; what is not given stays as it is.

    The nearest directory that says something decides, each of the four for itself. Files keep
    what they got when they were made: `gfsctl setrep` changes the copies of those that exist. A
    durability holds for whatever is written below from now on, unless the writer says another.
    """
    if replicas is None and rule is None and chunk_size is None and durability is None:
        raise UsageError("say what is to change: --replicas, --rule, --chunk-size, --durability")
    wanted = session.path(path)
    change = _Change(
        None if replicas is None else _goal(replicas),
        "" if rule == _USUAL else rule,
        None if chunk_size is None else _size(chunk_size),
        "" if durability == _USUAL else durability,
    )
    policies = session.cluster.policies
    if dry_run:
        _show_plan(session, policies.get(wanted), change)
        return
    policies.set(
        wanted,
        replicas=change.goal,
        rule=change.rule,
        chunk_bytes=change.chunk_bytes,
        durability=change.durability,
    )
    _show_after(session, wanted)


@click.command(
    "unset",
    cls=Verb,
    examples="""
    gfsctl policy unset /logs       # new files are kept as the directories above say
    """,
)
@click.argument("path")
@pass_session
def unset_policy(session: Session, path: str) -> None:
    """Let a directory say nothing any more."""
    wanted = session.path(path)
    session.cluster.policies.unset(wanted)
    _show_after(session, wanted)


def _show_after(session: Session, path: str) -> None:
    """Show programs what holds now; people see that the command came back, or what to mind."""
    report = session.cluster.policies.get(path)
    if report.goal == 2 and report.rule == _SEED:
        session.warn(
            "with 2 copies the rule seed keeps both in one rack, which may be lost at once; "
            f"gfsctl policy set {pasted(path)} --rule spread keeps them apart"
        )
    _warn_of_too_many(session, path, report.goal if report.own_goal else 0)
    if session.options.output not in (TABLE, WIDE):
        session.show(report)


def _warn_of_too_many(session: Session, path: str, goal: int) -> None:
    """Warn of a goal that servers in service cannot hold; 0: the directory says none."""
    if goal <= 1:
        return
    room = RoomForCopies.of_servers(session.operations.servers().items)
    command = f"gfsctl policy set {pasted(path)} --replicas"
    if said := room.warning(goal, lambda possible: f"{command} {possible}"):
        session.warn(said)


def _show_plan(session: Session, now: PolicyReport, change: _Change) -> None:
    if now.kind != DIRECTORY:
        raise UsageError(f"{now.path} is a file; policies belong to directories")
    words = [
        f"{name} {value or _USUAL}"
        for name, value in (
            ("replicas", change.goal),
            ("rule", change.rule),
            ("chunk size", change.chunk_bytes and size_text(change.chunk_bytes)),
            ("durability", change.durability),
        )
        if value is not None
    ]
    if session.options.machine_readable or session.options.output == NAME:
        session.show(now)
    else:
        _warn_of_too_many(session, now.path, change.goal or 0)
        said = ", ".join(words)
        output.write_lines([f"would set for new files below {printable(now.path)}: {said}"])


def _goal(text: str) -> int:
    if text == _USUAL:
        return 0
    if not text.isdecimal() or not 1 <= int(text) <= GOAL_MAX:
        raise UsageError(f"--replicas: {text!r} is neither 1 to {GOAL_MAX} nor {_USUAL!r}")
    return int(text)


def _size(text: str) -> int:
    if text == _USUAL:
        return 0
    try:
        return parse_size(text)
    except ValueError as error:
        raise UsageError(f"--chunk-size: {error}") from error


@names.register
def _(report: PolicyReport) -> Iterator[str]:
    yield report.path


@render.register
def _(report: PolicyReport, wide: bool) -> Table:
    table = Table(printable(report.path), "Value", "Said by", box=None)
    for name, value, by in (
        ("replicas", str(report.goal), report.goal_from),
        ("rule", report.rule, report.rule_from),
        ("chunk size", size_text(report.chunk_bytes), report.chunk_bytes_from),
        ("durability", report.durability, report.durability_from),
    ):
        table.add_row(name, value, printable(by) if by else "the cluster's settings")
    return table
