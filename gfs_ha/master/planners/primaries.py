"""What the leader has heard of the servers that order appends, and when a tail takes none any more.

Soft facts of one leadership: they end tails sooner, and never make one of them unsafe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gfs_ha.ids import ChunkId, Epoch, ServerId, StartId
from gfs_ha.master.observed import DEAD, SUSPECT
from gfs_ha.master.state.tail_records import Tail
from gfs_ha.protocol.control import LedTail

FULL = "it takes no more records"
RESTARTED = "the primary started again"
GONE = "its primary is dead"
REPORTED = "its primary is silent, and a client has reported it"
_NO_EPOCH = Epoch(0, 0)


@dataclass(frozen=True, slots=True)
class Primary:
    """What the leader has heard of the server that orders the appends to a tail."""

    state: str
    start_id: StartId | None  # Of its present run; None: not heard by this leader.
    led: LedTail | None  # What it said last of this tail.
    reported: bool  # A client could not use it.


def why_over(tail: Tail, primary: Primary) -> str:
    """Return why a tail takes no more appends, as far as is heard; empty: it does."""
    if primary.start_id is not None and primary.start_id != tail.start_id:
        return RESTARTED
    if primary.state == DEAD:
        return GONE
    if primary.state == SUSPECT and primary.reported:
        return REPORTED
    if primary.led is not None and primary.led.full:
        return FULL
    return ""


@dataclass(frozen=True, slots=True)
class TailsSeen:
    """What a leader of `epoch` has heard about tails; `opening` are those that it opens now."""

    epoch: Epoch = _NO_EPOCH
    opening: frozenset[ChunkId] = frozenset()
    states: Mapping[ServerId, str] = field(default_factory=dict)
    starts: Mapping[ServerId, StartId] = field(default_factory=dict)
    led: Mapping[ServerId, Mapping[ChunkId, LedTail]] = field(default_factory=dict)
    reported: frozenset[tuple[ChunkId, ServerId]] = frozenset()

    def primary(self, tail: Tail) -> Primary:
        """Return what was heard of the primary of a tail."""
        server_id = tail.server_id
        start_id = self.starts.get(server_id)
        told = self.led.get(server_id, {}) if start_id == tail.start_id else {}
        return Primary(
            self.states.get(server_id, DEAD),
            start_id,
            told.get(tail.chunk_id),
            (tail.chunk_id, server_id) in self.reported,
        )
