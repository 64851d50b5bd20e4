"""`gfsctl admin placement`: where the bytes of a file lie, why, and what would come next."""

from __future__ import annotations

from collections.abc import Iterator

import click
from rich.console import Group
from rich.table import Table
from rich.text import Text

from gfs_ha.cli.admin.chunks import copies_text, read_chunk_id, replicas_text
from gfs_ha.cli.names import SCHEME, printable
from gfs_ha.cli.render import names, render
from gfs_ha.cli.session import Session, pass_session, watched
from gfs_ha.cli.units import count_text, share_text, size_text
from gfs_ha.cli.verb import Family, Row, Verb
from gfs_ha.ids import format_id
from gfs_ha.protocol.placement import (
    NewPlacementExplained,
    PlacementExplained,
    RejectedRow,
    SuccessorRow,
)
from gfs_ha.protocol.reports import PlacementReport

_HERE = "gfs_ha.cli.admin.placement"
_REJECTED_SHOWN = 12

placement = Family(
    "placement",
    help="Where the bytes of a file lie, and why.",
    rows={
        "show": Row(_HERE, "show_placement", "Show a file's chunks"),
        "explain": Row(_HERE, "explain_placement", "Why a chunk lies where it does, and what if"),
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
    session.show(session.operations.placement(session.file_path(path)))


@click.command(
    "explain",
    cls=Verb,
    examples="""
    gfsctl admin placement explain 0x1000000000007           # who holds it and why, who does not
    gfsctl admin placement explain -o wide 0x1000000000007   # also all who would take a copy
    gfsctl admin placement explain /backup/new               # where a new file would go from here
    """,
)
@click.argument("what", metavar="CHUNK|PATH")
@watched
@pass_session
def explain_placement(session: Session, what: str) -> None:
    """Show why a chunk lies where it does, who takes no copy and why, and who would come next.

    Of a path: where the first chunk of a new file would go now, written from this machine.
    """
    operations = session.operations
    if not what.startswith(("/", SCHEME)):
        session.show(operations.explain_placement(read_chunk_id(what)))
        return
    here = session.config.client
    session.show(operations.explain_new_placement(session.path(what), here.machine, here.rack))


@names.register
def _(report: PlacementReport) -> Iterator[str]:
    seen: set[int] = set()
    for item in report.items:
        if item.chunk.chunk_id not in seen:
            seen.add(item.chunk.chunk_id)
            yield format_id(item.chunk.chunk_id)


@render.register
def _(report: PlacementReport, wide: bool) -> Group:
    table = Table("Offset", "Length", "Chunk", "State", "Copies", "Replicas", box=None)
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


@names.register
def _(report: PlacementExplained) -> Iterator[str]:
    for row in report.holders:
        yield row.name


@render.register
def _(report: PlacementExplained, wide: bool) -> Group:
    chunk = report.chunk
    lines = [
        Text(
            f"chunk {format_id(chunk.chunk_id)} {chunk.state} {size_text(chunk.length)}  "
            f"{chunk.copies}/{chunk.goal} copies   rule {report.rule}: {report.rule_text}"
        )
    ]
    for row in report.holders:
        score = f"{share_text(row.used_share)} used, score {row.score:.2f}"
        lines.append(Text(f" {row.name} {row.rack}  {row.why} ({score})"))
    if report.misplaced:
        lines.append(Text(f" {report.misplaced}", "yellow"))
    if wide and report.open_to:
        others = " | ".join(f"{one.name} {one.rack} {one.score:.2f}" for one in report.open_to)
        lines.append(Text(f" would take one: {others}"))
    lines += _rejected_lines(report.rejected, wide)
    lines += [Text(f" {_successor_text(one)}") for one in report.if_lost]
    return Group(*lines)


@names.register
def _(report: NewPlacementExplained) -> Iterator[str]:
    for row in report.chosen:
        yield row.name


@render.register
def _(report: NewPlacementExplained, wide: bool) -> Group:
    lines = [
        Text(
            f"a new file at {printable(report.path)}: {count_text(report.goal, 'copy', 'copies')}"
            f"   rule {report.rule}: {report.rule_text}"
        )
    ]
    for row in report.chosen:
        score = f"{share_text(row.used_share)} used, score {row.score:.2f}"
        lines.append(Text(f" {row.name} {row.rack}  {row.why} ({score})"))
    if report.refused:
        lines.append(Text(f" {report.refused}", "red"))
    lines += [Text(f" {remark}", "yellow") for remark in report.remarks]
    return Group(*lines, *_rejected_lines(report.rejected, wide))


def _rejected_lines(rejected: tuple[RejectedRow, ...], wide: bool) -> list[Text]:
    if not rejected:
        return []
    shown = rejected[: None if wide else _REJECTED_SHOWN]
    more = len(rejected) - len(shown)
    others = " | ".join(f"{one.name} {one.rack} {one.why}" for one in shown)
    return [Text(f" rejected: {others}{f' | and {more} more' if more else ''}")]


def _successor_text(row: SuccessorRow) -> str:
    if not row.target:
        return f"if {row.lost} dies: {row.why}"
    return (
        f"if {row.lost} dies: {row.target} ({row.rack}, score {row.score:.2f}) "
        f"gets the copy from {row.source}"
    )
