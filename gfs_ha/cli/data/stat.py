"""`gfsctl stat`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import click

from gfs_ha.cli.data.listing import FileItem
from gfs_ha.cli.data.several import Several
from gfs_ha.cli.names import printable
from gfs_ha.cli.options import consistency_option
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.units import count_text, mode_text, size_text, time_text
from gfs_ha.cli.verb import Verb
from gfs_ha.ids import format_id


@click.command(
    cls=Verb,
    examples="""
    gfsctl stat /docs/report.pdf            # all facts of a name
    gfsctl stat -o json /docs/report.pdf    # the same for programs
    gfsctl stat --exact /log                # of a file that grows: its size right now
    """,
)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--exact", is_flag=True, help="Ask who appends to a file for its size right now.")
@consistency_option
@pass_session
def stat(session: Session, paths: tuple[str, ...], exact: bool) -> None:
    """Show all facts of files and directories.

    The size of a file that is growing is what was reported last, unless --exact asks for it.
    """
    wanted = [session.path(text) for text in paths]

    def look(path: str) -> FileItem:
        return FileItem.of(path, session.cluster.stat(path, exact=exact))

    several = Several(session)
    found = several.attempt_each(wanted, look)
    if found:
        lines = partial(_lines, exact=exact)
        session.show_items("FileList", iter(found), lines, lambda item: item.path)
    several.conclude("found")


def _lines(items: list[FileItem], exact: bool) -> Iterator[str]:
    for item in items:
        yield f"path        {printable(item.path)}"
        yield f"kind        {item.kind}"
        if item.directory:
            yield f"entries     {count_text(item.entry_count)}"
        else:
            growing = (", growing" if exact else ", growing: as reported") if item.growing else ""
            yield f"size        {item.size} bytes ({size_text(item.size)}){growing}"
            yield f"copies      {item.goal or 'as the cluster is set'}"
        yield f"mode        {item.mode & 0o7777:04o} ({mode_text(item.kind, item.mode)})"
        yield f"owner       {printable(item.owner) or '-'}:{printable(item.group) or '-'}"
        yield f"modified    {time_text(item.mtime_ns)}"
        content = f", content {format_id(item.content_id)}" if item.content_id else ""
        yield f"inode       {format_id(item.inode_id)}{content}, generation {item.generation}"
