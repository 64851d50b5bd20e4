"""Obeying the leader's orders: elsewhere than in the heartbeat, per chunk in log-index order.

An order that is already waiting or running is not taken twice, although the leader sends it every
second until it is answered. What finds no place is dropped for the same reason: it comes again.

Each disk has so many workers and no more: one that hangs holds up the orders for itself. Once it is
out of service nobody waits for those any more.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gfs_ha.chunk.compactions import Compacter
from gfs_ha.chunk.epochs import EpochBook
from gfs_ha.chunk.freed import Freed
from gfs_ha.chunk.outbox import Outbox
from gfs_ha.chunk.slots.answers import Proof
from gfs_ha.errors import GfsError, UnknownReplica
from gfs_ha.ids import ANY_DISK, Birth, ChunkId, DiskId, Epoch, LogIndex
from gfs_ha.protocol.codec import failure
from gfs_ha.protocol.control import (
    CompactChunk,
    CompareReplica,
    CopyReplica,
    CreateReplica,
    DeleteReplica,
    FenceAnswer,
    FenceReplica,
    FinishReplica,
    ForgetTombstone,
    KeepReplica,
    Order,
    OrderAnswer,
    OrderDone,
    OrderFailed,
    ProofAnswer,
    ProveReplica,
    PunchReplica,
    StopCopy,
)
from gfs_ha.protocol.gone import unpack_blocks
from gfs_ha.runtime import Runtime, Task, join_all

WORKERS = 2  # Of each disk: one replica that is slow to verify does not hold up all others.
WAITING_MAX = 4096
FAILURES_MAX = 1000  # Orders whose failure is remembered, so that it is not logged each time.
_LOOK_S = 1.0

_KINDS: dict[type[Order], str] = {
    FenceReplica: "fence",
    ProveReplica: "prove",
    FinishReplica: "finish_seal",
    CompareReplica: "compare",
    ForgetTombstone: "forget_tombstone",
    DeleteReplica: "delete",
    StopCopy: "stop_copy",
    KeepReplica: "keep",
    CreateReplica: "create",
    PunchReplica: "punch",
}

logger = logging.getLogger(__name__)


class Replicas(Protocol):
    """What the chunk store does on order; all idempotent, an older order is refused.

    `delete` of what is not here is no error: it was deleted before and the answer got lost. It and
    `punch` return what the disk got back.
    """

    def get(self, chunk_id: ChunkId, birth: Birth) -> object: ...

    def get_or_refuse(self, chunk_id: ChunkId, birth: Birth, order_index: LogIndex) -> object: ...

    def fence(self, chunk_id: ChunkId, birth: Birth, order_index: LogIndex) -> FenceAnswer: ...

    def check_disk(self, chunk_id: ChunkId, disk_id: DiskId) -> None: ...

    @property
    def disk_count(self) -> int: ...

    def disks_of(self, chunk_id: ChunkId, disk_id: DiskId = ANY_DISK) -> frozenset[DiskId]: ...

    def disks_beside(self, chunk_id: ChunkId) -> frozenset[DiskId]: ...

    def disk_to_refuse(self, chunk_id: ChunkId) -> frozenset[DiskId]: ...

    def prove(self, chunk_id: ChunkId, order_index: LogIndex, length: int) -> Proof: ...

    def finish_seal(
        self, chunk_id: ChunkId, order_index: LogIndex, length: int, digest: int
    ) -> None: ...

    def compare(
        self, chunk_id: ChunkId, order_index: LogIndex, length: int, digest: int
    ) -> None: ...

    def forget_tombstone(self, chunk_id: ChunkId, order_index: LogIndex) -> None: ...

    def keep(self, chunk_id: ChunkId, order_index: LogIndex) -> None: ...

    def delete(self, chunk_id: ChunkId, order_index: LogIndex) -> int: ...

    def punch(self, chunk_id: ChunkId, order_index: LogIndex, gone: int) -> int: ...


class Tails(Protocol):
    """What makes the replicas of tails."""

    def create(self, order: CreateReplica) -> None: ...


class Copier(Protocol):
    """What makes copies, in workers of its own."""

    def take(self, epoch: Epoch, order: CopyReplica) -> None: ...

    def end(self, chunk_id: ChunkId, order_index: LogIndex) -> None: ...

    def check_newest(self, chunk_id: ChunkId, order_index: LogIndex) -> None: ...

    def give_up(self, disk_id: DiskId) -> None: ...


@dataclass(slots=True, eq=False)
class _Running:
    """An order that a worker carries out, and the disks that it touches."""

    order: Order
    epoch: Epoch
    disks: frozenset[DiskId]


class Obedience:
    """The orders that wait, and the workers that carry them out."""

    def __init__(
        self,
        replicas: Replicas,
        tails: Tails,
        copies: Copier,
        epochs: EpochBook,
        outbox: Outbox,
        runtime: Runtime,
    ) -> None:
        self._replicas = replicas
        self._tails = tails
        self._copies = copies
        self.epochs = epochs
        self.outbox = outbox
        self._runtime = runtime
        self._changed = runtime.condition()
        self._waiting: dict[ChunkId, list[tuple[Epoch, Order]]] = {}
        self._waiting_count = 0
        self._running: dict[ChunkId, _Running] = {}
        self._failed: dict[ChunkId, tuple[Order, str]] = {}
        self._freed = Freed(runtime)
        self.compactions: Compacter | None = None  # Set once it is there; until then none is done.
        self._stopping = False
        self._workers: list[Task] = []

    def start(self) -> None:
        """Start the workers."""
        self._workers = [
            self._runtime.spawn(f"obey {number}", self._work)
            for number in range(WORKERS * self._replicas.disk_count)
        ]

    def stop(self, timeout_s: float) -> bool:
        """Let the orders that run end and drop the rest; False when one still runs."""
        with self._changed:
            self._stopping = True
            self._waiting.clear()
            self._waiting_count = 0
            self._changed.notify_all()
        return join_all(self._workers, timeout_s, self._runtime)

    def take(self, epoch: Epoch, orders: Sequence[Order]) -> bool:
        """Line up the orders of a leader; False, and none of them, when it is a deposed one.

        The epoch is durable before any of its orders runs. Raises: DiskFailed, DiskFull.
        """
        if not self.epochs.told(epoch):
            logger.warning(
                "orders of a deposed leader are ignored epoch=%s newest=%s count=%d",
                epoch,
                self.epochs.newest,
                len(orders),
            )
            return False
        with self._changed:
            for order in orders:
                if isinstance(order, CopyReplica):
                    self._copies.take(epoch, order)
                elif isinstance(order, CompactChunk):
                    self._compact(epoch, order)
                else:
                    self._line_up(epoch, order)
            self._changed.notify_all()
        return True

    def _compact(self, epoch: Epoch, order: CompactChunk) -> None:
        if self.compactions is not None:
            self.compactions.take(epoch, order)

    def _line_up(self, epoch: Epoch, order: Order) -> None:
        line = self._waiting.get(order.chunk_id, [])
        running = self._running.get(order.chunk_id)
        if running is not None and _same(running.order, order):
            return
        for index, (_, other) in enumerate(line):
            if _same(other, order):
                line[index] = (epoch, order)  # The newer leader wants it too.
                return
        if self._waiting_count >= WAITING_MAX or self._stopping:
            return
        line.append((epoch, order))
        line.sort(key=lambda one: one[1].order_index)  # Stable: as they came, within an index.
        self._waiting[order.chunk_id] = line
        self._waiting_count += 1

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
                # Its leader may have been deposed while it waited; the new one orders anew.
                if found.epoch == self.epochs.newest:
                    answer = self._obey(found.order)
            finally:
                with self._changed:
                    awaited = self._running.get(found.order.chunk_id) is found
                    if awaited:
                        del self._running[found.order.chunk_id]
                    self._changed.notify_all()
            # Told when it no longer runs: who hears it may ask the same again at once.
            if answer is not None and awaited:
                self.outbox.add_answer(answer)

    def give_up(self, disk_id: DiskId) -> None:
        """Wait no more for the orders that touch a disk which is out of service.

        A worker that hangs there is left alone, and its chunk takes orders again: what it does if
        the disk answers after all counts no more, and is not told.
        """
        with self._changed:
            stuck = [key for key, one in self._running.items() if disk_id in one.disks]
            for chunk_id in stuck:
                del self._running[chunk_id]
            self._changed.notify_all()
        self._copies.give_up(disk_id)
        if self.compactions is not None:
            self.compactions.give_up(disk_id)

    def _next(self) -> _Running | None:
        """Take the first order of a chunk and of disks that no other workers are busy with."""
        busy = Counter(disk_id for one in self._running.values() for disk_id in one.disks)
        full = {disk_id for disk_id, count in busy.items() if count >= WORKERS}
        for chunk_id, line in self._waiting.items():
            if chunk_id in self._running:
                continue
            epoch, order = line[0]
            disks = self._touched_by(order)
            if disks & full:
                continue
            del line[0]
            self._waiting_count -= 1
            if not line:
                del self._waiting[chunk_id]
            found = self._running[chunk_id] = _Running(order, epoch, disks)
            return found
        return None

    def _touched_by(self, order: Order) -> frozenset[DiskId]:
        """Return the disks that an order may have to wait for."""
        replicas, chunk_id = self._replicas, order.chunk_id
        if isinstance(order, FenceReplica | ProveReplica):
            return replicas.disks_of(chunk_id, order.disk_id) | replicas.disk_to_refuse(chunk_id)
        if isinstance(order, DeleteReplica):
            return replicas.disks_of(chunk_id) | replicas.disks_beside(chunk_id)
        named = order.disk_id if isinstance(order, CreateReplica) else ANY_DISK
        return replicas.disks_of(chunk_id, named)

    def _obey(self, order: Order) -> OrderAnswer:
        kind = _KINDS[type(order)]
        try:
            answer = self._carry_out(order, kind)
        except GfsError as error:
            # The leader asks every second; a person wants to hear it once.
            failed, code = self._failed.get(order.chunk_id, (None, ""))
            again = failed is not None and _same(failed, order) and code == error.code
            self._note_failure(order, error)
            logger.log(
                logging.DEBUG if again else logging.WARNING,
                "an order failed kind=%s chunk=%#x order_index=%d error=%s reason=%s",
                kind,
                order.chunk_id,
                order.order_index,
                error.code,
                error.message,
            )
            return OrderFailed(order.chunk_id, order.order_index, kind, failure(error))
        self._failed.pop(order.chunk_id, None)
        logger.info(
            "obeyed kind=%s chunk=%#x order_index=%d", kind, order.chunk_id, order.order_index
        )
        return answer

    def _note_failure(self, order: Order, error: GfsError) -> None:
        self._failed[order.chunk_id] = (order, error.code)
        while len(self._failed) > FAILURES_MAX:
            self._failed.pop(next(iter(self._failed)), None)

    def _carry_out(self, order: Order, kind: str) -> OrderAnswer:
        chunk_id, index = order.chunk_id, order.order_index
        if isinstance(order, DeleteReplica):
            self._copies.check_newest(chunk_id, index)
            self._copies.end(chunk_id, index)  # First: no copy may come in behind the deletion.
            freed = self._replicas.delete(chunk_id, index)
            return OrderDone(chunk_id, index, kind, self._freed.add(chunk_id, index, freed))
        if isinstance(order, ForgetTombstone):
            self._replicas.forget_tombstone(chunk_id, index)
            return OrderDone(chunk_id, index, kind)
        if isinstance(order, StopCopy):
            self._copies.end(chunk_id, index)
            return OrderDone(chunk_id, index, kind)
        if isinstance(order, CreateReplica):
            self._tails.create(order)
            return OrderDone(chunk_id, index, kind)
        if isinstance(order, KeepReplica):
            self._replicas.keep(chunk_id, index)
            return OrderDone(chunk_id, index, kind)
        if isinstance(order, FenceReplica | ProveReplica):
            return self._testify(order)
        assert not isinstance(order, CopyReplica | CompactChunk), "these have workers of their own"
        self._replicas.get(chunk_id, order.birth)  # Another birth is another chunk.
        if isinstance(order, PunchReplica):
            freed = self._replicas.punch(chunk_id, index, unpack_blocks(order.gone))
            return OrderDone(chunk_id, index, kind, self._freed.add(chunk_id, index, freed))
        if isinstance(order, CompareReplica):
            self._replicas.compare(chunk_id, index, order.length, order.digest)
        else:
            self._replicas.finish_seal(chunk_id, index, order.length, order.digest)
        return OrderDone(chunk_id, index, kind)

    def _testify(self, order: FenceReplica | ProveReplica) -> FenceAnswer | ProofAnswer:
        """Tell how a chunk ends here; what is on a disk that is out of service nobody knows."""
        chunk_id, index = order.chunk_id, order.order_index
        self._replicas.check_disk(chunk_id, order.disk_id)
        try:
            if isinstance(order, FenceReplica):
                return self._replicas.fence(chunk_id, order.birth, index)
            self._replicas.get_or_refuse(chunk_id, order.birth, index)
            proof = self._replicas.prove(chunk_id, index, order.length)
        except UnknownReplica:
            self._replicas.check_disk(chunk_id, order.disk_id)  # It was taken out meanwhile.
            raise
        return ProofAnswer(chunk_id, index, order.length, proof.digest, proof.crc, proof.records)


def _same(one: Order, other: Order) -> bool:
    """Return whether two orders want the same; each time one comes it has other tickets."""
    if isinstance(one, CreateReplica) and isinstance(other, CreateReplica):
        return (one.chunk_id, one.order_index) == (other.chunk_id, other.order_index)
    return one == other
