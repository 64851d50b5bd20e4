"""What the disk got back by each order, so that an order that comes again is answered the same."""

from __future__ import annotations

from collections import OrderedDict

from gfs_ha.ids import ChunkId, LogIndex
from gfs_ha.runtime import Runtime

FREED_MAX = 10_000


class Freed:
    """Thread-safe; forgets the oldest orders, and all of them when the process ends."""

    def __init__(self, runtime: Runtime) -> None:
        self._lock = runtime.lock()
        self._by_order: OrderedDict[tuple[ChunkId, LogIndex], int] = OrderedDict()

    def add(self, chunk_id: ChunkId, order_index: LogIndex, freed: int) -> int:
        """Return what the order gave back by now, this time included."""
        key = (chunk_id, order_index)
        with self._lock:
            total = self._by_order.pop(key, 0) + freed
            if total:
                self._by_order[key] = total
            while len(self._by_order) > FREED_MAX:
                self._by_order.popitem(last=False)
        return total
