"""`gfsctl admin chunkservers`: the servers, their load and their last heartbeat."""

from __future__ import annotations

import re

import click
from rich.table import Table
from rich.text import Text

from gfs_ha.cli.render import render
from gfs_ha.cli.session import Session, pass_session, watched
from gfs_ha.cli.units import age_text, count_text, share_text, size_text
from gfs_ha.cli.verb import Family, Row, Verb
from gfs_ha.ids import format_id
from gfs_ha.protocol.reports import DiskRow, ServerReport, ServerRow
from gfs_ha.protocol.scrub import ScrubRow

_STYLES = {"live": "green", "suspect": "yellow", "dead": "red"}

chunkservers = Family(
    "chunkservers",
    help="The chunkservers.",
    rows={
        "ls": Row("gfs_ha.cli.admin.chunkservers", "list_servers", "List the chunkservers"),
        "show": Row("gfs_ha.cli.admin.chunkserver", "show_chunkserver", "Show one, and all of it"),
    },
)


@click.command(
    "ls",
    cls=Verb,
    examples="""
    gfsctl admin chunkservers ls              # all of them
    gfsctl admin chunkservers ls --rack r1    # those of one rack
    gfsctl admin chunkservers ls -w           # again every two seconds
    """,
)
@click.option("--rack", metavar="RACK", help="Only the servers of this rack.")
@watched
@pass_session
def list_servers(session: Session, rack: str | None) -> None:
    """List the chunkservers, their load and their last heartbeat."""
    rows = session.operations.servers().items
    wanted = (row for row in rows if rack is None or row.rack == rack)
    session.show(ServerReport(tuple(sorted(wanted, key=by_name))))


def by_name(row: ServerRow | ScrubRow) -> tuple[str | int, ...]:
    """Return what sorts cs2 before cs10."""
    parts = re.split(r"(\d+)", row.name)
    # Text and numbers take turns, so that like is compared with like.
    return tuple(int(part) if at % 2 else part for at, part in enumerate(parts))


def state_text(state: str) -> Text:
    """Return a server's state in its colour."""
    return Text(state, style=_STYLES.get(state, ""))


@render.register
def _(report: ServerReport, wide: bool) -> Table:
    table = Table("Server", "Rack", "State", "Used", "Free", "Chunks", "Heartbeat", box=None)
    if wide:
        for title in ("Replicas", "Total", "Address", "Machine", "Id", "Disks", "Journals"):
            table.add_column(title)
    reasons = any(server.reason for server in report.items)
    if reasons:
        table.add_column("Why")
    for server in report.items:
        table.add_row(*_cells(server, wide), *([server.reason] if reasons else []))
    return table


def _cells(server: ServerRow, wide: bool) -> list[str | Text]:
    cells: list[str | Text] = [
        server.name,
        server.rack,
        state_text(server.state),
        share_text(server.disk_usage),
        size_text(server.free_bytes),
        count_text(server.chunk_count),
        age_text(server.heartbeat_age_ms),
    ]
    if wide:
        cells += [
            count_text(server.replica_count),
            size_text(server.total_bytes),
            f"{server.host}:{server.port}",
            server.machine,
            format_id(server.server_id),
            ", ".join(disk.failed or format_id(disk.disk_id) for disk in server.disks),
            ", ".join(journal_text(disk) for disk in server.disks),
        ]
    return cells


def journal_text(disk: DiskRow) -> str:
    """Return how full the journal of a disk is: of small durable appends."""
    if disk.journal_trouble:
        return f"takes nothing: {disk.journal_trouble}"
    if not disk.journal_bytes:
        return "none yet"
    used = share_text(disk.journal_used_bytes / disk.journal_bytes)
    return f"{used} of {size_text(disk.journal_bytes)}"
