"""Tails: the open chunks at the ends of files, placed and opened by the leader (C10).

A tail is placed first: a row that nobody claims. Its replicas are made, and only when all of them
are there it is opened: from then on its primary takes records, and "unknown" of a replica means
that it is lost. Only the epoch that placed a tail opens it; under another one it is dead. How it
ends, see tail_seals.py.
"""

from __future__ import annotations

import msgspec

from gfs_ha.errors import (
    InvalidArgument,
    IsADirectory,
    LimitExceeded,
    NotFound,
    StaleCommand,
    UnknownServer,
)
from gfs_ha.ids import ChunkId, InodeId, format_id
from gfs_ha.limits import ITEMS_PER_COMMAND_MAX
from gfs_ha.master.state.bounds import SIZE_MAX, U64_MAX, check_count, check_range
from gfs_ha.master.state.chunk_births import NewChunk, bear
from gfs_ha.master.state.chunk_rows import bury, get_chunk, put_chunk
from gfs_ha.master.state.draft import Draft, step
from gfs_ha.master.state.holds import check_not_held
from gfs_ha.master.state.leases import lease_one_more, note_granted
from gfs_ha.master.state.names import find_place
from gfs_ha.master.state.records import MARK, Chunk, Inode
from gfs_ha.master.state.tables import (
    TAILS,
    TAILS_BY_DIRECTORY,
    TAILS_BY_SERVER,
    id_key,
    pair_key,
)
from gfs_ha.master.state.tail_commands import AbandonTails, OpenTail, PlaceTail
from gfs_ha.master.state.tail_reads import tail_of
from gfs_ha.master.state.tail_records import Tail
from gfs_ha.protocol.metadata import FILE, TAIL, ChunkAllocated, Done
from gfs_ha.protocol.paths import split_path


@step(PlaceTail)
def place_tail(draft: Draft, command: PlaceTail) -> ChunkAllocated:
    """Return a fresh chunk that may be opened at the end of a file.

    Refuses: NotFound, IsADirectory, StaleCommand, TooFewCopies, UnknownServer, InvalidArgument.
    """
    inode = (
        _file(draft, command.inode_id)
        if command.ahead
        else (_file_without_tail(draft, command.inode_id))
    )
    goal = command.goal or inode.goal
    wanted = NewChunk(
        TAIL,
        command.durability,
        goal,
        command.replicas,
        remarks=command.remarks,
        rule=inode.rule,
        capacity=inode.chunk_bytes,
    )
    return bear(draft, wanted)


@step(AbandonTails)
def abandon_tails(draft: Draft, command: AbandonTails) -> Done:
    """Let placed tails die that will not be opened any more. Refuses: LimitExceeded."""
    check_count("chunks", command.chunk_ids, ITEMS_PER_COMMAND_MAX)
    for chunk_id in command.chunk_ids:
        check_range("chunk id", chunk_id, 0, U64_MAX)
        chunk = draft.view.chunk(chunk_id)
        if chunk is None or not chunk.unopened:
            continue
        if command.given_up or chunk.birth != draft.epoch:
            bury(draft, chunk_id, chunk)
    return Done()


@step(OpenTail)
def open_tail(draft: Draft, command: OpenTail) -> Done:
    """Make a placed chunk the tail of a file, and a server its primary.

    Refuses: NotFound, NotADirectory, IsADirectory, InvalidPath, Held, StaleCommand, UnknownChunk,
    UnknownServer, InvalidArgument, LimitExceeded.
    """
    inode, directory = _find_file(draft, command)
    chunk = _placed(draft, command.chunk_id)
    server_id, start_id = command.server_id, command.start_id
    if chunk.replicas[0].server_id != server_id:
        raise InvalidArgument(
            f"server {server_id} is not the head of chunk {format_id(command.chunk_id)}"
        )
    server = draft.view.server(server_id)
    if server is None:
        raise UnknownServer(f"server {server_id} is not registered")
    if server.start_id != start_id:
        raise StaleCommand(f"server {server.name} has started again; it knows nothing of this tail")
    if inode.size > SIZE_MAX - chunk.capacity:
        raise LimitExceeded(f"{command.path} has {inode.size} bytes; it cannot grow any more")
    lease_one_more(draft, server_id, start_id)
    tail = Tail(
        chunk_id=command.chunk_id,
        server_id=server_id,
        start_id=start_id,
        epoch=draft.epoch,
        granted_index=draft.order_index,
        file_offset=inode.size,
        directory=directory,
        path=command.path,
        opened_ms=draft.counters.cluster_ms,
    )
    opened = msgspec.structs.replace(chunk, tail_of=command.inode_id)
    put_chunk(draft, command.chunk_id, chunk, opened)
    draft.rows.put(TAILS, id_key(command.inode_id), tail)
    draft.rows.put(TAILS_BY_SERVER, pair_key(server_id, command.inode_id), MARK)
    draft.rows.put(TAILS_BY_DIRECTORY, pair_key(directory, command.inode_id), MARK)
    draft.counters.tails += 1
    note_granted(draft, command.inode_id, tail)
    return Done()


def _file(draft: Draft, inode_id: InodeId) -> Inode:
    check_range("inode", inode_id, 0, U64_MAX)
    inode = draft.view.inode(inode_id)
    if inode is None:
        raise NotFound(f"the file with inode {inode_id} does not exist (any more)")
    if inode.kind != FILE:
        raise IsADirectory(f"inode {inode_id} is a directory")
    return inode


def _file_without_tail(draft: Draft, inode_id: InodeId) -> Inode:
    inode = _file(draft, inode_id)
    tail = tail_of(draft.view, inode_id)
    if tail is not None:
        raise StaleCommand(f"inode {inode_id} has the tail {format_id(tail.chunk_id)} already")
    return inode


def _find_file(draft: Draft, command: OpenTail) -> tuple[Inode, InodeId]:
    """Return the file, which the path still leads to, and its directory.

    So the file is in the tree: what was removed and waits to be reaped has no path.
    """
    names = split_path(command.path)
    if not names:
        raise IsADirectory("/ is the root directory")
    place = find_place(draft.rows, names)
    if place.entry is None:
        raise NotFound(f"{command.path} does not exist")
    if place.entry.inode_id != command.inode_id:
        raise StaleCommand(f"{command.path} names another file now")
    inode = _file_without_tail(draft, command.inode_id)
    check_not_held(draft, (command.inode_id, *place.trail), command.path)
    return inode, place.directory


def _placed(draft: Draft, chunk_id: ChunkId) -> Chunk:
    chunk = get_chunk(draft, chunk_id)
    if not chunk.unopened or chunk.birth != draft.epoch:
        raise StaleCommand(
            f"chunk {format_id(chunk_id)} is {chunk.kind}, {chunk.state}, born in {chunk.birth}:"
            f" no tail that epoch {draft.epoch} may open"
        )
    return chunk
