"""The names below a path, in order, from any of them on: walks that go on in a later view."""

from __future__ import annotations

from collections.abc import Iterator

from gfs_ha.ids import InodeId
from gfs_ha.master.state import tables
from gfs_ha.master.state.view import View
from gfs_ha.protocol.metadata import DIRECTORY, FILE
from gfs_ha.protocol.paths import split_path


def names_below(view: View, top: str, after: str) -> Iterator[tuple[str, InodeId, str]]:
    """Yield (path, inode, kind) of what lies at or below a path, above the name `after`.

    A directory comes before what is in it. Of a directory on the way that is gone or is a file by
    now, the walk goes on after its name.
    """
    found = view.resolve(top)
    if found.kind == FILE:
        if not after:
            yield top, found.inode_id, FILE
        return
    if not after:
        yield top, found.inode_id, DIRECTORY
    todo = _way(view, top, found.inode_id, after)
    while todo:
        base, entries = todo[-1]
        name, inode_id = next(entries, ("", InodeId(0)))
        if not name:
            todo.pop()
            continue
        path = f"{base}/{name}"
        inode = view.inode(inode_id)
        kind = inode.kind if inode is not None else FILE
        yield path, inode_id, kind
        if kind == DIRECTORY:
            todo.append((path, view.entries(inode_id)))


def _way(
    view: View, top: str, directory: InodeId, after: str
) -> list[tuple[str, Iterator[tuple[str, InodeId]]]]:
    """Return the directories from the top down to `after`, each from where it goes on."""
    base = "" if top == "/" else top
    names = split_path(after)[len(split_path(top)) :] if after else ()
    way: list[tuple[str, Iterator[tuple[str, InodeId]]]] = []
    for name in names:
        way.append((base, view.entries(directory, name)))
        entry = view.rows.get(tables.DENTRIES, tables.dentry_key(directory, name))
        if entry is None or entry.kind != DIRECTORY:
            return way
        base, directory = f"{base}/{name}", entry.inode_id
    way.append((base, view.entries(directory)))
    return way
