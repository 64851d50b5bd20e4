"""The end of a tail: what its seal adds to its file, and the names that it follows until then.

A sealed tail becomes the last extent of its file and its records results of the file, in the one
command that seals it. Nothing else changes a file's content while it has a tail (C9), so the
extent begins where the file ends.
"""

from __future__ import annotations

import msgspec

from gfs_ha.errors import InvalidArgument, StaleCommand
from gfs_ha.ids import ChunkId, ContentId, InodeId, ServerId, format_id
from gfs_ha.master.state.append_results import check_records, merge_records, remember_file
from gfs_ha.master.state.bounds import U32_MAX, check_range
from gfs_ha.master.state.chunk_rows import get_chunk, put_chunk, seal, settle
from gfs_ha.master.state.commands import CommitSeal
from gfs_ha.master.state.draft import Draft, step
from gfs_ha.master.state.goals import meet, said_goal
from gfs_ha.master.state.leases import lease_one_less, note_ended
from gfs_ha.master.state.records import MARK, SEALED, Chunk, ExtentRow, Reference
from gfs_ha.master.state.tables import (
    EXTENTS,
    INODES,
    REFERENCES,
    TAILS,
    TAILS_BY_DIRECTORY,
    TAILS_BY_SERVER,
    extent_key,
    id_key,
    pair_key,
    reference_key,
)
from gfs_ha.master.state.tail_commands import FinishTail
from gfs_ha.master.state.tail_reads import tail_of
from gfs_ha.master.state.tail_records import Tail
from gfs_ha.protocol.metadata import ChunkSealed

_NO_TAIL = InodeId(0)


_FULL = "it is full"


@step(FinishTail)
def finish_tail(draft: Draft, command: FinishTail) -> ChunkSealed:
    """Seal a tail where its primary ended it; a seal that came before stands (C2, C5).

    All its replicas have to hold it: what only some of them have may not be the whole of it.
    Refuses: UnknownChunk, StaleCommand, InvalidArgument, LimitExceeded.
    """
    chunk_id = command.chunk_id
    chunk = get_chunk(draft, chunk_id)
    if chunk.state == SEALED:
        return ChunkSealed(chunk_id, chunk.length, chunk.digest, chunk.holders)
    tail = tail_of(draft.view, chunk.tail_of) if chunk.tail_of else None
    primary = (command.server_id, command.start_id)
    if tail is None or (tail.server_id, tail.start_id) != primary:
        raise StaleCommand(
            f"server {command.server_id} is not the primary of {format_id(chunk_id)} in this run"
        )
    check_range("length", command.length, 1, chunk.capacity)
    check_range("digest", command.digest, 0, U32_MAX)
    members = tuple(replica.server_id for replica in chunk.replicas)
    if sorted(command.holders) != sorted(members):
        raise InvalidArgument(
            f"holders {command.holders} of tail {format_id(chunk_id)} are not all its replicas"
        )
    if command.length < chunk.published_end:
        raise StaleCommand(
            f"tail {format_id(chunk_id)} is published up to {chunk.published_end}, beyond"
            f" {command.length}"
        )
    ended = msgspec.structs.replace(chunk, reason=chunk.reason or _FULL)
    sealed = seal_tail(draft, ended, command, members)
    return ChunkSealed(chunk_id, sealed.length, sealed.digest, sealed.holders)


def seal_tail(
    draft: Draft, chunk: Chunk, command: CommitSeal | FinishTail, holders: tuple[ServerId, ...]
) -> Chunk:
    """Seal a tail and make it the end of its file; return its row. An empty one is dead then.

    Refuses: InvalidArgument, LimitExceeded.
    """
    length, chunk_id, inode_id = command.length, command.chunk_id, chunk.tail_of
    if length and command.crc is None:
        raise InvalidArgument(f"a seal of tail {format_id(chunk_id)} without the CRC of its bytes")
    check_range("crc", command.crc or 0, 0, U32_MAX)
    check_records(command.records, length)
    tail = tail_of(draft.view, inode_id)
    assert tail is not None and tail.chunk_id == chunk_id, f"tail {chunk_id:#x} without its row"
    _take_away(draft, inode_id, tail, chunk.reason)
    end = (length, command.digest, holders)
    sealed = msgspec.structs.replace(seal(chunk, draft.order_index, end), tail_of=_NO_TAIL)
    put_chunk(draft, chunk_id, chunk, sealed)
    if length:
        _grow(draft, inode_id, tail, (chunk_id, length, command.crc))
        merge_records(draft, inode_id, tail.file_offset, command.records)
    else:
        remember_file(draft, inode_id)
    settle(draft, chunk_id)
    return sealed


def follow(draft: Draft, inode_id: InodeId, directory: InodeId) -> None:
    """Let the tail of a file know that the file lies in another directory now."""
    tail = tail_of(draft.view, inode_id)
    if tail is None or tail.directory == directory:
        return
    draft.rows.delete(TAILS_BY_DIRECTORY, pair_key(tail.directory, inode_id))
    draft.rows.put(TAILS_BY_DIRECTORY, pair_key(directory, inode_id), MARK)
    draft.rows.put(TAILS, id_key(inode_id), msgspec.structs.replace(tail, directory=directory))


def _take_away(draft: Draft, inode_id: InodeId, tail: Tail, reason: str) -> None:
    draft.rows.delete(TAILS, id_key(inode_id))
    draft.rows.delete(TAILS_BY_SERVER, pair_key(tail.server_id, inode_id))
    draft.rows.delete(TAILS_BY_DIRECTORY, pair_key(tail.directory, inode_id))
    draft.counters.tails -= 1
    lease_one_less(draft, tail.server_id)
    note_ended(draft, inode_id, tail, reason)


def _grow(
    draft: Draft, inode_id: InodeId, tail: Tail, piece: tuple[ChunkId, int, int | None]
) -> None:
    """Add the tail's bytes to the file. Appends do not count as changes: the generation stays."""
    chunk_id, length, crc = piece
    inode = draft.view.inode(inode_id)
    assert inode is not None, f"tail {chunk_id:#x} of inode {inode_id}, which is not there"
    assert inode.size == tail.file_offset, f"inode {inode_id} has changed below its tail"
    content_id = inode.content_id
    if not content_id:
        draft.counters.last_content += 1
        content_id = ContentId(draft.counters.last_content)
    extent = ExtentRow(chunk_id, 0, length, draft.stamp.index, crc)
    draft.rows.put(EXTENTS, extent_key(content_id, inode.size), extent)
    key = reference_key(chunk_id, 0, content_id, inode.size)
    draft.rows.put(REFERENCES, key, Reference(length, said_goal(draft, inode.goal)))
    # The file may want other copies by now than when the tail was placed.
    meet(draft, chunk_id, inode.goal or draft.settings.goal)
    grown = msgspec.structs.replace(
        inode,
        size=inode.size + length,
        content_id=content_id,
        extent_count=inode.extent_count + 1,
        mtime_ns=draft.stamp.wall_ns,
    )
    draft.rows.put(INODES, id_key(inode_id), grown)
