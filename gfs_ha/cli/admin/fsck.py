"""`gfsctl admin fsck`: every file, chunk and copy compared while the cluster works."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table
from rich.text import Text

from gfs_ha.cli import output
from gfs_ha.cli.names import printable
from gfs_ha.cli.options import TABLE, WIDE
from gfs_ha.cli.render import names, render
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.units import count_text, size_text
from gfs_ha.cli.verb import Verb
from gfs_ha.errors import CorruptData, GfsError, Unhealthy
from gfs_ha.ids import format_id
from gfs_ha.protocol.fsck import LOSS, NEXT_STEPS, NOTE, SEVERITIES, TROUBLE

if TYPE_CHECKING:
    from gfs_ha.client.fsck import FsckSummary
    from gfs_ha.protocol.fsck import FsckFinding

_STYLES = {LOSS: "bold red", TROUBLE: "yellow", NOTE: "cyan"}


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
    and no byte is lost; 9: bytes cannot be read. Below another path than / only its files are
    looked at, not chunks and copies that no file needs.
    """
    progress = _Progress(session)
    run = session.operations.fsck(session.path(path), deep, progress.show)
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
    if lost:
        what = count_text(lost, "finding")
        return CorruptData(f"{what} of bytes that cannot be read, {troubles} without loss")
    if troubles:
        return Unhealthy(f"{count_text(troubles, 'finding')}; no byte is lost")
    return None


def _facts(summary: FsckSummary) -> dict[str, Any]:
    return {
        "files": summary.files,
        "directories": summary.directories,
        "length": summary.length,
        "chunks": summary.chunks,
        "replicas": summary.replicas,
        "collecting": summary.collecting,
        "read": summary.read,
        "unread": summary.unread,
        "over": summary.over,
        "kinds": dict(sorted(summary.kinds.items())),
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
    if deep:
        read = count_text(summary.read, "chunk")
        yield f"every copy of {read} was read, but {summary.unread:,} that did not answer"
    for kind, count in sorted(summary.kinds.items()):
        yield f"{kind}: {count:,} ({SEVERITIES[kind]}); {NEXT_STEPS[kind]}"
    error = _verdict(summary)
    yield "HEALTHY" if error is None else "NOT HEALTHY"


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
    table = Table("Finding", "File", "Offset", "Length", "Chunk", "Servers", "Why", box=None)
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
