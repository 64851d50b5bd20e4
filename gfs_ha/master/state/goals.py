"""How many copies the chunks of a file are to have, after that was changed, or files came together.

A chunk takes the largest goal of the references to it, each of which says what its content wants
(0: as many as the cluster's setting). What a change comes to is done in steps, in the order of the
tables, so that each is bounded and a new leader goes on:

- the references of a content are changed, and their chunks raised to its goal, or noted as ones
  that may want less;
- a noted chunk is lowered once all references to it were looked at. One that comes or changes
  meanwhile starts that anew;
- a chunk that lost a reference, because its file was removed or replaced, is noted as well.

No copy is made or dropped here: the planners of repair and of the surplus see to that.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import msgspec

from gfs_ha.errors import IsADirectory
from gfs_ha.ids import ChunkId, ContentId
from gfs_ha.limits import GOAL_MAX, ITEMS_PER_COMMAND_MAX
from gfs_ha.master.state.bounds import U64_MAX, check_range
from gfs_ha.master.state.chunk_rows import put_chunk
from gfs_ha.master.state.commands import FitGoals
from gfs_ha.master.state.draft import Draft, step
from gfs_ha.master.state.names import resolve
from gfs_ha.master.state.policy_records import ChunkFit, ContentFit
from gfs_ha.master.state.records import ALIVE, SEALED, UNSEALED, StagedContent
from gfs_ha.master.state.tables import (
    CHUNK_FITS,
    CONTENT_FITS,
    INODES,
    REFERENCES,
    RowTable,
    below,
    id_key,
    read_id,
    reference_key,
)
from gfs_ha.protocol.metadata import FILE, Done, FileStatus
from gfs_ha.protocol.policy import SetReplication

CHUNKS_PER_STEP = 100  # Each changes up to a dozen rows (F5).
REFERENCES_PER_STEP = 2_000


@step(SetReplication, session=True)
def set_replication(draft: Draft, command: SetReplication) -> FileStatus:
    """Return the facts of a file that wants so many copies from now on.

    Refuses: NotFound, NotADirectory, IsADirectory, InvalidPath, InvalidArgument.
    """
    check_range("goal", command.goal, 0, GOAL_MAX)
    found = resolve(draft.rows, command.path)
    if found.kind != FILE:
        raise IsADirectory(f"{command.path} is a directory; name files, or use -R")
    inode = draft.view.inode(found.inode_id)
    assert inode is not None, f"a name without inode {found.inode_id}"
    after = msgspec.structs.replace(inode, goal=command.goal)
    draft.rows.put(INODES, id_key(found.inode_id), after)
    if after.extent_count:
        fit_content(draft, after.content_id, after.goal)
    return draft.view.describe(found.inode_id, after)


@step(FitGoals)
def fit_goals(draft: Draft, command: FitGoals) -> Done:
    """Go on with the chunks whose goals are to fit what contents want. Refuses: InvalidArgument."""
    check_range("chunks_max", command.chunks_max, 1, ITEMS_PER_COMMAND_MAX)
    check_range("start", command.start, 0, U64_MAX)
    left = command.chunks_max
    for key, fit in list(islice(draft.rows.scan(CONTENT_FITS), left)):
        if left <= 0:
            return Done()
        left -= _fit_chunks(draft, ContentId(read_id(key)), fit, left)
    references = REFERENCES_PER_STEP
    for key, noted in list(islice(draft.rows.scan(CHUNK_FITS, id_key(command.start)), left)):
        if references <= 0:
            break
        references -= _lower(draft, ChunkId(read_id(key)), noted, references)
    return Done()


def said_goal(draft: Draft, goal: int) -> int:
    """Return what a reference says of a content that wants so many copies."""
    return 0 if goal == draft.settings.goal else goal


def staged_goal(staged: StagedContent, said: int) -> int:
    """Return what all references of a staged content say, with one more; -1: they differ."""
    return said if not staged.extent_count or staged.said_goal == said else -1


def fit_content(draft: Draft, content_id: ContentId, goal: int) -> None:
    """Have the references of a content say how many copies it wants, from its beginning."""
    if draft.rows.get(CONTENT_FITS, id_key(content_id)) is None:
        draft.counters.fits += 1
    draft.rows.put(CONTENT_FITS, id_key(content_id), ContentFit(said_goal(draft, goal)))


def forget_content(draft: Draft, content_id: ContentId) -> None:
    """Forget what was to be done about a content that has no extents any more."""
    if draft.counters.fits and draft.rows.get(CONTENT_FITS, id_key(content_id)) is not None:
        _end(draft, CONTENT_FITS, id_key(content_id))


def note_reference(draft: Draft, chunk_id: ChunkId) -> None:
    """Look at all references to a chunk anew, for there is another one."""
    if draft.counters.fits and draft.rows.get(CHUNK_FITS, id_key(chunk_id)) is not None:
        draft.rows.put(CHUNK_FITS, id_key(chunk_id), ChunkFit())


def raise_goal(draft: Draft, chunk_id: ChunkId, goal: int) -> None:
    """Raise a chunk's goal to what a content wants that refers to it now."""
    chunk = draft.view.chunk(chunk_id)
    if chunk is not None and chunk.state in ALIVE and chunk.goal < goal:
        put_chunk(draft, chunk_id, chunk, msgspec.structs.replace(chunk, goal=goal))


def note_loss(draft: Draft, chunk_id: ChunkId) -> None:
    """Note a chunk that lost a reference, if it may want fewer copies by those that are left.

    Of the first one that is left is seen whether to look at all of them: while that wants as many
    copies as the chunk has, so does the chunk. Nearly every file that goes ends here.
    """
    chunk = draft.view.chunk(chunk_id)
    if chunk is None or chunk.state not in ALIVE:
        return
    left = next(draft.rows.scan(REFERENCES, *below(id_key(chunk_id))), None)
    if left is not None and (left[1].goal or draft.settings.goal) < chunk.goal:
        _note(draft, chunk_id)


def meet(draft: Draft, chunk_id: ChunkId, goal: int) -> None:
    """Raise a chunk's goal to what one of its contents wants, or note that it may be too high."""
    raise_goal(draft, chunk_id, goal)
    chunk = draft.view.chunk(chunk_id)
    if chunk is None or chunk.state not in ALIVE:
        return
    if chunk.goal > goal:
        _note(draft, chunk_id)
    else:
        note_reference(draft, chunk_id)


def _note(draft: Draft, chunk_id: ChunkId) -> None:
    """Have all references to a chunk looked at, from the first one on."""
    if draft.rows.get(CHUNK_FITS, id_key(chunk_id)) is None:
        draft.counters.fits += 1
    draft.rows.put(CHUNK_FITS, id_key(chunk_id), ChunkFit())


def _fit_chunks(draft: Draft, content_id: ContentId, fit: ContentFit, limit: int) -> int:
    """Fit the next references of a content; return how many, and at least one."""
    wanted = fit.goal or draft.settings.goal
    found = list(islice(draft.view.extents(content_id, fit.file_offset), limit))
    for extent in found:
        key = reference_key(extent.chunk_id, extent.chunk_offset, content_id, extent.file_offset)
        reference = draft.rows.get(REFERENCES, key)
        assert reference is not None, f"an extent of content {content_id} without its reference"
        if reference.goal != fit.goal:
            changed = msgspec.structs.replace(reference, goal=fit.goal)
            draft.rows.put(REFERENCES, key, changed)
    for chunk_id in dict.fromkeys(extent.chunk_id for extent in found):
        meet(draft, chunk_id, wanted)
    if len(found) == limit:
        end = found[-1].file_offset + found[-1].length
        draft.rows.put(CONTENT_FITS, id_key(content_id), ContentFit(fit.goal, end))
    else:
        _end(draft, CONTENT_FITS, id_key(content_id))
    return max(1, len(found))


def _lower(draft: Draft, chunk_id: ChunkId, noted: ChunkFit, limit: int) -> int:
    """Look at the next references to a chunk, and lower its goal after the last one.

    Returns how many were looked at, and at least one. A chunk that is not sealed yet waits.
    """
    chunk = draft.view.chunk(chunk_id)
    if chunk is not None and chunk.state in UNSEALED:
        return 1
    key = id_key(chunk_id)
    if chunk is None or chunk.state != SEALED:
        _end(draft, CHUNK_FITS, key)
        return 1
    start, end = below(key)
    found = list(islice(draft.rows.scan(REFERENCES, noted.after or start, end), limit + 1))
    largest = noted.largest
    for _, reference in found[:limit]:
        largest = max(largest, reference.goal or draft.settings.goal)
    if len(found) > limit and largest < chunk.goal:
        draft.rows.put(CHUNK_FITS, key, ChunkFit(found[limit][0], largest))
        return limit
    _end(draft, CHUNK_FITS, key)
    if 0 < largest < chunk.goal:
        least = min(chunk.min_copies, largest)
        lowered = msgspec.structs.replace(chunk, goal=largest, min_copies=least)
        put_chunk(draft, chunk_id, chunk, lowered)
    return max(1, len(found))


def _end(draft: Draft, table: RowTable[Any], key: bytes) -> None:
    draft.rows.delete(table, key)
    draft.counters.fits -= 1
