"""Content of any length on its way into the cluster, and its publication under a name (F2).

While one segment is made safe in the background the next one is filled and pushed already, and the
chunk after that is asked for ahead.
"""

from __future__ import annotations

from dataclasses import dataclass

from gfs_ha.client.chunk_supply import ChunkSpec, ChunkSupply
from gfs_ha.client.memory import MemoryPool
from gfs_ha.client.session import Session
from gfs_ha.client.shipment import Safe, Shipment, WriterParts
from gfs_ha.errors import GfsError, ProtocolError, error_from_wire
from gfs_ha.ids import ChunkId, ContentId
from gfs_ha.limits import CLAIMS_PER_SESSION_MAX
from gfs_ha.protocol.metadata import (
    Extent,
    Publish,
    Published,
    PublishedFile,
    PublishFile,
    Staged,
    StageExtents,
)
from gfs_ha.runtime import Future

# Staging frees the claims: a session may hold CLAIMS_PER_SESSION_MAX, over all its writers. Each of
# these needs two more, for the segments that it fills and that it makes safe.
STAGED_PER_COMMAND = 16
CROWDED_CLAIMS = CLAIMS_PER_SESSION_MAX // 4
INLINE_EXTENTS_MAX = 64  # So many extents travel in the Publish itself: one command less.
ENDING_MAX_S = 3600.0  # Its requests and pushes have shorter deadlines of their own.


@dataclass(slots=True)
class Content:
    """Content that is safe and can be published: some of it staged, the newest extents not yet."""

    size: int
    safe: Safe
    content_id: ContentId
    extents: tuple[Extent, ...]
    claimed: tuple[ChunkId, ...]


class Staging:
    """Takes in what is safe of one content, in any order, and writes it down in time.

    A long content is staged before its end, which frees its claims. Used by one thread at a time.
    """

    def __init__(self, session: Session, supply: ChunkSupply) -> None:
        self._session = session
        self._supply = supply
        self._safe = Safe()
        self._content_id = ContentId(0)
        self._unstaged: list[Extent] = []
        self._claimed: list[ChunkId] = []

    def add(self, safe: Safe) -> None:
        """Take in a segment that was made safe."""
        self._unstaged += safe.extents
        self._claimed += safe.chunk_ids
        self._safe.add(safe)
        crowded = self._session.claim_count >= CROWDED_CLAIMS
        if crowded or len(self._unstaged) >= STAGED_PER_COMMAND:
            self._stage()

    def release_later(self, chunk_id: ChunkId) -> None:
        """Take in a chunk that nothing was put into; its claim ends with the others."""
        self._claimed.append(chunk_id)

    def finish(self, size: int) -> Content:
        """Return the content, of which everything was taken in."""
        inline = len(self._unstaged) <= INLINE_EXTENTS_MAX and not self._content_id
        if not inline:
            self._stage()
        return Content(
            size=size,
            safe=self._safe,
            content_id=self._content_id,
            extents=tuple(sorted(self._unstaged, key=lambda extent: extent.file_offset)),
            claimed=tuple(self._claimed),
        )

    def give_up(self) -> list[ChunkId]:
        """Return the chunks that are to be discarded."""
        claimed, self._claimed = self._claimed, []
        return claimed

    def _stage(self) -> None:
        """Write extents down, and free their claims."""
        for start in range(0, len(self._unstaged), STAGED_PER_COMMAND):
            some = tuple(self._unstaged[start : start + STAGED_PER_COMMAND])
            staged = self._session.change(StageExtents(self._content_id, some), Staged)
            self._content_id = staged.content_id
        self._unstaged = []
        self._supply.release(self._claimed)
        self._claimed = []


class ContentWriter:
    """Writes one content from its first byte to its last. Used by one thread.

    Nothing is sent before the first byte. Args: `size` is the expected length in bytes, or None;
    `start` is where in the file the first byte lies, when this is a part of it.
    """

    def __init__(
        self,
        session: Session,
        parts: WriterParts,
        memory: MemoryPool,
        spec: ChunkSpec,
        size: int | None = None,
        start: int = 0,
    ) -> None:
        self._start = start
        self._parts = parts
        self._memory = memory
        self._spec = spec
        self._expected = size
        self._size = 0
        self._lent: memoryview | None = None
        self._shipment: Shipment | None = None
        self._ending: Future[Safe] | None = None
        self._staging = Staging(session, parts.supply)

    @property
    def size(self) -> int:
        """Return how many bytes were written so far."""
        return self._size

    def room(self) -> memoryview:
        """Return memory for the next bytes, at least one. Raises: what a full segment met."""
        if self._shipment is None:
            if self._lent is None:
                self._lent = self._memory.take()
            self._shipment = Shipment(self._parts, self._spec, self._start + self._size, self._lent)
        return self._shipment.room

    def filled(self, count: int) -> None:
        """Say that so many bytes were put into `room`."""
        shipment = self._shipment
        assert shipment is not None, "filled() before room()"
        self._size += count
        shipment.filled(count)
        if shipment.length == shipment.capacity:
            self._end_segment()
        elif shipment.length * 2 >= shipment.capacity > (shipment.length - count) * 2:
            self._ask_ahead(shipment)

    def write(self, data: memoryview) -> None:
        """Copy bytes in."""
        at = 0
        while at < len(data):
            room = self.room()
            count = min(len(room), len(data) - at)
            room[:count] = data[at : at + count]
            self.filled(count)
            at += count

    def finish(self) -> Content:
        """Make everything safe. Raises: what kept it from that."""
        if self._shipment is not None and self._shipment.length:
            self._end_segment()
        elif self._shipment is not None:
            self._shipment.break_off()  # Room was asked for, and nothing came.
            self._staging.release_later(self._shipment.chunk_id)
            self._shipment = None
            self._return_memory()
        if self._expected is None:
            self._parts.supply.give_back_spare(self._spec)
        self._await_ending()
        return self._staging.finish(self._size)

    def abandon(self) -> None:
        """Give everything up: what was written is released and collected. Does not wait for it."""
        supply = self._parts.supply
        if self._shipment is not None:
            self._shipment.break_off()
            self._staging.release_later(self._shipment.chunk_id)
            self._shipment = None
            self._return_memory()
        ending, self._ending = self._ending, None
        claimed = self._staging.give_up()
        supply.give_back_spare(self._spec)

        def give_up() -> None:
            try:
                safe = Safe() if ending is None else ending.result(0.0)
            except GfsError:
                safe = Safe()  # Its chunks are given up already.
            supply.discard(claimed + safe.chunk_ids)

        if ending is not None:
            ending.when_done(give_up)
        else:
            give_up()

    def _ask_ahead(self, shipment: Shipment) -> None:
        rest = None if self._expected is None else self._expected - self._size
        if rest is None or rest > len(shipment.room):
            self._parts.supply.ask_ahead(self._spec)

    def _end_segment(self) -> None:
        """Hand the full segment to the background, once the one before it is safe."""
        shipment, memory = self._shipment, self._lent
        assert shipment is not None and memory is not None
        self._await_ending()
        self._shipment = self._lent = None
        ending: Future[Safe] = self._parts.runtime.future()
        self._ending = ending

        def end() -> None:
            try:
                safe = shipment.complete()
            except GfsError as error:
                ending.fail(error)
                self._parts.supply.discard((shipment.chunk_id,))
            except BaseException as error:
                ending.fail(error)
                raise
            else:
                self._memory.give(memory)
                ending.set(safe)

        self._parts.runtime.spawn("end segment", end)

    def _await_ending(self) -> None:
        """Take in the segment that was made safe in the background."""
        if self._ending is None:
            return
        ending, self._ending = self._ending, None
        self._staging.add(ending.result(ENDING_MAX_S))

    def _return_memory(self) -> None:
        if self._lent is not None:
            self._memory.give(self._lent)
            self._lent = None


def publish(
    session: Session, supply: ChunkSupply, file: PublishFile, content: Content | None = None
) -> PublishedFile:
    """Give a content its name; old or new is seen, never a mixture. Returns what apply recorded.

    Raises: NotFound for a missing parent, AlreadyExists for `if_absent`, IsADirectory…
    """
    claimed = () if content is None else content.claimed
    reply = session.change(Publish((file,), claimed), Published)
    session.release(claimed)
    if len(reply.files) != 1:
        raise ProtocolError(f"the master published {len(reply.files)} files instead of one")
    published = reply.files[0]
    if published.error:
        supply.discard(claimed)
        raise error_from_wire(published.error, published.message, {})
    return published
