"""The record entries of a tail as they lie in its slot: one frame per batch, behind the data room.

    capacity + 64 KiB   frame, entries; frame, entries; …

A frame is written before the same sync that covers the bytes and the header of its batch. It tells
where the batch ends, and the CRC of the block up to there, so that every end of a batch can be
verified, not only the two that the copies of the header hold.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gfs_ha.checksum import crc32c
from gfs_ha.chunk.disk import File
from gfs_ha.chunk.readable import read_up_to_failure
from gfs_ha.chunk.slots.format import DATA_OFFSET
from gfs_ha.errors import LimitExceeded, ReplicaDamaged
from gfs_ha.ids import SessionId
from gfs_ha.limits import BATCH_RECORDS_MAX, BLOCK_BYTES, TAIL_RECORDS_MAX
from gfs_ha.protocol.records import ENTRY_BYTES, RecordEntry, unpack_entries

# magic, count of entries, end of the batch, CRC of its last block up to there, CRC of all of it
_FRAME = struct.Struct("<4sIQII")
_CRC = struct.Struct("<I")
_MAGIC = b"GFSE"
_HEAD_BYTES = _FRAME.size - _CRC.size


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch as its frame tells it; `entries` are packed."""

    end: int
    block_crc: int
    entries: bytes


class EntryRoom:
    """Where the entries of one tail lie; used under the lock of its replica."""

    def __init__(self, capacity: int) -> None:
        self._start = DATA_OFFSET + capacity
        self._end = self._start
        self._count = 0

    @property
    def used_bytes(self) -> int:
        """Return how much is written: where the next frame goes, from where the room begins."""
        return self._end - self._start

    def check_room(self, entries: bytes) -> None:
        """Raise LimitExceeded when the tail would hold too many records."""
        if self._count + len(entries) // ENTRY_BYTES > TAIL_RECORDS_MAX:
            raise LimitExceeded(f"a tail holds {TAIL_RECORDS_MAX} records at most")

    def write(self, file: File, batch: Batch) -> None:
        """Write the next frame; the caller syncs. Raises: DiskFull, DiskFailed."""
        frame = encode_batch(batch)
        file.write(self._end, frame)
        self._end += len(frame)
        self._count += len(batch.entries) // ENTRY_BYTES


def encode_batch(batch: Batch) -> bytes:
    """Return a frame with its entries."""
    count = len(batch.entries) // ENTRY_BYTES
    head = _FRAME.pack(_MAGIC, count, batch.end, batch.block_crc, 0)[:_HEAD_BYTES]
    return head + _CRC.pack(crc32c(batch.entries, crc32c(head))) + batch.entries


def read_batches(file: File, capacity: int, end: int, buffer: memoryview) -> Iterator[Batch]:
    """Return the batches that lie whole in the slot, in their order, up to one that ends at `end`.

    What follows a frame that is damaged or missing is not reached: records are a prefix.
    """
    at = DATA_OFFSET + capacity
    before = 0
    while before < end:
        space = buffer[: read_up_to_failure(file, at, buffer)]
        taken = 0
        while before < end:
            batch = _decode(space[taken:], before)
            if batch is None or batch.end > end:
                break
            yield batch
            before = batch.end
            taken += _FRAME.size + len(batch.entries)
        if not taken:
            return
        at += taken


def _decode(data: memoryview, before: int) -> Batch | None:
    """Return the frame at the start of `data`, or None when there is none that is whole."""
    if len(data) < _FRAME.size:
        return None
    magic, count, end, block_crc, crc = _FRAME.unpack_from(data)
    length = _FRAME.size + count * ENTRY_BYTES
    if magic != _MAGIC or not 0 < count <= BATCH_RECORDS_MAX or len(data) < length:
        return None
    entries = data[_FRAME.size : length]
    if crc32c(entries, crc32c(data[:_HEAD_BYTES])) != crc or end <= before:
        return None
    return Batch(end, block_crc, bytes(entries))


def last_whole(
    file: File, ends: Iterable[tuple[int, int]], good: int, buffer: memoryview
) -> tuple[int, int]:
    """Return (end, block CRC) of the last batch whose bytes are there; (0, 0) when none is.

    Args: `ends` of the batches in their order; `good` is where the first bad block begins.
    """
    for end, block_crc in reversed(list(ends)):
        if end <= good:
            return end, block_crc
        if end - good <= BLOCK_BYTES:
            part = buffer[: end - good]
            count = read_up_to_failure(file, DATA_OFFSET + good, part)
            if count == len(part) and crc32c(part) == block_crc:
                return end, block_crc
    return 0, 0


def records_within(batches: Iterable[Batch], length: int) -> tuple[RecordEntry, ...]:
    """Return the records that end at or below `length` and may still be asked about, sorted (C8).

    Raises: ReplicaDamaged unless they make up exactly those bytes.
    """
    packed = [batch.entries for batch in batches]
    windows: dict[SessionId, int] = {}
    end = 0
    for entries in packed:
        for one in unpack_entries(entries):
            if one.offset != end or one.offset + one.length > length:
                raise ReplicaDamaged(f"a record of {one.length} bytes at {one.offset} after {end}")
            end += one.length
            windows[one.appender] = max(one.window_start, windows.get(one.appender, 0))
    if end != length:
        raise ReplicaDamaged(f"the records of a tail end at {end}, not at {length}", end=end)
    return tuple(
        sorted(
            one
            for entries in packed
            for one in unpack_entries(entries)
            if one.sequence >= windows[one.appender]
        )
    )


def table_up_to(table: array[int], end: int, block_crc: int) -> array[int]:
    """Return the block CRCs of a prefix that ends with a batch."""
    cut = table[: -(-end // BLOCK_BYTES)]
    if cut:
        cut[-1] = block_crc
    return cut
