"""The orders that wait for chunkservers: resent until answered, bounded, never durable (C2, G1).

What must be ordered follows from the replicated tables alone; this book only remembers what was
sent when, so that an order goes out at once, again every second, and not more often.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from gfs_ha.ids import ChunkId, LogIndex, ServerId
from gfs_ha.limits import ORDERS_PER_REPLY_MAX
from gfs_ha.protocol.control import (
    CompactChunk,
    CompareReplica,
    CopyReplica,
    CreateReplica,
    DeleteReplica,
    FenceReplica,
    FinishReplica,
    ForgetTombstone,
    KeepReplica,
    Order,
    ProveReplica,
    PunchReplica,
    StopCopy,
)

RESEND_S = 1.0
OUTSTANDING_MAX = 4_096  # Per server; what does not fit comes again from the tables.

FENCE = "fence"
PROVE = "prove"
FINISH = "finish_seal"
COMPARE = "compare"
FORGET = "forget_tombstone"
DELETE = "delete"
COPY = "copy"
STOP_COPY = "stop_copy"
KEEP = "keep"
CREATE = "create"
PUNCH = "punch"
COMPACT = "compact"

_KINDS: dict[type[Order], str] = {
    FenceReplica: FENCE,
    ProveReplica: PROVE,
    FinishReplica: FINISH,
    CompareReplica: COMPARE,
    ForgetTombstone: FORGET,
    DeleteReplica: DELETE,
    CopyReplica: COPY,
    StopCopy: STOP_COPY,
    KeepReplica: KEEP,
    CreateReplica: CREATE,
    PunchReplica: PUNCH,
    CompactChunk: COMPACT,
}


def kind_of(order: Order) -> str:
    """Return the wire's tag of an order, as answers name it."""
    return _KINDS[type(order)]


@dataclass(slots=True)
class Outstanding:
    """One order that is not answered yet; `first_s` is when it was sent first, or None."""

    order: Order
    first_s: float | None = None
    sent_s: float | None = None


class OrderBook:
    """Orders by server. One order per chunk and server: a later step replaces an earlier one."""

    def __init__(self) -> None:
        self._by_server: dict[ServerId, dict[ChunkId, Outstanding]] = {}

    def want(self, server_id: ServerId, order: Order) -> bool:
        """Make an order outstanding; the same one again changes nothing.

        Deletes make room for all else: a seal may wait for its answers, nobody waits for a delete.

        Returns False when it is older than what is outstanding, or the server's book is full.
        """
        book = self._by_server.setdefault(server_id, {})
        held = book.get(order.chunk_id)
        if held is not None:
            if _stands(held.order, order):
                held.order = _paced(held.order, order)
                return True
            if held.order.order_index > order.order_index:
                return False
            if isinstance(held.order, DeleteReplica) and isinstance(order, DeleteReplica):
                held.order = order  # What was right stays right; it is not sent more often.
                return True
        elif len(book) >= OUTSTANDING_MAX and not _make_room(book, order):
            return False
        book[order.chunk_id] = Outstanding(order)
        return True

    def want_only(self, chunk_id: ChunkId, orders: Mapping[ServerId, Order]) -> None:
        """Make exactly these the outstanding orders about a chunk."""
        for server_id, book in self._by_server.items():
            if server_id not in orders:
                book.pop(chunk_id, None)
        for server_id, order in orders.items():
            self.want(server_id, order)

    def forget(self, chunk_id: ChunkId, kinds: tuple[str, ...]) -> None:
        """Take back the orders of some kinds about a chunk, from all servers."""
        for book in self._by_server.values():
            held = book.get(chunk_id)
            if held is not None and kind_of(held.order) in kinds:
                del book[chunk_id]

    def answered(self, server_id: ServerId, chunk_id: ChunkId, kind: str, index: LogIndex) -> bool:
        """Strike out an order that was answered; returns whether it was outstanding."""
        book = self._by_server.get(server_id, {})
        held = book.get(chunk_id)
        if held is None or kind_of(held.order) != kind or held.order.order_index != index:
            return False
        del book[chunk_id]
        return True

    def due(self, server_id: ServerId, now_s: float) -> tuple[Order, ...]:
        """Return the orders to send now, and remember that they were sent."""
        found: list[Order] = []
        for outstanding in self._by_server.get(server_id, {}).values():
            if outstanding.sent_s is not None and now_s - outstanding.sent_s < RESEND_S:
                continue
            outstanding.sent_s = now_s
            if outstanding.first_s is None:
                outstanding.first_s = now_s
            found.append(outstanding.order)
            if len(found) >= ORDERS_PER_REPLY_MAX:
                break
        return tuple(found)

    def has_due(self, server_id: ServerId, now_s: float) -> bool:
        """Return whether `due` would return anything."""
        return any(
            one.sent_s is None or now_s - one.sent_s >= RESEND_S
            for one in self._by_server.get(server_id, {}).values()
        )

    def waiting_s(self, server_id: ServerId, chunk_id: ChunkId, now_s: float) -> float:
        """Return the seconds since the order about a chunk was first sent; 0 when it was not."""
        held = self._by_server.get(server_id, {}).get(chunk_id)
        if held is None or held.first_s is None:
            return 0.0
        return now_s - held.first_s

    def count(self) -> int:
        """Return how many orders are outstanding."""
        return sum(len(book) for book in self._by_server.values())


def _stands(held: Order, order: Order) -> bool:
    """Return whether what is outstanding is as good as an order that is wanted now.

    A copy goes on with the sources and the rate that it began with, a compaction with its ranges:
    what was referred to later lies within them. Who is told to keep a replica
    is not told to delete it by the order that this takes back.
    """
    if isinstance(held, CopyReplica | CompactChunk):
        same = type(order) is type(held)
    elif isinstance(held, KeepReplica):
        same = isinstance(order, DeleteReplica)
    else:
        return held == order
    return held == order or (same and held.order_index == order.order_index)


def _paced(held: Order, order: Order) -> Order:
    """Return what is outstanding, at the rate that a copy has now; it is told with the next one."""
    if not isinstance(held, CopyReplica) or not isinstance(order, CopyReplica):
        return held
    return msgspec.structs.replace(held, bytes_per_s=order.bytes_per_s)


def _make_room(book: dict[ChunkId, Outstanding], order: Order) -> bool:
    """Put off a delete for an order of another kind; returns whether there is room now."""
    if isinstance(order, DeleteReplica):
        return False
    for chunk_id, held in book.items():
        if isinstance(held.order, DeleteReplica):
            del book[chunk_id]
            return True
    return False
