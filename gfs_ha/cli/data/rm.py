"""`gfsctl rm`."""

from __future__ import annotations

import click

from gfs_ha.cli import output
from gfs_ha.cli.data.several import Several
from gfs_ha.cli.names import printable
from gfs_ha.cli.options import NAME, TABLE, WIDE
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.units import count_text, size_text
from gfs_ha.cli.verb import Verb
from gfs_ha.errors import InvalidArgument, IsADirectory
from gfs_ha.protocol.metadata import DIRECTORY

_COUNTED_MAX = 100_000  # What is asked about is counted; beyond this the question says "more".


@click.command(
    cls=Verb,
    examples="""
    gfsctl rm /docs/old.pdf         # one file; never asks
    gfsctl rm -r /backup/2024       # a directory; asks with count and bytes
    gfsctl rm -r -y /backup/2024    # the same in a script
    gfsctl rm -r -n /backup/2024    # only say what would be removed
    """,
)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("-r", "--recursive", is_flag=True, help="Directories and all that is below them.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be removed.")
@pass_session
def rm(session: Session, paths: tuple[str, ...], recursive: bool, yes: bool, dry_run: bool) -> None:
    """Remove files; with -r also directories. A directory is detached in one step."""
    wanted = [session.path(text) for text in paths]
    several = Several(session)
    removed = several.attempt_each(
        wanted, lambda path: _remove(session, path, recursive, not yes, dry_run)
    )
    facts = [fact for fact in removed if fact]
    if session.options.machine_readable and facts:
        session.show_plain("RemovedList", facts, dry_run=dry_run)
    elif session.options.output == NAME:
        output.write_lines(fact["path"] for fact in facts)
    several.conclude("removed")


def _remove(
    session: Session, path: str, recursive: bool, asking: bool, dry_run: bool
) -> dict[str, str]:
    """Remove one name; return what it was, or nothing when a person said no."""
    if path == "/":
        raise InvalidArgument("the root itself cannot be removed; name what is below it")
    directory = session.cluster.stat(path).kind == DIRECTORY
    if directory and not recursive:
        raise IsADirectory(f"{printable(path)} is a directory; -r removes it with its contents")
    what = _what(session, path) if directory and (asking or dry_run) else printable(path)
    if dry_run:
        if session.options.output in (TABLE, WIDE):
            output.write_lines([f"would remove {what}"])
    elif directory and asking and not session.confirm(f"remove {what}?"):
        return {}
    else:
        session.cluster.remove(path, recursive=recursive)
    return {"path": path, "kind": "directory" if directory else "file"}


def _what(session: Session, path: str) -> str:
    """Return a directory's name with what would go with it."""
    files = directories = size = 0
    more = ""
    for _, entry in session.cluster.walk(path):
        if entry.status.kind == DIRECTORY:
            directories += 1
        else:
            files += 1
            size += entry.status.size
        if files + directories >= _COUNTED_MAX:
            more = "more than "
            break
    return (
        f"{printable(path)} with {more}{count_text(files, 'file')} "
        f"({size_text(size)}) and {count_text(directories, 'directory', 'directories')}"
    )
