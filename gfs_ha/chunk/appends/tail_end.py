"""The end of a tail that its primary lets nothing come after: what the leader is told of it (C5).

Nobody has to fence anything then: every replica acknowledged every batch, and who alone brings
them brings no more. What is told is true for ever, however late and however often it arrives.
"""

from __future__ import annotations

from gfs_ha.checksum import chunk_digest, combine_blocks
from gfs_ha.chunk.appends.known_records import KnownRecords, S
from gfs_ha.chunk.slots.replica import Replica
from gfs_ha.errors import GfsError
from gfs_ha.ids import ServerId
from gfs_ha.protocol.control import FinishedTail


def end_of(
    replica: Replica, length: int, known: KnownRecords[S], holders: tuple[ServerId, ...]
) -> FinishedTail | None:
    """Return the end of a full tail; None when only a look at the disks can tell it.

    Args: `length` is what every replica acknowledged; no batch is under way.
    """
    if not length or replica.gate.closed or replica.header.end != length:
        return None
    try:
        crcs = replica.plan_read(0, length, data=False).crcs
    except GfsError:
        return None  # It ends otherwise in this very moment.
    return FinishedTail(
        chunk_id=replica.header.chunk_id,
        length=length,
        digest=chunk_digest(crcs),
        crc=combine_blocks(crcs, length),
        holders=holders,
        records=known.results(),
    )
