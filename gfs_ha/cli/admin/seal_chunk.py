"""`gfsctl admin chunks seal --accept-loss`: a person ends a chunk that cannot be sealed."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click
from rich.console import Group
from rich.table import Table
from rich.text import Text

from gfs_ha.cli import output
from gfs_ha.cli.admin.chunks import read_chunk_id
from gfs_ha.cli.names import SCHEME, printable
from gfs_ha.cli.options import TABLE, WIDE
from gfs_ha.cli.render import names, render
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.units import count_text
from gfs_ha.cli.verb import Verb
from gfs_ha.errors import PreconditionFailed, UsageError
from gfs_ha.ids import format_id
from gfs_ha.protocol.losses import LossPlan


@click.command(
    "seal",
    cls=Verb,
    examples="""
    gfsctl admin chunks ls --blocked                        # chunks that wait for a server
    gfsctl admin chunks seal -n --accept-loss 0x1000000000007  # what would be lost
    gfsctl admin chunks seal --accept-loss 0x1000000000007  # asks for the chunk to be typed
    """,
)
@click.argument("chunk")
@click.option("--accept-loss", is_flag=True, help="Give up the replicas that do not answer.")
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be lost.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@pass_session
def seal_chunk(session: Session, chunk: str, accept_loss: bool, dry_run: bool, yes: bool) -> None:
    """End a blocked chunk without the replicas that are gone for good, for good.

    A chunk is blocked when no replica that answers can prove where it ends: one that does not
    answer may be the only one that has acknowledged bytes. Bring its server back if there is any
    way to; only a server that is dead is given up. It ends where the longest replica that answers
    verifies, never before what files refer to. Exit status 4: it is not blocked, or must not be
    ended now, and why.
    """
    if chunk.startswith(("/", SCHEME)):
        raise UsageError(
            f"{printable(chunk)} is a path: one chunk is ended at a time; `gfsctl admin chunks ls "
            "--blocked` lists those that are blocked"
        )
    chunk_id = read_chunk_id(chunk)
    if not accept_loss:
        raise UsageError(
            "the leader seals chunks by itself whenever their replicas can prove the end; "
            "--accept-loss ends one without those that do not answer"
        )
    plan = session.operations.plan_loss(chunk_id)
    if plan.refused:
        raise PreconditionFailed(f"chunk {format_id(chunk_id)}: {plan.refused}")
    if dry_run or (not yes and session.options.output in (TABLE, WIDE)):
        session.show(plan)
    if dry_run:
        return
    if not yes:
        _ask(plan)
    sealed = session.operations.accept_loss(plan)
    if session.options.output in (TABLE, WIDE):
        if not session.options.quiet:
            size = count_text(sealed.length, "byte")
            output.write_lines([f"chunk {format_id(chunk_id)} is sealed at {size}"])
    else:
        session.show(plan)


def _ask(plan: LossPlan) -> None:
    """Have the chunk typed. Raises: UsageError, PreconditionFailed."""
    name = format_id(plan.chunk_id)
    question = f"Type {name} to lose for good what may lie on the replicas that do not answer: "
    if sys.stdin is None or not sys.stdin.isatty() or not output.stderr_is_terminal():
        raise UsageError(f"{question}there is no terminal to ask at; say -y")
    sys.stderr.write(question)
    sys.stderr.flush()
    if sys.stdin.readline().strip() != name:
        raise PreconditionFailed("that is not the chunk; nothing was changed")


@names.register
def _(plan: LossPlan) -> Iterator[str]:
    yield format_id(plan.chunk_id)


@render.register
def _(plan: LossPlan, wide: bool) -> Group:
    table = Table("Server", "Rack", "State", "", "What it said", box=None)
    for one in plan.replicas:
        fate = Text("given up", "bold red") if one.missing else Text("kept", "green")
        table.add_row(one.name, one.rack, one.state, fate, one.said)
    return Group(*(Text(line) for line in _lines(plan)), table)


def _lines(plan: LossPlan) -> Iterator[str]:
    yield f"chunk {format_id(plan.chunk_id)} is {plan.state} and blocked: {plan.blocked}"
    yield f"it would end at {count_text(plan.length, 'byte')}, for good"
    if plan.path:
        end = plan.file_offset + plan.length
        yield f"it is the end of {printable(plan.path)}, which would then have {end:,} bytes"
        if plan.reported > plan.length:
            lost = count_text(plan.reported - plan.length, "byte")
            yield f"lost: the last {lost} of records that were reported as appended"
        else:
            yield "in doubt: records that were acknowledged beyond that, if there are any"
    elif plan.referenced:
        yield f"files refer to its first {plan.published_end:,} bytes, which are kept"
    else:
        yield "no file refers to it; its writer is gone, or writes the rest again elsewhere"
