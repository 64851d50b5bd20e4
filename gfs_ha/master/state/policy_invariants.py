"""What must hold of policies and of the goals of chunks, at every log index."""

from __future__ import annotations

from collections.abc import Iterator

from gfs_ha.ids import ChunkId, InodeId
from gfs_ha.master.state import tables
from gfs_ha.master.state.records import SEALED
from gfs_ha.master.state.tables import read_id
from gfs_ha.master.state.view import View
from gfs_ha.protocol.metadata import DIRECTORY, FILE


def check_policies(view: View) -> Iterator[str]:
    """A policy belongs to a directory, says something, and is counted."""
    counters, count = view.counters(), 0
    for key, policy in view.rows.scan(tables.POLICIES):
        count += 1
        inode = view.inode(InodeId(read_id(key)))
        if inode is None or inode.kind != DIRECTORY or policy.empty:
            yield f"inode {read_id(key)}, {inode}, says {policy}"
    if count != counters.policies:
        yield f"counter policies is {counters.policies}, counted {count}"


def check_goals(view: View) -> Iterator[str]:
    """No chunk has a smaller goal than a file that refers to it wants, unless it is seen to."""
    settings, counters = view.settings(), view.counters()
    fits = {read_id(key) for key, _ in view.rows.scan(tables.CONTENT_FITS)}
    count = len(fits) + sum(1 for _ in view.rows.scan(tables.CHUNK_FITS))
    if count != counters.fits:
        yield f"counter fits is {counters.fits}, counted {count}"
    if settings is None:
        return
    contents = {
        row.content_id: row.goal or settings.goal
        for _, row in view.rows.scan(tables.INODES)
        if row.kind == FILE and row.extent_count and row.content_id not in fits
    }
    for key, row in view.rows.scan(tables.REFERENCES):
        chunk_id, _, content_id, _ = tables.read_reference_key(key)
        said, wanted = row.goal or settings.goal, contents.get(content_id)
        chunk = view.chunk(ChunkId(chunk_id))
        if wanted is None or chunk is None:
            continue
        if said != wanted:
            yield f"content {content_id} wants {wanted} copies, its reference says {said}"
        if chunk.goal < wanted:
            yield f"chunk {chunk_id:#x} has goal {chunk.goal}, content {content_id} wants {wanted}"
        if chunk.state == SEALED and chunk.min_copies > chunk.goal:
            yield f"chunk {chunk_id:#x} needs {chunk.min_copies} of {chunk.goal} copies"
