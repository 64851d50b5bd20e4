"""`gfsctl admin chunks verify`: every copy of some chunks read and compared, now."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from gfs_ha.cli.admin.chunks import chunk_ids_of
from gfs_ha.cli.listing import listing
from gfs_ha.cli.render import names, render
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.units import count_text, size_text
from gfs_ha.cli.verb import Verb
from gfs_ha.errors import CorruptData, GfsError, Unreachable
from gfs_ha.ids import ChunkId, format_id
from gfs_ha.protocol.damage import CORRUPT, INTACT, VerifiedChunk

_STYLES = {INTACT: "green", CORRUPT: "bold red"}
_NAMED_MAX = 3


@click.command(
    "verify",
    cls=Verb,
    examples="""
    gfsctl admin chunks verify 0x1000000000007    # each copy: ok, corrupt, unreachable
    gfsctl admin chunks verify /backup/big.img    # every chunk of a file
    gfsctl admin chunks verify -o jsonl 0x1000000000007 0x1000000000008
    """,
)
@click.argument("words", metavar="CHUNK|PATH...", nargs=-1, required=True)
@pass_session
def verify_chunks(session: Session, words: tuple[str, ...]) -> None:
    """Have every server that holds a chunk read all of its copy from the disk and compare it.

    Exit status 9: a copy is damaged or gone; it is taken out of service and made anew by itself
    (admin repair status). 5: all that answered are intact, and some did not. Only sealed chunks
    have a digest to be compared with; of a file that grows, its open end is passed over.
    """
    chunk_ids = chunk_ids_of(session, words)
    seen = Seen()
    session.show_items(
        "VerifiedChunkList",
        seen.watch(session, chunk_ids),
        lambda page: session.text(_Page(page)).split("\n"),
        lambda chunk: format_id(chunk.chunk_id),
    )
    error = seen.verdict()
    if error is not None:
        raise error


class Seen:
    """What was found on the way."""

    def __init__(self) -> None:
        self.damaged: list[str] = []
        self.unasked: list[str] = []

    def watch(self, session: Session, chunk_ids: list[ChunkId]) -> Iterator[VerifiedChunk]:
        """Verify chunk by chunk, so that no server reads for this command alone."""
        for chunk_id in chunk_ids:
            chunk = session.operations.verify_chunk(chunk_id)
            for row in chunk.replicas:
                text = f"chunk {format_id(chunk_id)} on {row.name} ({row.why})"
                if row.verdict == CORRUPT:
                    self.damaged.append(text)
                elif row.verdict != INTACT:
                    self.unasked.append(text)
            yield chunk

    def verdict(self) -> GfsError | None:
        """Return what the command ends with."""
        if self.damaged:
            count = count_text(len(self.damaged), "damaged copy", "damaged copies")
            return CorruptData(
                f"{count}: {_some(self.damaged)}; made anew by itself: gfsctl admin repair status"
            )
        if self.unasked:
            count = count_text(len(self.unasked), "copy", "copies")
            return Unreachable(f"{count} could not be verified: {_some(self.unasked)}")
        return None


def _some(texts: list[str]) -> str:
    more = f" and {len(texts) - _NAMED_MAX} more" if len(texts) > _NAMED_MAX else ""
    return ", ".join(texts[:_NAMED_MAX]) + more


class _Page:
    """Some verified chunks, for people."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items


@names.register
def _(report: _Page) -> Iterator[str]:
    for chunk in report.items:
        yield format_id(chunk.chunk_id)


@render.register
def _(report: _Page, wide: bool) -> Table:
    table = listing("=Chunk", ">Length", "Server", "Rack", "Copy", "Why")
    for chunk in report.items:
        head = (format_id(chunk.chunk_id), size_text(chunk.length))
        for row in chunk.replicas:
            verdict = Text(row.verdict, style=_STYLES.get(row.verdict, "yellow"))
            table.add_row(*head, row.name, row.rack, verdict, row.why)
            head = ("", "")
    return table
