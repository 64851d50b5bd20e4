"""A placed tail whose replicas are being created: who is ordered what, and who has not done it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gfs_ha.errors import DiskFailed, DiskFull
from gfs_ha.ids import DiskId, LogIndex, ServerId, StartId
from gfs_ha.protocol.control import CopySource, CreateReplica
from gfs_ha.protocol.metadata import ChunkAllocated


class Creation:
    """The first of the chunk's replicas is to be its primary, in the run `start_id` (C10)."""

    def __init__(
        self, chunk: ChunkAllocated, start_id: StartId, index: LogIndex, since_s: float
    ) -> None:
        self.chunk = chunk
        self.primary = chunk.replicas[0].server_id, start_id
        self.index = index  # Of the orders: that of the chunk's birth.
        self.since_s = since_s
        self.missing = {one.server_id for one in chunk.replicas}

    def orders(self, disks: Mapping[ServerId, DiskId]) -> dict[ServerId, CreateReplica]:
        """Return the order for each server; the primary's names the chain below it."""
        chunk, (primary, start_id) = self.chunk, self.primary
        chain = tuple(CopySource(one.server_id, one.host, one.port) for one in chunk.replicas[1:])
        return {
            one.server_id: CreateReplica(
                chunk.chunk_id,
                chunk.birth,
                self.index,
                disks[one.server_id],
                chunk.durability,
                chunk.capacity,
                chain if one.server_id == primary else (),
                start_id if one.server_id == primary else StartId(0),
            )
            for one in chunk.replicas
        }

    def without(self, usable: Callable[[ServerId], bool]) -> set[ServerId]:
        """Return its servers that are not `usable`."""
        return {one.server_id for one in self.chunk.replicas if not usable(one.server_id)}

    def disks_of(self, server_id: ServerId, error: str) -> frozenset[DiskId]:
        """Return the disk on which a server could not create its replica, if that is why."""
        if error not in (DiskFailed.__name__, DiskFull.__name__):
            return frozenset()
        places = [one for one in self.chunk.replicas if one.server_id == server_id]
        return frozenset(one.disk_id for one in places if one.disk_id)
