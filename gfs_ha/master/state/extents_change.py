"""Contents made from the bytes of files that exist: only extents and references change (F4).

A reference to bytes that a session does not claim is made here alone, by a command with a path:
what the path leads to at apply is referred to, so its chunks are alive, and stay so (C11).
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from gfs_ha.errors import InvalidArgument, IsADirectory, PreconditionFailed
from gfs_ha.ids import ContentId, InodeId
from gfs_ha.limits import EXTENTS_PER_COMMAND_MAX
from gfs_ha.master.state.bounds import SIZE_MAX, U64_MAX, check_attributes, check_range
from gfs_ha.master.state.chunk_rows import get_chunk
from gfs_ha.master.state.contents import (
    add_extent,
    check_gap,
    get_staged,
    give_up,
    new_content,
    settle_staged,
)
from gfs_ha.master.state.draft import Draft, step
from gfs_ha.master.state.entries import get_inode, retire_content
from gfs_ha.master.state.goals import said_goal, staged_goal
from gfs_ha.master.state.holds import take_from_tails
from gfs_ha.master.state.names import resolve
from gfs_ha.master.state.records import Inode, StagedContent
from gfs_ha.master.state.tables import INODES, STAGED, id_key, pair_key
from gfs_ha.protocol.extents import DiscardStaged, ReplaceContent, StageCopy, StagedCopy
from gfs_ha.protocol.metadata import FILE, Done, Extent, FileStatus


@step(StageCopy, session=True)
def stage_copy(draft: Draft, command: StageCopy) -> StagedCopy:
    """Let a staged content refer to bytes of a file, as many as one command may.

    Refuses: NotFound, NotADirectory, IsADirectory, PreconditionFailed, WrongState, InvalidArgument,
    Held.
    """
    check_range("offset", command.offset, 0, SIZE_MAX)
    check_range("length", command.length, 0, SIZE_MAX)
    check_range("content", command.content_id, 0, U64_MAX)
    check_range("file offset", command.file_offset, 0, SIZE_MAX)
    inode_id, inode = _find_file(draft, command.path)
    if command.pinned_content:
        pinned = (command.pinned_content, command.pinned_generation)
        _check_pinned(command.path, inode, pinned)
    take_from_tails(draft, inode_id, command.path)
    length = max(0, min(command.length, inode.size - command.offset))
    check_range("end", command.file_offset + length, 0, SIZE_MAX)
    content_id, staged = command.content_id, None
    if content_id:
        staged = get_staged(draft, content_id)
    else:
        content_id = new_content(draft)
    before = staged or StagedContent(extent_count=0, total=0, end=0, born_index=draft.stamp.index)
    shift = command.file_offset - command.offset
    copied = count = 0
    for extent in _cut(draft, inode.content_id, command.offset, command.offset + length):
        moved = msgspec.structs.replace(extent, file_offset=extent.file_offset + shift)
        if staged is not None and moved.file_offset < before.end:
            check_gap(draft, content_id, moved)
        said = said_goal(draft, get_chunk(draft, moved.chunk_id).goal)
        add_extent(draft, content_id, moved, said)
        before = msgspec.structs.replace(
            before,
            extent_count=before.extent_count + 1,
            said_goal=staged_goal(before, said),
        )
        copied, count = copied + extent.length, count + 1
        if count == EXTENTS_PER_COMMAND_MAX:
            break
    after = msgspec.structs.replace(
        before,
        total=before.total + copied,
        end=max(before.end, command.file_offset + copied if copied else 0),
    )
    draft.rows.put(STAGED, pair_key(draft.stamp.session_id, content_id), after)
    return StagedCopy(content_id, copied, draft.view.describe(inode_id, inode))


@step(ReplaceContent, session=True)
def replace_content(draft: Draft, command: ReplaceContent) -> FileStatus:
    """Flip a file from the content that its changer saw to a staged one.

    Refuses: PreconditionFailed, InvalidArgument, WrongState, NotFound, NotADirectory, IsADirectory,
    Held.
    """
    check_range("content", command.content_id, 1, U64_MAX)
    check_range("size", command.size, 0, SIZE_MAX)
    check_attributes(0, command.mtime_ns, "", "")
    staged = get_staged(draft, command.content_id)
    inode_id, inode = _find_file(draft, command.path)
    expected = (command.expected_content, command.expected_generation)
    _check_pinned(command.path, inode, expected)
    if command.expected_size not in (-1, inode.size):
        raise PreconditionFailed(f"{command.path} has been appended to meanwhile")
    if staged.total != staged.end or staged.end != command.size:
        raise InvalidArgument(
            f"{command.path} has {staged.total} bytes staged up to {staged.end},"
            f" not {command.size} without a hole"
        )
    take_from_tails(draft, inode_id, command.path)
    settle_staged(draft, command.content_id, inode.goal)
    retire_content(draft, inode)
    after = msgspec.structs.replace(
        inode,
        mtime_ns=command.mtime_ns,
        size=command.size,
        content_id=command.content_id,
        generation=inode.generation + 1,
        extent_count=staged.extent_count,
    )
    draft.rows.put(INODES, id_key(inode_id), after)
    return draft.view.describe(inode_id, after)


@step(DiscardStaged, session=True)
def discard_staged(draft: Draft, command: DiscardStaged) -> Done:
    """Leave a staged content of the session to be reaped."""
    give_up(draft, command.content_id)
    return Done()


def _find_file(draft: Draft, path: str) -> tuple[InodeId, Inode]:
    found = resolve(draft.rows, path)
    if found.kind != FILE:
        raise IsADirectory(f"{path} is a directory")
    return found.inode_id, get_inode(draft, found.inode_id)


def _check_pinned(path: str, inode: Inode, pinned: tuple[ContentId, int]) -> None:
    if (inode.content_id, inode.generation) != pinned:
        raise PreconditionFailed(f"{path} was changed by somebody else meanwhile")


def _cut(draft: Draft, content_id: ContentId, start: int, end: int) -> Iterator[Extent]:
    """Yield the extents of [start, end); one that is cut has no CRC of its bytes any more."""
    if start >= end:
        return
    for extent in draft.view.extents(content_id, start):
        if extent.file_offset >= end:
            return
        low = max(start, extent.file_offset)
        high = min(end, extent.file_offset + extent.length)
        if high - low == extent.length:
            yield extent
            continue
        yield Extent(
            low,
            extent.chunk_id,
            extent.chunk_offset + low - extent.file_offset,
            high - low,
        )
