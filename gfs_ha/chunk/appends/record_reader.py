"""The records of one APPEND stream: read ahead as they come, whole ones handed on together."""

from __future__ import annotations

from collections.abc import Callable

from gfs_ha.checksum import crc32c
from gfs_ha.chunk.appends.waiting_room import cost_of
from gfs_ha.errors import CorruptData
from gfs_ha.limits import BATCH_RECORDS_MAX, KIB
from gfs_ha.net.answers import Deadline
from gfs_ha.net.streams import Stall, Stream
from gfs_ha.protocol.records import RECORD_HEAD_BYTES, RecordHeader, decode_record_head
from gfs_ha.runtime import Runtime

RECORD_DEADLINE_S = 60.0  # For the rest of a record whose header came: it holds room.
BUFFER_BYTES = 128 * KIB  # A record that does not fit is read by itself.
_LOOK_S = 0.5

Record = tuple[RecordHeader, bytes | bytearray]


class RecordReader:
    """Used by the thread that serves the stream."""

    def __init__(self, stream: Stream, runtime: Runtime, make_room: Callable[[int], None]) -> None:
        """Args: `make_room` is told the cost of what is about to be handed on, and may wait."""
        self._stream = stream
        self._runtime = runtime
        self._make_room = make_room
        self._buffer = memoryview(bytearray(BUFFER_BYTES))
        self._start = 0
        self._end = 0
        self._emptied = True  # The last look took all that was there.

    def read(self) -> list[Record]:
        """Return the records that came, at least one; none when nothing came for a while.

        Raises: Unreachable when the peer is gone; DeadlineExceeded when it stops amid a record;
        ProtocolError, CorruptData. After any of them the stream is of no use.
        """
        records = self._whole()
        if not records:
            if not self._receive():
                return []
            records = self._whole()
        if records:
            self._make_room(cost_of(len(records), sum([len(data) for _, data in records])))
            return records
        if self._end - self._start < RECORD_HEAD_BYTES:
            self._fill(RECORD_HEAD_BYTES)
        head = decode_record_head(self._buffer[self._start : self._start + RECORD_HEAD_BYTES])
        self._make_room(cost_of(1, head.length))
        if RECORD_HEAD_BYTES + head.length <= BUFFER_BYTES:
            self._fill(RECORD_HEAD_BYTES + head.length)
            return [self._take(head)]
        return [self._take_big(head)]

    def _whole(self) -> list[Record]:
        found: list[Record] = []
        while self._end - self._start >= RECORD_HEAD_BYTES and len(found) < BATCH_RECORDS_MAX:
            head = decode_record_head(self._buffer[self._start : self._start + RECORD_HEAD_BYTES])
            if self._end - self._start < RECORD_HEAD_BYTES + head.length:
                break
            found.append(self._take(head))
        return found

    def _take(self, head: RecordHeader) -> Record:
        begin = self._start + RECORD_HEAD_BYTES
        self._start = begin + head.length
        return _checked(head, bytes(self._buffer[begin : self._start]))

    def _take_big(self, head: RecordHeader) -> Record:
        data = bytearray(head.length)
        begin = self._start + RECORD_HEAD_BYTES
        here = self._end - begin
        data[:here] = self._buffer[begin : self._end]
        self._start = self._end = 0
        self._stream.receive(memoryview(data)[here:], self._patience())
        return _checked(head, data)

    def _receive(self) -> bool:
        """Take what is there, after waiting for a moment at most."""
        self._move_to_front()
        # Who had room for more has most likely taken all: to look in vain costs more than to wait.
        if self._emptied and not self._stream.wait(_LOOK_S):
            return False
        space = self._buffer[self._end :]
        count = self._stream.receive_now(space)
        self._emptied = count < len(space)
        self._end += count
        return count > 0

    def _fill(self, length: int) -> None:
        """Have so many bytes in the buffer. Raises: Unreachable."""
        self._move_to_front()
        missing = length - self._end
        if missing > 0:
            self._stream.receive(self._buffer[self._end : length], self._patience())
            self._end = length

    def _patience(self) -> Stall:
        return Deadline(self._runtime, RECORD_DEADLINE_S).stall

    def _move_to_front(self) -> None:
        if self._start:
            left = self._end - self._start
            self._buffer[:left] = bytes(self._buffer[self._start : self._end])
            self._start, self._end = 0, left


def _checked(head: RecordHeader, data: bytes | bytearray) -> Record:
    if crc32c(data) != head.crc:
        raise CorruptData(f"record {head.sequence} of {head.appender:#x} arrived damaged")
    return head, data
