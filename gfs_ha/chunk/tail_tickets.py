"""New tickets for the chains of tails, asked of the leader in good time.

They come with the order that makes a tail, and a tail may live for days.
"""

from __future__ import annotations

import logging

from gfs_ha.chunk.primary import Primary
from gfs_ha.chunk.registration import Leader, ask
from gfs_ha.errors import GfsError, ProtocolError
from gfs_ha.protocol.tickets import GetTickets, Right, TicketsGiven

AT_ONCE = 16  # With one heartbeat: half the life of a ticket is left for the others.
ASK_S = 1.0

logger = logging.getLogger(__name__)


def renew_chains(tails: Primary, leader: Leader) -> None:
    """Renew the tickets of some tails that need that soon. What fails is tried again later.

    Nothing where no tickets are given.
    """
    for chunk_id, servers in tails.stale_chains()[:AT_ONCE]:
        try:
            reply = ask(leader, GetTickets(chunk_id, int(Right.RECORDS), servers), ASK_S)
            if not isinstance(reply, TicketsGiven):
                raise ProtocolError(f"the leader answered {type(reply).__name__} to get_tickets")
        except GfsError as error:
            about = (chunk_id, error.code, error.message)
            logger.info("no new tickets for a tail chunk=%#x error=%s: %s", *about)
        else:
            tails.renew_chain(chunk_id, reply)
