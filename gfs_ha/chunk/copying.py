"""One copy of a sealed chunk: asked for piece by piece, each block checked, from source to source.

The sources are tried in the order of the order. One that is silent or does not have the chunk is
left out from then on; one with a bad block is only passed over for that block.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Callable

from gfs_ha.checksum import chunk_digest
from gfs_ha.chunk.pace import Pace
from gfs_ha.chunk.slots.copy_slot import CopySlot
from gfs_ha.chunk.slots.spec import ReplicaSpec
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.chunk.source import Source, SourceRoom, bad_blocks
from gfs_ha.errors import (
    Cancelled,
    CorruptData,
    GfsError,
    ProtocolError,
    RangeGone,
    ReplicaBusy,
    Unreachable,
)
from gfs_ha.ids import ServerId
from gfs_ha.limits import BLOCK_BYTES, CHUNK_BYTES_MAX, PACKET_BYTES_MAX
from gfs_ha.protocol.control import CopyReplica
from gfs_ha.protocol.data import ChunkKind, Durability
from gfs_ha.protocol.gone import blocks_of, unpack_blocks

SOURCES_MAX = 8
_PIECE_BYTES = PACKET_BYTES_MAX
_WHY_CHARS = 120

logger = logging.getLogger(__name__)

# Waits until some of the bytes that a copy wants next may be read, or it is stopped; how many.
Pause = Callable[["Copying", int], int]


class Copying:
    """What one copy order does; `run` by one thread, `stop` and `bytes_done` by any."""

    def __init__(
        self, store: ChunkStore, room: SourceRoom, order: CopyReplica, pause: Pause
    ) -> None:
        self.order = order
        self.pace = Pace(order.bytes_per_s, room.runtime.monotonic_s())
        self.bytes_done = 0
        self._gone = 0  # Blocks that the copy is without.
        self._store = store
        self._room = room
        self._pause = pause
        self.stopped = False
        self._slot: CopySlot | None = None
        self.found_whole = False  # It was here already: nothing is copied.
        self._sources = [Source(room, where, order, self._check_wanted) for where in order.sources]
        self._bad: dict[int, str] = {}  # By server, why its copy cannot be had.
        self._lost: dict[int, str] = {}
        self._unreached: int | None = None
        self._busy: set[int] = set()  # Of the lost ones: who is not sealed yet, but soon.

    @property
    def source(self) -> ServerId:
        """Return the server that it copies from, the first one of those that are left."""
        left = self._sources or self.order.sources
        return left[0].server_id

    def go_on(self, order: CopyReplica, now_s: float) -> None:
        """Take note of the same order as it came again: its rate, and its newer tickets."""
        self.pace.change(order.bytes_per_s, now_s)
        for source in list(self._sources):
            source.renew(order)

    def stop(self) -> None:
        """Have it end without effect, unless it counts already."""
        self.stopped = True

    def give_up(self) -> None:
        """Stop it, and let others copy the chunk although it may never end."""
        self.stop()
        if self._slot is not None:
            self._store.give_up_copy(self._slot)

    def run(self) -> None:
        """Return once a whole replica is here, durable and sealed.

        Raises: StaleOrder, WrongBirth, Cancelled, ProtocolError, DiskFull, DiskFailed, ReplicaBusy;
        CorruptData or Unreachable when no source has all of it.
        """
        order = self.order
        spec = self._spec()
        end = (order.order_index, order.length, order.digest)
        if self._store.confirm(order.chunk_id, order.birth, end, self._gone, order.disk_id):
            self.bytes_done = order.length
            self.found_whole = True
            return
        crcs = self._read_blocks()
        begun = (order.order_index, order.length, self._gone, order.disk_id)
        slot = self._slot = self._store.begin_copy(spec, *begun)
        try:
            self._fill(slot, crcs)
            self._check_wanted()
            self._store.install_copy(slot, order.digest, lambda: not self.stopped)
        finally:
            self._store.drop_copy(slot)

    def _spec(self) -> ReplicaSpec:
        order = self.order
        if not 0 < len(order.sources) <= SOURCES_MAX:
            raise ProtocolError(f"a copy from {len(order.sources)} sources")
        if not 0 <= order.length <= min(order.capacity, CHUNK_BYTES_MAX):
            raise ProtocolError(f"a copy of {order.length} bytes into {order.capacity}")
        self._gone = unpack_blocks(order.gone)
        if self._gone & ~blocks_of(0, order.length):
            raise ProtocolError("a copy without blocks that its chunk never had")
        try:
            kind = ChunkKind[order.kind.upper()]
            durability = Durability[order.durability.upper()]
        except KeyError as error:
            raise ProtocolError(f"a copy of kind {order.kind}, {order.durability}") from error
        return ReplicaSpec(order.chunk_id, order.birth, kind, order.capacity, durability)

    def _check_wanted(self) -> None:
        if self.stopped:
            raise Cancelled(f"the copy of chunk {self.order.chunk_id:#x} was stopped")

    def _read_blocks(self) -> array[int]:
        """Return the block CRCs of the ordered digest, from the first source that has them."""
        if not self.order.length and self.order.digest == chunk_digest([]):
            return array("I")
        for source in list(self._sources):
            self._check_wanted()
            try:
                return source.read_blocks()
            except GfsError as error:
                self._leave_out(source, error)
        raise self._failure()

    def _fill(self, slot: CopySlot, crcs: array[int]) -> None:
        order = self.order
        with self._store.buffers.borrow() as buffer:
            while slot.end < order.length:
                offset = slot.end
                data = buffer.data[: min(_PIECE_BYTES, order.length - offset)]
                first = offset // BLOCK_BYTES
                if self._gone >> first & 1:
                    end = min(offset + BLOCK_BYTES, order.length)
                    slot.skip(end - offset, crcs[first : first + 1])
                    continue
                data = data[: self._alive_from(first) * BLOCK_BYTES]
                data = data[: self._pause(self, len(data))]
                expected = crcs[first : first + -(-len(data) // BLOCK_BYTES)]
                self._get(offset, data, expected)
                slot.append(data, expected)
                self.bytes_done = slot.end

    def _alive_from(self, first: int) -> int:
        """Return how many blocks from one on are there before the next that is gone."""
        after = self._gone >> first
        return (after & -after).bit_length() - 1 if after else CHUNK_BYTES_MAX // BLOCK_BYTES

    def _get(self, offset: int, data: memoryview, crcs: array[int]) -> None:
        """Fill a piece with bytes that fit their CRCs. Raises: CorruptData, Unreachable."""
        missing = list(range(len(crcs)))
        for source in list(self._sources):
            try:
                self._get_from(source, offset, (data, crcs), missing)
            except Cancelled:
                raise
            except GfsError as error:
                self._leave_out(source, error)
            if not missing:
                return
        raise self._failure()

    def _get_from(
        self, source: Source, offset: int, piece: tuple[memoryview, array[int]], missing: list[int]
    ) -> None:
        """Get what is missing of a piece; a bad block is asked for once more, by itself.

        Then its server reads and checks it, and reports its damage (D3).
        """
        data, crcs = piece
        self._check_wanted()
        if len(missing) == len(crcs):
            try:
                source.read(offset, data)
                missing[:] = bad_blocks(offset, data, crcs)
            except (CorruptData, RangeGone):
                pass  # Found by a server that looks before it sends: which block it is, comes now.
        for block in list(missing):
            self._check_wanted()
            start = block * BLOCK_BYTES
            part = data[start : start + BLOCK_BYTES]
            where = f"block {(offset + start) // BLOCK_BYTES}"
            try:
                source.read(offset + start, part, checked=True)
            except CorruptData:
                self._bad[source.server_id] = f"{where} is damaged"
                continue
            except RangeGone:
                self._bad[source.server_id] = f"{where} was given back"
                continue
            if bad_blocks(offset + start, part, crcs[block : block + 1]):
                self._bad[source.server_id] = f"{where} arrived damaged"
            else:
                missing.remove(block)

    def _leave_out(self, source: Source, error: GfsError) -> None:
        self._sources.remove(source)
        found = self._bad if isinstance(error, CorruptData) else self._lost
        found[source.server_id] = f"{error.code}: {error.message[:_WHY_CHARS]}"
        if isinstance(error, Unreachable):
            self._unreached = source.server_id
        if isinstance(error, ReplicaBusy):
            self._busy.add(source.server_id)
        logger.info(
            "a source of a copy is left out chunk=%#x server=%d error=%s reason=%s",
            self.order.chunk_id,
            source.server_id,
            error.code,
            error.message,
        )

    def _failure(self) -> GfsError:
        """Return why nobody has it; damage is told first, as it is worth more than silence."""
        chunk = f"no source has all of chunk {self.order.chunk_id:#x}"
        reasons = [f"server {one}: {why}" for one, why in {**self._bad, **self._lost}.items()]
        message = f"{chunk}: {'; '.join(reasons)}"
        if self._bad:
            return CorruptData(message, server=next(iter(self._bad)))
        if self._unreached is not None:
            return Unreachable(message, unreached=self._unreached)
        if self._busy:
            return ReplicaBusy(message)
        return Unreachable(message)
