"""New tickets for the chains of tails, asked of the leader in good time.

They come with the order that makes a tail, and a tail may live for days.
"""

from __future__ import annotations

import logging
from typing import Protocol

from gfs_ha.chunk.registration import Leader
from gfs_ha.errors import GfsError
from gfs_ha.ids import ChunkId, ServerId
from gfs_ha.protocol.calls import Asked
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.tickets import GetTickets, Right, TicketsGiven

AT_ONCE = 64  # Requests of one call.
ASK_S = 5.0

logger = logging.getLogger(__name__)


class Tails(Protocol):
    """The tails that a server orders the appends to."""

    def stale_chains(self) -> list[tuple[ChunkId, tuple[ServerId, ...]]]: ...

    def renew_chain(self, chunk_id: ChunkId, given: TicketsGiven) -> None: ...


def renew_chains(tails: Tails, leader: Leader) -> None:
    """Renew the tickets of all tails that need that soon. What fails is tried again later.

    Half their life is left then. Nothing where no tickets are given.
    """
    stale = tails.stale_chains()
    for start in range(0, len(stale), AT_ONCE):
        part = stale[start : start + AT_ONCE]
        body = tuple(
            Asked(GetTickets(chunk_id, int(Right.RECORDS), servers)) for chunk_id, servers in part
        )
        try:
            replies = leader.call(body, ASK_S)
        except GfsError as error:
            logger.info("no new tickets for tails error=%s: %s", error.code, error.message)
            return  # The same would happen to the others.
        for (chunk_id, _), reply in zip(part, replies, strict=True):
            if isinstance(reply, TicketsGiven):
                tails.renew_chain(chunk_id, reply)
            elif isinstance(reply, Failure):
                about = (chunk_id, reply.error, reply.message)
                logger.info("no new tickets for a tail chunk=%#x error=%s: %s", *about)
