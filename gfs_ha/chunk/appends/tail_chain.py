"""The servers below the primary of a tail, and what lets it push records to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gfs_ha.ids import ServerId
from gfs_ha.protocol.data import Hop
from gfs_ha.protocol.tickets import OperationPass


@dataclass(frozen=True, slots=True)
class TailChain:
    """In order, with the tickets that the leader gave last, if it gives any.

    `since_s` is when they came, by the clock of this process.
    """

    hops: tuple[Hop, ...]
    given: OperationPass | None = None
    since_s: float = 0.0

    def stale(self, now_s: float) -> bool:
        """Return whether new tickets are to be fetched: half the life of these is over."""
        if self.given is None or not self.hops:
            return False
        return now_s - self.since_s > self.given.life_ms / 2000

    def renewed(
        self, given: OperationPass, tickets: Mapping[ServerId, bytes], now_s: float
    ) -> TailChain | None:
        """Return the chain with new tickets; None when one of its servers has none."""
        if any(hop.server_id not in tickets for hop in self.hops):
            return None
        hops = tuple(
            Hop(hop.server_id, hop.host, hop.port, hop.disk_id, tickets[hop.server_id])
            for hop in self.hops
        )
        return replace(self, hops=hops, given=given, since_s=now_s)
