"""One disk of a server: whose it is, its journal, its tally and its tombstones (D6)."""

from __future__ import annotations

from gfs_ha.chunk.disk import Disk, DiskUsage
from gfs_ha.chunk.journal.journal import JOURNAL_SHAPE, Journal, JournalShape
from gfs_ha.chunk.slots.identity import Identity
from gfs_ha.chunk.slots.recovery import recover
from gfs_ha.chunk.slots.slot import Slot
from gfs_ha.chunk.slots.start import read_slots
from gfs_ha.chunk.slots.surroundings import Surroundings
from gfs_ha.chunk.slots.tally import Tally
from gfs_ha.errors import DiskFailed, DiskFull
from gfs_ha.ids import ChunkId, DiskId, format_id
from gfs_ha.net.buffers import BufferPool
from gfs_ha.runtime import Runtime

_FREE_BYTES_MIN = 16 << 20  # Below that no new replica: headers and logs need room too.


class Shelf:
    """A disk that is in use. The store's lock guards what changes here.

    Fields:
        failed: why it is out of service; empty while it serves.
        ailing: what it refused when it was looked at last, or how long it has said nothing; empty
            while it works.
        usage: how full it was when that was asked last: a disk that hangs would never tell.
        directory: where it is mounted, for people.
        beside: second replicas that the start found, of chunks of which another one is here.
        unidentified: slot files that no chunk claims; they are kept until a person decides.
    """

    def __init__(
        self,
        disk: Disk,
        identity: Identity,
        buffers: BufferPool,
        runtime: Runtime,
        boot_id: int,
        shape: JournalShape = JOURNAL_SHAPE,
        directory: str = "",
    ) -> None:
        """Read the headers of all slots, and bring in what is only in the journal (D4).

        Raises: DiskFailed, DiskFull.
        """
        self.disk, self.identity, self.directory = disk, identity, directory
        self.failed = self.ailing = ""
        self.usage = disk.usage()
        self.buffers = buffers
        self.tally = Tally(runtime)
        self.journal = Journal(disk, (identity.disk_id, boot_id), runtime, shape)
        self.around = Surroundings(runtime, buffers, boot_id, self.tally, self.journal)
        found = read_slots(disk, buffers)
        recover(disk, found.slots, self.journal)
        self.tombstones, self.unidentified = found.tombstones, found.unidentified
        self._next_number = found.next_number
        self._found, self.beside = found.slots, found.beside

    @property
    def disk_id(self) -> DiskId:
        return self.identity.disk_id

    def take_slots(self) -> dict[ChunkId, Slot]:
        """Return the slots that the start found, once: the store has them from then on."""
        found, self._found = self._found, {}
        return found

    def next_name(self) -> str:
        """Return the name of a new slot. Needs the store's lock."""
        self._next_number += 1
        return f"{self._next_number - 1:08x}.slot"

    def look_at_usage(self) -> DiskUsage:
        """Ask the disk how full it is, remember that, and return it. Raises: DiskFailed."""
        usage = self.usage = self.disk.usage()
        return usage

    def note_usage(self) -> None:
        """Look anew after room was taken or given back: what is told next has to fit what was done.

        A disk that refuses that is found out by who looks after it.
        """
        try:
            self.look_at_usage()
        except (DiskFailed, DiskFull):
            pass

    def check_room(self, length: int) -> None:
        """Raise DiskFull when there is none for a replica of that length; DiskFailed."""
        if self.look_at_usage().free < _FREE_BYTES_MIN + length:
            raise DiskFull("the disk is full: no room for a new replica")


def pick_shelf(shelves: tuple[Shelf, ...], disk_id: DiskId) -> Shelf:
    """Return the shelf of a disk; without an id the one with most room.

    Raises: DiskFailed when it is not in service, or none is.
    """
    if disk_id:
        shelf = next((one for one in shelves if one.disk_id == disk_id), None)
        if shelf is None:
            raise DiskFailed(f"disk {format_id(disk_id)} is not in service on this server")
        if shelf.failed:
            raise DiskFailed(f"disk {format_id(disk_id)} is out of service: {shelf.failed}")
        return shelf
    serving = [one for one in shelves if not one.failed]
    if not serving:
        raise DiskFailed("no disk of this server is in service")
    return max(serving, key=lambda one: (not one.ailing, one.usage.free))


def steady_shelf(shelves: tuple[Shelf, ...]) -> Shelf:
    """Return the first shelf that works as far as is known; the first one of all if none does."""
    return min(shelves, key=lambda one: (bool(one.failed), bool(one.ailing)))
