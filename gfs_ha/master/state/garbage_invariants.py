"""What must hold of blocks that were given back and of orphans, at every log index (G2, G8)."""

from __future__ import annotations

from collections.abc import Iterator

from gfs_ha.ids import ChunkId, split_chunk_id
from gfs_ha.master.state import tables
from gfs_ha.master.state.living import ranges
from gfs_ha.master.state.records import DEAD, SEALED, Chunk
from gfs_ha.master.state.tables import read_id
from gfs_ha.master.state.view import View
from gfs_ha.protocol.gone import blocks_of, unpack_blocks


def check_gone(view: View) -> Iterator[str]:
    """No content refers to a byte that was given back, and whoever still has to do so is known."""
    waiting, compacting = set(), set()
    for key, chunk in view.rows.scan(tables.CHUNKS):
        chunk_id = ChunkId(read_id(key))
        if chunk.punching and chunk.state == SEALED:
            waiting.add(chunk_id)
        if chunk.compactor and chunk.state == SEALED:
            compacting.add(chunk_id)
        if chunk.gone or chunk.punching:
            yield from _check_chunk(view, chunk_id, chunk)
    for table, wanted in (
        (tables.PUNCHING_CHUNKS, waiting),
        (tables.COMPACTING_CHUNKS, compacting),
    ):
        listed = {read_id(key) for key, _ in view.rows.scan(table)}
        if listed != wanted:
            yield f"{table.name} lists {sorted(listed)}, not {sorted(wanted)}"


def _check_chunk(view: View, chunk_id: ChunkId, chunk: Chunk) -> Iterator[str]:
    name = f"chunk {chunk_id:#x}"
    gone = unpack_blocks(chunk.gone)
    if chunk.state not in (SEALED, DEAD) or not gone or gone & ~blocks_of(0, chunk.length):
        yield f"{name} is {chunk.state} with {chunk.length} bytes and gave back {gone:#x}"
    if not set(chunk.punching) <= set(chunk.holders) or not chunk.punch_index:
        yield f"{name} waits for {chunk.punching}, holders {chunk.holders}"
    for offset, length in ranges(view.rows, chunk_id):
        if gone & blocks_of(offset, length):
            yield f"{name} gave back bytes of its live range {offset}, {length}"


def check_orphans(view: View) -> Iterator[str]:
    """An orphan is of a chunk without a row that can have none any more."""
    settings, counters = view.settings(), view.counters()
    count = 0
    for (server_id, _, chunk_id), _ in view.orphans(None, 1 << 30):
        count += 1
        if view.chunk(chunk_id) is not None:
            yield f"chunk {chunk_id:#x} on server {server_id} is an orphan and has a row"
        if settings and split_chunk_id(chunk_id) > (settings.incarnation, counters.last_chunk):
            yield f"orphan {chunk_id:#x} lies above the counter {counters.last_chunk}"
    if count != counters.orphans:
        yield f"counter orphans is {counters.orphans}, counted {count}"
