"""`gfsctl admin fsck`: every file, chunk and copy compared while the cluster works."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table
from rich.text import Text

from gfs_ha.cli import output
from gfs_ha.cli.listing import listing
from gfs_ha.cli.names import printable
from gfs_ha.cli.options import TABLE, WIDE
from gfs_ha.cli.render import names, render
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.units import count_text, size_text
from gfs_ha.cli.verb import Verb
from gfs_ha.errors import CorruptData, GfsError, PartlyDone, Unhealthy
from gfs_ha.ids import format_id
from gfs_ha.protocol.fsck import (
    AGREES,
    LOSS,
    NEXT_STEPS,
    NOTE,
    SEVERITIES,
    TROUBLE,
    UNCOUNTED,
    UNSEEN,
)

if TYPE_CHECKING:
    from gfs_ha.client.fsck import FsckSummary
    from gfs_ha.protocol.fsck import FsckFinding

_STYLES = {LOSS: "bold red", TROUBLE: "yellow", UNSEEN: "yellow", NOTE: "cyan"}
_NAMED_MAX = 5  # Servers in one line.


@click.command(
    "fsck",
    cls=Verb,
    examples="""
    gfsctl admin fsck                       # all files, chunks and copies; exit 0 when all is well
    gfsctl admin fsck /backup --deep        # and have every copy of these read from its disk
    gfsctl admin fsck --all -o jsonl        # also files that grow and chunks that lie badly
    """,
)
@click.argument("path", default="/")
@click.option("--deep", is_flag=True, help="Have every copy read whole and compared (slow).")
@click.option("--all", "notes", is_flag=True, help="Also list what is only worth knowing.")
@pass_session
def fsck(session: Session, path: str, deep: bool, notes: bool) -> None:
    """Compare names, chunks and disks, and name the files that anything is wrong with.

    It changes nothing, and the cluster goes on working: a finding is told when it is there at a
    second look, three seconds after the first. Exit status 0: healthy; 8: something is to be mended
    and no byte is lost; 9: bytes cannot be read; 11: nothing was found, but not all could be looked
    at. Below another path than / only its files are looked at, not chunks and copies that no file
    needs.
    """
    progress = _Progress(session)
    top = session.path(path)
    run = session.operations.fsck(top, deep, progress.show)
    found = (one for one in run.findings() if notes or one.severity != NOTE)
    try:
        session.show_items(
            "FsckFindingList",
            found,
            lambda page: session.text(_Page(page)).split("\n"),
            lambda one: one.path or format_id(one.chunk_id),
            lambda: {"summary": _facts(run.summary)},
        )
    finally:
        progress.clear()
    if session.options.output in (TABLE, WIDE) and not session.options.quiet:
        output.write_lines(_summary(run.summary, deep))
    error = _verdict(run.summary)
    if error is not None:
        raise error


class _Progress:
    """One line on a terminal's standard error."""

    def __init__(self, session: Session) -> None:
        self._shown = output.stderr_is_terminal() and not session.options.quiet

    def show(self, summary: FsckSummary) -> None:
        output.check_read()
        if self._shown:
            found = summary.kinds.total() - summary.severities[NOTE]
            output.overwrite(
                f"{summary.files:,} files, {size_text(summary.length)}, {summary.chunks:,} chunks,"
                f" {summary.read:,} read: {count_text(found, 'finding')}"
            )

    def clear(self) -> None:
        if self._shown:
            output.overwrite("")


def _verdict(summary: FsckSummary) -> GfsError | None:
    lost, troubles = summary.severities[LOSS], summary.severities[TROUBLE]
    unseen = _unseen(summary)
    also = f"; {unseen}" if unseen else ""
    if lost:
        what = count_text(lost, "finding")
        return CorruptData(f"{what} of bytes that cannot be read, {troubles} without loss{also}")
    if troubles:
        return Unhealthy(f"{count_text(troubles, 'finding')}; no byte is lost{also}")
    if unseen:
        return PartlyDone(
            f"nothing is wrong with what could be looked at, but {unseen}: bring their servers"
            " back (gfsctl admin chunkservers ls) or let repair end, and run it again"
        )
    return None


def _unseen(summary: FsckSummary) -> str:
    """Return what could not be looked at, and on which servers; empty when all was."""
    parts = []
    if summary.unread:
        copies = count_text(summary.unread.total(), "copy", "copies")
        names = [f"{name} ({count:,})" for name, count in sorted(summary.unread.items())]
        more = f" and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else ""
        parts.append(f"{copies} could not be read, on {', '.join(names[:_NAMED_MAX])}{more}")
    if summary.kinds[UNCOUNTED]:
        disks = count_text(summary.kinds[UNCOUNTED], "disk")
        parts.append(f"the tally of {disks} was not compared")
    return ", and ".join(parts)


def _facts(summary: FsckSummary) -> dict[str, Any]:
    return {
        "files": summary.files,
        "directories": summary.directories,
        "length": summary.length,
        "chunks": summary.chunks,
        "replicas": summary.replicas,
        "places": summary.places,
        "collecting": summary.collecting,
        "read": summary.read,
        "unread": summary.unread.total(),
        "unread_by_server": dict(sorted(summary.unread.items())),
        "tallies": dict(sorted(summary.tallies.items())),
        "over": summary.over,
        "kinds": dict(sorted(summary.kinds.items())),
        "complete": not _unseen(summary),
        "healthy": _verdict(summary) is None,
    }


def _summary(summary: FsckSummary, deep: bool) -> Iterator[str]:
    files = count_text(summary.files, "file")
    where = count_text(summary.directories, "directory", "directories")
    yield f"{files} in {where}, {size_text(summary.length)}"
    if summary.chunks:
        chunks = count_text(summary.chunks, "chunk")
        places = count_text(summary.replicas, "place")
        yield f"{chunks} in {places}; {summary.collecting:,} dead ones are being collected"
    if summary.tallies:
        shown = [f"{count:,} {state}" for state, count in sorted(summary.tallies.items())]
        disks = count_text(summary.tallies.total(), "disk")
        agree = summary.tallies[AGREES] == summary.tallies.total()
        yield f"tallies of {disks} against the tables: " + (
            "all agree" if agree else ", ".join(shown)
        )
    if deep:
        read = count_text(summary.read, "chunk")
        unread = summary.unread.total()
        yield f"copies of {read} were read" + (
            f", but {unread:,} that could not be" if unread else ""
        )
    for kind, count in sorted(summary.kinds.items()):
        yield f"{kind}: {count:,} ({SEVERITIES[kind]}); {NEXT_STEPS[kind]}"
    if summary.severities[LOSS] or summary.severities[TROUBLE]:
        yield "NOT HEALTHY"
    else:
        yield "NOT KNOWN TO BE HEALTHY" if _unseen(summary) else "HEALTHY"


class _Page:
    """Some findings, for people."""

    def __init__(self, items: list[FsckFinding]) -> None:
        self.items = items


@names.register
def _(report: _Page) -> Iterator[str]:
    for one in report.items:
        yield one.path or format_id(one.chunk_id)


@render.register
def _(report: _Page, wide: bool) -> Table:
    table = listing("Finding", "File", ">Offset", ">Length", "=Chunk", "Servers", "Why")
    for one in report.items:
        table.add_row(
            Text(one.kind, _STYLES[one.severity]),
            printable(one.path) or "-",
            f"{one.offset:,}",
            size_text(one.length),
            format_id(one.chunk_id) if one.chunk_id else "-",
            " ".join(one.servers) or "-",
            one.why,
        )
    return table
