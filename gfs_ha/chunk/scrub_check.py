"""Reads one sealed replica from the disk and says whether it is what it was sealed with (D3).

Nothing is held while the bytes are read: they are immutable. What looks damaged is therefore looked
at again by what the replica says now, since blocks are given back and copies replace replicas.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from gfs_ha.checksum import chunk_digest, crc32c
from gfs_ha.chunk.disk import File, opened
from gfs_ha.chunk.slots.format import DATA_OFFSET, State
from gfs_ha.chunk.slots.replica import Replica
from gfs_ha.chunk.slots.slot import read_header
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.errors import DiskFailed, NotFound, ReplicaDamaged, StaleOrder, UnknownReplica
from gfs_ha.ids import ChunkId
from gfs_ha.limits import BLOCK_BYTES

BLOCKS_TOLD_MAX = 16  # Of one replica.
_SEALED = "sealed"
_STILL = "its header is looked at"

# Fills the view from an offset of the file, at the scrub's pace; returns how much there was.
ReadPiece = Callable[[File, int, memoryview], int]


@dataclass(slots=True)
class Checked:
    """What a look at one replica came to.

    `bad_blocks` are the first ones; none and a `trouble`: not single blocks are damaged.
    """

    bytes_read: int = 0
    mended: bool = False  # One copy of its header was damaged and is written anew.
    trouble: str = ""
    bad_blocks: list[int] = field(default_factory=list)


def check_replica(store: ChunkStore, chunk_id: ChunkId, read: ReadPiece) -> Checked | None:
    """Return what is wrong with a sealed replica; None when there is none to be checked.

    Raises: what `read` raises, but for DiskFailed.
    """
    try:
        replica = store.get(chunk_id)
        if replica.condition != _SEALED:
            return None  # It is listed as what it is already.
        return _check(store, replica, read)
    except (UnknownReplica, StaleOrder):
        return None  # It is gone, or an order changes it right now: the next round has it.


def _check(store: ChunkStore, replica: Replica, read: ReadPiece) -> Checked:
    found = Checked()
    header = replica.header
    try:
        with opened(replica.disk, replica.name) as file:
            file.drop_cache()  # It may hold what the disk does not.
            found.mended = mend_header(store, replica)
            plan = replica.plan_read(0, header.end, data=False)
            if chunk_digest(plan.crcs) != header.digest:
                raise ReplicaDamaged("its block CRCs are not those of its digest")
            try:
                _check_blocks(store, _Looked(replica, file, plan.crcs, read), found)
            finally:
                file.drop_cache()  # Nobody else asked for these pages.
    except (ReplicaDamaged, NotFound, DiskFailed) as error:
        if _is_there(store, replica):
            found.trouble = error.message
    if found.bad_blocks:
        found.trouble = f"block {found.bad_blocks[0]} is damaged"
    return found


def mend_header(store: ChunkStore, replica: Replica) -> bool:
    """Write the damaged copy of a sealed replica's header anew, if there is one; return whether.

    The good copy has to agree with what this process knows, and is not touched (D1).
    Raises: ReplicaDamaged when none is left; UnknownReplica, NotFound, DiskFailed.
    """
    reading = read_header(replica.disk, replica.name)
    if reading is not None and not reading.copy_lost:
        return False
    with replica.holding_still(replica.header.order_index, _STILL) as slot:
        reading = read_header(slot.disk, slot.name)  # Nobody writes it now.
        if reading is not None and not reading.copy_lost:
            return False
        known = slot.header
        if reading is None or known.state is not State.SEALED:
            raise ReplicaDamaged(f"chunk {known.chunk_id:#x}: both copies of its header are bad")
        if reading.header.end != known.end or chunk_digest(reading.table) != known.digest:
            raise ReplicaDamaged(f"chunk {known.chunk_id:#x}: its block CRCs are lost")
        # Where the next copy goes follows from the generation.
        slot.header = msgspec.structs.replace(known, generation=reading.header.generation)
        with opened(slot.disk, slot.name) as file:
            slot.write(file, slot.header, reading.table)
            file.sync()
        slot.forget_table()
    return True


@dataclass(frozen=True, slots=True)
class _Looked:
    replica: Replica
    file: File
    crcs: array[int]
    read: ReadPiece


def _check_blocks(store: ChunkStore, looked: _Looked, found: Checked) -> None:
    end = looked.replica.header.end
    with store.buffers.borrow() as buffer:
        step = len(buffer.data) - len(buffer.data) % BLOCK_BYTES
        for start in range(0, end, step):
            piece = buffer.data[: min(step, end - start)]
            if _all_gone(looked.replica, start, len(piece)):
                continue
            for block in _bad_blocks(looked, start, piece):
                if _still_damaged(store, looked, block, buffer.data):
                    found.bad_blocks.append(block)
            found.bytes_read += len(piece)
            del found.bad_blocks[BLOCKS_TOLD_MAX:]


def _all_gone(replica: Replica, start: int, length: int) -> bool:
    first, after = start // BLOCK_BYTES, -(-(start + length) // BLOCK_BYTES)
    whole = ((1 << (after - first)) - 1) << first
    return replica.header.gone & whole == whole


def _bad_blocks(looked: _Looked, start: int, piece: memoryview) -> list[int]:
    """Return the blocks of a piece that look damaged; if it cannot be read, all of them."""
    try:
        count = looked.read(looked.file, DATA_OFFSET + start, piece)
    except DiskFailed:
        count = 0
    first = start // BLOCK_BYTES
    blocks = [(at, piece[at : at + BLOCK_BYTES]) for at in range(0, len(piece), BLOCK_BYTES)]
    return [
        first + at // BLOCK_BYTES
        for at, block in blocks
        if at + len(block) > count or crc32c(block) != looked.crcs[first + at // BLOCK_BYTES]
    ]


def _reads(looked: _Looked, block: int, into: memoryview) -> bool:
    try:
        count = looked.file.read(DATA_OFFSET + block * BLOCK_BYTES, into)
    except DiskFailed:
        return False
    return count == len(into) and crc32c(into) == looked.crcs[block]


def _still_damaged(store: ChunkStore, looked: _Looked, block: int, buffer: memoryview) -> bool:
    """Look at one block by itself: a bit that flipped on its way here is no damage of the disk.

    Whether it is still to be there is asked last: it may go at any moment.
    """
    looked.file.drop_cache()
    length = min(BLOCK_BYTES, looked.replica.header.end - block * BLOCK_BYTES)
    gone = looked.replica.header.gone >> block & 1
    if gone or _reads(looked, block, buffer[:length]):
        return False
    return _is_there(store, looked.replica) and not looked.replica.header.gone >> block & 1


def _is_there(store: ChunkStore, replica: Replica) -> bool:
    """Return whether it is still the store's, and sealed."""
    try:
        return store.get(replica.header.chunk_id) is replica and not replica.gate.deleted
    except UnknownReplica:
        return False
