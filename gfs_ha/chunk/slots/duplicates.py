"""The replicas of all disks put together at a start: of two of one chunk, one counts (C2, D6).

A copy that is made on another disk than the replica that it replaces is stamped first, and the old
one goes then: a crash in between leaves both. A disk that was away comes back with replicas that
were made anew on another one. The one of the newest order counts; one that is quarantined does so
only if there is no other. The other one goes only if it was replaced by that very copy, which is
whole; else it stays where it is and nobody sees it (G2).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from gfs_ha.chunk.slots.format import Header, SlotFlag, State
from gfs_ha.chunk.slots.shelf import Shelf
from gfs_ha.chunk.slots.slot import Slot
from gfs_ha.chunk.slots.start import was_replaced
from gfs_ha.ids import ChunkId
from gfs_ha.net.buffers import BufferPool

logger = logging.getLogger(__name__)

_Place = tuple[Shelf, Slot]


def put_together(shelves: Sequence[Shelf], buffers: BufferPool) -> Iterator[_Place]:
    """Yield the slot that counts of each chunk, with its disk. Raises: DiskFailed."""
    found: dict[ChunkId, _Place] = {}
    beside: list[_Place] = []
    for shelf in shelves:
        for chunk_id, slot in shelf.take_slots().items():
            known = found.get(chunk_id)
            if known is None or _rank(slot.header) > _rank(known[1].header):
                found[chunk_id] = (shelf, slot)
                if known is not None:
                    beside.append(known)
            else:
                beside.append((shelf, slot))
    for shelf, slot in beside:
        _, winner = found[slot.header.chunk_id]
        newer = winner.header.order_index >= slot.header.order_index
        if newer and was_replaced(slot, winner, buffers):
            shelf.disk.unlink(slot.name)
            shelf.disk.sync_names()  # Else it may be back when the copy is deleted.
            what = "a replica gave way to its copy on another disk"
        else:
            shelf.unidentified.append(slot.name)
            what = "a second replica of a chunk is left where it is"
        logger.warning("%s chunk=%#x slot=%s", what, slot.header.chunk_id, slot.name)
    yield from found.values()


def _rank(header: Header) -> tuple[bool, int, bool, int]:
    served = not header.flags & SlotFlag.QUARANTINED
    return served, header.order_index, header.state is State.SEALED, header.generation
