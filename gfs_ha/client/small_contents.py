"""Many small files with few reads: those that lie near each other in a chunk share one.

A shortcut only: what does not come through it whole and verified is read the careful way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from gfs_ha.checksum import crc32c
from gfs_ha.client.contents import PinnedContent
from gfs_ha.client.piece_stream import ReaderParts
from gfs_ha.client.reader import PIECE_BYTES
from gfs_ha.errors import GfsError
from gfs_ha.ids import ChunkId
from gfs_ha.limits import BLOCK_BYTES
from gfs_ha.protocol.metadata import Extent

GAP_BYTES_MAX = BLOCK_BYTES  # Reading over a gap of this size is cheaper than another request.
SMALL_BYTES_MAX = PIECE_BYTES // 4


@dataclass(frozen=True, slots=True)
class Run:
    """A range of a chunk, and the files (by their index) whose whole content lies in it."""

    chunk_id: ChunkId
    start: int
    end: int
    members: tuple[tuple[int, Extent], ...]


def plan_runs(contents: Sequence[PinnedContent | GfsError]) -> list[Run]:
    """Return the runs of all small contents that lie in one verified extent."""
    found: list[tuple[int, Extent]] = []
    for index, content in enumerate(contents):
        if isinstance(content, PinnedContent) and 0 < content.size <= SMALL_BYTES_MAX:
            extent = content.extent_at(0)
            if extent.length == content.size and extent.crc is not None:
                found.append((index, extent))
    found.sort(key=lambda member: (member[1].chunk_id, member[1].chunk_offset))
    runs: list[Run] = []
    for index, extent in found:
        end = extent.chunk_offset + extent.length
        if runs and _joins(runs[-1], extent):
            last = runs[-1]
            members = (*last.members, (index, extent))
            runs[-1] = Run(last.chunk_id, last.start, max(last.end, end), members)
        else:
            runs.append(Run(extent.chunk_id, extent.chunk_offset, end, ((index, extent),)))
    return runs


def _joins(run: Run, extent: Extent) -> bool:
    return (
        extent.chunk_id == run.chunk_id
        and extent.chunk_offset - run.end <= GAP_BYTES_MAX
        and extent.chunk_offset + extent.length - run.start <= PIECE_BYTES
    )


@contextmanager
def read_run(parts: ReaderParts, run: Run) -> Iterator[dict[int, memoryview]]:
    """Lend the verified content of each file of a run; those that do not come are missing."""
    memory = parts.memory.take()
    try:
        yield _read_members(parts, run, memory)
    finally:
        parts.memory.give(memory)


def _read_members(parts: ReaderParts, run: Run, memory: memoryview) -> dict[int, memoryview]:
    view = memory[: run.end - run.start]
    if not parts.pieces.read_unverified(run.chunk_id, run.start, view):
        return {}
    found: dict[int, memoryview] = {}
    for index, extent in run.members:
        start = extent.chunk_offset - run.start
        data = view[start : start + extent.length]
        if crc32c(data) == extent.crc:
            found[index] = data
    return found
