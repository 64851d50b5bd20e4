"""Which blocks of a chunk some content refers to; all others may be given back (F4, G8).

Contents that are staged, or wait to be reaped, refer like any other: their rows count while they
are there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from gfs_ha.ids import ChunkId
from gfs_ha.master.state.rows import Rows
from gfs_ha.master.state.tables import REFERENCES, below, id_key, read_reference_key
from gfs_ha.protocol.gone import blocks_of

REFERENCES_MAX = 8_192  # Of one chunk that a command looks at: about 15 ms (measured 2 us each).


class Living(NamedTuple):
    """What of a chunk is alive: a set of blocks, bytes, by how many references, in which parts."""

    blocks: int
    bytes: int
    references: int
    parts: int = 0  # That do not touch each other.


def ranges(rows: Rows, chunk_id: ChunkId) -> Iterator[tuple[int, int]]:
    """Yield (offset, length) of every reference to a chunk, by offset."""
    for key, reference in rows.scan(REFERENCES, *below(id_key(chunk_id))):
        yield read_reference_key(key)[1], reference.length


def living(rows: Rows, chunk_id: ChunkId, limit: int = REFERENCES_MAX) -> Living | None:
    """Return what of a chunk is alive; None when it has more references than that."""
    blocks = alive_bytes = end = count = parts = 0
    for offset, length in ranges(rows, chunk_id):
        if count == limit:
            return None
        parts += offset > end or not count
        count += 1
        blocks |= blocks_of(offset, length)
        alive_bytes += max(0, offset + length - max(offset, end))
        end = max(end, offset + length)
    return Living(blocks, alive_bytes, count, parts)
