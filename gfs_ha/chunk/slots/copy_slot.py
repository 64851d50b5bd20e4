"""A slot that is being filled from another server, until it is stamped as sealed (C7, D1).

Its state is never mistaken for a replica: no read, push or order reaches it, and a start removes
it. The bytes are synced before the stamp, and the stamp is in both copies before it is told.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from gfs_ha.checksum import chunk_digest
from gfs_ha.chunk.slots.format import DATA_OFFSET, Header, SlotFlag
from gfs_ha.chunk.slots.shelf import Shelf
from gfs_ha.chunk.slots.slot import Slot
from gfs_ha.chunk.slots.stamps import sealed_header, stamp_copied
from gfs_ha.errors import CorruptData
from gfs_ha.limits import WRITE_BACK_BYTES
from gfs_ha.protocol.gone import runs


class CopySlot:
    """One copy on its way to the disk; used by one thread."""

    def __init__(self, shelf: Shelf, slot: Slot, length: int) -> None:
        """Reserve the room. Raises: DiskFull, DiskFailed; the slot is removed then."""
        self.shelf = shelf
        self._slot = slot
        self._length = length
        self._table: array[int] = array("I")
        self._end = 0
        self._written_back = 0
        self.installed = False  # It is a replica of the store: not to be removed.
        self._file = slot.disk.open(slot.name)
        try:
            self._file.allocate(DATA_OFFSET + length)
            for offset, gone_bytes in runs(slot.header.gone):
                self._file.punch(DATA_OFFSET + offset, gone_bytes)
            shelf.note_usage()
        except BaseException:
            self._file.close()
            slot.disk.unlink(slot.name)
            raise

    @property
    def header(self) -> Header:
        """Return what the slot says about itself."""
        return self._slot.header

    @property
    def name(self) -> str:
        """Return the name of the slot file."""
        return self._slot.name

    @property
    def end(self) -> int:
        """Return how much is there."""
        return self._end

    def append(self, data: memoryview, crcs: array[int]) -> None:
        """Write the next whole blocks, which were checked. Raises: DiskFull, DiskFailed."""
        self._file.write(DATA_OFFSET + self._end, data)
        self._table.extend(crcs)
        self._end += len(data)
        if self._end - self._written_back >= WRITE_BACK_BYTES:
            # Waited for at once: a flooded disk would cost the masters their leader (D5).
            self._file.write_back(DATA_OFFSET + self._written_back, self._end - self._written_back)
            self._written_back = self._end

    def skip(self, length: int, crcs: array[int]) -> None:
        """Leave out the next blocks, which are gone by the order of the copy (G8)."""
        self._table.extend(crcs)
        self._end += length

    def sync(self) -> None:
        """Make the bytes safe; the stamp must never outlive them. Raises: DiskFailed."""
        self._file.sync()

    def stamp(self, digest: int, replaced: Header | None) -> Slot:
        """Say durably that it is sealed, newer than what it replaces, and return the slot.

        Raises: CorruptData if this is not what was ordered; DiskFailed.
        """
        if self._end != self._length or chunk_digest(self._table) != digest:
            raise CorruptData(f"a copy of chunk {self.header.chunk_id:#x} is not what was ordered")
        header = self.header
        sealed = sealed_header(header, header.order_index, self._length, digest)
        if replaced is not None:
            sealed = msgspec.structs.replace(
                sealed,
                generation=max(header.generation, replaced.generation),
                flags=sealed.flags | SlotFlag.REPLACES,
            )
        stamp_copied(self._slot, self._file, sealed, self._table)
        return self._slot

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Take the stamp back, durably, when the block raises: else a start finds a replica.

        What it was to replace holds still until then, so that no deletion is told before.
        Raises: DiskFailed, and what the block raises.
        """
        try:
            yield
        except BaseException:
            self._slot.disk.unlink(self.name)
            self._slot.disk.sync_names()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
