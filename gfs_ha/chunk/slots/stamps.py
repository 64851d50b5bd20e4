"""What is written into the header of a slot by an order, and in which order it becomes safe (D1).

The caller holds the replica's lock.
"""

from __future__ import annotations

from array import array

import msgspec

from gfs_ha.chunk.disk import File, opened
from gfs_ha.chunk.slots.format import DATA_OFFSET, Header, SlotFlag, State, copy_offset
from gfs_ha.chunk.slots.slot import Slot, Verified
from gfs_ha.errors import DiskFailed, NotFound
from gfs_ha.ids import LogIndex
from gfs_ha.limits import WRITE_BACK_BYTES
from gfs_ha.protocol.data import ChunkKind

_REPAIRED = SlotFlag.COPY_LOST | SlotFlag.QUARANTINED


def flagged(header: Header, flag: SlotFlag) -> Header:
    """Return the header with one flag more."""
    return msgspec.structs.replace(header, flags=header.flags | flag)


def pushed(header: Header, end: int, now_ms: int) -> Header:
    """Return the header after a push that ends there."""
    promised_end = max(header.promised_end, end)
    return msgspec.structs.replace(header, end=end, promised_end=promised_end, written_ms=now_ms)


def stamp_fence(slot: Slot, header: Header, order_index: LogIndex, claim: Verified) -> None:
    """Say durably that no append follows what verifies."""
    fenced = msgspec.structs.replace(
        header,
        state=State.FENCED,
        fence_index=header.fence_index or order_index,
        order_index=order_index,
        end=claim.end,
    )
    with opened(slot.disk, slot.name) as file:
        slot.write_both(file, fenced, claim.table)


def stamp_sealed(
    slot: Slot, order_index: LogIndex, digest: int, whole: Verified, synced: bool
) -> None:
    """Say durably that it is sealed with these bytes, and give back what lies beyond them.

    Args: `synced` says that the bytes are on the disk already.
    """
    header = slot.header
    with opened(slot.disk, slot.name) as file:
        if not synced:
            # Before the stamp, which must never outlive the bytes; in windows, as D5 wants it.
            for start in range(0, whole.end, WRITE_BACK_BYTES):
                file.write_back(DATA_OFFSET + start, min(WRITE_BACK_BYTES, whole.end - start))
            file.sync()
        sealed = sealed_header(header, order_index, whole.end, digest)
        # The copy of before verifies no more once bytes or entries that it tells of are cut off.
        cut = header.kind is ChunkKind.TAIL or header.end != whole.end
        if cut or header.flags & SlotFlag.COPY_LOST:
            slot.write(file, sealed, whole.table)
            file.sync()
        slot.write(file, sealed, whole.table)
        file.sync()
        file.truncate(DATA_OFFSET + whole.end)
    slot.forget_table()


def sealed_header(header: Header, order_index: LogIndex, length: int, digest: int) -> Header:
    """Return the header of the sealed replica, whatever was wrong with it before."""
    return msgspec.structs.replace(
        header,
        state=State.SEALED,
        end=length,
        promised_end=length,
        order_index=max(order_index, header.order_index),
        digest=digest,
        flags=header.flags & ~_REPAIRED,
    )


def stamp_copied(slot: Slot, file: File, sealed: Header, table: array[int]) -> None:
    """Make a copy count, whose bytes are on the disk: in the blank copy of its header first."""
    first = sealed.generation + 1
    if copy_offset(first) == copy_offset(slot.header.generation):
        first += 1
    slot.header = msgspec.structs.replace(slot.header, generation=first - 1)
    slot.write_both(file, sealed, table)
    slot.forget_table()


def stamp_order(slot: Slot, order_index: LogIndex) -> None:
    """Say durably, in both copies, that older orders are refused."""
    with opened(slot.disk, slot.name) as file:
        header, table = slot.header, slot.table
        newer = msgspec.structs.replace(header, order_index=order_index)
        held = slot.held_table
        slot.write_both(file, newer, table)
    if held is None:
        slot.forget_table()


def stamp_gone(slot: Slot, order_index: LogIndex, gone: int) -> None:
    """Say durably, in both copies, that blocks are gone: before their room is given back (G8)."""
    with opened(slot.disk, slot.name) as file:
        header, table = slot.header, slot.table
        newer = max(order_index, header.order_index)
        marked = msgspec.structs.replace(header, order_index=newer, gone=header.gone | gone)
        slot.write_both(file, marked, table)
    slot.forget_table()


def stamp_quarantined(slot: Slot) -> None:
    """Say durably that it is kept and not served."""
    with opened(slot.disk, slot.name) as file:
        slot.write_both(file, flagged(slot.header, SlotFlag.QUARANTINED), slot.table)


def stamp_free(slot: Slot, order_index: LogIndex) -> None:
    """Say durably that the slot is free: losing either copy must not bring it back.

    A file that is gone needs no such word; one that cannot be written loses its name instead, which
    is safe on return.
    """
    free = msgspec.structs.replace(slot.header, state=State.FREE, order_index=order_index, end=0)
    try:
        with opened(slot.disk, slot.name) as file:
            slot.write_both(file, free, array("I"))
        slot.copy_lost = ""
    except NotFound:
        return
    except DiskFailed:
        slot.disk.unlink(slot.name)
        slot.disk.sync_names()
