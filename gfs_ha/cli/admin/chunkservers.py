"""`gfsctl admin chunkservers`: the servers, their load and their last heartbeat."""

from __future__ import annotations

import re

import click
from rich.console import Group, RenderableType
from rich.text import Text

from gfs_ha.cli import output
from gfs_ha.cli.listing import listing
from gfs_ha.cli.live.words import brief_age
from gfs_ha.cli.names import printable
from gfs_ha.cli.options import TABLE, WIDE
from gfs_ha.cli.render import render
from gfs_ha.cli.session import Session, pass_session, watched
from gfs_ha.cli.units import count_text, duration_text, share_text, size_text
from gfs_ha.cli.verb import Family, Row, Verb
from gfs_ha.errors import NotFound
from gfs_ha.ids import format_id
from gfs_ha.protocol.disk_counts import disks_out_text
from gfs_ha.protocol.reports import DiskRow, ServerReport, ServerRow
from gfs_ha.protocol.scrub import ScrubRow
from gfs_ha.protocol.server_modes import IN_SERVICE

_MODE_COLUMNS = 11  # `maintenance` is not broken.
UNHEARD = "not yet"  # By this leader.
_STYLES = {"live": "green", "suspect": "yellow", "dead": "bold red"}

_ADMIN = "gfs_ha.cli.admin"

chunkservers = Family(
    "chunkservers",
    help="The chunkservers: how they are, out of service and back, the end.",
    examples="""
    gfsctl admin chunkservers ls                  # all of them, how full, how they stand
    gfsctl admin chunkservers ok-to-stop cs7      # before a reboot
    gfsctl admin chunkservers drain cs7 --wait    # empty it; undrain takes it back
    gfsctl admin chunkservers decommission cs7    # empty it for good, then remove
    """,
    rows={
        "ls": Row(f"{_ADMIN}.chunkservers", "list_servers", "List the chunkservers"),
        "show": Row(f"{_ADMIN}.chunkserver", "show_chunkserver", "Show one, and all of it"),
        "drain": Row(f"{_ADMIN}.drain", "drain", "Move everything off a server"),
        "undrain": Row(f"{_ADMIN}.drain", "undrain", "Take a server back into service"),
        "decommission": Row(f"{_ADMIN}.drain", "decommission", "Empty a server for good"),
        "remove": Row(f"{_ADMIN}.maintenance", "remove", "Take an empty or dead one out"),
        "maintenance": Row(f"{_ADMIN}.maintenance", "maintenance", "Planned pauses: on, off"),
        "ok-to-stop": Row(f"{_ADMIN}.stopping", "ok_to_stop", "May it stop now? (exit 8: no)"),
        "label": Row(f"{_ADMIN}.maintenance", "label", "Set labels, or take them away"),
    },
)


@click.command(
    "ls",
    cls=Verb,
    examples="""
    gfsctl admin chunkservers ls              # all of them
    gfsctl admin chunkservers ls --rack r1    # those of one rack
    gfsctl admin chunkservers ls --label a=b  # those with a label
    gfsctl admin chunkservers ls -w           # again every two seconds
    """,
)
@click.option("--rack", metavar="RACK", help="Only the servers of this rack.")
@click.option("--label", "labels", metavar="KEY[=VALUE]", multiple=True, help="With this label.")
@watched
@pass_session
def list_servers(session: Session, rack: str | None, labels: tuple[str, ...]) -> None:
    """List the chunkservers: how they stand, their load and their last heartbeat."""
    rows = session.operations.servers().items
    racks = sorted({row.rack for row in rows})
    if rack is not None and rack not in racks:
        raise NotFound(f"there is no rack {rack!r}; there are {', '.join(racks) or 'none yet'}")
    wanted = (
        row
        for row in rows
        if (rack is None or row.rack == rack) and all(_has(row, one) for one in labels)
    )
    found = tuple(sorted(wanted, key=by_name))
    if rows and not found and session.options.output in (TABLE, WIDE):
        where = f" on rack {printable(rack)}" if rack is not None else ""
        named = f" with label {' and '.join(map(printable, labels))}" if labels else ""
        output.write_lines([f"no chunkservers{where}{named}"])
        return
    session.show(ServerReport(found))


def by_name(row: ServerRow | ScrubRow) -> tuple[str | int, ...]:
    """Return what sorts cs2 before cs10."""
    return in_order(row.name)


def in_order(name: str) -> tuple[str | int, ...]:
    """Return what sorts cs2 before cs10, of a name."""
    parts = re.split(r"(\d+)", name)
    # Text and numbers take turns, so that like is compared with like.
    return tuple(int(part) if at % 2 else part for at, part in enumerate(parts))


def _has(row: ServerRow, label: str) -> bool:
    key, equals, value = label.partition("=")
    known = dict(row.labels)
    return key in known and (not equals or known[key] == value)


def standing_text(row: ServerRow) -> Text:
    """Return how a server stands: in service, draining with its job, in maintenance."""
    if row.mode == IN_SERVICE and row.disk_counts.all_out:
        text = Text("no disk in service", "yellow")
    elif row.mode == IN_SERVICE:
        text = Text(row.mode)
    else:
        job = f" {row.job}" if row.job and row.job_share >= 0 else ""
        share = f" {share_text(row.job_share)}" if row.job_share >= 0 else ""
        text = Text(f"{row.mode}{job}{share}", "yellow")
    if row.maintenance_left_ms:
        if row.mode == IN_SERVICE and not row.disk_counts.all_out:
            text = Text()
        left = duration_text(row.maintenance_left_ms)
        text.append(f"{', ' if text else ''}maintenance {left}", "yellow")
    return text


def labels_text(row: ServerRow) -> str:
    """Return the labels of a server as they are set."""
    return ",".join(f"{key}={value}" for key, value in row.labels) or "-"


def state_text(state: str) -> Text:
    """Return a server's state in its colour."""
    return Text(state, style=_STYLES.get(state, ""))


@render.register
def _(report: ServerReport, wide: bool) -> RenderableType:
    if not report.items:
        return Text("no chunkservers")
    table = listing("Server", "Rack", "=State", "Mode", ">Used", ">Free", ">Chunks", ">Heartbeat")
    table.columns[3].min_width = _MODE_COLUMNS
    if wide:
        for title in (
            "Labels",
            "Replicas",
            "Total",
            "Address",
            "Machine",
            "Id",
            "Disks",
            "Journals",
        ):
            table.add_column(title)
    for server in report.items:
        table.add_row(*_cells(server, wide))
    # Below the table, whole: beside it there is no room for a sentence.
    return Group(
        table,
        *(
            Text(printable(f"{server.name}: {server.reason}"), _STYLES.get(server.state, ""))
            for server in report.items
            if server.reason
        ),
        *(
            Text(
                f"{server.name}: {disks_out_text(server.disk_counts)}, no room there",
                "yellow",
            )
            for server in report.items
            if server.disk_counts.out
        ),
    )


def _cells(server: ServerRow, wide: bool) -> list[str | Text]:
    told = (
        share_text(server.disk_usage) if server.total_bytes else "-",
        size_text(server.free_bytes) if server.total_bytes else "-",
        count_text(server.chunk_count),
        f"{brief_age(server.heartbeat_age_ms)} ago",
    )
    heard = server.heartbeat_age_ms >= 0  # By this leader; what another one heard it does not know.
    cells: list[str | Text] = [
        server.name,
        server.rack,
        state_text(server.state),
        standing_text(server),
        *(told if heard else ("-", "-", "-", UNHEARD)),
    ]
    if wide:
        cells += [
            labels_text(server),
            count_text(server.replica_count),
            size_text(server.total_bytes),
            f"{server.host}:{server.port}",
            server.machine,
            format_id(server.server_id),
            ", ".join(
                f"{format_id(one.disk_id)}{' failed' * bool(one.failed)}" for one in server.disks
            ),
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
