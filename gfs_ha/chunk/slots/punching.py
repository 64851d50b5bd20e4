"""Giving back blocks of a sealed replica that no file has: first marked, then punched (G8).

The mark is on the disk in both copies of the header before the first byte goes, so that a crash in
between leaves blocks that are marked and still there, never one that reads as zeros without a mark.
The order comes again until it is answered, and punches what is marked already once more.
"""

from __future__ import annotations

from gfs_ha.chunk.disk import Disk, opened
from gfs_ha.chunk.slots.format import DATA_OFFSET, State
from gfs_ha.chunk.slots.replica import Replica
from gfs_ha.chunk.slots.stamps import stamp_gone
from gfs_ha.errors import NotFound, ProtocolError, ReplicaBusy
from gfs_ha.ids import LogIndex
from gfs_ha.protocol.gone import blocks_of, runs


def punch(disk: Disk, replica: Replica, order_index: LogIndex, gone: int) -> int:
    """Mark blocks as gone and give their room back; return what the disk got back by it.

    Idempotent. Raises: ReplicaBusy while it is not sealed; StaleOrder, UnknownReplica,
    ProtocolError (blocks that it never had), DiskFailed.
    """
    header = replica.header
    if header.state is not State.SEALED:
        raise ReplicaBusy(f"chunk {header.chunk_id:#x} is not sealed here yet")
    if gone & ~blocks_of(0, header.end):
        raise ProtocolError(f"blocks beyond the end of chunk {header.chunk_id:#x} are no garbage")
    with replica.holding_still(order_index, "it is sealed") as slot:
        # What was shown is on the disk; what the slot says may have failed on its way.
        shown = replica.header
        if gone & ~shown.gone or order_index > shown.order_index:
            stamp_gone(slot, order_index, gone)
    # A mark never goes away, so nothing need hold still for what follows.
    try:
        with opened(disk, replica.name) as file:
            before = file.room()
            for offset, length in runs(gone):
                file.punch(DATA_OFFSET + offset, length)
            return max(0, before - file.room())
    except NotFound:
        return 0  # It was deleted, or gave way to a copy, meanwhile.


def room_of(disk: Disk, replica: Replica) -> int:
    """Return how many bytes of the disk a replica takes. Raises: DiskFailed."""
    try:
        with opened(disk, replica.name) as file:
            return file.room()
    except NotFound:
        return 0
