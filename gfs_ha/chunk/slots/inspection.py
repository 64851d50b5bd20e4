"""What verifies of one slot: read from the disk once, while nothing can change it."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import contextmanager

from gfs_ha.chunk.disk import File, opened
from gfs_ha.chunk.slots.slot import Slot, Verified, cut_table
from gfs_ha.errors import ReplicaDamaged
from gfs_ha.net.buffers import BufferPool


class Inspection:
    """Used by one order at a time.

    Fields:
        known: what verified, as long as it holds.
    """

    def __init__(self, slot: Slot, buffers: BufferPool) -> None:
        self.known: Verified | None = None
        self._slot = slot
        self._buffers = buffers

    def forget(self) -> None:
        """Read it again the next time."""
        self.known = None

    def verify(self) -> Verified:
        """Return what verifies. Raises: DiskFailed."""
        known = self.known
        if known is None or known.end > self._slot.header.end:
            with self.reading() as (file, buffer):
                known = self.known = self._slot.verify(file, buffer)
        return known

    def cut(self, claim: Verified, length: int) -> array[int]:
        """Return the block CRCs of the first bytes. Raises: ReplicaDamaged if fewer verify."""
        if claim.end < length:
            raise ReplicaDamaged(
                f"chunk {self._slot.header.chunk_id:#x}: {claim.end} of {length} bytes verify here",
                end=claim.end,
            )
        with self.reading() as (file, buffer):
            return cut_table(file, claim, length, buffer)

    @contextmanager
    def reading(self) -> Iterator[tuple[File, memoryview]]:
        """Lend the file and a buffer."""
        slot = self._slot
        with self._buffers.borrow() as buffer, opened(slot.disk, slot.name) as file:
            yield file, buffer.data
