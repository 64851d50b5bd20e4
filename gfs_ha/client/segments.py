"""One big local file on its way into the cluster, several of its segments at the same time.

Each lane reads a segment, pushes it into a chunk of its own on a chain of its own, and keeps its
bytes until they are safe: memory of one chunk per lane. Lanes start one after another, as long as
there is something left to read and a lane left over, and end when there is not.
"""

from __future__ import annotations

from dataclasses import dataclass

from gfs_ha.client.chunk_supply import ChunkSpec
from gfs_ha.client.lanes import CHUNKS_DEFAULT
from gfs_ha.client.local_files import LocalSource
from gfs_ha.client.memory import MemoryPool
from gfs_ha.client.session import Session
from gfs_ha.client.shipment import Safe, Shipment, WriterParts
from gfs_ha.client.transfers import Watch
from gfs_ha.client.writer import Content, Staging
from gfs_ha.errors import Cancelled, GfsError
from gfs_ha.limits import PACKET_BYTES_DEFAULT

WAIT_S = 1.0
READ_BYTES = PACKET_BYTES_DEFAULT  # At once from a local file: still in the cache when it is sent.


@dataclass(frozen=True, slots=True)
class UploadParts:
    """What the uploads of one client share."""

    session: Session
    writer: WriterParts
    memory: MemoryPool


class SegmentUpload:
    """Uploads one file, once. `run` is called by one thread, the lanes have their own."""

    def __init__(
        self, parts: UploadParts, spec: ChunkSpec, source: LocalSource, watch: Watch
    ) -> None:
        self._parts = parts.writer
        self._memory = parts.memory
        self._spec = spec
        self._source = source
        self._size = source.facts.size
        self._watch = watch
        self._lanes_max = watch.lanes.of_one_file(CHUNKS_DEFAULT)
        runtime = parts.writer.runtime
        self._claiming = runtime.lock()  # Held while a lane gets the chunk of its next segment.
        self._staging_lock = runtime.lock()  # Held over a command: a lane waits that is too fast.
        self._staging = Staging(parts.session, parts.writer.supply)
        self._state = runtime.condition()
        self._next_offset = 0
        self._lane_count = 0
        self._shipping_count = 0  # Of these, the lanes that go on after their segment.
        self._reading = 0
        self._told = 0
        self._stopped = False
        self._error: BaseException | None = None

    def run(self) -> Content:
        """Make all of the file safe and return where it is.

        Raises: PartlyDone when the file changes while it is read, Cancelled, and what keeps a
        segment from its chunks. Then nothing of it is read, pushed or told any more.
        """
        try:
            self._watch.lanes.enter()
            with self._state:
                self._spawn_lane()
                while self._lane_count and self._error is None:
                    self._watch.cancel.check()
                    self._state.wait(WAIT_S)
                if self._error is not None:
                    raise self._error
            # Once more at its end: it may have grown, or been written to behind our back.
            self._source.check_unchanged(self._next_offset)
            self._parts.supply.give_back_spare(self._spec)
            return self._staging.finish(self._size)
        except BaseException:
            self._abandon()
            raise

    def _abandon(self) -> None:
        """Stop all lanes; what they made safe is released and collected. Does not wait for it."""
        with self._state:
            self._stopped = True
            while self._reading:  # The file is closed next, and its number may be another's then.
                self._state.wait(WAIT_S)
            told, self._told = self._told, 0
        self._watch.progress.moved(-told)
        supply = self._parts.supply
        supply.give_back_spare(self._spec)

        def give_up() -> None:
            with self._staging_lock:
                supply.discard(self._staging.give_up())

        self._parts.runtime.spawn("give segments up", give_up)

    # In a lane ----------------------------------------------------------------------------------

    def _spawn_lane(self) -> None:
        self._parts.runtime.spawn("segment lane", self._run_lane)
        self._lane_count += 1
        self._shipping_count += 1

    def _run_lane(self) -> None:
        try:
            memory = self._memory.take()
            while self._goes_on() and self._ship_next(memory):
                pass
            self._memory.give(memory)
        except GfsError as error:
            self._fail(error)
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            self._watch.lanes.leave()
            with self._state:
                self._lane_count -= 1
                self._state.notify_all()

    def _goes_on(self) -> bool:
        """Return False when other files need this lane more; one lane always goes on."""
        with self._state:
            if self._shipping_count > 1 and self._watch.lanes.crowded:
                self._shipping_count -= 1  # At once: two that leave must not each trust the other.
                return False
            return True

    def _widen(self) -> None:
        """Start one lane more if there is something for it to do."""
        with self._state:
            wanted = not self._stopped and self._next_offset < self._size
            wanted = wanted and self._shipping_count < self._lanes_max
            if wanted and self._watch.lanes.try_enter():
                self._spawn_lane()

    def _fail(self, error: BaseException) -> None:
        with self._state:
            self._error = self._error or error
            self._stopped = True
            self._state.notify_all()

    def _check(self) -> None:
        self._watch.cancel.check()
        if self._stopped:
            raise Cancelled("cancelled")

    def _ship_next(self, memory: memoryview) -> bool:
        """Make the next segment safe; return False when there is none."""
        with self._claiming:
            offset = self._next_offset
            if offset >= self._size or self._stopped:
                return False
            shipment = Shipment(self._parts, self._spec, offset, memory[: self._size - offset])
            self._next_offset = offset + shipment.capacity
        try:
            self._widen()
            self._fill(shipment, offset)
            safe = shipment.complete()
        except BaseException:
            shipment.break_off()
            self._parts.supply.discard((shipment.chunk_id,))
            raise
        self._take_in(safe)
        return True

    def _fill(self, shipment: Shipment, offset: int) -> None:
        asked = False
        while room := shipment.room:
            count = self._read(room[:READ_BYTES], offset + shipment.length)
            self._watch.pace.take(count)
            shipment.filled(count)
            with self._state:
                self._check()
                self._watch.progress.moved(count)
                self._told += count
            if not asked and shipment.length * 2 >= shipment.capacity:
                asked = True
                if self._next_offset < self._size:
                    self._parts.supply.ask_ahead(self._spec)

    def _read(self, room: memoryview, offset: int) -> int:
        with self._state:
            self._check()
            self._reading += 1
        try:
            count = self._source.read_into(room, offset)
            if not count:
                self._source.check_unchanged(offset)  # Raises: it became shorter.
            return count
        finally:
            with self._state:
                self._reading -= 1
                self._state.notify_all()

    def _take_in(self, safe: Safe) -> None:
        with self._staging_lock:
            if self._stopped:
                self._parts.supply.discard(safe.chunk_ids)
            else:
                self._staging.add(safe)
