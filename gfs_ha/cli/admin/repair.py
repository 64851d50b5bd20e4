"""`gfsctl admin repair`: lost copies that are made anew, what waits, and how much it may take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.text import Text

from gfs_ha.cli.admin.dry_run import changed, dry_run_option, show_then
from gfs_ha.cli.listing import listing
from gfs_ha.cli.names import printable
from gfs_ha.cli.render import names, render
from gfs_ha.cli.session import Session, pass_session, watched
from gfs_ha.cli.units import count_text, duration_text, size_text
from gfs_ha.cli.verb import Family, Row, Verb
from gfs_ha.errors import UsageError
from gfs_ha.ids import format_id
from gfs_ha.limits import REPAIR_COPIES_MAX
from gfs_ha.protocol.repair import RepairBudgetReport, RepairReport, SetBudget
from gfs_ha.strict_toml import parse_size

_HERE = "gfs_ha.cli.admin.repair"
_SHOWN = 20
_QUEUE_MAX = 5_000

repair = Family(
    "repair",
    help="Lost copies that are made anew.",
    rows={
        "status": Row(_HERE, "show_status", "How far it is, how fast, how long still"),
        "queue": Row(_HERE, "show_queue", "What waits for a copy, and why; what failed"),
        "budget": Row(_HERE, "budget", "How much it may take"),
    },
)


@click.command(
    "status",
    cls=Verb,
    examples="""
    gfsctl admin repair status        # chunks and bytes to go, rate, time to go, copies under way
    gfsctl admin repair status -w     # kept up to date
    """,
)
@watched
@pass_session
def show_status(session: Session) -> None:
    """Show what is being repaired: how much, how fast, and for how long still."""
    session.show(session.operations.repair(_SHOWN))


@click.command(
    "queue",
    cls=Verb,
    examples="""
    gfsctl admin repair queue            # chunks that wait, and why; copies that failed
    gfsctl admin repair queue -o wide    # chunk by chunk
    gfsctl admin repair queue -o json    # the same for programs
    """,
)
@watched
@pass_session
def show_queue(session: Session) -> None:
    """Show every copy under way, the chunks that wait and why, and the copies that failed.

    Chunks that wait for the same reason are counted in one line. Where no server can take a copy,
    however long one waits, the ways out are told.
    """
    session.show(session.operations.repair(_QUEUE_MAX))


@click.command(
    "budget",
    cls=Verb,
    examples="""
    gfsctl admin repair budget                       # show it
    gfsctl admin repair budget --server 50MiB        # bytes per second of each server; 0: no limit
    gfsctl admin repair budget --copies 0            # begin no copy until it is raised again
    gfsctl admin repair budget --copies 0 -n         # only show what would hold then
    """,
)
@click.option("--cluster", metavar="SIZE", help="Bytes per second of all servers; 0: no limit.")
@click.option("--server", metavar="SIZE", help="Bytes per second of each server; 0: no limit.")
@click.option(
    "--per-server", type=click.IntRange(0, REPAIR_COPIES_MAX), help="Copies at once of a server."
)
@click.option("--copies", type=click.IntRange(0, REPAIR_COPIES_MAX), help="Copies at once of all.")
@dry_run_option
@pass_session
def budget(session: Session, /, dry_run: bool, **wanted: Any) -> None:
    """Show how much repair may take, or change it.

    Copies under way change their pace within a second or two. A server whose clients wait longer
    than usual gives less of it, down to an eighth, and says so here.
    """
    if all(value is None for value in wanted.values()):
        session.show(session.operations.repair(1).budget)
        return
    changes = SetBudget(
        _bytes("--cluster", wanted["cluster"]),
        _bytes("--server", wanted["server"]),
        -1 if wanted["per_server"] is None else wanted["per_server"],
        -1 if wanted["copies"] is None else wanted["copies"],
    )
    if dry_run:
        show_then(session, changed(session.operations.repair(1).budget, changes))
        return
    session.show(session.operations.set_repair_budget(changes))


def _bytes(option: str, text: str | None) -> int:
    if text is None:
        return -1
    try:
        return parse_size(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error


@names.register
def _(report: RepairReport) -> Iterator[str]:
    for copy in report.copying:
        yield format_id(copy.chunk_id)
    for waiting in report.waiting:
        yield format_id(waiting.chunk_id)


@names.register
def _(report: RepairBudgetReport) -> Iterator[str]:
    yield str(report.server_bytes_per_s)


@render.register
def _(report: RepairReport, wide: bool) -> Group:
    parts: list[RenderableType] = [_headline(report)]
    if report.hold:
        parts.append(Text(f"waits: {report.hold}", "yellow"))
    parts += _backed_off(report.budget)
    if report.copying:
        table = listing("=Chunk", "To", ">Done", ">Of")
        for copy in report.copying:
            done = size_text(copy.bytes_done) if copy.running else "ordered"
            table.add_row(format_id(copy.chunk_id), copy.server, done, size_text(copy.bytes_total))
        parts.append(table)
    if wide and report.waiting:
        table = listing("=Waiting", ">Length", "Why")
        for row in report.waiting:
            table.add_row(format_id(row.chunk_id), size_text(row.length), row.reason)
        parts.append(table)
    elif report.reasons:
        table = listing(">Waiting", ">Length", "First", "Why")
        for one in report.reasons:
            chunks, first = count_text(one.chunk_count, "chunk"), format_id(one.first[0])
            table.add_row(chunks, size_text(one.length), first, one.reason)
        parts.append(table)
    for at, way in enumerate(report.ways):
        parts.append(Text(f"{'     or' if at else 'way out'}  {printable(way)}"))
    if report.failures:
        table = listing("=Failed", "On", "Why")
        for failed in report.failures:
            table.add_row(format_id(failed.chunk_id), failed.server, failed.reason)
        parts.append(table)
    return Group(*parts)


def _headline(report: RepairReport) -> Text:
    if not report.chunk_count and not report.copying:
        text = _at_rest(report)
    else:
        text = Text(_below(report), "yellow")
    if report.lost_count:
        text.append(f"; {count_text(report.lost_count, 'chunk')} without a good copy", "bold red")
    if report.made_count:
        text.append(f"; {_copies(report.made_count)} made by this leader, moves of jobs too")
    if report.deleting_count:
        text.append(f"; {_copies(report.deleting_count)} being deleted")
    if report.misplaced_count:
        chunks = count_text(report.misplaced_count, "chunk")
        text.append(f"; against the rule of placement: {chunks}")
    return text


def _at_rest(report: RepairReport) -> Text:
    """Return what there is to say while nothing is to be copied."""
    if not report.below_count:
        return Text("nothing to repair", "green")
    # Of servers that are silent and not dead yet, or in maintenance: they may come back.
    below = f"{count_text(report.below_count, 'chunk')} below the goal by the last count"
    return Text(f"{below}, none to copy yet", "yellow")


def _below(report: RepairReport) -> str:
    """Return how many chunks are below their goal, what is made, and what nobody can take."""
    chunks = f"{count_text(report.chunk_count, 'chunk')} below the goal"
    copies = report.copy_count - report.unplaced_copies
    size = size_text(report.lacking_bytes - report.unplaced_bytes)
    said = f"{_copies(copies)} ({size}) to make, {size_text(report.bytes_per_s)}/s"
    if report.eta_ms >= 0:
        said += f", {duration_text(report.eta_ms)} to go"
    if not report.unplaced_copies:
        return f"{chunks}, {said}"
    beyond = f"{_copies(report.unplaced_copies)} ({size_text(report.unplaced_bytes)})"
    said = f"{said}; " if copies or report.copying else ""
    return f"{chunks}, {said}{beyond} that no server can take"


def _copies(count: int) -> str:
    return count_text(count, "copy", "copies")


def _backed_off(report: RepairBudgetReport) -> list[RenderableType]:
    return [
        Text(
            f"{row.server} leaves {size_text(row.bytes_per_s)}/s to repair: clients waited longer "
            f"than usual there ({row.slow_count} of {row.judged_count} operations in 3 s)",
            "yellow",
        )
        for row in report.backed_off
    ]


@render.register
def _(report: RepairBudgetReport, wide: bool) -> RenderableType:
    table = listing("Budget", "Value")
    for name, value in (
        ("of all servers", report.cluster_bytes_per_s),
        ("of each server", report.server_bytes_per_s),
    ):
        table.add_row(name, f"{size_text(value)}/s" if value else "no limit")
    table.add_row("copies at once of a server", str(report.copies_per_server))
    table.add_row("copies at once of all", str(report.copies))
    return Group(table, *_backed_off(report))
