"""The replicas of all disks put together at a start: of two of one chunk, one counts (C2, D6).

A copy that is made on another disk than the replica that it replaces is stamped first, and the old
one goes then: a crash in between leaves both. A disk that was away comes back with replicas that
were made anew on another one. The one of the newest order counts; one that is quarantined does so
only if there is no other. The other one goes only if it was replaced by that very copy, which is
whole; else it stays where it is and nobody sees it (G2).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from gfs_ha.chunk.slots.format import Header, SlotFlag, State
from gfs_ha.chunk.slots.shelf import Shelf
from gfs_ha.chunk.slots.slot import Slot
from gfs_ha.chunk.slots.start import rank, was_replaced
from gfs_ha.errors import DiskFailed, DiskFull
from gfs_ha.ids import ChunkId, LogIndex
from gfs_ha.net.buffers import BufferPool

logger = logging.getLogger(__name__)

Place = tuple[Shelf, Slot]
Twins = dict[ChunkId, list[Place]]  # Second replicas that are left where they are.


def put_together(shelves: Sequence[Shelf], buffers: BufferPool) -> tuple[list[Place], Twins]:
    """Return the slot that counts of each chunk, with its disk, and what else there is of some."""
    found: dict[ChunkId, Place] = {}
    beside: list[Place] = []
    for shelf in shelves:
        for chunk_id, slot in shelf.take_slots().items():
            known = found.get(chunk_id)
            if known is None or rank(slot.header) > rank(known[1].header):
                found[chunk_id] = (shelf, slot)
                if known is not None:
                    beside.append(known)
            else:
                beside.append((shelf, slot))
    twins: Twins = {}
    for shelf in shelves:
        for slot in shelf.beside:
            twins.setdefault(slot.header.chunk_id, []).append((shelf, slot))
    for shelf, slot in beside:
        _, winner = found[slot.header.chunk_id]
        if _gave_way((shelf, slot), winner, buffers):
            what = "a replica gave way to its copy on another disk"
        else:
            shelf.unidentified.append(slot.name)
            twins.setdefault(slot.header.chunk_id, []).append((shelf, slot))
            what = "a second replica of a chunk is left where it is"
        logger.warning("%s chunk=%#x slot=%s", what, slot.header.chunk_id, slot.name)
    return list(found.values()), twins


def _gave_way(place: Place, winner: Slot, buffers: BufferPool) -> bool:
    """Remove a replica that its copy was to replace; False when it was not, or cannot be."""
    shelf, slot = place
    try:
        if was_replaced(slot, winner, buffers):
            _remove(shelf, slot)
            return True
    except (DiskFailed, DiskFull) as error:
        # One of two disks is bad. If that is for good its warden says so; the other one goes on.
        logger.error("a second replica cannot be removed slot=%s why=%s", slot.name, error)
    return False


def drop_outlived(kept: Header, twins: list[Place]) -> None:
    """Remove second replicas that are of no use beside one that was read whole just now.

    That one came by a newer order of the masters for this server, and has all that was ever
    acknowledged of the chunk. One that is quarantined is kept for a person to see.
    Raises: DiskFailed.
    """
    _drop(outlived(kept, twins), twins, "another one is newer and whole")


def outlived(kept: Header, twins: Sequence[Place]) -> list[Place]:
    """Return the second replicas that are of no use once the one that counts was read whole."""
    if kept.state is not State.SEALED or kept.flags & SlotFlag.QUARANTINED:
        return []

    def may_go(twin: Header) -> bool:
        older = twin.birth == kept.birth and twin.order_index <= kept.order_index
        return older and not twin.flags & SlotFlag.QUARANTINED

    return [place for place in twins if _answers(place[0]) and may_go(place[1].header)]


def is_free(place: Place) -> bool:
    """Return whether a second replica is nobody's: a start would remove it at once."""
    slot = place[1]
    return slot.header.state is State.FREE and not slot.copy_lost


def drop_free(twins: list[Place]) -> None:
    """Remove what was freed and could not be removed at that time. Raises: DiskFailed."""
    free = [one for one in twins if is_free(one) and _answers(one[0])]
    _drop(free, twins, "it was freed before")


def drop_deleted(order_index: LogIndex, twins: list[Place]) -> None:
    """Remove the second replicas of a chunk that this order deletes here; it is newer than they.

    Left there, one would count after the next start, and would have to be deleted once more: so is
    one on a disk that does not work now.
    Raises: DiskFailed.
    """
    covered = [one for one in twins if one[1].header.order_index <= order_index]
    _drop([one for one in covered if _answers(one[0])], twins, "its chunk is deleted here")


def best_sealed(twins: Sequence[Place]) -> Place | None:
    """Return the second replica that a start would find to count, if it is sealed and may serve."""
    serving = [one for one in twins if not one[0].failed and not is_free(one)]
    best = max(serving, key=lambda place: rank(place[1].header), default=None)
    if best is None or best[1].header.state is not State.SEALED:
        return None  # What is open may lack what was acknowledged on the one that is lost.
    return None if best[1].header.flags & SlotFlag.QUARANTINED else best


def _answers(shelf: Shelf) -> bool:
    """Return whether a disk works as far as is known: nobody is to wait for one that hangs."""
    return not shelf.failed and not shelf.ailing


def _drop(places: Sequence[Place], twins: list[Place], why: str) -> None:
    for shelf, slot in places:
        _remove(shelf, slot)
        shelf.unidentified.remove(slot.name)
        twins.remove((shelf, slot))
        chunk_id = slot.header.chunk_id
        logger.info("a second replica is removed chunk=%#x slot=%s: %s", chunk_id, slot.name, why)


def _remove(shelf: Shelf, slot: Slot) -> None:
    """Unlink a slot for good: it may not be back when the other one is deleted."""
    shelf.disk.unlink(slot.name)
    shelf.disk.sync_names()
