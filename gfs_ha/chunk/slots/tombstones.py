"""The chunks that were fenced before anything of them came to this disk: refused since (C2).

The fence of a chunk that is not here is answered "unknown", and the leader goes on without this
server. That answer is a promise like any other fence: it is durable before it is given, and read
again at every start. Else a push that was slow on its way makes an open replica after the fence,
and acknowledges bytes that the seal does not know. A tombstone is a slot file without data.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from gfs_ha.chunk.disk import Disk, opened
from gfs_ha.chunk.slots.format import Header, State
from gfs_ha.chunk.slots.slot import create_slot
from gfs_ha.errors import Overloaded, StaleOrder
from gfs_ha.ids import Birth, ChunkId, LogIndex
from gfs_ha.protocol.data import ChunkKind, Durability

TOMBSTONES_MAX = 4096  # 16 KiB of disk each; beyond that a fence of an unknown chunk has to wait.


def tombstone_header(chunk_id: ChunkId, birth: Birth, order_index: LogIndex, now_ms: int) -> Header:
    """Return the header of a tombstone; kind and durability are not known and mean nothing."""
    return Header(
        generation=0,
        chunk_id=chunk_id,
        birth=birth,
        kind=ChunkKind.PUT,
        durability=Durability.DISK,
        state=State.TOMBSTONE,
        capacity=0,
        fence_index=order_index,
        order_index=order_index,
        written_ms=now_ms,
    )


class Tombstones:
    """Those of one disk, by chunk. Not thread-safe: the store's lock guards it, except `write`."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._held: dict[ChunkId, tuple[str, Header]] = {}

    def __contains__(self, chunk_id: ChunkId) -> bool:
        return chunk_id in self._held

    def __iter__(self) -> Iterator[Header]:
        return iter([header for _, header in self._held.values()])

    def check_room(self) -> None:
        """Raise Overloaded when there are too many; the leader asks again."""
        if len(self._held) >= TOMBSTONES_MAX:
            raise Overloaded(f"this server refuses {TOMBSTONES_MAX} chunks already")

    def write(self, name: str, header: Header) -> None:
        """Make one safe in both copies (D1); it counts by `add`. Raises: DiskFull, DiskFailed."""
        slot = create_slot(self._disk, name, header)
        with opened(self._disk, name) as file:
            slot.write(file, header, array("I"))
            file.sync()

    def add(self, name: str, header: Header) -> bool:
        """Count one that is on the disk; False when the chunk has one already."""
        if header.chunk_id in self._held:
            return False
        self._held[header.chunk_id] = (name, header)
        return True

    def forget(self, chunk_id: ChunkId, order_index: LogIndex) -> tuple[str, Header] | None:
        """Count one no more, and return it with the file that is to go; None when there is none.

        Raises: StaleOrder.
        """
        if chunk_id not in self._held:
            return None
        _, header = self._held[chunk_id]
        if order_index < header.order_index:
            raise StaleOrder(
                f"chunk {chunk_id:#x}: order {order_index} is older than {header.order_index}, "
                "by which it was fenced before it came here"
            )
        return self._held.pop(chunk_id)
