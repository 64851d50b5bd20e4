"""`gfsctl truncate`."""

from __future__ import annotations

import click

from gfs_ha.cli.data.listing import FileItem
from gfs_ha.cli.data.several import Several
from gfs_ha.cli.options import Size
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.verb import Verb


@click.command(
    cls=Verb,
    examples="""
    gfsctl truncate /app.log             # empty it
    gfsctl truncate -s 4096 /data.bin    # keep the first 4096 bytes
    gfsctl truncate -s 64MiB /data.bin   # or so many KiB, MiB, GiB
    """,
)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option(
    "-s",
    "--size",
    type=Size(),
    default="0",
    metavar="SIZE",
    help="What stays of it, like 4096 or 64MiB; 0 unless given.",
)
@pass_session
def truncate(session: Session, paths: tuple[str, ...], size: int) -> None:
    """Cut files, each in one step: readers see the old content or the new one.

    A file is never made longer: a hole cannot be stored.
    """
    wanted = [session.path(text) for text in paths]

    def cut(path: str) -> FileItem:
        session.cluster.truncate(path, size)
        return FileItem.of(path, session.cluster.stat(path))

    several = Several(session)
    session.done("FileList", several.attempt_each(wanted, cut))
    several.conclude("cut")
