"""How a path becomes an inode: walked from the root in the state as it is now (F1)."""

from __future__ import annotations

from gfs_ha.errors import NotADirectory, NotFound
from gfs_ha.ids import ROOT_INODE, InodeId
from gfs_ha.master.state.records import Dentry
from gfs_ha.master.state.rows import Rows
from gfs_ha.master.state.tables import DENTRIES, dentry_key
from gfs_ha.protocol.codec import Word
from gfs_ha.protocol.metadata import DIRECTORY
from gfs_ha.protocol.paths import join_path, split_path


class Found(Word, frozen=True):
    """What a path leads to."""

    inode_id: InodeId
    kind: str


class Place(Word, frozen=True):
    """A name in a directory that exists, and what stands there now (None = nothing).

    `trail` are the directories on the way, from the root to the parent.
    """

    directory: InodeId
    name: str
    entry: Dentry | None
    trail: tuple[InodeId, ...]


def resolve(rows: Rows, path: str) -> Found:
    """Return what a path leads to. Raises: NotFound, NotADirectory, InvalidPath."""
    names = split_path(path)
    if not names:
        return Found(ROOT_INODE, DIRECTORY)
    entry = find_place(rows, names).entry
    if entry is None:
        raise NotFound(f"{path} does not exist")
    return Found(entry.inode_id, entry.kind)


def find_place(rows: Rows, names: tuple[str, ...]) -> Place:
    """Return the place of a path that is not the root. Raises: NotFound, NotADirectory."""
    trail = [ROOT_INODE]
    for position in range(len(names) - 1):
        entry = rows.get(DENTRIES, dentry_key(trail[-1], names[position]))
        if entry is None:
            raise NotFound(f"{join_path(names[: position + 1])} does not exist")
        require_directory(entry, names[: position + 1])
        trail.append(entry.inode_id)
    entry = rows.get(DENTRIES, dentry_key(trail[-1], names[-1]))
    return Place(trail[-1], names[-1], entry, tuple(trail))


def require_directory(entry: Dentry, names: tuple[str, ...]) -> None:
    """Raises: NotADirectory, naming the path."""
    if entry.kind != DIRECTORY:
        raise NotADirectory(f"{join_path(names)} is a file, not a directory")
