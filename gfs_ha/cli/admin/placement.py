"""`gfsctl admin placement`: where the bytes of a file lie, why, and what would come next."""

from __future__ import annotations

from collections.abc import Iterator

import click
from rich.console import Group
from rich.text import Text

from gfs_ha.cli.admin.chunks import copies_text, replicas_text
from gfs_ha.cli.listing import listing
from gfs_ha.cli.names import printable
from gfs_ha.cli.render import names, render
from gfs_ha.cli.session import Session, pass_session, watched
from gfs_ha.cli.units import count_text, size_text
from gfs_ha.cli.verb import Family, Row, Verb
from gfs_ha.ids import format_id
from gfs_ha.protocol.reports import PlacementReport

_HERE = "gfs_ha.cli.admin.placement"
_EXPLAINED = "gfs_ha.cli.admin.placement_explained"

placement = Family(
    "placement",
    help="Where the bytes of a file lie, and why.",
    rows={
        "show": Row(_HERE, "show_placement", "Show a file's chunks"),
        "explain": Row(_EXPLAINED, "explain_placement", "Why it lies where it does, what if"),
        "simulate": Row(
            "gfs_ha.cli.admin.simulate", "simulate_placement", "If servers were lost or came"
        ),
    },
)


@click.command(
    "show",
    cls=Verb,
    examples="""
    gfsctl admin placement show /backup/big.img           # chunks, servers, racks, health
    gfsctl admin placement show -o wide /backup/big.img   # also the offsets inside the chunks
    """,
)
@click.argument("path")
@watched
@pass_session
def show_placement(session: Session, path: str) -> None:
    """Show the chunks of a file and, for each, the servers that hold it."""
    wanted = session.file_path(path)
    session.show(session.operations.placement(wanted))


@names.register
def _(report: PlacementReport) -> Iterator[str]:
    seen: set[int] = set()
    for item in report.items:
        if item.chunk.chunk_id not in seen:
            seen.add(item.chunk.chunk_id)
            yield format_id(item.chunk.chunk_id)


@render.register
def _(report: PlacementReport, wide: bool) -> Group:
    table = listing(">Offset", ">Length", "=Chunk", "State", "Copies", "Replicas")
    if wide:
        for title in ("In chunk at", "Chunk length", "Durability", "Rule"):
            table.add_column(title)
    for item in report.items:
        chunk = item.chunk
        cells: list[str | Text] = [
            count_text(item.file_offset),
            size_text(item.length),
            format_id(chunk.chunk_id),
            chunk.blocked or chunk.state,
            copies_text(chunk),
            replicas_text(chunk.replicas),
        ]
        if wide:
            cells += [count_text(item.chunk_offset), size_text(chunk.length)]
            cells += [chunk.durability, chunk.rule]
        table.add_row(*cells)
    chunks = len({item.chunk.chunk_id for item in report.items})
    head = Text(
        f"{printable(report.path)}  {size_text(report.size)}  {count_text(chunks, 'chunk')}"
        f"{' and more' if report.more else ''}"
        f"   {count_text(report.goal, 'copy', 'copies')} wanted   rule: {report.rule}"
        f"{'   goals are being changed' if report.fitting else ''}"
    )
    return Group(head, table) if report.items else Group(head)
