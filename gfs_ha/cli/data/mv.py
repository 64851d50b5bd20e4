"""`gfsctl mv`."""

from __future__ import annotations

import click

from gfs_ha.cli.data.listing import FileItem
from gfs_ha.cli.data.several import Several, split_target
from gfs_ha.cli.names import printable, without_slash
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.verb import Verb
from gfs_ha.client.namespace import join
from gfs_ha.errors import NotADirectory, NotFound
from gfs_ha.protocol.metadata import DIRECTORY


@click.command(
    cls=Verb,
    examples="""
    gfsctl mv /draft.txt /final.txt     # rename; an existing file is replaced
    gfsctl mv /a.txt /b.txt /archive/   # into a directory, under their own names
    gfsctl mv /2026 /archive            # a whole directory, in one step
    """,
)
@click.argument("words", metavar="SOURCE... TARGET", nargs=-1)
@pass_session
def mv(session: Session, words: tuple[str, ...]) -> None:
    """Rename files and directories, or move them into a directory. Each move is atomic."""
    sources, target = split_target(words, "mv THIS to where? Name remote sources and a target")
    froms = [session.path(text) for text in sources]
    to = session.remote(target)
    into = _is_directory(session, without_slash(to))
    if not into and len(froms) > 1:
        raise NotADirectory(f"{printable(to)} is no directory, and there are several sources")

    def move(source: str) -> str:
        if into:
            goal = join(without_slash(to), source.rsplit("/", 1)[1])
        else:
            if to.endswith("/") and session.cluster.stat(source).kind != DIRECTORY:
                raise NotFound(f"there is no directory {printable(to)}")
            goal = without_slash(to)
        session.cluster.rename(source, goal)
        return goal

    several = Several(session)
    moved = several.attempt_each(froms, move)
    if session.options.output in ("json", "jsonl", "name"):
        session.done("FileList", [FileItem.of(path, session.cluster.stat(path)) for path in moved])
    several.conclude("moved")


def _is_directory(session: Session, path: str) -> bool:
    try:
        return session.cluster.stat(path).kind == DIRECTORY
    except NotFound:
        return False
