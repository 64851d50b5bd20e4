"""Verified bytes of one extent from whichever replica has them (design section 9).

A whole extent is checked against the extent's own CRC; a part of one against the block CRCs of its
sealed chunk, which are checked against the digest that the leader knows.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from gfs_ha.checksum import chunk_digest, crc32c
from gfs_ha.client.complaints import Complaints
from gfs_ha.client.contents import PinnedContent
from gfs_ha.client.data_plane import DataPlane
from gfs_ha.client.locations import Locations
from gfs_ha.client.retry import Deadline, pause_s
from gfs_ha.errors import (
    Busy,
    ChunkUnavailable,
    CorruptData,
    GfsError,
    Overloaded,
    RangeGone,
    ReplicaBusy,
    TicketRefused,
    UnknownReplica,
    Unreachable,
)
from gfs_ha.ids import ChunkId, format_id
from gfs_ha.limits import BLOCK_BYTES, MIB
from gfs_ha.protocol.metadata import ChunkLocations, Extent, Location
from gfs_ha.runtime import Runtime

PIECE_BYTES = 4 * MIB  # What one read asks for; a shorter extent is always read whole.
PIECE_MEMORY_BYTES = PIECE_BYTES + 2 * BLOCK_BYTES  # Both ends are widened to whole blocks.
RETRIES = 2  # On the same replica, for what may be a passing trouble.
ROUNDS_CORRUPT_MAX = 2
BLOCK_ARRAYS_MAX = 256

_PASSING = (CorruptData, Overloaded, Busy, ReplicaBusy)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of one extent, counted from the extent's start: what is read at once."""

    extent: Extent
    begin: int
    end: int

    @property
    def file_offset(self) -> int:
        return self.extent.file_offset + self.begin

    @property
    def file_end(self) -> int:
        return self.extent.file_offset + self.end

    @property
    def whole(self) -> bool:
        return self.begin == 0 and self.end == self.extent.length


def piece_at(extent: Extent, file_offset: int, file_end: int) -> Piece:
    """Return the piece to read for the byte at `file_offset`, when nothing from `file_end` counts.

    A short extent is taken whole, so that its own CRC verifies it.
    """
    if extent.length <= PIECE_BYTES and extent.crc is not None:
        return Piece(extent, 0, extent.length)
    begin = file_offset - extent.file_offset
    grid_end = (begin // PIECE_BYTES + 1) * PIECE_BYTES
    return Piece(extent, begin, min(extent.length, grid_end, file_end - extent.file_offset))


class _ChunkGone(Exception):
    """The chunk or its bytes are no more: the content was moved or replaced, or lost."""


class PieceReader:
    """Reads pieces with verification, over all replicas, until the deadline. Thread-safe."""

    def __init__(
        self,
        plane: DataPlane,
        locations: Locations,
        complaints: Complaints,
        runtime: Runtime,
        timeout_s: float,
    ) -> None:
        self._plane = plane
        self._locations = locations
        self._complaints = complaints
        self._runtime = runtime
        self._timeout_s = timeout_s
        self._lock = runtime.lock()
        self._arrays: OrderedDict[tuple[ChunkId, int], Sequence[int]] = OrderedDict()

    def read(self, content: PinnedContent, piece: Piece, memory: memoryview) -> memoryview:
        """Return the verified bytes of the piece, a part of `memory` (of PIECE_MEMORY_BYTES).

        Raises: FileChanged when the content is gone; CorruptData, ChunkUnavailable.
        """
        try:
            return self._read_replicas(content, piece, memory, sure=False)
        except _ChunkGone:
            content.refresh(piece.file_offset)
        moved = content.extent_at(piece.file_offset)
        # A tail that was sealed meanwhile may be longer than what was pinned of it.
        if moved.length < piece.extent.length or moved.file_offset != piece.extent.file_offset:
            raise ChunkUnavailable(f"{content.path}: its extents changed while it was read")
        try:
            piece = Piece(moved, piece.begin, piece.end)
            return self._read_replicas(content, piece, memory, sure=True)
        except _ChunkGone:
            chunk = format_id(moved.chunk_id)
            raise ChunkUnavailable(f"{content.path}: the leader knows no chunk {chunk}") from None

    def read_unverified(self, chunk_id: ChunkId, offset: int, into: memoryview) -> bool:
        """Try to fill `into` from the best replica, once; the caller verifies what it got."""
        chunk = self._locations.find(chunk_id)
        places = [] if chunk is None else self._locations.ordered(chunk)
        if chunk is None or not places:
            return False
        try:
            self._plane.read(places[0], chunk, offset, into)
        except GfsError as error:
            self._locations.avoid(places[0].server_id)
            self._complaints.report(chunk_id, places[0].server_id, error)
            return False
        return True

    def _read_replicas(
        self, content: PinnedContent, piece: Piece, memory: memoryview, sure: bool
    ) -> memoryview:
        """Ask replica after replica, round after round.

        Args: `sure` that the content is still the file's, so that "unknown" is no end of it.
        """
        deadline = Deadline(self._runtime.monotonic_s() + self._timeout_s)
        chunk = self._locations.find(piece.extent.chunk_id)
        round_index = 0
        while True:
            if chunk is None:
                raise _ChunkGone
            failures: list[tuple[Location, GfsError]] = []
            for location in self._ordered(content, chunk):
                try:
                    return self._read_patiently(location, chunk, piece, memory)
                except GfsError as error:
                    failures.append((location, error))
                    if self._to_blame(content, chunk, error):
                        self._locations.avoid(location.server_id)
                        self._complaints.report(chunk.chunk_id, location.server_id, error)
            if not sure and _says_gone(failures):
                raise _ChunkGone
            trouble = _verdict(content.path, chunk, failures)
            delay_s = pause_s(trouble, round_index + 3, self._runtime.uniform(0.0, 1.0))
            corrupt = isinstance(trouble, CorruptData) and round_index + 1 >= ROUNDS_CORRUPT_MAX
            # Masters of an old copy may know a file whose bytes were given back since: for good.
            lost = bool(failures) and all(isinstance(error, RangeGone) for _, error in failures)
            if corrupt or lost or not deadline.allows(delay_s, self._runtime.monotonic_s()):
                raise trouble
            self._runtime.sleep(delay_s)
            refused = any(isinstance(error, TicketRefused) for _, error in failures)
            chunk = self._locations.refresh(chunk.chunk_id, refused)
            round_index += 1

    def _to_blame(self, content: PinnedContent, chunk: ChunkLocations, error: GfsError) -> bool:
        """Return whether a replica failed, and did not just hear too little of an open tail.

        Bytes that were given back are nobody's fault: the file has others by now. Nor is a ticket
        that is too old: the next round has new ones.
        """
        if isinstance(error, RangeGone | TicketRefused):
            return False
        in_tail = not chunk.sealed and content.asked_first
        return not in_tail or isinstance(error, Unreachable | CorruptData)

    def _ordered(self, content: PinnedContent, chunk: ChunkLocations) -> list[Location]:
        """Return the replicas, best first: of an open tail its primary, which has all that counts.

        Another one may not have heard yet how much that is.
        """
        places = self._locations.ordered(chunk)
        if not chunk.sealed and content.asked_first:
            places.sort(key=lambda one: one.server_id != content.asked_first)
        return places

    def _read_patiently(
        self, location: Location, chunk: ChunkLocations, piece: Piece, memory: memoryview
    ) -> memoryview:
        """Read from one replica; what may pass is tried twice more there."""
        for attempt_index in range(RETRIES + 1):
            try:
                return self._read_once(location, chunk, piece, memory)
            except _PASSING as error:
                if attempt_index == RETRIES:
                    raise
                self._runtime.sleep(pause_s(error, attempt_index, self._runtime.uniform(0.0, 1.0)))
        raise AssertionError("unreachable")

    def _read_once(
        self, location: Location, chunk: ChunkLocations, piece: Piece, memory: memoryview
    ) -> memoryview:
        extent = piece.extent
        low, high = extent.chunk_offset + piece.begin, extent.chunk_offset + piece.end
        if piece.whole and extent.crc is not None:
            view = memory[: high - low]
            self._plane.read(location, chunk, low, view)
            if crc32c(view) != extent.crc:
                raise CorruptData(
                    f"chunk {format_id(chunk.chunk_id)} on {location.name}: bytes {low} to {high} "
                    f"do not fit the file's checksum"
                )
            return view
        if not chunk.sealed:
            # The server's CRCs of exactly this range are all there is before the seal.
            view = memory[: high - low]
            self._plane.read(location, chunk, low, view)
            return view
        start = low - low % BLOCK_BYTES
        end = min(-(-high // BLOCK_BYTES) * BLOCK_BYTES, chunk.length)
        view = memory[: end - start]
        found = self._plane.read(location, chunk, start, view)
        trusted = self._block_array(location, chunk)
        first = start // BLOCK_BYTES
        if list(found.crcs) != list(trusted[first : first + len(found.crcs)]):
            raise CorruptData(
                f"chunk {format_id(chunk.chunk_id)} on {location.name}: bytes {start} to {end} "
                f"do not fit the chunk's digest"
            )
        return view[low - start : high - start]

    def _block_array(self, location: Location, chunk: ChunkLocations) -> Sequence[int]:
        """Return the block CRCs of a sealed chunk, fetched once and checked (C4)."""
        key = (chunk.chunk_id, chunk.digest)
        with self._lock:
            known = self._arrays.get(key)
            if known is not None:
                self._arrays.move_to_end(key)
                return known
        blocks = self._plane.blocks(location, chunk)
        if blocks.length != chunk.length or chunk_digest(blocks.crcs) != chunk.digest:
            raise CorruptData(
                f"chunk {format_id(chunk.chunk_id)} on {location.name}: its block checksums do not "
                f"fit the digest that the leader knows"
            )
        with self._lock:
            self._arrays[key] = blocks.crcs
            while len(self._arrays) > BLOCK_ARRAYS_MAX:
                self._arrays.popitem(last=False)
        return blocks.crcs


def _says_gone(failures: list[tuple[Location, GfsError]]) -> bool:
    """Return whether nobody knows the chunk, or one replica gave the bytes back.

    That one is enough: what is given back no file had any more, and nothing brings it back (G8).
    """
    if any(isinstance(error, RangeGone) for _, error in failures):
        return True
    return all(isinstance(error, UnknownReplica) for _, error in failures)


def _verdict(
    path: str, chunk: ChunkLocations, failures: Sequence[tuple[Location, GfsError]]
) -> GfsError:
    """Return one error for all replicas of a chunk."""
    chunk_text = format_id(chunk.chunk_id)
    if not failures:
        return ChunkUnavailable(f"{path}: chunk {chunk_text} has no replica left")
    reasons = "; ".join(f"{location.name}: {error.message}" for location, error in failures)
    if all(isinstance(error, CorruptData) for _, error in failures):
        return CorruptData(f"{path}: chunk {chunk_text} is damaged on every replica ({reasons})")
    return ChunkUnavailable(f"{path}: chunk {chunk_text} cannot be read now ({reasons})")
