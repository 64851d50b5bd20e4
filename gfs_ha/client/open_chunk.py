"""An open chunk that takes many small files one after another, each batch one push (F6, C5)."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from gfs_ha.client.chunk_crcs import ChunkCrcs
from gfs_ha.client.chunk_push import ChunkPush, PushOutcome
from gfs_ha.client.shipment import WriterParts
from gfs_ha.errors import GfsError
from gfs_ha.ids import ServerId, format_id
from gfs_ha.limits import PACKET_BYTES_DEFAULT
from gfs_ha.protocol.metadata import ChunkAllocated

logger = logging.getLogger(__name__)

SEAL_TIMEOUT_S = 10.0  # After that the leader goes on by itself, once the claim is released.


@dataclass(frozen=True, slots=True)
class Landed:
    """Where a batch lies, and in how many copies."""

    chunk: ChunkAllocated
    offset: int
    copies: int


class OpenChunk:
    """Appends batches at the exact end; `end` counts what all replicas acknowledged.

    Used by one thread.
    """

    def __init__(self, parts: WriterParts, chunk: ChunkAllocated) -> None:
        self._parts = parts
        self.chunk = chunk
        self.end = 0
        self.open = True
        self.error: GfsError | None = None
        self._failed: tuple[ServerId, ...] | None = None  # Set: the leader has to seal it.
        self._crcs = ChunkCrcs()

    def fits(self, size: int) -> bool:
        return self.open and self.end + size <= self.chunk.capacity

    def append(self, data: memoryview) -> Landed | None:
        """Push a batch; None when it is not safe here and has to go into another chunk.

        With fewer replicas than the whole set, but enough, the chunk is finished with them: what is
        published must lie where all replicas of an open chunk have it, or in a sealed one.
        """
        push = ChunkPush(self._parts.plane, self.chunk, self.end, len(data))
        for start in range(0, len(data), PACKET_BYTES_DEFAULT):
            push.send(data[start : start + PACKET_BYTES_DEFAULT])
        outcome = push.finish()
        self._parts.supply.note_failed(outcome.cut_off, outcome.failed_disks.values())
        if not outcome.enough(self.chunk):
            self._give_up(outcome)
            return None
        landed = Landed(self.chunk, self.end, len(outcome.complete))
        self._crcs.append(len(data), push.crcs)
        self.end += len(data)
        if not outcome.everywhere(self.chunk):
            self.open = False
            self._note(outcome)
            self._parts.supply.finish(self.chunk, self.end, self._crcs.digest(), outcome.complete)
        return landed

    def finish(self) -> None:
        """Seal it with all its replicas at its end; an empty one is given back.

        One that too few replicas are left of is sealed by the leader, which takes its time (C5).
        Raises: Busy while that is blocked, and what else keeps it from an end.
        """
        if self._failed is not None:
            failed, self._failed = self._failed, None
            self._parts.supply.seal(self.chunk, failed, SEAL_TIMEOUT_S)
        if not self.open:
            return
        self.open = False
        if self.end:
            holders = [one.server_id for one in self.chunk.replicas]
            self._parts.supply.finish(self.chunk, self.end, self._crcs.digest(), holders)

    def _give_up(self, outcome: PushOutcome) -> None:
        """End the chunk before the broken push, with the replicas that did not fail in it.

        They all acknowledged everything up to `end`. With too few of them left the leader has to
        seal the chunk; `finish` asks it to.
        """
        self.open = False
        self._note(outcome)
        chunk = self.chunk
        survivors = [r.server_id for r in chunk.replicas if r.server_id not in outcome.failed]
        if not self.end:
            return
        if len(survivors) < min(chunk.min_copies, chunk.goal):
            self._failed = outcome.failed
            return
        try:
            self._parts.supply.finish(chunk, self.end, self._crcs.digest(), survivors)
        except GfsError as error:
            # Some of them is not fit to hold it, or the leader is away: it sorts that out.
            self._failed = outcome.failed
            chunk_id = format_id(chunk.chunk_id)
            logger.info("chunk left to the leader chunk=%s error=%s", chunk_id, error.message)

    def _note(self, outcome: PushOutcome) -> None:
        self.error = outcome.error
        chunk_id = format_id(self.chunk.chunk_id)
        logger.info("batch incomplete chunk=%s end=%d why=%s", chunk_id, self.end, outcome.error)
