"""What a start finds in the slot files: which replica each chunk has, and what a crash left."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field

from gfs_ha.checksum import chunk_digest
from gfs_ha.chunk.disk import Disk, opened
from gfs_ha.chunk.slots.format import Header, SlotFlag, State
from gfs_ha.chunk.slots.slot import Slot, Verified, read_header, verified_end
from gfs_ha.chunk.slots.tombstones import Tombstones
from gfs_ha.errors import DiskFailed
from gfs_ha.ids import ChunkId
from gfs_ha.net.buffers import BufferPool

UNREADABLE_MAX = 64  # Slots that the disk does not read; one with more is unfit.
_SLOT_NAME = re.compile(r"([0-9a-f]{8})\.slot")

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Found:
    """The slots of one disk.

    Fields:
        beside: second replicas of chunks of which another one counts; kept, and unidentified, too.
        unidentified: files that no chunk claims; nobody may destroy them (G2).
    """

    tombstones: Tombstones
    slots: dict[ChunkId, Slot] = field(default_factory=dict)
    beside: list[Slot] = field(default_factory=list)
    unidentified: list[str] = field(default_factory=list)
    unreadable: int = 0  # How many of them the disk does not read at all.
    next_number: int = 1


def read_slots(disk: Disk, buffers: BufferPool) -> Found:
    """Read the headers of all slots, and remove those that say that they are nobody's.

    Raises: DiskFailed, DiskFull.
    """
    found = Found(Tombstones(disk))
    beside: list[Slot] = []
    for name in disk.names():
        match = _SLOT_NAME.fullmatch(name)
        if match is None:
            continue
        found.next_number = max(found.next_number, int(match.group(1), 16) + 1)
        slot = _read_slot(disk, name, found)
        if slot is None:
            continue
        known = found.slots.get(slot.header.chunk_id)
        if known is not None and rank(known.header) >= rank(slot.header):
            beside.append(slot)
            continue
        if known is not None:
            beside.append(known)
        found.slots[slot.header.chunk_id] = slot
    for other in beside:
        winner = found.slots[other.header.chunk_id]
        if was_replaced(other, winner, buffers):
            logger.info("a replica gave way to its copy chunk=%#x", other.header.chunk_id)
            disk.unlink(other.name)
            disk.sync_names()  # Else it may be back when the copy is deleted.
        else:
            found.unidentified.append(other.name)
            found.beside.append(other)
    return found


def _read_slot(disk: Disk, name: str, found: Found) -> Slot | None:
    try:
        reading = read_header(disk, name)
    except DiskFailed as error:
        found.unreadable += 1
        logger.error("a slot cannot be read name=%s why=%s", name, error)
        if found.unreadable > UNREADABLE_MAX:
            raise
        reading = None
    if reading is None:
        # Made in the moment of a power cut, or damaged twice: nobody knows whose it is, so
        # nobody may destroy it (G2).
        found.unidentified.append(name)
        return None
    header = reading.header
    if header.state is State.FREE and not reading.copy_lost:
        disk.unlink(name)
        return None
    if header.state is State.COPYING:
        # Also with a bad copy: it was never told to be here, or both copies would say `sealed`.
        disk.unlink(name)
        return None
    if header.state is State.TOMBSTONE:
        if not found.tombstones.add(name, header):
            disk.unlink(name)  # It says what the other one says.
        return None
    slot = Slot(disk, name, reading)
    if header.state is State.SEALED:
        if reading.previous is not None and reading.previous[0].state is State.COPYING:
            # The crash came amid its stamp. The rule above needs the stamp in both copies.
            with opened(disk, name) as file:
                slot.write(file, header, reading.table)
                file.sync()
        slot.forget_table()
    return slot


def rank(header: Header) -> tuple[bool, int, bool, int]:
    """Return what decides which of two replicas of a chunk counts: the newest order that it obeyed.

    One that is quarantined counts only if there is no other.
    """
    served = not header.flags & SlotFlag.QUARANTINED
    return served, header.order_index, header.state is State.SEALED, header.generation


def was_replaced(old: Slot, new: Slot, buffers: BufferPool) -> bool:
    """Return whether a verified copy was made to replace a replica, and is still whole (D3)."""
    header = new.header
    if not header.flags & SlotFlag.REPLACES or header.state is not State.SEALED:
        return False
    if old.header.birth != header.birth or old.header.order_index > header.order_index:
        return False
    with opened(new.disk, new.name) as file, buffers.borrow() as buffer:
        claim = Verified(header.end, new.table)
        whole = verified_end(file, claim, buffer.data, header.gone) == header.end
    return whole and chunk_digest(claim.table) == header.digest
