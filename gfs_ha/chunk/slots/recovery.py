"""What a start brings from the journal into the slots, before anything is answered (D4).

An append of the journal is written again where it belongs, whatever the header says: the header may
have outlived the bytes that it counts. It adds to the end of a replica only if it begins there, and
never if the replica was fenced meanwhile: what it says then was answered. A replica that was made
after the append, one that is sealed, and one of another birth know nothing of it.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from gfs_ha.chunk.disk import Disk, File, opened
from gfs_ha.chunk.journal.frames import Append, Frame
from gfs_ha.chunk.journal.journal import Journal
from gfs_ha.chunk.journal.reading import JournalFound, find_journal, read_used
from gfs_ha.chunk.slots.entries import Batch, encode_batch
from gfs_ha.chunk.slots.format import DATA_OFFSET, Header, SlotFlag, State
from gfs_ha.chunk.slots.slot import Slot
from gfs_ha.ids import ChunkId
from gfs_ha.limits import BLOCK_BYTES
from gfs_ha.protocol.data import ChunkKind, Durability
from gfs_ha.protocol.grid import BlockCrcs, part_crcs

logger = logging.getLogger(__name__)


def recover(disk: Disk, slots: Mapping[ChunkId, Slot], journal: Journal) -> None:
    """Have all that the journal knows in the slots, durably, and let the journal go on after it.

    Raises: DiskFailed, DiskFull.
    """
    segment_bytes = journal.shape.segment_bytes
    found = find_journal(disk, journal.disk_id, segment_bytes)
    for content in read_used(disk, found, segment_bytes):
        bring_in(slots, content.frames)
    distrust(slots, found)
    floors = [slot.header.journal_floor for slot in slots.values()]
    journal.begin(found, max(floors, default=0))


def bring_in(slots: Mapping[ChunkId, Slot], frames: Iterable[Frame]) -> None:
    """Have the appends of one segment in their slots, durably. Raises: DiskFailed, DiskFull."""
    of_chunk: dict[ChunkId, list[Append]] = {}
    for frame in frames:
        slot = slots.get(frame.append.chunk_id)
        if slot is not None and _belongs(slot.header, frame):
            of_chunk.setdefault(frame.append.chunk_id, []).append(frame.append)
    for chunk_id, appends in of_chunk.items():
        _bring_into(slots[chunk_id], appends)


def _belongs(header: Header, frame: Frame) -> bool:
    """Return whether a replica is the very one that an append was made to, and still counts it."""
    append = frame.append
    if frame.lsn <= header.journal_floor or append.birth != header.birth:
        return False
    if header.kind is not ChunkKind.TAIL or header.durability is not Durability.DISK:
        return False
    if header.state is State.FENCED:
        return append.end <= header.end
    return header.state is State.OPEN


def _bring_into(slot: Slot, appends: Sequence[Append]) -> None:
    header, table = slot.header, slot.table
    if slot.copy_lost:  # Its place is written over now, and it must not be forgotten (D1).
        header = msgspec.structs.replace(header, flags=header.flags | SlotFlag.COPY_LOST)
    with opened(slot.disk, slot.name) as file:
        for append in appends:
            if append.end <= header.end:
                _write(file, header, append)
                continue
            crcs = _table_after(table, append) if append.offset == header.end else None
            if crcs is None:
                logger.error("append does not fit name=%s at=%d", slot.name, append.offset)
                slot.header, slot.copy_lost = header, "an append of the journal does not fit it"
                header = msgspec.structs.replace(header, flags=header.flags | SlotFlag.COPY_LOST)
                break
            _write(file, header, append)
            table = crcs
            promised_end = max(header.promised_end, append.end)
            header = msgspec.structs.replace(header, end=append.end, promised_end=promised_end)
        if header != slot.header:
            slot.write(file, header, table)
        file.sync()


def _write(file: File, header: Header, append: Append) -> None:
    file.write(DATA_OFFSET + append.offset, append.data)
    batch = Batch(append.end, append.block_crc, append.entries)
    file.write(DATA_OFFSET + header.capacity + append.entries_at, encode_batch(batch))


def _table_after(table: array[int], append: Append) -> array[int] | None:
    """Return the block CRCs with an append at the end; None if it does not follow what is there."""
    whole, partial = divmod(append.offset, BLOCK_BYTES)
    sums = BlockCrcs(append.offset, table[-1] if partial else None)
    data = memoryview(append.data)
    sums.add(len(data), part_crcs(append.offset, data))
    if sums.crcs[-1] != append.block_crc:
        return None
    return table[:whole] + sums.crcs


def distrust(slots: Mapping[ChunkId, Slot], found: JournalFound) -> None:
    """Say durably of tails that they may lack appends which the journal lost: no proof (C3).

    Raises: DiskFailed, DiskFull.
    """
    if found.damage:
        logger.error("the journal of the disk is damaged: %s", found.damage)
    for chunk_id, slot in slots.items():
        header = slot.header
        if header.kind is not ChunkKind.TAIL or header.durability is not Durability.DISK:
            continue
        if header.state is not State.OPEN or slot.copy_lost:
            continue
        if chunk_id in found.torn:
            why = "an append of it in the journal is not whole"
        elif found.damage:
            why = found.damage  # What is lost may bear any number: no floor is above it for sure.
        else:
            continue
        slot.copy_lost = why
        with opened(slot.disk, slot.name) as file:
            flags = header.flags | SlotFlag.COPY_LOST
            slot.write(file, msgspec.structs.replace(header, flags=flags), slot.table)
            file.sync()
