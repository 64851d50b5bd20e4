"""`gfsctl tree`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import click

from gfs_ha.cli.data.listing import FileItem
from gfs_ha.cli.data.walking import Walking, write_as_they_come
from gfs_ha.cli.names import printable
from gfs_ha.cli.options import TABLE, WIDE, consistency_option
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.units import count_text, mode_text, size_text, time_text
from gfs_ha.cli.verb import Verb
from gfs_ha.client.tree_walk import Lost, Name, Wanted
from gfs_ha.protocol.metadata import DIRECTORY, DirectoryEntry

_BAR, _GAP, _FORK, _END = "│   ", "    ", "├── ", "└── "


@dataclass(slots=True)
class Counted:
    """What a tree had so far, tops that are directories left out."""

    files: int = 0
    directories: int = 0
    size: int = 0
    with_files: bool = True  # Files are told, too.

    def add(self, item: FileItem) -> None:
        self.directories += item.directory
        self.files += not item.directory
        self.size += item.size

    def add_top(self, item: FileItem) -> None:
        """Count what was asked for by name: a directory holds the others, a file is all of it."""
        if not item.directory:
            self.add(item)

    def text(self) -> str:
        """Return the last line."""
        directories = count_text(self.directories, "directory", "directories")
        if not self.with_files:
            return directories
        return f"{directories}, {count_text(self.files, 'file')}, {size_text(self.size)}"


@dataclass(slots=True)
class _Look:
    """How each name is shown."""

    sizes: bool
    human: bool
    wide: bool
    counted: Counted = field(default_factory=Counted)

    def label(self, item: FileItem, name: str) -> str:
        size = size_text(item.size) if self.human else str(item.size)
        size = "-" if item.directory else size
        if self.wide:
            goal = "-" if item.directory else str(item.goal or "-")
            facts = f"{mode_text(item.kind, item.mode)} {goal} {item.owner or '-'}"
            return f"[{printable(facts)} {size:>10} {time_text(item.mtime_ns)}]  {printable(name)}"
        return f"[{size:>10}]  {printable(name)}" if self.sizes else printable(name)


@click.command(
    cls=Verb,
    examples="""
    gfsctl tree /backup             # everything below, as a picture
    gfsctl tree -L 2 -d /           # only directories, two levels of them
    gfsctl tree -sh /backup         # with sizes like 1.2 GiB
    gfsctl tree -o jsonl /backup    # one JSON object a line, as it comes
    """,
)
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@click.option(
    *("-L", "--level", "level"),
    type=click.IntRange(min=1),
    metavar="DEPTH",
    help="Show no names deeper than this.",
)
@click.option("-d", "--directories", is_flag=True, help="Directories only.")
@click.option("-s", "--sizes", is_flag=True, help="The size of each file, in bytes.")
@click.option("-h", "--human", is_flag=True, help="Sizes like 1.2 GiB.")
@consistency_option
@pass_session
def tree(
    session: Session,
    paths: tuple[str, ...],
    level: int | None,
    directories: bool,
    sizes: bool,
    human: bool,
) -> None:
    """Draw directories with all that is below them (by default /), and count it.

    Names come while the tree is read, however large it is; -o wide shows mode, copies wanted,
    owner, size and time. Exit 11: a directory vanished meanwhile, and is named.
    """
    wanted = _directories if directories else None
    walking = Walking(session)
    tops = walking.tops([session.path(text) for text in paths or ("/",)])
    counted = Counted(with_files=not directories)
    mode = session.options.output
    if mode in (TABLE, WIDE):
        look = _Look(sizes or human, human or mode == WIDE, mode == WIDE, counted)
        write_as_they_come(_lines(walking, tops, level, wanted, look))
    else:

        def facts() -> dict[str, Any]:
            return {
                "directories": counted.directories,
                "files": counted.files,
                "bytes": counted.size,
                "lost": walking.lost(),
            }

        items = _items(walking, tops, level, wanted, counted)
        session.show_items("FileList", items, lambda page: [], lambda item: item.path, facts)
    walking.conclude()


def _directories(entry: DirectoryEntry) -> bool:
    return entry.status.kind == DIRECTORY


def _items(
    walking: Walking,
    tops: Iterator[FileItem],
    level: int | None,
    wanted: Wanted | None,
    counted: Counted,
) -> Iterator[FileItem]:
    for top in tops:
        counted.add_top(top)
        yield top
        for step in walking.steps(top, level, wanted):
            if isinstance(step, Name):
                item = FileItem.of(step.path, step.entry.status)
                counted.add(item)
                yield item


def _lines(
    walking: Walking,
    tops: Iterator[FileItem],
    level: int | None,
    wanted: Wanted | None,
    look: _Look,
) -> Iterator[str]:
    shown = False
    for top in tops:
        shown = True
        look.counted.add_top(top)
        yield look.label(top, top.path)
        bars: list[str] = []  # What stands before a name, one for each level above it.
        for step in walking.steps(top, level, wanted):
            if isinstance(step, Name):
                item = FileItem.of(step.path, step.entry.status)
                look.counted.add(item)
                del bars[step.depth - 1 :]
                before = "".join(bars)
                yield f"{before}{_END if step.last else _FORK}{look.label(item, item.name)}"
                bars.append(_GAP if step.last else _BAR)
            elif isinstance(step, Lost):
                yield f"{''.join(bars[: step.depth])}{_END}(vanished while it was read)"
    if shown:
        yield ""
        yield look.counted.text()
