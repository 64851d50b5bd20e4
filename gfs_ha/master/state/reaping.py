"""Rows that nobody reaches any more, deleted in steps: sessions, trees, contents, results (F5)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from gfs_ha.ids import ChunkId, ContentId, InodeId, SessionId
from gfs_ha.limits import ROWS_PER_COMMAND_MAX
from gfs_ha.master.state.append_results import reap_results, release_one
from gfs_ha.master.state.bounds import check_range
from gfs_ha.master.state.chunk_rows import settle
from gfs_ha.master.state.commands import ReapStep
from gfs_ha.master.state.draft import Draft, step
from gfs_ha.master.state.entries import destroy, get_inode
from gfs_ha.master.state.goals import forget_content, note_loss
from gfs_ha.master.state.holds import end_hold
from gfs_ha.master.state.policies import forget_policy
from gfs_ha.master.state.records import Reapable
from gfs_ha.master.state.tables import (
    DENTRIES,
    DETACHED_TREES,
    ENDED_SESSIONS,
    EXTENTS,
    INODES,
    OLD_CONTENTS,
    OLD_RESULTS,
    REFERENCES,
    REPLIES,
    STAGED,
    RowTable,
    below,
    id_key,
    read_id,
    read_pair,
    reference_key,
)
from gfs_ha.protocol.metadata import Done

ROWS_MIN = 32  # Enough for one thing of each kind, so that a step always gets on.
_ROWS_PER_CHUNK = 6  # Its row, the indexes, a replica count; or only a note that it may fall.
_ROWS_PER_NAME = 8  # Dentry, inode, hold, content or tree to reap, results: one in, three out.


class _Budget:
    """How many rows the step may still change, what dies with them included."""

    def __init__(self, draft: Draft, rows_max: int) -> None:
        self._draft = draft
        self._rows_max = rows_max
        self.chunks: dict[ChunkId, None] = {}

    def left(self) -> int:
        used = self._draft.rows.change_count() + _ROWS_PER_CHUNK * len(self.chunks)
        return self._rows_max - used


@step(ReapStep)
def reap_step(draft: Draft, command: ReapStep) -> Done:
    """Delete what is reapable, oldest id first, as far as `rows_max` goes."""
    check_range("rows_max", command.rows_max, ROWS_MIN, ROWS_PER_COMMAND_MAX)
    budget = _Budget(draft, command.rows_max)
    for session_id in _waiting(draft, ENDED_SESSIONS, budget):
        _reap_session(draft, SessionId(session_id), budget)
    for inode_id in _waiting(draft, DETACHED_TREES, budget):
        _reap_tree(draft, InodeId(inode_id), budget)
    for content_id in _waiting(draft, OLD_CONTENTS, budget):
        _reap_content(draft, ContentId(content_id), budget)
    while budget.left() >= _ROWS_PER_NAME + _ROWS_PER_CHUNK and release_one(draft):
        pass
    for inode_id in _waiting(draft, OLD_RESULTS, budget):
        if reap_results(draft, InodeId(inode_id), max(0, budget.left() - 2)):
            _finish(draft, OLD_RESULTS, inode_id)
    # At the end, once for each chunk: a look for other references passes over the deleted ones.
    for chunk_id in budget.chunks:
        settle(draft, chunk_id)
        note_loss(draft, chunk_id)
    return Done()


def _waiting(draft: Draft, table: RowTable[Reapable], budget: _Budget) -> Iterator[int]:
    """Yield ids to be reaped while there is budget; the table may change meanwhile."""
    waiting = [read_id(key) for key, _ in islice(draft.rows.scan(table), max(0, budget.left()))]
    for value in waiting:
        if budget.left() < _ROWS_PER_NAME + _ROWS_PER_CHUNK:
            return
        yield value


def _finish(draft: Draft, table: RowTable[Reapable], value: int) -> None:
    draft.rows.delete(table, id_key(value))
    draft.counters.reapable -= 1


def _reap_session(draft: Draft, session_id: SessionId, budget: _Budget) -> None:
    low, end = below(id_key(session_id))
    limit = max(0, budget.left() - 1)
    for key in [key for key, _ in islice(draft.rows.scan(REPLIES, low, end), limit)]:
        draft.rows.delete(REPLIES, key)
    limit = max(0, (budget.left() - 1) // 2)
    for key in [key for key, _ in islice(draft.rows.scan(STAGED, low, end), limit)]:
        content_id = read_pair(key)[1]
        draft.rows.delete(STAGED, key)
        draft.rows.put(OLD_CONTENTS, id_key(content_id), Reapable(draft.stamp.index))
        draft.counters.reapable += 1
    answers, contents = draft.rows.scan(REPLIES, low, end), draft.rows.scan(STAGED, low, end)
    if next(answers, None) is None and next(contents, None) is None:
        _finish(draft, ENDED_SESSIONS, session_id)


def _reap_tree(draft: Draft, inode_id: InodeId, budget: _Budget) -> None:
    low, end = below(id_key(inode_id))
    limit = max(0, (budget.left() - 2) // _ROWS_PER_NAME)
    page = list(islice(draft.rows.scan(DENTRIES, low, end), limit + 1))
    for key, entry in page[:limit]:
        draft.rows.delete(DENTRIES, key)
        destroy(draft, entry.inode_id, get_inode(draft, entry.inode_id))
    if len(page) <= limit:
        draft.rows.delete(INODES, id_key(inode_id))
        forget_policy(draft, inode_id)
        end_hold(draft, inode_id)
        draft.counters.directories -= 1
        _finish(draft, DETACHED_TREES, inode_id)


def _reap_content(draft: Draft, content_id: ContentId, budget: _Budget) -> None:
    limit = max(0, budget.left() // 2)
    for key, extent in list(islice(draft.rows.scan(EXTENTS, *below(id_key(content_id))), limit)):
        if budget.left() < _ROWS_PER_NAME + _ROWS_PER_CHUNK:
            return
        offset = read_pair(key)[1]
        reference = reference_key(extent.chunk_id, extent.chunk_offset, content_id, offset)
        draft.rows.delete(EXTENTS, key)
        draft.rows.delete(REFERENCES, reference)
        draft.counters.loosened += 1
        budget.chunks[extent.chunk_id] = None
    forget_content(draft, content_id)
    _finish(draft, OLD_CONTENTS, content_id)
