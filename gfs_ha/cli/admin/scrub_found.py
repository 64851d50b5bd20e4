"""`gfsctl admin scrub found`: the damaged replicas that were found lately, and when."""

from __future__ import annotations

from collections.abc import Iterator

import click
import msgspec
from rich.table import Table

from gfs_ha.cli.admin.scrub import chosen_rows
from gfs_ha.cli.listing import listing
from gfs_ha.cli.render import names, render
from gfs_ha.cli.session import Session, pass_session, watched
from gfs_ha.cli.units import time_text
from gfs_ha.cli.verb import Verb
from gfs_ha.ids import ChunkId, DiskId, format_id
from gfs_ha.protocol.scrub import ScrubRow


class FoundItem(msgspec.Struct, frozen=True):
    """A damaged replica."""

    found_ms: int
    server: str
    disk_id: DiskId
    chunk_id: ChunkId
    why: str


class FoundDamageList(msgspec.Struct, frozen=True):
    """-> kind FoundDamageList, the newest first."""

    items: tuple[FoundItem, ...]


@click.command(
    "found",
    cls=Verb,
    examples="""
    gfsctl admin scrub found          # of all servers, the newest first
    gfsctl admin scrub found cs3      # of one
    gfsctl admin scrub found -o jsonl # for programs
    """,
)
@click.argument("servers", metavar="[SERVER...]", nargs=-1)
@watched
@pass_session
def found(session: Session, servers: tuple[str, ...]) -> None:
    """Show the damaged replicas that reads or the scrub found, the newest 16 of each disk.

    Most are healed by now: admin chunks ls --corrupt shows those that are not.
    """
    rows = chosen_rows(session.operations.scrub().items, servers)
    session.show(FoundDamageList(tuple(damage_of(rows))))


def damage_of(rows: list[ScrubRow]) -> list[FoundItem]:
    """Return what servers found, the newest first."""
    items = [
        FoundItem(one.found_ms, row.name, disk.disk_id, one.chunk_id, one.why)
        for row in rows
        for disk in row.disks
        for one in disk.finds
    ]
    return sorted(items, key=lambda item: item.found_ms, reverse=True)


@names.register
def _(report: FoundDamageList) -> Iterator[str]:
    for item in report.items:
        yield format_id(item.chunk_id)


@render.register
def _(report: FoundDamageList, wide: bool) -> Table:
    table = listing("Found", "Server", "=Chunk", "What")
    if wide:
        table.add_column("Disk")
    for item in report.items:
        cells = [
            time_text(item.found_ms * 1_000_000),
            item.server,
            format_id(item.chunk_id),
            item.why,
        ]
        table.add_row(*cells, *([format_id(item.disk_id)] if wide else []))
    return table
