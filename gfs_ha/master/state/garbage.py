"""Garbage that only a committed command makes right to destroy: dead blocks and orphans (G2, G8).

A planner's news may be old: each step looks at the tables of its own moment. A block is given up
only while no reference touches it, and none can come to: who stages bytes claims their chunk, and
who copies a file refers to what a file has. A replica without a chunk is deleted only if its id
was given and its row is gone; ids are given in order, by the command that writes the row.
"""

from __future__ import annotations

import msgspec

from gfs_ha.errors import InvalidArgument, LimitExceeded, StaleCommand
from gfs_ha.ids import NO_SESSION, ChunkId, LogIndex, format_id, split_chunk_id
from gfs_ha.limits import ITEMS_PER_COMMAND_MAX, ORPHANS_MAX, QUARANTINE_S
from gfs_ha.master.state.bounds import U64_MAX, check_count, check_range
from gfs_ha.master.state.chunk_rows import get_chunk, put_chunk
from gfs_ha.master.state.draft import Draft, step
from gfs_ha.master.state.garbage_commands import (
    NoteOrphans,
    OrphansDeleted,
    PunchChunk,
    PunchesDone,
)
from gfs_ha.master.state.garbage_records import Orphan
from gfs_ha.master.state.living import REFERENCES_MAX, living
from gfs_ha.master.state.reclaimed import ORPHANS, PUNCHED, reclaim
from gfs_ha.master.state.records import SEALED
from gfs_ha.master.state.tables import ORPHANS as ORPHAN_ROWS
from gfs_ha.master.state.tables import replica_key
from gfs_ha.protocol.gone import blocks_of, pack_blocks, unpack_blocks
from gfs_ha.protocol.metadata import Done

QUARANTINE_MS = int(QUARANTINE_S * 1000)
_NOT_CONDEMNED = LogIndex(0)


@step(PunchChunk)
def punch_chunk(draft: Draft, command: PunchChunk) -> Done:
    """Give up blocks without a live byte, and have every holder give them back (G8).

    Refuses: UnknownChunk, StaleCommand, LimitExceeded, InvalidArgument.
    """
    chunk = get_chunk(draft, command.chunk_id)
    name = f"chunk {format_id(command.chunk_id)}"
    wanted, before = unpack_blocks(command.gone), unpack_blocks(chunk.gone)
    if chunk.state != SEALED or chunk.sealed_index != command.sealed_index:
        raise StaleCommand(f"{name} is {chunk.state}, not sealed as the leader saw it")
    if chunk.claimed_by != NO_SESSION or chunk.copying:
        raise StaleCommand(f"{name} is claimed, or being copied")
    if wanted & ~blocks_of(0, chunk.length):
        raise InvalidArgument(f"{name} has {chunk.length} bytes and not all of these blocks")
    if not wanted & ~before:
        raise StaleCommand(f"{name} is without these blocks already")
    alive = living(draft.rows, command.chunk_id)
    if alive is None:
        raise LimitExceeded(f"{name} has more than {REFERENCES_MAX} references")
    if wanted & alive.blocks:
        raise StaleCommand(f"{name} has live bytes in these blocks")
    punched = msgspec.structs.replace(
        chunk,
        gone=pack_blocks(before | wanted),
        punch_index=draft.order_index,
        punching=chunk.holders,
    )
    put_chunk(draft, command.chunk_id, chunk, punched)
    return Done()


@step(PunchesDone)
def punches_done(draft: Draft, command: PunchesDone) -> Done:
    """Wait no more for holders that gave their blocks back, and add up what disks got."""
    check_count("punches", command.punched, ITEMS_PER_COMMAND_MAX)
    for chunk_id, server_id, index, freed in command.punched:
        check_range("chunk", chunk_id, 0, U64_MAX)
        chunk = draft.view.chunk(chunk_id)
        if chunk is None or chunk.state != SEALED or chunk.punch_index != index:
            continue  # What a dead chunk gave back before is told with its deletion.
        if server_id not in chunk.punching:
            continue
        left = tuple(one for one in chunk.punching if one != server_id)
        put_chunk(draft, chunk_id, chunk, msgspec.structs.replace(chunk, punching=left))
        reclaim(draft, PUNCHED, freed)
    return Done()


@step(NoteOrphans)
def note_orphans(draft: Draft, command: NoteOrphans) -> Done:
    """Write orphans down, each to be deleted or in quarantine (G2)."""
    check_count("orphans", command.orphans, ITEMS_PER_COMMAND_MAX)
    now_ms = draft.counters.cluster_ms
    for server_id, disk_id, chunk_id in command.orphans:
        for what, value in (("server", server_id), ("disk", disk_id), ("chunk", chunk_id)):
            check_range(what, value, 0, U64_MAX)
        older = _without_row(draft, chunk_id)
        if older is None:
            continue
        key = replica_key(server_id, disk_id, chunk_id)
        known = draft.rows.get(ORPHAN_ROWS, key)
        if known is None and draft.counters.orphans >= ORPHANS_MAX:
            continue  # Found again once there is room.
        row = known or Orphan(now_ms)
        if not row.delete_index and not (older and now_ms - row.since_ms < QUARANTINE_MS):
            row = msgspec.structs.replace(row, delete_index=draft.order_index)
        draft.counters.orphans += known is None
        draft.rows.put(ORPHAN_ROWS, key, row)
    return Done()


@step(OrphansDeleted)
def orphans_deleted(draft: Draft, command: OrphansDeleted) -> Done:
    """Forget orphans that are gone, and add up what disks got back."""
    check_count("orphans", command.orphans, ITEMS_PER_COMMAND_MAX)
    for server_id, disk_id, chunk_id, index, freed in command.orphans:
        for what, value in (("server", server_id), ("disk", disk_id), ("chunk", chunk_id)):
            check_range(what, value, 0, U64_MAX)
        key = replica_key(server_id, disk_id, chunk_id)
        known = draft.rows.get(ORPHAN_ROWS, key)
        if known is None or known.delete_index != index:
            continue
        draft.rows.delete(ORPHAN_ROWS, key)
        draft.counters.orphans -= 1
        if index != _NOT_CONDEMNED:
            reclaim(draft, ORPHANS, freed)
    return Done()


def _without_row(draft: Draft, chunk_id: ChunkId) -> bool | None:
    """Return whether a chunk without a row is of an older incarnation; None of any other chunk.

    An id that was not given yet may get its row at any later moment.
    """
    incarnation, counter = split_chunk_id(chunk_id)
    now = draft.settings.incarnation
    given = incarnation < now or (incarnation == now and counter <= draft.counters.last_chunk)
    if not given or draft.view.chunk(chunk_id) is not None:
        return None
    return incarnation < now
