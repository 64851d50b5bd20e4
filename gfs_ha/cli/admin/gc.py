"""`gfsctl admin gc`: what waits to be collected and why, what was reclaimed, and to do it now."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.text import Text

from gfs_ha.cli import output
from gfs_ha.cli.admin.chunkservers import state_text
from gfs_ha.cli.listing import listing
from gfs_ha.cli.render import names, render
from gfs_ha.cli.session import Session, pass_session, watched
from gfs_ha.cli.units import age_text, count_text, duration_text, size_text, time_text
from gfs_ha.cli.verb import Family, Row, Verb
from gfs_ha.ids import format_id
from gfs_ha.protocol.garbage import GarbageReport, GarbageRow

_HERE = "gfs_ha.cli.admin.gc"
_SHOWN = 20

gc = Family(
    "gc",
    help="What deleted and replaced files leave behind, and the disks that get it back.",
    rows={
        "status": Row(_HERE, "show_status", "What waits and why, what was reclaimed"),
        "run": Row(_HERE, "run", "Do now what would come later"),
    },
)


@click.command(
    "status",
    cls=Verb,
    examples="""
    gfsctl admin gc status         # what waits and why, bytes that disks got back, rate
    gfsctl admin gc status -o wide # also on which servers it lies, and sparse chunks
    gfsctl admin gc status -w      # kept up to date
    gfsctl admin gc status -o json # for programs
    """,
)
@watched
@pass_session
def show_status(session: Session) -> None:
    """Show what waits to be collected, why it is still there, and what was reclaimed.

    Reclaimed bytes are what the servers said that their disks got back, since the cluster was made.
    """
    session.show(session.operations.garbage(_SHOWN))


@click.command(
    "run",
    cls=Verb,
    examples="""
    gfsctl admin gc run       # look at all chunks and disks now, not when their turn comes
    gfsctl admin gc run -n    # only say what that would hurry, and what waits for something else
    """,
)
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be done.")
@pass_session
def run(session: Session, dry_run: bool) -> None:
    """Let everything have its turn now that waits for nothing else.

    It skips no evidence: what waits for a server, a client or the end of a quarantine still does.
    What comes of it is seen with `gc status -w`.
    """
    if not dry_run:
        session.show(session.operations.run_garbage(_SHOWN))
        return
    waiting = session.operations.garbage(_SHOWN).waiting
    if session.options.machine_readable:
        session.show_plain("GarbagePlan", [_facts(row) for row in waiting], dry_run=True)
        return
    lines = ["would look at all chunks for dead blocks, and compare every disk with the tables"]
    for row in waiting:
        verb = "would hurry" if row.now else "would wait"
        lines.append(f"{verb}: {row.kind}, {count_text(row.count)}: {row.why}")
    output.write_lines(lines)


def _facts(row: GarbageRow) -> dict[str, Any]:
    size = row.bytes if row.bytes >= 0 else None
    return {
        "kind": row.kind,
        "count": row.count,
        "bytes": size,
        "why": row.why,
        "hurried": row.now,
    }


@names.register
def _(report: GarbageReport) -> Iterator[str]:
    for row in report.waiting:
        yield row.kind


@render.register
def _(report: GarbageReport, wide: bool) -> Group:
    parts: list[RenderableType] = [_headline(report)]
    if report.waiting:
        table = listing("Waiting", ">Count", ">Bytes", "Why")
        for row in report.waiting:
            size = size_text(row.bytes) if row.bytes >= 0 else "?"
            count = count_text(row.count) if row.count else ""
            table.add_row(row.kind, count, size, row.why)
        parts.append(table)
    if report.servers and wide:
        table = listing("Lies on", "State", ">Replicas", ">Bytes")
        for server in report.servers:
            size, count = size_text(server.bytes), count_text(server.count)
            table.add_row(server.name, state_text(server.state), count, size)
        parts.append(table)
    if report.orphans:
        table = listing("=Orphan", "On", "Goes")
        for one in report.orphans:
            goes = f"in {duration_text(one.due_ms)}" if one.due_ms else "now"
            table.add_row(format_id(one.chunk_id), one.server, goes)
        parts.append(table)
    if report.sparse and wide:
        table = listing("Less than half alive", ">Length", ">Alive", ">Copies")
        for chunk in report.sparse:
            size, alive = size_text(chunk.length), size_text(chunk.alive_bytes)
            table.add_row(format_id(chunk.chunk_id), size, alive, str(chunk.copies))
        parts.append(table)
    if report.reclaimed:
        table = listing("Reclaimed", ">Replicas", ">Bytes", "=Since", "Last")
        for got in report.reclaimed:
            since, last = time_text(got.since_ms * 10**6), time_text(got.last_ms * 10**6)
            table.add_row(got.kind, count_text(got.count), size_text(got.bytes), since, last)
        parts.append(table)
    return Group(*parts)


def _headline(report: GarbageReport) -> Text:
    if report.waiting:
        text = Text(f"{size_text(report.waiting_bytes)} wait to be collected", "yellow")
        if any(row.bytes < 0 for row in report.waiting):
            text.append(", and what cannot be told before")
    else:
        text = Text("nothing waits to be collected", "green")
    text.append(f"; {size_text(report.reclaimed_bytes)} reclaimed")
    if report.bytes_per_s:
        text.append(f", {size_text(report.bytes_per_s)}/s in the last minute")
    if report.eta_ms > 0:
        more = "at least " if report.more else ""
        text.append(f"; what is under way takes {more}{duration_text(report.eta_ms)} more")
    if report.looking:
        text.append("; all chunks are being looked at")
    elif report.looked_ms >= 0:
        text.append(f"; all chunks were looked at {age_text(report.looked_ms)}")
    if report.more:
        text.append("; there is more than was counted")
    return text
