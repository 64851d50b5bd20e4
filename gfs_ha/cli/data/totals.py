"""What lies below names, summed up while a tree is walked: for `du` and `count`."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from gfs_ha.cli.data.listing import FileItem
from gfs_ha.cli.data.walking import Walking
from gfs_ha.client.tree_walk import Left, Name
from gfs_ha.protocol.metadata import DIRECTORY, FILE, FileStatus


class Total(msgspec.Struct):
    """All at and below one name. `raw_bytes` is what the copies take that the files want."""

    path: str
    kind: str
    bytes: int = 0
    raw_bytes: int = 0
    files: int = 0
    directories: int = 0  # Itself as well.

    @classmethod
    def of(cls, path: str, status: FileStatus | FileItem) -> Total:
        """Return the total of one name alone."""
        if status.kind == DIRECTORY:
            return cls(path, status.kind, directories=1)
        return cls(path, status.kind, status.size, status.size * status.goal, files=1)

    def add(self, other: Total) -> None:
        self.bytes += other.bytes
        self.raw_bytes += other.raw_bytes
        self.files += other.files
        self.directories += other.directories


def totals(
    walking: Walking, top: FileItem, depth_max: int | None = None, files: bool = False
) -> Iterator[Total]:
    """Yield the totals of directories, each after those below it, the top's at the end.

    Args: `depth_max` is how deep below the top they are told; `files` has files told as well.
    """
    open_totals = [Total.of(top.path, top)]  # The top, and the directories that are being read.
    for step in walking.steps(top):
        if isinstance(step, Name):
            one = Total.of(step.path, step.entry.status)
            if one.kind == FILE:
                open_totals[-1].add(one)
                if files and (depth_max is None or step.depth <= depth_max):
                    yield one
            else:
                open_totals.append(one)
        elif isinstance(step, Left) and step.depth:
            one = open_totals.pop()
            open_totals[-1].add(one)
            if depth_max is None or step.depth <= depth_max:
                yield one
    yield open_totals[0]
