"""One client's stream of records to one tail: what it waits for, and what it is told."""

from __future__ import annotations

from collections.abc import Sequence

from gfs_ha.chunk.progress import DiskWatch
from gfs_ha.errors import GfsError
from gfs_ha.ids import NO_TRACE, TraceId
from gfs_ha.net.streams import Stream
from gfs_ha.protocol.frames import FrameKind, encode_error, encode_frame
from gfs_ha.protocol.records import RecordAck, encode_record_acks
from gfs_ha.runtime import Runtime

_ACKS_PER_FRAME = 500  # At most 40 bytes each.
_UNSENT_MAX = 64  # Frames for a peer that reads none.


class AppendStream:
    """Told by batch workers, by the reader of the stream and by the ticker. Thread-safe.

    Nobody waits for a client to read its answers: they are kept for a while, then it is hung up on.
    """

    def __init__(
        self,
        stream: Stream,
        op_id: int,
        disk: DiskWatch,
        runtime: Runtime,
        client: str = "",
        trace_id: TraceId = NO_TRACE,
    ) -> None:
        """Args: `disk` is that of the tail: nobody is told of progress while it hangs."""
        self.client = client  # How it calls itself.
        self.trace_id = trace_id  # Which command of it asks.
        self.record_count = 0  # That were acknowledged here.
        self.error = ""  # The code of the one that ended it.
        self._disk = disk
        self._stream = stream
        self._op_id = op_id
        self._lock = runtime.lock()
        self._waiting = 0
        self._unsent: list[bytes] = []
        self._ended = False
        self._progress = encode_frame(FrameKind.PROGRESS, op_id)

    @property
    def waiting(self) -> int:
        """Return how many records it brought that are not answered yet."""
        return self._waiting

    @property
    def ended(self) -> bool:
        """Return True once it was told its last."""
        return self._ended

    def expect(self, count: int) -> None:
        """Count records that will be answered later."""
        with self._lock:
            self._waiting += count

    def answer(self, acks: Sequence[RecordAck]) -> None:
        """Tell of records that every replica has."""
        frames = []
        for start in range(0, len(acks), _ACKS_PER_FRAME):
            body = encode_record_acks(tuple(acks[start : start + _ACKS_PER_FRAME]))
            frames.append(encode_frame(FrameKind.RECORDED, self._op_id, body))
        with self._lock:
            self._waiting -= len(acks)
            self.record_count += len(acks)
            self._send(frames)

    def fail(self, error: GfsError) -> None:
        """Tell why nothing more is answered here."""
        with self._lock:
            if not self._ended:
                self.error = error.code
                self._send([encode_frame(FrameKind.FAILED, self._op_id, encode_error(error))])
                self._ended = True

    def tell(self) -> None:
        """Tell that work goes on, while it waits."""
        with self._lock:
            self._send([])
            idle = self._waiting <= 0 or bool(self._unsent) or self._ended
            if not idle and not self._disk.hangs():
                self._stream.send_now(self._progress)

    def _send(self, frames: list[bytes]) -> None:
        if self._ended:
            return
        if self._unsent or frames:
            self._unsent += frames
            while self._unsent and self._stream.send_now(self._unsent[0]):
                del self._unsent[0]
            if len(self._unsent) > _UNSENT_MAX:
                self._ended = True
                self._unsent.clear()
                self._stream.abort()
