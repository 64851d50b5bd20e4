"""`gfsctl admin chunks`: chunks and their copies."""

from __future__ import annotations

from collections.abc import Iterator

import click
from rich.table import Table
from rich.text import Text

from gfs_ha.cli.render import names, render
from gfs_ha.cli.session import Session, pass_session, watched
from gfs_ha.cli.units import size_text
from gfs_ha.cli.verb import Family, Row, Verb
from gfs_ha.ids import format_id
from gfs_ha.protocol.reports import ChunkReport, ChunkRow, ReplicaRow

_STYLES = {
    "live": "green",
    "suspect": "yellow",
    "copying": "cyan",
    "deleting": "yellow",
    "dead": "red",
    "damaged": "red",
    "quarantined": "red",
}

chunks = Family(
    "chunks",
    help="Chunks and their copies.",
    rows={"ls": Row("gfs_ha.cli.admin.chunks", "list_chunks", "List chunks")},
)


@click.command(
    "ls",
    cls=Verb,
    examples="""
    gfsctl admin chunks ls                    # the first 1,000 chunks
    gfsctl admin chunks ls --under            # those with fewer live copies than wanted
    gfsctl admin chunks ls -o jsonl --limit 0 # every chunk, one a line
    """,
)
@click.option("--under", is_flag=True, help="Only chunks with fewer live copies than their goal.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    help="Show at most so many; 0: all.",
)
@watched
@pass_session
def list_chunks(session: Session, under: bool, limit: int) -> None:
    """List chunks: state, length, and where the copies lie."""
    rows = _Limited(session.operations.chunks(under=under), limit)
    if session.watching:
        session.show(ChunkReport(tuple(rows), rows.more))
    else:
        session.show_items(
            "ChunkList",
            iter(rows),
            lambda page: session.text(ChunkReport(tuple(page), False)).split("\n"),
            lambda row: format_id(row.chunk_id),
            lambda: {"more": rows.more},
        )
    if rows.more:
        session.warn(f"only the first {limit} chunks are shown; --limit 0 shows all")


class _Limited:
    """At most so many rows (0: all), and whether there were more."""

    def __init__(self, rows: Iterator[ChunkRow], limit: int) -> None:
        self._rows = rows
        self._limit = limit
        self.more = False

    def __iter__(self) -> Iterator[ChunkRow]:
        for at, row in enumerate(self._rows):
            if self._limit and at == self._limit:
                self.more = True
                return
            yield row


def replicas_text(replicas: tuple[ReplicaRow, ...]) -> Text:
    """Return `cs1/r1 cs2/r1!dead`: the servers with their racks, and what is wrong with them."""
    text = Text()
    for replica in replicas:
        wrong = "" if replica.health == "live" else f" {replica.health}"
        text.append(f"{replica.name}/{replica.rack}{wrong}", style=_STYLES.get(replica.health, ""))
        text.append("  ")
    text.rstrip()
    return text


def copies_text(row: ChunkRow) -> Text:
    """Return `2/3`, live copies of the goal, in the colour of trouble when some are missing."""
    style = "" if row.copies >= row.goal else ("yellow" if row.copies else "red")
    return Text(f"{row.copies}/{row.goal}", style=style)


@names.register
def _(report: ChunkReport) -> Iterator[str]:
    for row in report.items:
        yield format_id(row.chunk_id)


@render.register
def _(report: ChunkReport, wide: bool) -> Table:
    table = Table("Chunk", "State", "Length", "Copies", "Replicas", box=None)
    if wide:
        for title in ("Durability", "Kind", "Claimed by"):
            table.add_column(title)
    for row in report.items:
        cells: list[str | Text] = [
            format_id(row.chunk_id),
            f"{row.state} blocked: {row.blocked}" if row.blocked else row.state,
            size_text(row.length),
            copies_text(row),
            replicas_text(row.replicas),
        ]
        if wide:
            cells += [row.durability, row.kind, format_id(row.claimed_by) if row.claimed_by else ""]
        table.add_row(*cells)
    return table
