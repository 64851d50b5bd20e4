"""Which blocks of a chunk some content refers to; all others may be given back (F4, G8).

Contents that are staged, or wait to be reaped, refer like any other: their rows count while they
are there.
"""

from __future__ import annotations

from collections.abc import Iterator

from gfs_ha.ids import ChunkId
from gfs_ha.master.state.rows import Rows
from gfs_ha.master.state.tables import REFERENCES, below, id_key, read_reference_key
from gfs_ha.protocol.gone import blocks_of

REFERENCES_MAX = 8_192  # Of one chunk that a command looks at: about 15 ms (measured 2 us each).


def ranges(rows: Rows, chunk_id: ChunkId) -> Iterator[tuple[int, int]]:
    """Yield (offset, length) of every reference to a chunk, by offset."""
    for key, reference in rows.scan(REFERENCES, *below(id_key(chunk_id))):
        yield read_reference_key(key)[1], reference.length


def live_blocks(rows: Rows, chunk_id: ChunkId, limit: int = REFERENCES_MAX) -> int | None:
    """Return the set of blocks with a live byte; None when there are more references than that."""
    alive = 0
    for count, (offset, length) in enumerate(ranges(rows, chunk_id)):
        if count == limit:
            return None
        alive |= blocks_of(offset, length)
    return alive
