"""`gfsctl admin placement explain`: why a chunk lies where it does, and what would come next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import click
import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gfs_ha.cli.admin.chunks import read_chunk_id
from gfs_ha.cli.blocks import Line, block
from gfs_ha.cli.explained.repairs import ways_text
from gfs_ha.cli.names import SCHEME, pasted, printable
from gfs_ha.cli.options import TABLE
from gfs_ha.cli.render import names, render
from gfs_ha.cli.session import Session, pass_session, watched
from gfs_ha.cli.units import count_text, share_text, size_text
from gfs_ha.cli.verb import Verb
from gfs_ha.errors import NotADirectory, NotFound
from gfs_ha.ids import format_id
from gfs_ha.protocol.metadata import DIRECTORY
from gfs_ha.protocol.placement import (
    NewPlacementExplained,
    PlacedRow,
    PlacementExplained,
    RejectedRow,
    SuccessorRow,
)

_SHOWN = 12
_CHUNKS_SHOWN = 2  # Of a file; with -o wide, json and so on _SHOWN.


class FilePlacement(msgspec.Struct, frozen=True):
    """-> kind FilePlacement; the items are chunks of a file, those with trouble first.

    `next` is where a further chunk would go now.
    """

    items: tuple[PlacementExplained, ...]
    path: str
    size: int
    chunk_count: int  # Of those that were looked at.
    more: bool  # It has others.
    next: NewPlacementExplained


@click.command(
    "explain",
    cls=Verb,
    examples="""
    gfsctl admin placement explain 0x1000000000007           # who holds it and why, who does not
    gfsctl admin placement explain -o wide 0x1000000000007   # also all who would take a copy
    gfsctl admin placement explain /backup/big.img           # of a file: chunks, and a further one
    gfsctl admin placement explain /backup/new               # where a new file would go from here
    """,
)
@click.argument("what", metavar="CHUNK|PATH")
@watched
@pass_session
def explain_placement(session: Session, what: str) -> None:
    """Show why a chunk lies where it does, who takes no copy and why, and who would come next.

    Of a file: the same of its first chunks, those with trouble before others, and where a further
    chunk would go. Of any other path: where the first chunk of a new file would go now, written
    from this machine.
    """
    if not what.startswith(("/", SCHEME)):
        session.show(session.operations.explain_placement(read_chunk_id(what)))
        return
    path, here = session.path(what), session.config.client
    new = session.operations.explain_new_placement(path, here.machine, here.rack)
    session.show(_of_file(session, path, new) or new)


def _of_file(session: Session, path: str, new: NewPlacementExplained) -> FilePlacement | None:
    """Return what is to be said of a file that is there; None: there is none."""
    try:
        status = session.cluster.stat(path)
    except (NotFound, NotADirectory):
        return None
    if status.kind == DIRECTORY:
        return None
    placed = session.operations.placement(path)
    chunks = list({item.chunk.chunk_id: item.chunk for item in placed.items}.values())
    chunks.sort(key=lambda one: not (one.troubles or one.copies < one.goal))
    shown = chunks[: _CHUNKS_SHOWN if session.options.output == TABLE else _SHOWN]
    return FilePlacement(
        items=tuple(session.operations.explain_placement(one.chunk_id) for one in shown),
        path=path,
        size=status.size,
        chunk_count=len(chunks),
        more=placed.more,
        next=new,
    )


@names.register
def _(report: PlacementExplained) -> Iterator[str]:
    for row in report.holders:
        yield row.name


@names.register
def _(report: NewPlacementExplained) -> Iterator[str]:
    for row in report.chosen:
        yield row.name


@names.register
def _(report: FilePlacement) -> Iterator[str]:
    yield from dict.fromkeys(row.name for one in report.items for row in one.holders)


@render.register
def _(report: FilePlacement, wide: bool) -> RenderableType:
    least = "at least " * report.more
    head = Text(printable(report.path), "bold")
    head.append(f"  {size_text(report.size)}  {least}{count_text(report.chunk_count, 'chunk')}", "")
    parts: list[RenderableType] = [head]
    parts += [_chunk(one, wide, report.path) for one in report.items]
    if report.chunk_count > len(report.items) or report.more:
        show = f"gfsctl admin placement show {pasted(report.path)}"
        parts.append(Text(f"others: {show}", "dim"))
    return Group(*parts, _new(report.next, "a further chunk of "))


@render.register
def _(report: PlacementExplained, wide: bool) -> RenderableType:
    return _chunk(report, wide)


def _chunk(report: PlacementExplained, wide: bool, path: str = "") -> RenderableType:
    chunk = report.chunk
    head = Text("chunk ")
    head.append(format_id(chunk.chunk_id), "bold")
    head.append(f" {chunk.state} {size_text(chunk.length)}  ")
    whole = chunk.copies >= chunk.goal
    head.append(f"{chunk.copies}/{chunk.goal} copies", "green" if whole else "yellow")
    lines: list[Line] = [
        ("rule", f"{report.rule}: {report.rule_text}"),
        ("copies", _placed(report.holders)),
        ("but", Text(report.misplaced, "yellow")),
    ]
    if wide or not chunk.copies >= chunk.goal:
        lines.append(("open to", _placed(report.open_to)))
    elif report.open_to:
        best = [f"{one.name} {one.rack} ({one.score:.2f})" for one in report.open_to]
        lines.append(("open to", _joined(best, wide)))
    lines += [
        ("rejected", _rejected(report.rejected, wide)),
        ("then", _if_lost(report.if_lost)),
        ("", ways_text(report, path)),
        ("changes", _changes(report.changes)),
    ]
    return block(head, lines)


@render.register
def _(report: NewPlacementExplained, wide: bool) -> RenderableType:
    return _new(report, "a new file at ", wide)


def _new(report: NewPlacementExplained, what: str, wide: bool = False) -> RenderableType:
    head = Text(what)
    head.append(printable(report.path), "bold")
    head.append(f"  {count_text(report.goal, 'copy', 'copies')}")
    return block(
        head,
        [
            ("rule", f"{report.rule}: {report.rule_text}"),
            ("copies", _placed(report.chosen)),
            ("refused", Text(report.refused, "bold red")),
            ("but", Text("\n".join(report.remarks), "yellow")),
            ("rejected", _rejected(report.rejected, wide)),
        ],
    )


def _placed(rows: Sequence[PlacedRow]) -> Table | None:
    """Return servers one below the other, the head of the chain first."""
    if not rows:
        return None
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    for row in rows:
        ails = "; it " in row.why
        used, score = f"emptiest disk {share_text(row.used_share)}", f"score {row.score:.2f}"
        cells = (Text(row.why, "yellow" if ails else ""), used, score)
        table.add_row(printable(row.name), printable(row.rack), *cells)
    return table


def _rejected(rejected: Sequence[RejectedRow], wide: bool) -> Text:
    return _joined([f"{one.name} {one.rack} {one.why}" for one in rejected], wide)


def _joined(parts: Sequence[str], wide: bool) -> Text:
    shown = parts[: None if wide else _SHOWN]
    more = len(parts) - len(shown)
    others = [f"and {more} more (-o wide)"] if more else []
    return Text(" | ".join(printable(one) for one in (*shown, *others)))


def _if_lost(rows: Iterable[SuccessorRow]) -> Text:
    return Text("\n").join(_successor_text(row) for row in rows)


def _successor_text(row: SuccessorRow) -> Text:
    """Return who gets the copy of a server that dies, and from whom."""
    if not row.target:
        return Text(f"if {row.lost} dies: {row.why}", "yellow" if "nobody" in row.why else "")
    return Text(
        f"if {row.lost} dies: {row.target} ({row.rack}, score {row.score:.2f}) "
        f"gets the copy from {row.source or 'a server that answers'}"
    )


def _changes(changes: Sequence[str]) -> str:
    return "a server that is rejected takes one after: " + " | ".join(changes) if changes else ""
