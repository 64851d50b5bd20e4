"""One run of a file's bytes on its way into chunks, kept in memory until it is safe (C5, C6).

The bytes are pushed while they arrive. When too few replicas took them they are pushed again,
whole, into another chunk on other servers, and the broken chunk is given up; a push that reached
`min_copies` replicas is finished with these.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from gfs_ha.checksum import chunk_digest, crc32c
from gfs_ha.client.chunk_push import ChunkPush
from gfs_ha.client.chunk_supply import ChunkSpec, ChunkSupply
from gfs_ha.client.data_plane import DataPlane
from gfs_ha.client.retry import Deadline, pause_s
from gfs_ha.errors import GfsError, TooFewCopies
from gfs_ha.ids import ChunkId, format_id
from gfs_ha.limits import PACKET_BYTES_DEFAULT
from gfs_ha.protocol.grid import range_crc
from gfs_ha.protocol.metadata import Extent
from gfs_ha.runtime import Runtime

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WriterParts:
    """What every writer of a client shares."""

    supply: ChunkSupply
    plane: DataPlane
    runtime: Runtime
    timeout_s: float


@dataclass(slots=True)
class Safe:
    """Bytes that are safe in finished chunks, and in how many copies."""

    extents: list[Extent] = field(default_factory=list)
    chunk_ids: list[ChunkId] = field(default_factory=list)
    chunk_count: int = 0
    copies_min: int = 0
    goal: int = 0

    def note_copies(self, copies: int, goal: int) -> None:
        """Count one chunk more."""
        self.copies_min = min(copies, self.copies_min) if self.chunk_count else copies
        self.chunk_count += 1
        self.goal = max(goal, self.goal)

    def add(self, other: Safe) -> None:
        """Add what comes after it."""
        self.extents += other.extents
        self.chunk_ids += other.chunk_ids
        if other.chunk_count:
            least = other.copies_min
            self.copies_min = min(least, self.copies_min) if self.chunk_count else least
        self.chunk_count += other.chunk_count
        self.goal = max(other.goal, self.goal)


class Shipment:
    """A segment of at most one chunk's capacity. Used by one thread at a time.

    Raises (when it is made): NoServers, NoSpace and what else keeps the leader from a chunk.
    """

    def __init__(self, parts: WriterParts, spec: ChunkSpec, file_offset: int, memory: memoryview):
        self._parts = parts
        self._spec = spec
        self._file_offset = file_offset
        self._memory = memory
        self._push = self._start_push(len(memory))
        self.capacity = min(self._push.chunk.capacity, len(memory))
        self.length = 0

    @property
    def room(self) -> memoryview:
        """Return the memory where the next bytes go; empty when the segment is full."""
        return self._memory[self.length : self.capacity]

    def filled(self, count: int) -> None:
        """Say that so many bytes were put into `room`: whole packets leave now."""
        self.length += count
        self._send(self._push, 0, self.length, PACKET_BYTES_DEFAULT)

    def complete(self) -> Safe:
        """Make everything safe and return where it is. Raises: what kept every chunk from it."""
        self._send(self._push, 0, self.length, 1)
        runtime = self._parts.runtime
        deadline = Deadline(runtime.monotonic_s() + self._parts.timeout_s)
        safe = Safe()
        done = self._secure(self._push, 0, safe)
        failure_count = 0 if done else 1
        while done < self.length:
            if failure_count:
                self._pause(failure_count, deadline)
            self._push = self._start_push(self.length - done)
            end = min(self.length, done + self._push.chunk.capacity)
            self._send(self._push, done, end, 1)
            secured = self._secure(self._push, done, safe)
            done += secured
            failure_count = 0 if secured else failure_count + 1
            if secured:
                deadline = Deadline(runtime.monotonic_s() + self._parts.timeout_s)
        return safe

    def break_off(self) -> None:
        """Stop pushing; nothing of it counts, and the chunk is the caller's to release."""
        self._push.abandon()

    @property
    def chunk_id(self) -> ChunkId:
        """Return the chunk that is written to now."""
        return self._push.chunk.chunk_id

    _error: GfsError | None = None

    def _start_push(self, length: int) -> ChunkPush:
        chunk = self._parts.supply.take(self._spec)
        return ChunkPush(self._parts.plane, chunk, 0, min(length, chunk.capacity))

    def _send(self, push: ChunkPush, base: int, end: int, least: int) -> None:
        """Send from `base + push.length` to `end` in packets, while at least `least` are left."""
        at = base + push.length
        while end - at >= least and at < end:
            size = min(PACKET_BYTES_DEFAULT, end - at)
            push.send(self._memory[at : at + size])
            at += size

    def _secure(self, push: ChunkPush, base: int, safe: Safe) -> int:
        """Finish the chunk of a push with those that took it; return how many bytes are safe."""
        outcome = push.finish()
        chunk = push.chunk
        self._parts.supply.note_failed(outcome.cut_off, outcome.failed_disks.values())
        if not outcome.everywhere(chunk):
            self._error = outcome.error
            logger.info("push incomplete chunk=%s why=%s", format_id(chunk.chunk_id), outcome.error)
        if not outcome.enough(chunk):
            # Nothing in this chunk was acknowledged before: no seal is needed, it only goes.
            self._parts.supply.discard((chunk.chunk_id,))
            return 0
        digest = chunk_digest(push.crcs)
        sealed = self._parts.supply.finish(chunk, push.length, digest, outcome.complete)
        secured = min(push.length, sealed.length)
        safe.chunk_ids.append(chunk.chunk_id)
        safe.note_copies(len(sealed.holders), chunk.goal)
        if secured:
            offset = self._file_offset + base
            if secured == push.length:
                crc = range_crc(0, secured, push.crcs)
            else:
                crc = crc32c(self._memory[base : base + secured])
            safe.extents.append(Extent(offset, chunk.chunk_id, 0, secured, crc))
        return secured

    def _pause(self, failure_count: int, deadline: Deadline) -> None:
        """Wait a moment before the next chunk. Raises: the last trouble when the time is over."""
        error = self._error or TooFewCopies("no chunk took the bytes")
        runtime = self._parts.runtime
        delay_s = pause_s(error, failure_count - 1, runtime.uniform(0.0, 1.0))
        if not deadline.allows(delay_s, runtime.monotonic_s()):
            raise error
        runtime.sleep(delay_s)
