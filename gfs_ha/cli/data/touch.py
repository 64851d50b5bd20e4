"""`gfsctl touch`."""

from __future__ import annotations

import click

from gfs_ha.cli.data.amounts import Moment
from gfs_ha.cli.data.listing import FileItem
from gfs_ha.cli.data.several import Several
from gfs_ha.cli.names import pasted
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.verb import Verb
from gfs_ha.errors import AlreadyExists, NotADirectory, NotFound, UsageError
from gfs_ha.protocol.metadata import DIRECTORY, FileStatus


@click.command(
    cls=Verb,
    examples="""
    gfsctl touch /flags/ready                        # an empty file; or its time is now
    gfsctl touch -t '2026-11-25 18:04:11' /a /b      # another time
    gfsctl touch -r /a /b                            # the time that /a has
    gfsctl touch -c /b                               # nothing is made if it is not there
    """,
)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("-c", "--no-create", is_flag=True, help="Make nothing that is not there.")
@click.option(
    *("-t", "-d", "--mtime"),
    type=Moment(),
    metavar="TIME",
    help="This time, like '2026-11-25 18:04:11', 2026-11-25T18:04Z or @1795634651.",
)
@click.option("-r", "--reference", metavar="PATH", help="The time that this name has.")
@pass_session
def touch(
    session: Session,
    paths: tuple[str, ...],
    no_create: bool,
    mtime: int | None,
    reference: str | None,
) -> None:
    """Set the time of files and directories to now, and make empty files of missing ones.

    What is there keeps its content; a name that ends with / is a directory, and is not made.
    """
    if mtime is not None and reference is not None:
        raise UsageError("-t and -r both say a time: give one of them")
    wanted = [(session.path(text), text.endswith("/")) for text in paths]
    if reference is not None:
        like = session.path(reference)
        mtime = session.cluster.stat(like).mtime_ns
    several = Several(session)
    done: list[FileItem] = []
    for path, directory in wanted:

        def act(path: str = path, directory: bool = directory) -> None:
            if directory:
                _check_no_file(session, path)
            status = _touch(session, path, mtime, make=not no_create and not directory)
            if status is not None:
                done.append(FileItem.of(path, status))
            elif directory and not no_create:
                raise NotFound(
                    f"{path}/ is no directory; make it with: gfsctl mkdir {pasted(path)}"
                )

        several.attempt(path, act)
    session.done("FileList", done)
    several.conclude("touched")


def _check_no_file(session: Session, path: str) -> None:
    """Raises: NotADirectory for a file, which its name with a slash does not mean."""
    try:
        status = session.cluster.stat(path)
    except NotFound:
        return
    if status.kind != DIRECTORY:
        raise NotADirectory(f"{path} is a file, not a directory; leave out the / at its end")


def _touch(session: Session, path: str, mtime_ns: int | None, make: bool) -> FileStatus | None:
    """Return what the name is like afterwards; None: it is not there and was not to be made."""
    from gfs_ha.runtime import ThreadedRuntime

    cluster = session.cluster
    wanted_ns = ThreadedRuntime().wall_ns() if mtime_ns is None else mtime_ns
    while True:
        try:
            return cluster.set_attributes(path, mtime_ns=wanted_ns)
        except NotFound:
            if not make:
                return None
        try:
            with cluster.open(path, "wb", if_absent=True):
                pass
        except AlreadyExists:
            continue  # Somebody made it in between: then its time is set.
        if mtime_ns is None:
            return cluster.stat(path)
