"""Records that are pushed together: one push down the chain, one sync on each server."""

from __future__ import annotations

from dataclasses import dataclass

from gfs_ha.chunk.appends.append_stream import AppendStream
from gfs_ha.chunk.appends.known_records import Arrival
from gfs_ha.ids import NO_TRACE, TraceId
from gfs_ha.protocol.records import RecordEntry


@dataclass(frozen=True, slots=True)
class Batch:
    """Records on their way to every replica, in their order; without any it is a note (C10)."""

    arrivals: tuple[Arrival[AppendStream], ...]
    entries: tuple[RecordEntry, ...]
    offset: int
    length: int
    committed: int

    @property
    def trace_id(self) -> TraceId:
        """Return which command of a client brought the first of the records."""
        return next((who.trace_id for one in self.arrivals for who in one.asking), NO_TRACE)
