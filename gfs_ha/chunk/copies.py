"""The copies that this server makes: two at once, in workers of their own, one per chunk.

So a slow copy never delays a fence or a seal. Those that hang on a disk that does not answer count
for none: copies to other disks go on. They share one pace: while a copy begins or ends, the
other one has all of it. The leader sends an order every second until it is answered; that changes
the limit of the copy itself, and nothing else.
"""

from __future__ import annotations

import logging
from collections import OrderedDict

from gfs_ha.chunk.copying import Copying
from gfs_ha.chunk.epochs import EpochBook
from gfs_ha.chunk.outbox import Outbox
from gfs_ha.chunk.repair_pace import RepairPace
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.chunk.source import SourceRoom
from gfs_ha.errors import Cancelled, GfsError, StaleOrder
from gfs_ha.ids import ChunkId, DiskId, Epoch, LogIndex
from gfs_ha.net.stream_pool import StreamPool
from gfs_ha.protocol.codec import failure
from gfs_ha.protocol.control import CopyProgress, CopyReplica, OrderAnswer, OrderDone, OrderFailed
from gfs_ha.protocol.data import cluster_hash
from gfs_ha.protocol.repair import RepairAllowance
from gfs_ha.runtime import Runtime, Task, join_all

WORKERS = 2
WAITING_MAX = 256
ENDED_MAX = 4096  # Chunks whose copies were stopped or deleted, against orders that come late.
_KIND = "copy"
_LOOK_S = 1.0

logger = logging.getLogger(__name__)


class Copies:
    """The copies that wait and run. Thread-safe."""

    def __init__(
        self,
        store: ChunkStore,
        streams: StreamPool,
        epochs: EpochBook,
        outbox: Outbox,
        pace: RepairPace,
        runtime: Runtime,
    ) -> None:
        """Args: `streams` are closed by `stop`."""
        self.pace = pace
        self._store = store
        self._streams = streams
        self._room = SourceRoom(cluster_hash(store.cluster_id), streams, runtime)
        self._epochs = epochs
        self._outbox = outbox
        self._runtime = runtime
        self._changed = runtime.condition()
        self._waiting: OrderedDict[ChunkId, tuple[Epoch, CopyReplica]] = OrderedDict()
        self._running: dict[ChunkId, Copying] = {}
        self._disks: dict[Copying, frozenset[DiskId]] = {}  # What those that run touch.
        self._ended: OrderedDict[ChunkId, LogIndex] = OrderedDict()
        self._failed: OrderedDict[ChunkId, str] = OrderedDict()  # Told to a person once.
        self._stopping = False
        self._workers: list[Task] = []

    def start(self) -> None:
        """Start the workers."""
        self._workers = [
            self._runtime.spawn(f"copy {number}", self._work)
            for number in range(WORKERS * self._store.disk_count)
        ]

    def stop(self, timeout_s: float) -> bool:
        """Break off what runs; False when something still does after `timeout_s`."""
        with self._changed:
            self._stopping = True
            self._waiting.clear()
            for copying in self._running.values():
                copying.stop()
            self._changed.notify_all()
        ended = join_all(self._workers, timeout_s, self._runtime)
        self._streams.close()
        return ended

    def allow(self, allowance: RepairAllowance) -> None:
        """Go at what the leader allows from now on."""
        self.pace.allow(allowance)
        with self._changed:
            self._changed.notify_all()

    def take(self, epoch: Epoch, order: CopyReplica) -> None:
        """Line a copy up, unless it is known already or a newer order ended it."""
        chunk_id, index = order.chunk_id, order.order_index
        with self._changed:
            if index <= self._ended.get(chunk_id, -1):
                stale = StaleOrder(f"chunk {chunk_id:#x}: the copy of order {index} was ended")
                self._outbox.add_answer(OrderFailed(chunk_id, index, _KIND, failure(stale)))
                return
            running = self._running.get(chunk_id)
            if running is not None and running.order.order_index >= index:
                if running.order.order_index == index:
                    running.go_on(order, self._runtime.monotonic_s())
                    self._changed.notify_all()
                return
            waiting = self._waiting.get(chunk_id)
            if waiting is not None and waiting[1].order_index > index:
                return
            if self._stopping or (waiting is None and len(self._waiting) >= WAITING_MAX):
                return  # It comes again.
            if running is not None:
                running.stop()
            self._waiting[chunk_id] = (epoch, order)
            self._changed.notify_all()

    def end(self, chunk_id: ChunkId, order_index: LogIndex) -> None:
        """Have no copy of this or an older order count from now on, running, waiting or to come.

        What one left goes as soon as it notices, at the next start at the latest.
        """
        with self._changed:
            self._ended[chunk_id] = max(order_index, self._ended.pop(chunk_id, order_index))
            while len(self._ended) > ENDED_MAX:
                self._ended.popitem(last=False)
            waiting = self._waiting.get(chunk_id)
            if waiting is not None and waiting[1].order_index <= order_index:
                del self._waiting[chunk_id]
            running = self._running.get(chunk_id)
            if running is not None and running.order.order_index <= order_index:
                running.stop()
            self._changed.notify_all()

    def check_newest(self, chunk_id: ChunkId, order_index: LogIndex) -> None:
        """Raise StaleOrder if a copy of a newer order waits or runs: it may not be deleted."""
        with self._changed:
            running = self._running.get(chunk_id)
            known = [running.order] if running is not None else []
            if chunk_id in self._waiting:
                known.append(self._waiting[chunk_id][1])
        if any(order.order_index > order_index for order in known):
            raise StaleOrder(f"chunk {chunk_id:#x} is being copied here by a newer order")

    def progress(self) -> tuple[CopyProgress, ...]:
        """Return how far the copies are that run."""
        with self._changed:
            running = list(self._running.values())
        return tuple(
            CopyProgress(
                one.order.chunk_id, one.order.order_index, one.bytes_done, one.order.length
            )
            for one in running
        )

    def _work(self) -> None:
        while True:
            with self._changed:
                found = self._next()
                while found is None:
                    if self._stopping:
                        return
                    self._changed.wait(_LOOK_S)
                    found = self._next()
            answer: OrderAnswer | None = None
            try:
                answer = self._carry_out(found)
            finally:
                with self._changed:
                    awaited = self._running.get(found.order.chunk_id) is found
                    if awaited:
                        del self._running[found.order.chunk_id]
                    self._disks.pop(found, None)
                    self._changed.notify_all()
            if answer is not None and awaited and not self._stopping:
                self._outbox.add_answer(answer)

    def give_up(self, disk_id: DiskId) -> None:
        """Wait no more for the copies that touch a disk which is out of service.

        A worker that hangs there is left alone; its copy is stopped, and its chunk may be copied.
        """
        with self._changed:
            for chunk_id, copying in list(self._running.items()):
                if disk_id in self._disks[copying]:
                    copying.give_up()
                    del self._running[chunk_id], self._disks[copying]
            self._changed.notify_all()

    def _next(self) -> Copying | None:
        """Take the copy that waits longest and whose chunk no other worker is busy with.

        One to or from a disk that does not answer waits until it does, or is out of service.
        """
        silent = self._store.silent_disks
        if sum(not disks & silent for disks in self._disks.values()) >= WORKERS:
            return None
        for chunk_id, (epoch, order) in list(self._waiting.items()):
            disks = self._store.disks_of(chunk_id, order.disk_id)
            if chunk_id in self._running or disks & silent:
                continue
            del self._waiting[chunk_id]
            # Its leader may have been deposed while it waited; the new one orders anew.
            if epoch == self._epochs.newest:
                copying = Copying(self._store, self._room, order, self._pause)
                self._running[chunk_id], self._disks[copying] = copying, disks
                return copying
        return None

    def _pause(self, copying: Copying, wanted: int) -> int:
        """Wait until the paces let a copy go on, or it is stopped; return for how many bytes."""
        with self._changed:
            while not copying.stopped:
                count = 0
                left_s = copying.pace.wait_s(self._runtime.monotonic_s(), wanted)
                if left_s <= 0:
                    count, left_s = self.pace.take_copy(wanted)
                if count:
                    copying.pace.take(count, self._runtime.monotonic_s())
                    return count
                self._changed.wait(left_s)
        return wanted

    def _carry_out(self, copying: Copying) -> OrderAnswer:
        order = copying.order
        chunk_id, index = order.chunk_id, order.order_index
        begun_s = self._runtime.monotonic_s()
        try:
            copying.run()
        except GfsError as error:
            again = isinstance(error, Cancelled) or self._failed.get(chunk_id) == error.code
            self._failed[chunk_id] = error.code
            while len(self._failed) > ENDED_MAX:
                self._failed.popitem(last=False)
            logger.log(
                logging.DEBUG if again else logging.WARNING,
                "a copy failed chunk=%#x order_index=%d error=%s reason=%s",
                chunk_id,
                index,
                error.code,
                error.message,
            )
            return OrderFailed(chunk_id, index, _KIND, failure(error))
        self._failed.pop(chunk_id, None)
        took_ms = int((self._runtime.monotonic_s() - begun_s) * 1000)
        if copying.found_whole:
            logger.info("a copy was here already chunk=%#x order_index=%d", chunk_id, index)
        else:
            logger.info(
                "copied chunk=%#x order_index=%d bytes=%d source=%d took_ms=%d",
                *(chunk_id, index, order.length, copying.source, took_ms),
            )
        return OrderDone(chunk_id, index, _KIND)
