"""Files and directories as the verbs show them: in JSON, and as lines like those of `ls`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gfs_ha.cli.names import printable
from gfs_ha.cli.units import mode_text, size_text, time_text
from gfs_ha.ids import ContentId, InodeId
from gfs_ha.protocol.codec import Word
from gfs_ha.protocol.metadata import DIRECTORY, FileStatus


class FileItem(Word, frozen=True):
    """One name with its facts, as JSON shows it."""

    path: str
    name: str
    kind: str
    size: int
    mode: int
    owner: str
    group: str
    mtime_ns: int
    inode_id: InodeId
    content_id: ContentId
    generation: int
    goal: int
    entry_count: int
    growing: bool  # Appended to; the size is what was reported last.

    @classmethod
    def of(cls, path: str, status: FileStatus) -> FileItem:
        """Return the item of a path and its status."""
        return cls(
            path=path,
            name=path.rsplit("/", 1)[1] or "/",
            kind=status.kind,
            size=status.size,
            mode=status.mode,
            owner=status.owner,
            group=status.group,
            mtime_ns=status.mtime_ns,
            inode_id=status.inode_id,
            content_id=status.content_id,
            generation=status.generation,
            goal=status.goal,
            entry_count=status.entry_count,
            growing=status.growing,
        )

    @property
    def directory(self) -> bool:
        return self.kind == DIRECTORY


def short_lines(items: Iterable[FileItem]) -> Iterator[str]:
    """Return the names, one a line."""
    for item in items:
        yield printable(item.name)


def long_lines(items: list[FileItem], human: bool) -> Iterator[str]:
    """Return mode, copies wanted, owner, group, size, time and name, in aligned columns."""
    rows = [
        (
            mode_text(item.kind, item.mode),
            "-" if item.directory else str(item.goal or "-"),
            printable(item.owner) or "-",
            printable(item.group) or "-",
            size_text(item.size) if human else str(item.size),
            time_text(item.mtime_ns),
            printable(item.name),
        )
        for item in items
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(6)] if rows else []
    for mode, goal, owner, group, size, time, name in rows:
        yield (
            f"{mode} {goal:>{widths[1]}} {owner:<{widths[2]}} {group:<{widths[3]}} "
            f"{size:>{widths[4]}} {time} {name}"
        )
