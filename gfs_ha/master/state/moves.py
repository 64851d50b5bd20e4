"""What must move with a name: where a directory lies, and the tail of a file."""

from __future__ import annotations

import msgspec

from gfs_ha.ids import InodeId
from gfs_ha.master.state.draft import Draft
from gfs_ha.master.state.entries import get_inode
from gfs_ha.master.state.holds import check_not_held
from gfs_ha.master.state.names import Place
from gfs_ha.master.state.records import Dentry
from gfs_ha.master.state.tables import INODES, id_key
from gfs_ha.master.state.tail_reads import tails_below
from gfs_ha.master.state.tail_seals import follow
from gfs_ha.protocol.metadata import DIRECTORY


def check_entry(draft: Draft, entry: Dentry, target: Place, path: str) -> None:
    """Raises: Held when this would bring a tail below a held directory (C9)."""
    if draft.counters.holds and tails_below(draft.view, entry.inode_id, 1):
        check_not_held(draft, target.trail, path)


def move(draft: Draft, entry: Dentry, directory: InodeId) -> None:
    """Let what a name leads to know that it lies in another directory now."""
    if entry.kind != DIRECTORY:
        follow(draft, entry.inode_id, directory)
        return
    moved = get_inode(draft, entry.inode_id)
    if moved.parent != directory:
        after = msgspec.structs.replace(moved, parent=directory)
        draft.rows.put(INODES, id_key(entry.inode_id), after)
