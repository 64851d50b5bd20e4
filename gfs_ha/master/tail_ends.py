"""Ends of tails as their primaries told them, on their way through the log (C5). Soft state.

The seal of a tail that is full costs no order to any server then. Runs on the door's thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from gfs_ha.ids import ChunkId, ServerId, StartId
from gfs_ha.limits import REQUEST_DEADLINE_S
from gfs_ha.master.leader_parts import LeaderParts
from gfs_ha.master.proposals import reply_of
from gfs_ha.master.raft.contract import Outcome
from gfs_ha.master.state.records import UNSEALED
from gfs_ha.master.state.tail_commands import FinishTail
from gfs_ha.master.state.tail_reads import tail_of
from gfs_ha.master.state.view import View
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.control import FinishedTail
from gfs_ha.protocol.metadata import ChunkSealed

logger = logging.getLogger(__name__)


class TailEnds:
    """Proposes each once. Which it has proposed, it forgets with the outcome."""

    def __init__(
        self, parts: LeaderParts, on_outcome: Callable[[ChunkId, ChunkSealed | None], None]
    ) -> None:
        """Args: `on_outcome` is told, on the door's thread, of the seal; None: it came to none."""
        self._proposer = parts.proposer
        self._post = parts.post
        self._on_outcome = on_outcome
        self._under_way: set[ChunkId] = set()

    def __contains__(self, chunk_id: ChunkId) -> bool:
        """Return whether the end of a tail was proposed: what is proposed now comes behind it."""
        return chunk_id in self._under_way

    def told(self, view: View, primary: tuple[ServerId, StartId], end: FinishedTail) -> None:
        """Propose the end of a tail, if this run of a server still is its primary."""
        chunk = view.chunk(end.chunk_id)
        if chunk is None or chunk.state not in UNSEALED or end.chunk_id in self._under_way:
            return
        tail = tail_of(view, chunk.tail_of) if chunk.tail_of else None
        if tail is None or (tail.server_id, tail.start_id) != primary:
            return
        self._under_way.add(end.chunk_id)
        command = FinishTail(
            chunk_id=end.chunk_id,
            server_id=tail.server_id,
            start_id=tail.start_id,
            length=end.length,
            digest=end.digest,
            crc=end.crc,
            holders=end.holders,
            records=end.records,
        )

        def done(outcome: Outcome) -> None:
            self._post(partial(self._done, end.chunk_id, outcome))

        self._proposer.propose(command, REQUEST_DEADLINE_S, done)

    def _done(self, chunk_id: ChunkId, outcome: Outcome) -> None:
        self._under_way.discard(chunk_id)
        reply = None if outcome.error is not None else reply_of(outcome)
        if isinstance(reply, Failure):
            logger.error("end of a tail refused chunk=%#x because=%s", chunk_id, reply.message)
        self._on_outcome(chunk_id, reply if isinstance(reply, ChunkSealed) else None)
