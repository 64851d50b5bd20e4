"""How pushes come to count in one slot: with a sync of its own, or first in the journal (C6, D4).

What counts by the journal lies in the slot as well, in the page cache, and the header in memory
counts it. The header on the disk does not: both of its copies unsynced could be lost together. To
settle is to write that header and to sync: then the slot needs the journal no more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from gfs_ha.chunk.disk import opened
from gfs_ha.chunk.journal.frames import Append
from gfs_ha.chunk.journal.journal import Journal
from gfs_ha.chunk.journal.segments import Unsettled
from gfs_ha.chunk.slots import stamps
from gfs_ha.chunk.slots.appending import OpenPush
from gfs_ha.chunk.slots.entries import Batch, EntryRoom
from gfs_ha.chunk.slots.format import DATA_OFFSET
from gfs_ha.chunk.slots.slot import Slot
from gfs_ha.errors import DiskFailed
from gfs_ha.limits import BLOCK_BYTES, WRITE_BACK_BYTES


class Owner(Unsettled, Protocol):
    """The replica whose slot it is."""

    @property
    def durable(self) -> bool:
        """Return True when an acknowledgement means synced (C1)."""
        ...


class Commits:
    """Those of one replica, under its lock."""

    def __init__(self, owner: Owner, slot: Slot, journal: Journal) -> None:
        self._owner = owner
        self._slot = slot
        self._journal = journal
        self._entry_room = EntryRoom(slot.header.capacity)
        self._settled_end = slot.header.end
        self._unsettled = False
        self._failed = ""  # Why what was written to the slot may not be there.

    def check_room(self, entries: bytes) -> None:
        """Raise LimitExceeded when the tail would hold too many records."""
        self._entry_room.check_room(entries)

    def goes_to_journal(self, length: int, entries: bytes) -> bool:
        """Return whether a push is a small durable append, and the journal takes some now."""
        return bool(entries) and self._owner.durable and self._journal.takes(length)

    def commit(self, push: OpenPush, now_ms: int) -> None:
        """Make a push count; at durability `disk` it is safe then. Raises: DiskFull, DiskFailed."""
        slot = self._slot
        header = slot.header
        table = slot.table[: header.end // BLOCK_BYTES]
        table.extend(push.crcs)
        changed = stamps.pushed(header, push.end, now_ms)
        entries_at = self._entry_room.used_bytes
        if push.entries:
            batch = Batch(push.end, push.crcs[-1], push.entries)
            self._entry_room.write(push.file, batch)
        if push.kept is not None:
            append = Append(
                header.chunk_id,
                header.birth,
                header.end,
                entries_at,
                push.crcs[-1],
                push.entries,
                b"".join(push.kept),
            )
            self._unsettled = True  # Also if it fails: some of it may be there.
            if self._journal.add(self._owner, append):
                slot.note(changed, table)
                return
        with self.watched():
            slot.write(push.file, changed, table)
            if self._owner.durable:
                push.file.sync()
        self._be_settled()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Remember for ever that writing to the slot failed.

        The system tells only once of pages that it lost: a later sync that succeeds says nothing of
        them, and must not set the journal free.
        """
        try:
            yield
        except BaseException as error:
            self._failed = self._failed or f"writing to the slot failed: {error}"
            raise

    def write_back(self) -> None:
        """Bring most of what is unsettled to the disk, without the lock, in windows (D5)."""
        if not self._unsettled or self._failed:
            return
        slot = self._slot
        with self.watched(), opened(slot.disk, slot.name) as file:
            start, end = self._settled_end, slot.header.end
            for at in range(start, end, WRITE_BACK_BYTES):
                file.write_back(DATA_OFFSET + at, min(WRITE_BACK_BYTES, end - at))

    def settle(self) -> None:
        """Make the slot durable without the journal. Raises: DiskFailed, DiskFull."""
        if not self._unsettled:
            return
        slot = self._slot
        if self._failed:
            raise DiskFailed(f"chunk {slot.header.chunk_id:#x}: {self._failed}")
        with self.watched(), opened(slot.disk, slot.name) as file:
            slot.write(file, slot.header, slot.table)
            file.sync()
        self._be_settled()

    def _be_settled(self) -> None:
        self._settled_end = self._slot.header.end
        if self._unsettled:
            self._unsettled = False
            self._journal.settled(self._owner)

    def drop(self) -> None:
        """Know that the slot is nobody's any more, durably."""
        self._unsettled = False
        self._journal.settled(self._owner)
