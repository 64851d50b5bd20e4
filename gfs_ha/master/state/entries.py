"""Names in directories: entered, taken out, and the directories made on the way to them."""

from __future__ import annotations

import msgspec

from gfs_ha.errors import LimitExceeded
from gfs_ha.ids import ROOT_INODE, InodeId
from gfs_ha.limits import ROWS_PER_COMMAND_MAX
from gfs_ha.master.state.append_results import leave_results
from gfs_ha.master.state.draft import Draft
from gfs_ha.master.state.goals import forget_content
from gfs_ha.master.state.holds import end_hold
from gfs_ha.master.state.names import Place, find_place, require_directory
from gfs_ha.master.state.policies import forget_policy
from gfs_ha.master.state.records import Dentry, Inode, Reapable
from gfs_ha.master.state.tables import (
    DENTRIES,
    DETACHED_TREES,
    INODES,
    OLD_CONTENTS,
    dentry_key,
    id_key,
)
from gfs_ha.protocol.metadata import DIRECTORY, FILE

DIRECTORY_MODE = 0o777


def get_inode(draft: Draft, inode_id: InodeId) -> Inode:
    """Return the row of an inode that a name leads to."""
    inode = draft.view.inode(inode_id)
    assert inode is not None, f"a name without inode {inode_id}"
    return inode


def new_inode(draft: Draft, inode: Inode) -> InodeId:
    """Write a fresh inode and return its id."""
    draft.counters.last_inode += 1
    if inode.kind == FILE:
        draft.counters.files += 1
    else:
        draft.counters.directories += 1
    inode_id = InodeId(draft.counters.last_inode)
    draft.rows.put(INODES, id_key(inode_id), inode)
    return inode_id


def new_directory(draft: Draft, place: Place, mode: int, owner: tuple[str, str]) -> InodeId:
    """Make an empty directory at a free place; `owner` is (owner, group)."""
    inode = Inode(
        DIRECTORY,
        mode,
        *owner,
        draft.stamp.wall_ns,
        draft.stamp.index,
        parent=place.directory,
    )
    inode_id = new_inode(draft, inode)
    enter(draft, place, inode_id, DIRECTORY)
    return inode_id


def enter(draft: Draft, place: Place, inode_id: InodeId, kind: str) -> None:
    """Let a name lead to an inode, in place of what stood there before."""
    row = Dentry(inode_id, kind, draft.stamp.index)
    draft.rows.put(DENTRIES, dentry_key(place.directory, place.name), row)
    _touch(draft, place.directory, 0 if place.entry is not None else 1)


def take_out(draft: Draft, place: Place) -> None:
    """Remove a name; what it led to is the caller's to move or to destroy."""
    draft.rows.delete(DENTRIES, dentry_key(place.directory, place.name))
    _touch(draft, place.directory, -1)


def destroy(draft: Draft, inode_id: InodeId, inode: Inode) -> None:
    """Destroy what no name leads to any more; a full directory becomes a tree to be reaped.

    Nothing of it has a tail: the caller saw to that (holds.take_from_tails).
    """
    end_hold(draft, inode_id)
    if inode.kind == DIRECTORY and inode.entry_count:
        draft.rows.put(DETACHED_TREES, id_key(inode_id), Reapable(draft.stamp.index))
        draft.counters.reapable += 1
        return
    draft.rows.delete(INODES, id_key(inode_id))
    if inode.kind == DIRECTORY:
        forget_policy(draft, inode_id)
        draft.counters.directories -= 1
    else:
        draft.counters.files -= 1
        retire_content(draft, inode)
        leave_results(draft, inode_id)


def retire_content(draft: Draft, inode: Inode) -> None:
    """Leave the content of a file to be reaped; one without extents is gone at once."""
    forget_content(draft, inode.content_id)  # How many copies it wanted matters no more.
    if inode.extent_count:
        draft.rows.put(OLD_CONTENTS, id_key(inode.content_id), Reapable(draft.stamp.index))
        draft.counters.reapable += 1


def missing_parents(draft: Draft, names: tuple[str, ...]) -> int:
    """Return how many of the last directories on the way to a name do not exist yet.

    Raises: NotADirectory.
    """
    directory = ROOT_INODE
    for position in range(len(names) - 1):
        entry = draft.rows.get(DENTRIES, dentry_key(directory, names[position]))
        if entry is None:
            return len(names) - 1 - position
        require_directory(entry, names[: position + 1])
        directory = entry.inode_id
    return 0


def make_parents(draft: Draft, names: tuple[str, ...], owner: tuple[str, str]) -> None:
    """Make the directories that are missing on the way to a name. Raises: NotADirectory.

    LimitExceeded when the command has become too big: paths may be thousands of names deep.
    """
    missing = missing_parents(draft, names)
    if not missing:
        return
    place = find_place(draft.rows, names[: len(names) - missing])
    for name in (*names[len(names) - missing : -1], ""):
        check_rows(draft)
        inode_id = new_directory(draft, place, DIRECTORY_MODE, owner)
        place = Place(inode_id, name, None, ())


def check_rows(draft: Draft) -> None:
    """Raises: LimitExceeded when the command changes more rows than one may (F5)."""
    count = draft.rows.change_count()
    if count > ROWS_PER_COMMAND_MAX:
        raise LimitExceeded(
            f"the command changes more than {ROWS_PER_COMMAND_MAX} rows; send it in parts"
        )


def _touch(draft: Draft, directory: InodeId, by: int) -> None:
    parent = get_inode(draft, directory)
    touched = msgspec.structs.replace(
        parent, entry_count=parent.entry_count + by, mtime_ns=draft.stamp.wall_ns
    )
    draft.rows.put(INODES, id_key(directory), touched)
