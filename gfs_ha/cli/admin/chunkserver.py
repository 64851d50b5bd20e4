"""`gfsctl admin chunkservers show`: one chunkserver with all that is known of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click
from rich.console import Group
from rich.table import Table
from rich.text import Text

from gfs_ha.cli.admin.chunkservers import (
    UNHEARD,
    journal_text,
    labels_text,
    standing_text,
    state_text,
)
from gfs_ha.cli.listing import listing
from gfs_ha.cli.names import printable
from gfs_ha.cli.render import names, render
from gfs_ha.cli.session import Session, pass_session, watched
from gfs_ha.cli.units import age_text, count_text, duration_text, share_text, size_text, time_text
from gfs_ha.cli.verb import Verb
from gfs_ha.client.server_detail import ChunkserverReport
from gfs_ha.ids import format_id
from gfs_ha.protocol.disk_counts import disks_out_text
from gfs_ha.protocol.reports import DiskRow
from gfs_ha.protocol.scrub import ScrubFacts
from gfs_ha.protocol.server_modes import IN_SERVICE
from gfs_ha.protocol.servers import ServerDetail

_SHOWN = 5  # Of leases and damage; all that is known with -o wide.


@click.command(
    "show",
    cls=Verb,
    examples="""
    gfsctl admin chunkservers show cs1           # state, disks, journal, chunks, leases, damage
    gfsctl admin chunkservers show cs1 -o wide   # with every lease and every damaged replica
    gfsctl admin chunkservers show cs1 -w        # again and again
    """,
)
@click.argument("name")
@watched
@pass_session
def show_chunkserver(session: Session, name: str) -> None:
    """Show one chunkserver: how it is and why, its disks and journals, what chunks have there.

    Exit status 3: no such chunkserver.
    """
    session.show(session.operations.show_server(name))


@names.register
def _(report: ChunkserverReport) -> Iterator[str]:
    yield report.detail.row.name


@render.register
def _(report: ChunkserverReport, wide: bool) -> Group:
    detail = report.detail
    parts: list[Table | Text] = [_facts(report)]
    if detail.row.disks:
        parts += [Text(), _disks(detail), *_failures(detail.row.disks)]
    if detail.scrub:
        parts += [Text(), _scrubs(detail.scrub)]
    limit = len(detail.leases) if wide else _SHOWN
    if detail.leases:
        parts += [Text(), _leases(detail, limit)]
    if detail.damage:
        parts += [Text(), _damage(detail, len(detail.damage) if wide else _SHOWN)]
    return Group(*parts)


def _facts(report: ChunkserverReport) -> Table:
    detail, row = report.detail, report.detail.row
    table = Table(show_header=False, box=None)
    places = [
        f"{count_text(one.count)} {one.state}"
        + (f" ({size_text(one.length)})" if one.length else "")
        for one in report.places
        if one.count
    ]
    more = " of the first ones" if report.places_more else ""
    beating = duration_text(detail.beating_ms) if detail.beating_ms >= 0 else "-"
    lease = f", ends in {duration_text(detail.lease_left_ms)}" if detail.lease_left_ms else ""
    copies = [
        f"{format_id(one.chunk_id)} {share_text(one.bytes_done / max(1, one.bytes_total))}"
        for one in detail.copies
    ]
    heard = row.heartbeat_age_ms >= 0
    beat = f"{age_text(row.heartbeat_age_ms)}, without a pause for {beating}"
    used = f"{share_text(row.disk_usage)}, {size_text(row.free_bytes)} free"
    used = used if row.total_bytes else "-"
    out = disks_out_text(row.disk_counts)
    used += f"; {out}: no room there" if out else ""
    lines: list[tuple[str, str | Text]] = [
        ("Server", row.name),
        ("State", state_text(row.state)),
        ("Why", row.reason or "-"),
        ("Mode", standing_text(row)),
        ("Labels", labels_text(row)),
        ("Rack", row.rack),
        ("Machine", row.machine),
        ("Address", f"{row.host}:{row.port}"),
        ("Id", format_id(row.server_id)),
        ("Run", format_id(detail.start_id) if detail.start_id else "-"),
        ("Heartbeat", beat if heard else f"{UNHEARD}, by this leader"),
        ("Clock ahead", f"{detail.clock_ahead_ms} ms" if heard else "-"),
        ("Used", used if heard else "-"),
        ("Places", f"{', '.join(places) or 'none'}{more}"),
        ("Streams", count_text(detail.streams) if heard else "-"),
        ("Copying now", ", ".join(copies) or ("nothing" if heard else "-")),
        ("Leases", f"{count_text(detail.lease_count)}{lease}"),
        ("Damaged", count_text(detail.damage_count)),
    ]
    for title, value in lines:
        table.add_row(title, value)
    return table


def _disks(detail: ServerDetail) -> Table:
    told = any(disk.directory for disk in detail.row.disks)
    where = ("Directory",) if told else ()
    table = listing("=Disk", *where, "=State", ">Total", ">Free", ">Chunks", "Journal")
    for disk in detail.row.disks:
        cells = _disk_cells(disk)
        table.add_row(cells[0], *((printable(disk.directory),) if told else ()), *cells[1:])
    return table


def _failures(disks: Sequence[DiskRow]) -> list[Text]:
    failed = [disk for disk in disks if disk.failed]
    return [
        Text(printable(f" {format_id(disk.disk_id)}: {disk.failed}"), "bold red") for disk in failed
    ]


def _mode(mode: str) -> Text:
    return Text(mode) if mode == IN_SERVICE else Text(mode, "yellow")


def _disk_cells(disk: DiskRow) -> list[str | Text]:
    return [
        format_id(disk.disk_id),
        Text("failed", "bold red") if disk.failed else _mode(disk.mode),
        size_text(disk.total_bytes),
        size_text(disk.free_bytes),
        count_text(disk.chunk_count),
        journal_text(disk),
    ]


def _scrubs(scrubs: Sequence[ScrubFacts]) -> Table:
    table = listing("=Scrub of", "Now", ">Found ever", "=Last whole round")
    for scrub in scrubs:
        done = f" {share_text(scrub.bytes_done / scrub.bytes_total)}" if scrub.bytes_total else ""
        table.add_row(
            format_id(scrub.disk_id),
            scrub.state if scrub.state == "idle" else f"{scrub.state}{done}",
            Text(count_text(scrub.found_ever), "bold red" if scrub.found_ever else ""),
            time_text(scrub.ended_ms * 1_000_000) if scrub.ended_ms else "none yet",
        )
    return table


def _leases(detail: ServerDetail, limit: int) -> Table:
    table = listing("=Primary of", "File", ">Length", "=Granted by")
    for one in detail.leases[:limit]:
        table.add_row(
            format_id(one.chunk_id), printable(one.path), size_text(one.length), str(one.epoch)
        )
    return table


def _damage(detail: ServerDetail, limit: int) -> Table:
    table = listing("=Damaged", "Why")
    for one in detail.damage[:limit]:
        table.add_row(format_id(one.chunk_id), one.why)
    return table
