"""The tails of this server: their replicas, made on order (C10)."""

from __future__ import annotations

from gfs_ha.chunk.slots.store import ChunkStore, ReplicaSpec
from gfs_ha.errors import ProtocolError
from gfs_ha.limits import CHUNK_BYTES_MAX
from gfs_ha.protocol.control import CreateReplica
from gfs_ha.protocol.data import ChunkKind, Durability


class Primary:
    """Makes the replicas of tails."""

    def __init__(self, store: ChunkStore) -> None:
        self._store = store

    def create(self, order: CreateReplica) -> None:
        """Make the replica, durably. Idempotent.

        Raises: ProtocolError, AlreadyExists, Fenced, DiskFull, DiskFailed.
        """
        self._store.create_tail(self._spec(order), order.order_index)

    def _spec(self, order: CreateReplica) -> ReplicaSpec:
        if order.disk_id not in (0, self._store.identity.disk_id):
            raise ProtocolError(f"disk {order.disk_id:#x} is not on this server")
        if not 0 < order.capacity <= CHUNK_BYTES_MAX:
            raise ProtocolError(f"a chunk of {order.capacity} bytes")
        try:
            durability = Durability[order.durability.upper()]
        except KeyError:
            raise ProtocolError(f"no durability is called {order.durability!r}") from None
        return ReplicaSpec(order.chunk_id, order.birth, ChunkKind.TAIL, order.capacity, durability)
