"""One push on its way into a replica: bytes written as they arrive, beyond the end that counts."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from gfs_ha.chunk.disk import File
from gfs_ha.chunk.slots.format import DATA_OFFSET
from gfs_ha.errors import DiskFull
from gfs_ha.limits import MIB, WRITE_BACK_BYTES
from gfs_ha.protocol.grid import BlockCrcs

# Many small pushes share one call, which costs more than a small write.
_RESERVE_BYTES_MIN = 1 * MIB


class Reserve:
    """The room on the disk that one replica holds ahead of its end."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._reserved = 0

    def reach(self, file: File, end: int) -> None:
        """Reserve room ahead, so that a full disk shows before the bytes come. Raises: DiskFull."""
        if end > self._reserved:
            ahead = max(end, 2 * self._reserved, _RESERVE_BYTES_MIN)
            reserved = min(ahead, self._capacity)
            try:
                file.allocate(DATA_OFFSET + reserved)
            except DiskFull:
                reserved = end
                file.allocate(DATA_OFFSET + reserved)
            self._reserved = reserved


@dataclass(frozen=True, slots=True)
class PushPlan:
    """What one push is to write.

    Fields:
        tail_crc: CRC of the partial block before `offset`, None on the grid.
        entries: those of the records that make up all of it, packed; empty of a put.
        kept: its bytes are for the journal too.
    """

    offset: int
    length_max: int
    tail_crc: int | None
    entries: bytes = b""
    kept: bool = False


class Owner(Protocol):
    """The replica that a push appends to."""

    @property
    def durable(self) -> bool: ...

    def check_accepting(self) -> None: ...

    def commit_push(self, push: OpenPush) -> int: ...

    def end_push(self, broken_because: str) -> None: ...

    def watched(self) -> AbstractContextManager[None]: ...


class OpenPush:
    """The one push that a replica takes at a time; used by one thread, as a context manager."""

    def __init__(self, owner: Owner, file: File, plan: PushPlan) -> None:
        self.file = file
        self.entries = plan.entries
        self.kept: list[bytes] | None = [] if plan.kept else None
        self._sums = BlockCrcs(plan.offset, plan.tail_crc)
        self._owner = owner
        self._limit = plan.offset + plan.length_max
        self._written_back = plan.offset
        self._committed = False
        self._started = False
        self._durable = owner.durable

    @property
    def end(self) -> int:
        """Return where the push ends so far."""
        return self._sums.end

    @property
    def crcs(self) -> array[int]:
        """Return the CRCs of the blocks from the one in which the push began, whole blocks each."""
        return self._sums.crcs

    def append(self, data: memoryview, crcs: Sequence[int]) -> None:
        """Write the next bytes, whose grid CRCs were checked. Raises: Fenced, DiskFull."""
        self._owner.check_accepting()
        assert self.end + len(data) <= self._limit, "more bytes than the push announced"
        self._started = True
        self.file.write(DATA_OFFSET + self.end, data)
        if self.kept is not None:
            self.kept.append(bytes(data))
        self._sums.add(len(data), crcs)
        if self._durable and self.end - self._written_back >= WRITE_BACK_BYTES:
            # Waited for at once: a flooded disk would cost the masters their leader (D5).
            with self._owner.watched():
                length = self.end - self._written_back
                self.file.write_back(DATA_OFFSET + self._written_back, length)
            self._written_back = self.end

    def commit(self) -> int:
        """Make it count and return the new end. Raises: Fenced, DiskFull, DiskFailed."""
        self._started = True
        assert not self.entries or self.end == self._limit, "records are whole or absent"
        end = self._owner.commit_push(self)
        self._committed = True
        return end

    def close(self) -> None:
        """Let go of the replica; what was not committed never counts."""
        self.file.close()
        broken = self._started and not self._committed
        self._owner.end_push("a push broke off here" if broken else "")

    def __enter__(self) -> OpenPush:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
