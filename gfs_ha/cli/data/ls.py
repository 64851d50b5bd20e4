"""`gfsctl ls`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import click
from msgspec import structs

from gfs_ha.cli import output
from gfs_ha.cli.data.listing import FileItem, long_lines, short_lines
from gfs_ha.cli.data.several import Several
from gfs_ha.cli.names import printable
from gfs_ha.cli.options import TABLE, WIDE, consistency_option
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.verb import Verb
from gfs_ha.client.namespace import join

Lines = Callable[[list[FileItem]], Iterable[str]]


@click.command(
    cls=Verb,
    examples="""
    gfsctl ls /                     # the names in a directory
    gfsctl ls -lh /backup           # with mode, copies, owner, size and time
    gfsctl ls -R -o jsonl /backup   # everything below, one JSON object a line
    gfsctl ls -R -o name /backup    # everything below, one path a line
    """,
)
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@click.option("-l", "--long", is_flag=True, help="Mode, copies, owner, group, size and time.")
@click.option("-R", "--recursive", is_flag=True, help="Everything below, too.")
@click.option("-h", "--human", is_flag=True, help="Sizes like 1.2 GiB.")
@consistency_option
@pass_session
def ls(session: Session, paths: tuple[str, ...], long: bool, recursive: bool, human: bool) -> None:
    """List directories (by default /); a file is listed as itself."""
    wanted = [session.path(text) for text in paths or ("/",)]
    lines: Lines = short_lines
    if long or session.options.output == WIDE:
        lines = partial(long_lines, human=human)
    several = Several(session)
    named = several.attempt_each(wanted, lambda path: FileItem.of(path, session.cluster.stat(path)))
    if session.options.output in (TABLE, WIDE):
        _show_text(session, named, lines, recursive or len(wanted) > 1, recursive)
    elif named:
        full = recursive or len(wanted) > 1
        items = (item for one in named for item in _items(session, one, recursive))
        session.show_items("FileList", items, lines, lambda item: item.path if full else item.name)
    several.conclude("listed")


def _items(session: Session, item: FileItem, recursive: bool) -> Iterator[FileItem]:
    """Return what a name lists: the file itself, or what a directory holds."""
    if not item.directory:
        yield item
        return
    waiting = [item.path]
    while waiting:
        directory = waiting.pop()
        below = []
        for item in _entries(session, directory):
            if item.directory and recursive:
                below.append(item.path)
            yield item
        waiting.extend(reversed(below))


def _show_text(
    session: Session, items: list[FileItem], lines: Lines, titled: bool, recursive: bool
) -> None:
    """Show as `ls` does: files first, then each directory, under its name if there are several."""
    # A file that was named is shown as it was named.
    files = [structs.replace(item, name=item.path) for item in items if not item.directory]
    output.write_lines(lines(files))
    between = bool(files)
    directories = [item.path for item in reversed(items) if item.directory]
    while directories:
        directory = directories.pop()
        if titled:
            output.write_lines([*([""] if between else []), f"{printable(directory)}:"])
        below: list[str] = []
        entries = _entries(session, directory)
        session.show_items("FileList", _noting(entries, below), lines, lambda item: item.name)
        if recursive:
            directories.extend(reversed(below))
        between = True


def _entries(session: Session, directory: str) -> Iterator[FileItem]:
    for entry in session.cluster.listdir(directory):
        yield FileItem.of(join(directory, entry.name), entry.status)


def _noting(items: Iterator[FileItem], below: list[str]) -> Iterator[FileItem]:
    for item in items:
        if item.directory:
            below.append(item.path)
        yield item
