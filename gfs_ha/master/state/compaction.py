"""Chunks of which little lives: that is copied elsewhere, and files refer to the copy (G8).

The copy is an ordinary chunk of a session, so whatever breaks off leaves what any broken put leaves
(C11). References move in bounded steps, each of which compares with the rows of its own moment;
what was moved stays so. A chunk whose last reference moved is dead like any other (G3).
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise

import msgspec

from gfs_ha.errors import InvalidArgument, LimitExceeded, StaleCommand, WrongState
from gfs_ha.ids import NO_SESSION, ContentId, LogIndex, ServerId, format_id
from gfs_ha.limits import COMPACTION_RANGES_MAX, MOVES_PER_COMMAND_MAX
from gfs_ha.master.state.bounds import SIZE_MAX, check_count, check_range, check_text
from gfs_ha.master.state.chunk_rows import get_chunk, put_chunk, settle
from gfs_ha.master.state.claims import require_claim
from gfs_ha.master.state.draft import Draft, step
from gfs_ha.master.state.garbage_commands import BeginCompaction, EndCompaction
from gfs_ha.master.state.goals import note_loss, note_reference, raise_goal
from gfs_ha.master.state.living import REFERENCES_MAX
from gfs_ha.master.state.records import SEALED, Chunk
from gfs_ha.master.state.tables import (
    EXTENTS,
    REFERENCES,
    below,
    extent_key,
    id_key,
    read_reference_key,
    reference_key,
)
from gfs_ha.protocol.extents import MovedRange, MoveReferences, ReferencesMoved
from gfs_ha.protocol.metadata import Done

_REASON_BYTES_MAX = 255

_Found = tuple[bytes, int, ContentId, int, int]  # Key, moved offset, content, file offset, length.


@step(BeginCompaction)
def begin_compaction(draft: Draft, command: BeginCompaction) -> Done:
    """Have a holder copy what lives of a chunk. Refuses: UnknownChunk, StaleCommand."""
    chunk = get_chunk(draft, command.chunk_id)
    name = f"chunk {format_id(command.chunk_id)}"
    if chunk.state != SEALED or chunk.sealed_index != command.sealed_index:
        raise StaleCommand(f"{name} is {chunk.state}, not sealed as the leader saw it")
    if chunk.claimed_by != NO_SESSION or chunk.copying or chunk.deleting or chunk.compactor:
        raise StaleCommand(f"{name} is claimed, or something is done with it")
    if command.server_id not in chunk.holders or not command.server_id:
        raise StaleCommand(f"{name} has no copy that counts on server {command.server_id}")
    begun = msgspec.structs.replace(
        chunk, compactor=command.server_id, compact_index=draft.order_index
    )
    put_chunk(draft, command.chunk_id, chunk, begun)
    return Done()


@step(EndCompaction)
def end_compaction(draft: Draft, command: EndCompaction) -> Done:
    """Note that a compaction is over. Refuses: UnknownChunk, StaleCommand."""
    check_text("reason", command.reason, _REASON_BYTES_MAX, bytes_min=0)
    chunk = get_chunk(draft, command.chunk_id)
    if not _under_way(chunk, command.order_index):
        raise StaleCommand(f"chunk {format_id(command.chunk_id)} is not compacted by this order")
    ended = msgspec.structs.replace(chunk, compactor=ServerId(0))
    put_chunk(draft, command.chunk_id, chunk, ended)
    return Done()


@step(MoveReferences, session=True)
def move_references(draft: Draft, command: MoveReferences) -> ReferencesMoved:
    """Let extents refer to the copy of their bytes, as many as one command may (F3, F5).

    Refuses: UnknownChunk, WrongState, NotClaimed, InvalidArgument, LimitExceeded.
    """
    source = get_chunk(draft, command.chunk_id)
    target = get_chunk(draft, command.target)
    if not _under_way(source, command.order_index):
        raise WrongState(f"chunk {format_id(command.chunk_id)} is not compacted by this order")
    if target.state != SEALED or command.target == command.chunk_id:
        raise WrongState(f"chunk {format_id(command.target)} is no sealed copy of it")
    require_claim(draft, command.target, target)
    _check_ranges(command.ranges, source, target)
    found = _find(draft, command)
    for key, moved_offset, content_id, file_offset, _ in found[:MOVES_PER_COMMAND_MAX]:
        place = extent_key(content_id, file_offset)
        extent = draft.rows.get(EXTENTS, place)
        assert extent is not None and extent.chunk_id == command.chunk_id, "a stray reference"
        row = draft.rows.get(REFERENCES, key)
        assert row is not None and row.length == extent.length, "a reference of another length"
        moved = msgspec.structs.replace(extent, chunk_id=command.target, chunk_offset=moved_offset)
        draft.rows.put(EXTENTS, place, moved)
        draft.rows.delete(REFERENCES, key)
        fresh = reference_key(command.target, moved_offset, content_id, file_offset)
        draft.rows.put(REFERENCES, fresh, row)
        # Its file may want more copies by now than when the target was allocated (G5).
        raise_goal(draft, command.target, row.goal or draft.settings.goal)
        draft.counters.loosened += 1
    note_reference(draft, command.target)
    settle(draft, command.chunk_id)
    note_loss(draft, command.chunk_id)
    count = min(len(found), MOVES_PER_COMMAND_MAX)
    return ReferencesMoved(count, more=len(found) > MOVES_PER_COMMAND_MAX)


def _under_way(chunk: Chunk, order_index: LogIndex) -> bool:
    return chunk.state == SEALED and bool(chunk.compactor) and chunk.compact_index == order_index


def _check_ranges(ranges: tuple[MovedRange, ...], source: Chunk, target: Chunk) -> None:
    """Raises: LimitExceeded, InvalidArgument unless they lie in both chunks, in order."""
    check_count("ranges", ranges, COMPACTION_RANGES_MAX)
    for one in ranges:
        check_range("offset", one.offset, 0, SIZE_MAX)
        check_range("moved offset", one.moved_offset, 0, SIZE_MAX)
        check_range("length", one.length, 1, SIZE_MAX)
        if one.offset + one.length > source.length or one.moved_offset + one.length > target.length:
            raise InvalidArgument(f"a range of {one.length} bytes at {one.offset} goes too far")
    if any(before.offset + before.length > after.offset for before, after in pairwise(ranges)):
        raise InvalidArgument("ranges overlap, or are not sorted")


def _find(draft: Draft, command: MoveReferences) -> list[_Found]:
    """Return the references that lie within the ranges; one more than a command moves.

    Raises: LimitExceeded when too many have to be looked at.
    """
    starts = [one.offset for one in command.ranges]
    found: list[_Found] = []
    scan = draft.rows.scan(REFERENCES, *below(id_key(command.chunk_id)))
    for looked, (key, reference) in enumerate(scan):
        if looked >= REFERENCES_MAX:
            raise LimitExceeded(f"chunk {format_id(command.chunk_id)} has too many references")
        _, offset, content_id, file_offset = read_reference_key(key)
        within = _range_of(command.ranges, starts, offset, reference.length)
        if within is None:
            continue
        moved_offset = within.moved_offset + offset - within.offset
        found.append((key, moved_offset, content_id, file_offset, reference.length))
        if len(found) > MOVES_PER_COMMAND_MAX:
            break
    return found


def _range_of(
    ranges: tuple[MovedRange, ...], starts: list[int], offset: int, length: int
) -> MovedRange | None:
    at = bisect_right(starts, offset) - 1
    if at < 0 or offset + length > ranges[at].offset + ranges[at].length:
        return None
    return ranges[at]
