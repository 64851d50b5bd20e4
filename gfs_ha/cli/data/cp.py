"""`gfsctl cp`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import click

from gfs_ha.cli.data.listing import FileItem
from gfs_ha.cli.data.several import Several, split_target
from gfs_ha.cli.names import printable, without_slash
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.verb import Verb
from gfs_ha.client.namespace import join
from gfs_ha.errors import AlreadyExists, InvalidArgument, IsADirectory, NotADirectory, NotFound
from gfs_ha.protocol.metadata import DIRECTORY, FileStatus


@dataclass(frozen=True, slots=True)
class _How:
    recursive: bool
    preserve: bool
    if_absent: bool


class _Copier:
    """Copies names one after the other, and keeps what was made and what was not."""

    def __init__(self, session: Session, how: _How) -> None:
        self._cluster = session.cluster
        self._how = how
        self.several = Several(session)
        self.made: list[str] = []

    def copy(self, source: str, goal: str, goal_is_directory: bool) -> None:
        """Copy one name to a goal; `goal_is_directory` says that the goal was meant as one."""
        self.several.attempt(source, lambda: self._copy(source, goal, goal_is_directory))

    def _copy(self, source: str, goal: str, goal_is_directory: bool) -> None:
        status = self._cluster.stat(source)
        if status.kind == DIRECTORY:
            self._tree(source, goal, status)
        elif goal_is_directory:
            raise NotFound(f"there is no directory {printable(goal)}")
        else:
            self._file(source, goal)

    def _file(self, source: str, goal: str) -> None:
        if source == goal:
            raise InvalidArgument(f"{printable(source)} and its copy would be the same file")
        how = self._how
        self._cluster.copy(source, goal, if_absent=how.if_absent, preserve=how.preserve)
        self.made.append(goal)

    def _tree(self, source: str, goal: str, status: FileStatus) -> None:
        name = printable(source)
        if not self._how.recursive:
            raise IsADirectory(f"{name} is a directory; -r copies it with its contents")
        if source == "/" or goal == source or goal.startswith(source + "/"):
            raise InvalidArgument(f"{name} cannot be copied into itself ({printable(goal)})")
        self._directory(goal, status)
        directories = [(goal, status)]
        for path, entry in self._cluster.walk(source):
            there = goal + path[len(source) :]
            if entry.status.kind == DIRECTORY:
                directories.append((there, entry.status))
                self.several.attempt(path, partial(self._directory, there, entry.status))
            else:
                self.several.attempt(path, partial(self._file, path, there))
        if self._how.preserve:
            for there, was in reversed(directories):  # What is made in one changes its time.
                facts = partial(self._cluster.set_attributes, there)
                look = partial(facts, mode=was.mode, mtime_ns=was.mtime_ns)
                self.several.attempt(there, look)

    def _directory(self, goal: str, status: FileStatus) -> None:
        try:
            self._cluster.mkdir(goal, mode=status.mode)
        except AlreadyExists:
            if self._cluster.stat(goal).kind != DIRECTORY:
                raise
        else:
            self.made.append(goal)


@click.command(
    cls=Verb,
    examples="""
    gfsctl cp /data.csv /data-old.csv     # at once, of any size; takes no space
    gfsctl cp /a.txt /b.txt /archive/     # into a directory, under their own names
    gfsctl cp -r -p /2026 /archive        # a tree, with modes and times
    """,
)
@click.argument("words", metavar="SOURCE... TARGET", nargs=-1)
@click.option("-r", "--recursive", is_flag=True, help="Directories and all that is below them.")
@click.option("-p", "--preserve", is_flag=True, help="Keep mode and time of the source.")
@click.option("--if-absent", is_flag=True, help="Never replace a file (exit 4).")
@pass_session
def cp(
    session: Session, words: tuple[str, ...], recursive: bool, preserve: bool, if_absent: bool
) -> None:
    """Copy files within the cluster without copying their bytes.

    The copy shares the bytes that it was made of; either may change or go, the other stays. Each
    file appears as a whole; a tree is copied file by file.
    """
    sources, target = split_target(words, "cp THIS to where? Name remote sources and a target")
    froms = [session.path(text) for text in sources]
    to = session.remote(target)
    into = _is_directory(session, without_slash(to))
    if not into and len(froms) > 1:
        raise NotADirectory(f"{printable(to)} is no directory, and there are several sources")
    copier = _Copier(session, _How(recursive, preserve, if_absent))
    base = without_slash(to)
    for source in froms:
        goal = join(base, source.rsplit("/", 1)[1]) if into else base
        copier.copy(source, goal, to.endswith("/") and not into)
    if session.options.output in ("json", "jsonl", "name"):
        items = [FileItem.of(path, session.cluster.stat(path)) for path in copier.made]
        session.done("FileList", items)
    copier.several.conclude("copied")


def _is_directory(session: Session, path: str) -> bool:
    try:
        return session.cluster.stat(path).kind == DIRECTORY
    except NotFound:
        return False
