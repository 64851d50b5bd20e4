"""Directories and names: made, renamed, removed, changed; each atomic, resolved at apply (F1)."""

from __future__ import annotations

import msgspec

from gfs_ha.errors import (
    AlreadyExists,
    DirectoryNotEmpty,
    InvalidArgument,
    IsADirectory,
    NotADirectory,
    NotFound,
)
from gfs_ha.ids import ROOT_INODE
from gfs_ha.master.state.bounds import check_attributes
from gfs_ha.master.state.draft import Draft, step
from gfs_ha.master.state.entries import (
    destroy,
    enter,
    get_inode,
    make_parents,
    new_directory,
    take_out,
)
from gfs_ha.master.state.holds import take_from_tails
from gfs_ha.master.state.moves import check_entry, move
from gfs_ha.master.state.names import find_place, resolve
from gfs_ha.master.state.records import Dentry
from gfs_ha.master.state.tables import INODES, id_key
from gfs_ha.protocol.metadata import (
    DIRECTORY,
    FILE,
    Done,
    FileStatus,
    Mkdir,
    Remove,
    Removed,
    Rename,
    SetAttributes,
)
from gfs_ha.protocol.paths import split_path


@step(Mkdir, session=True)
def make_directory(draft: Draft, command: Mkdir) -> FileStatus:
    """Return the directory, made now, or with `parents` also one that exists.

    Refuses: AlreadyExists, NotFound, NotADirectory, InvalidPath, InvalidArgument.
    """
    check_attributes(command.mode, 0, command.owner, command.group)
    names = split_path(command.path)
    owner = (command.owner, command.group)
    if not names:
        if not command.parents:
            raise AlreadyExists("/ is the root directory; it always exists")
        return draft.view.describe(ROOT_INODE, get_inode(draft, ROOT_INODE))
    if command.parents:
        make_parents(draft, names, owner)
    place = find_place(draft.rows, names)
    if place.entry is None:
        inode_id = new_directory(draft, place, command.mode, owner)
    elif command.parents and place.entry.kind == DIRECTORY:
        inode_id = place.entry.inode_id
    else:
        raise AlreadyExists(f"{command.path} exists already, as a {place.entry.kind}")
    return draft.view.describe(inode_id, get_inode(draft, inode_id))


@step(Rename, session=True)
def rename(draft: Draft, command: Rename) -> Done:
    """Move a name as rename(2) does; onto itself it is no change.

    Refuses: NotFound, NotADirectory, IsADirectory, DirectoryNotEmpty, AlreadyExists, Held,
    InvalidArgument (the root, or a directory into itself), InvalidPath.
    """
    source_names, target_names = split_path(command.source), split_path(command.target)
    if not source_names or not target_names:
        raise InvalidArgument("the root directory cannot be renamed or replaced")
    source = find_place(draft.rows, source_names)
    if source.entry is None:
        raise NotFound(f"{command.source} does not exist")
    target = find_place(draft.rows, target_names)
    if source.entry.inode_id in target.trail:
        raise InvalidArgument(f"{command.source} cannot be moved into itself ({command.target})")
    if target.entry is not None:
        if not command.replace:
            raise AlreadyExists(f"{command.target} exists already")
        if target.entry.inode_id == source.entry.inode_id:
            return Done()
        _replace(draft, command, source.entry, target.entry)
    check_entry(draft, source.entry, target, command.source)
    take_out(draft, source)
    enter(draft, target, source.entry.inode_id, source.entry.kind)
    move(draft, source.entry, target.directory)
    return Done()


@step(Remove, session=True)
def remove(draft: Draft, command: Remove) -> Removed:
    """Remove a name; a full directory is detached in one command and reaped later (F5).

    Refuses: NotFound, NotADirectory, DirectoryNotEmpty, Held, InvalidArgument (the root),
    InvalidPath.
    """
    names = split_path(command.path)
    if not names:
        raise InvalidArgument("the root directory cannot be removed")
    place = find_place(draft.rows, names)
    if place.entry is None:
        raise NotFound(f"{command.path} does not exist")
    inode = get_inode(draft, place.entry.inode_id)
    if inode.kind == DIRECTORY and inode.entry_count and not command.recursive:
        raise DirectoryNotEmpty(f"{command.path} holds {inode.entry_count} names; use rm -r")
    take_from_tails(draft, place.entry.inode_id, command.path)
    take_out(draft, place)
    destroy(draft, place.entry.inode_id, inode)
    return Removed(place.entry.inode_id, inode.kind)


@step(SetAttributes, session=True)
def set_attributes(draft: Draft, command: SetAttributes) -> FileStatus:
    """Return the facts after the change. Refuses: NotFound, NotADirectory, InvalidArgument."""
    found = resolve(draft.rows, command.path)
    before = get_inode(draft, found.inode_id)
    after = msgspec.structs.replace(
        before,
        mode=before.mode if command.mode is None else command.mode,
        owner=before.owner if command.owner is None else command.owner,
        group=before.group if command.group is None else command.group,
        mtime_ns=before.mtime_ns if command.mtime_ns is None else command.mtime_ns,
    )
    check_attributes(after.mode, after.mtime_ns, after.owner, after.group)
    draft.rows.put(INODES, id_key(found.inode_id), after)
    return draft.view.describe(found.inode_id, after)


def _replace(draft: Draft, command: Rename, source: Dentry, target: Dentry) -> None:
    """Destroy what stands at the target, if it may be replaced by the source."""
    if source.kind == FILE and target.kind == DIRECTORY:
        raise IsADirectory(f"{command.target} is a directory, {command.source} is a file")
    if source.kind == DIRECTORY and target.kind == FILE:
        raise NotADirectory(f"{command.target} is a file, {command.source} is a directory")
    inode = get_inode(draft, target.inode_id)
    if inode.entry_count:
        raise DirectoryNotEmpty(f"{command.target} holds {inode.entry_count} names")
    take_from_tails(draft, target.inode_id, command.target)
    destroy(draft, target.inode_id, inode)
