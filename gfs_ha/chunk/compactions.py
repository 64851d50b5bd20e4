"""The compaction that this server does: one at a time, in a worker of its own (G8).

The leader sends its order every second until it is answered; that changes nothing. One that was
stopped is not answered: the next start begins it anew when it is ordered again.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from gfs_ha.chunk.compacting import CompactRoom, compact
from gfs_ha.chunk.epochs import EpochBook
from gfs_ha.chunk.outbox import Outbox
from gfs_ha.chunk.pace import Pace
from gfs_ha.errors import Cancelled, GfsError
from gfs_ha.ids import DiskId, Epoch
from gfs_ha.protocol.codec import failure
from gfs_ha.protocol.control import CompactChunk, OrderAnswer, OrderDone, OrderFailed
from gfs_ha.runtime import Task, join_all

_KIND = "compact"
_LOOK_S = 1.0

logger = logging.getLogger(__name__)


class Compacter(Protocol):
    """What takes orders to compact."""

    def take(self, epoch: Epoch, order: CompactChunk) -> None: ...

    def give_up(self, disk_id: DiskId) -> None: ...


@dataclass(slots=True, eq=False)
class _Running:
    """A compaction that a worker does, and the disks that it reads."""

    order: CompactChunk
    disks: frozenset[DiskId]
    given_up: bool = False


class Compactions:
    """Thread-safe."""

    def __init__(self, room: CompactRoom, epochs: EpochBook, outbox: Outbox) -> None:
        self._room = room
        self._epochs = epochs
        self._outbox = outbox
        self._changed = room.runtime.condition()
        self._waiting: tuple[Epoch, CompactChunk] | None = None
        self._running: _Running | None = None
        self._stopping = False
        self._worker: Task | None = None

    def start(self) -> None:
        """Start the worker."""
        self._worker = self._room.runtime.spawn("compact", self._work)

    def stop(self, timeout_s: float) -> bool:
        """Break off what runs; False when it still does after `timeout_s`."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        workers = [] if self._worker is None else [self._worker]
        return join_all(workers, timeout_s, self._room.runtime)

    def take(self, epoch: Epoch, order: CompactChunk) -> None:
        """Have a chunk compacted, unless that runs already; the newest order waits, no other."""
        with self._changed:
            running = self._running
            if running is not None and running.order.chunk_id == order.chunk_id:
                return
            if not self._stopping:
                self._waiting = (epoch, order)
                self._changed.notify_all()

    def give_up(self, disk_id: DiskId) -> None:
        """Wait no more for one that reads a disk which is out of service: others are next.

        Its worker is left alone if it hangs there, and another one takes its place.
        """
        with self._changed:
            running = self._running
            if running is not None and disk_id in running.disks and not self._stopping:
                running.given_up = True
                self._running = None
                self.start()

    def _work(self) -> None:
        while True:
            with self._changed:
                while self._waiting is None and not self._stopping:
                    self._changed.wait(_LOOK_S)
                if self._stopping or self._waiting is None:
                    return
                (epoch, order), self._waiting = self._waiting, None
                # Its leader may have been deposed while it waited; the new one orders anew.
                if epoch != self._epochs.newest:
                    continue
                disks = self._room.store.disks_of(order.chunk_id)
                running = self._running = _Running(order, disks)
            answer: OrderAnswer | None = None
            try:
                answer = self._carry_out(running)
            finally:
                with self._changed:
                    if self._running is running:
                        self._running = None
                    self._changed.notify_all()
            if running.given_up:
                return
            if answer is not None:
                self._outbox.add_answer(answer)

    def _carry_out(self, running: _Running) -> OrderAnswer | None:
        order = running.order
        chunk_id, index = order.chunk_id, order.order_index
        pause, check = partial(self._pause, running), partial(self._check, running)
        try:
            count = compact(self._room, order, pause, check)
        except Cancelled:
            return None
        except GfsError as error:
            logger.warning(
                "a compaction failed chunk=%#x order_index=%d error=%s reason=%s",
                *(chunk_id, index, error.code, error.message),
            )
            return OrderFailed(chunk_id, index, _KIND, failure(error))
        logger.info("compacted chunk=%#x order_index=%d extents=%d", chunk_id, index, count)
        return OrderDone(chunk_id, index, _KIND)

    def _pause(self, running: _Running, pace: Pace) -> None:
        with self._changed:
            while True:
                self._check(running)
                left_s = pace.wait_s(self._room.runtime.monotonic_s())
                if left_s <= 0:
                    return
                self._changed.wait(left_s)

    def _check(self, running: _Running) -> None:
        if self._stopping:
            raise Cancelled("this server stops")
        if running.given_up:
            raise Cancelled("its disk is out of service")
