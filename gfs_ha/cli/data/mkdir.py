"""`gfsctl mkdir`."""

from __future__ import annotations

import click

from gfs_ha.cli.data.listing import FileItem
from gfs_ha.cli.data.several import Several
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.verb import Verb


@click.command(
    cls=Verb,
    examples="""
    gfsctl mkdir /projects              # one directory
    gfsctl mkdir -p /projects/a/b       # with its parents; existing ones are no error
    """,
)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("-p", "--parents", is_flag=True, help="Make parents too; no error if it exists.")
@pass_session
def mkdir(session: Session, paths: tuple[str, ...], parents: bool) -> None:
    """Make directories."""
    wanted = [session.path(text) for text in paths]

    def make(path: str) -> FileItem:
        return FileItem.of(path, session.cluster.mkdir(path, parents=parents))

    several = Several(session)
    session.done("FileList", several.attempt_each(wanted, make))
    several.conclude("made")
