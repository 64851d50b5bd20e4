"""`gfsctl admin chunks`: chunks and their copies."""

from __future__ import annotations

from collections.abc import Iterator

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gfs_ha.cli.listing import listing
from gfs_ha.cli.names import printable
from gfs_ha.cli.render import names, render
from gfs_ha.cli.session import Session, pass_session, watched
from gfs_ha.cli.units import size_text
from gfs_ha.cli.verb import Family, Row, Verb
from gfs_ha.errors import UsageError
from gfs_ha.ids import ChunkId, format_id
from gfs_ha.protocol.damage import TROUBLES, UNKNOWN, ChunkDetail, ChunkDetails
from gfs_ha.protocol.reports import ChunkReport, ChunkRow, ReplicaRow

_STYLES = {
    "live": "green",
    "suspect": "yellow",
    "copying": "cyan",
    "deleting": "yellow",
    "late": "yellow",
    "short": "yellow",
    "dead": "bold red",
    "damaged": "bold red",
    "quarantined": "bold red",
}
_HERE = "gfs_ha.cli.admin.chunks"
_HERE_SEAL = "gfs_ha.cli.admin.seal_chunk"
_HERE_VERIFY = "gfs_ha.cli.admin.verify_chunks"

chunks = Family(
    "chunks",
    help="Chunks and their copies.",
    rows={
        "ls": Row(_HERE, "list_chunks", "List chunks, all or those in trouble"),
        "verify": Row(_HERE_VERIFY, "verify_chunks", "Have every copy read and compared (exit 9)"),
        "seal": Row(_HERE_SEAL, "seal_chunk", "End a blocked chunk without replicas gone for good"),
        "show": Row(_HERE, "show_chunks", "Show chunks with every replica, its state and why"),
    },
)


@click.command(
    "ls",
    cls=Verb,
    examples="""
    gfsctl admin chunks ls                     # the first 1,000 chunks
    gfsctl admin chunks ls --under             # those with fewer valid copies than wanted
    gfsctl admin chunks ls --missing --corrupt # those in either trouble; each row says in which
    gfsctl admin chunks ls -o jsonl --limit 0  # every chunk, one a line
    """,
)
@click.option("--missing", is_flag=True, help="No live server has a valid copy of it.")
@click.option("--under", is_flag=True, help="Fewer valid copies on live servers than its goal.")
@click.option(
    "--short", is_flag=True, help="Sealed, and a server holds a replica with fewer bytes of it."
)
@click.option(
    "--corrupt",
    is_flag=True,
    help="A replica of it is damaged, or quarantined since it has other bytes.",
)
@click.option(
    "--orphan",
    is_flag=True,
    help="Dead or unknown to the masters, while a server holds a replica of it.",
)
@click.option(
    "--blocked",
    is_flag=True,
    help="To be sealed, and the replicas that answer cannot prove where it ends.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    help="Show at most so many; 0: all.",
)
@watched
@pass_session
def list_chunks(session: Session, /, limit: int, **kinds: bool) -> None:
    """List chunks: state, length, and where the copies lie.

    With kinds of trouble: the chunks in any of them. What servers hold and say is as the leader
    heard it since its election.
    """
    wanted = [kind for kind in TROUBLES if kinds[kind]]
    rows = _Limited(session.operations.chunks(wanted), limit)
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


@click.command(
    "show",
    cls=Verb,
    examples="""
    gfsctl admin chunks show 0x1000000000007      # every replica: server, state, why
    gfsctl admin chunks show /backup/big.img      # every chunk of a file
    gfsctl admin chunks show -w 0x1000000000007   # kept up to date
    """,
)
@click.argument("words", metavar="CHUNK|PATH...", nargs=-1, required=True)
@watched
@pass_session
def show_chunks(session: Session, words: tuple[str, ...]) -> None:
    """Show chunks with all their replicas, also those that do not count, and what ails each."""
    wanted = chunk_ids_of(session, words, sealed=False)
    session.show(session.operations.show_chunks(wanted))


def chunk_ids_of(session: Session, words: tuple[str, ...], sealed: bool = True) -> list[ChunkId]:
    """Return the chunks that words name, each once: by id, or as those of a file.

    Args: `sealed` leaves out those of a file that are not. Raises: UsageError, NotFound.
    """
    found: dict[ChunkId, None] = {}
    for word in words:
        if word.startswith("/") or "://" in word:
            path = session.file_path(word)
            for item in session.operations.placement(path).items:
                if item.chunk.state == "sealed" or not sealed:
                    found[item.chunk.chunk_id] = None
        else:
            found[read_chunk_id(word)] = None
    return list(found)


def read_chunk_id(word: str) -> ChunkId:
    """Return the chunk that a word names. Raises: UsageError."""
    try:
        found = int(word, 0)
    except ValueError:
        found = -1
    if not 0 < found < 1 << 64:
        raise UsageError(f"{word!r} is no chunk and no path; a chunk looks like 0x1000000000007")
    return ChunkId(found)


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
    style = "" if row.copies >= row.goal else ("yellow" if row.copies else "bold red")
    return Text(f"{row.copies}/{row.goal}", style=style)


@names.register
def _(report: ChunkReport) -> Iterator[str]:
    for row in report.items:
        yield format_id(row.chunk_id)


@names.register
def _(report: ChunkDetails) -> Iterator[str]:
    for one in report.items:
        yield format_id(one.row.chunk_id)


@render.register
def _(report: ChunkReport, wide: bool) -> Table:
    table = listing("=Chunk", "State", ">Length", "Copies", "Trouble", "Replicas")
    if wide:
        for title in ("Durability", "Kind", "Claimed by"):
            table.add_column(title)
    for row in report.items:
        cells: list[str | Text] = [
            format_id(row.chunk_id),
            f"{row.state} blocked: {row.blocked}" if row.blocked else row.state,
            size_text(row.length),
            copies_text(row),
            troubles_text(row),
            replicas_text(row.replicas),
        ]
        if wide:
            cells += [row.durability, row.kind, format_id(row.claimed_by) if row.claimed_by else ""]
        table.add_row(*cells)
    return table


def troubles_text(row: ChunkRow) -> Text:
    """Return the kinds of trouble that a chunk is in."""
    return Text(" ".join(row.troubles) or "-", style="bold red" if row.troubles else "")


@render.register
def _(report: ChunkDetails, wide: bool) -> Group:
    parts: list[RenderableType] = []
    for one in report.items:
        parts += [*([Text()] if parts else []), _head(one), _facts(one), _places(one, wide)]
    return Group(*parts)


def _head(one: ChunkDetail) -> Text:
    row = one.row
    text = Text(f"chunk {format_id(row.chunk_id)}  {row.state}  {size_text(row.length)}  ")
    text.append_text(copies_text(row))
    text.append(" copies")
    if row.troubles:
        text.append(f"  {' '.join(row.troubles)}", "bold red")
    if row.blocked:
        text.append(f"  blocked: {row.blocked}", "bold red")
    return text


def _facts(one: ChunkDetail) -> Text:
    row = one.row
    if row.state == UNKNOWN:
        return Text("no such chunk is in the tables of the masters")
    facts = [f"{row.kind} of {size_text(one.capacity)}", f"durability {row.durability}"]
    facts += [f"born {one.birth}", f"at least {one.min_copies} to write"]
    if row.state == "sealed":
        facts.append(f"digest {one.digest:#010x}")
    if one.reason:
        facts.append(f"sealed by the leader: {one.reason}")
    facts.append("files need it" if one.referenced else "no file needs it")
    if one.path:
        facts.append(f"the end of {printable(one.path)}")
    if row.claimed_by:
        facts.append(f"claimed by session {format_id(row.claimed_by)}")
    return Text(", ".join(facts))


def _places(one: ChunkDetail, wide: bool) -> Table:
    table = listing("Server", "Rack", "State", "Why")
    if wide:
        table.add_column("Disk")
    for replica in one.row.replicas:
        cells: list[str | Text] = [
            replica.name,
            replica.rack,
            Text(replica.health, style=_STYLES.get(replica.health, "")),
            replica.why or "it counts",
        ]
        table.add_row(*cells, *([format_id(replica.disk_id)] if wide else []))
    return table
