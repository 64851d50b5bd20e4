"""What comes back on a data stream: listens for frames and tells silence from work.

Who writes or syncs sends a progress frame every 200 ms; a second without any frame is a failure of
the peer. Silence is counted in slices of waiting, so that our own pauses are not blamed on it.
"""

from __future__ import annotations

from gfs_ha.errors import DeadlineExceeded, Unreachable
from gfs_ha.limits import OPERATION_TIMEOUT_S, SILENCE_S
from gfs_ha.net.streams import STALL_SLICE_S, Stream
from gfs_ha.protocol.frames import (
    FRAME_BYTES,
    FrameHeader,
    FrameKind,
    check_frame,
    decode_error,
    decode_frame,
)
from gfs_ha.runtime import Runtime

_SCRATCH_BYTES = 4096


class Deadline:
    """The moment at which an operation ends, whatever it waits for."""

    def __init__(self, runtime: Runtime, seconds: float) -> None:
        self._runtime = runtime
        self._at_s = runtime.monotonic_s() + seconds

    def left_s(self) -> float:
        """Return the seconds that are left, 0 when it has passed."""
        return max(0.0, self._at_s - self._runtime.monotonic_s())

    def at_most(self, seconds: float) -> Deadline:
        """Return this moment, or the one in so many seconds if that is sooner."""
        return Deadline(self._runtime, min(seconds, self.left_s()))

    def check(self) -> None:
        """Raise DeadlineExceeded once it has passed."""
        if not self.left_s():
            raise DeadlineExceeded("the deadline of the operation has passed")

    def stall(self, idle_s: float) -> None:
        """Give up at the deadline only: for whoever must not judge silence."""
        self.check()

    def hang_up(self, idle_s: float) -> None:
        """Give up at the deadline amid an answer: half of one can only be ended by hanging up."""
        if not self.left_s():
            raise Unreachable("the peer took its answer too slowly; its deadline has passed")


class AnswerReader:
    """The frames that answer one operation on one stream; used by one thread."""

    def __init__(
        self, stream: Stream, op_id: int, deadline: Deadline, silence_s: float = SILENCE_S
    ) -> None:
        """Args: `silence_s` is how long a peer may send nothing that works on the operation."""
        self._stream = stream
        self._op_id = op_id
        self._deadline = deadline
        self._silence_s = silence_s
        self._slices = 0
        self._buffer = bytearray()
        self._scratch = memoryview(bytearray(_SCRATCH_BYTES))
        self._final: tuple[FrameHeader, bytes] | None = None

    def stall(self, idle_s: float) -> None:
        """Ask, while a send does not move, whether the peer works or is gone.

        Raises: Unreachable after too long a silence, DeadlineExceeded, ProtocolError.
        """
        self._deadline.check()
        if idle_s >= OPERATION_TIMEOUT_S:
            raise DeadlineExceeded(f"{self._stream.peer} took no byte for {idle_s:.0f} s")
        if not self.poll():
            self._quiet()

    def poll(self) -> bool:
        """Take what is there; return whether anything was. Raises: Unreachable, ProtocolError."""
        heard = False
        while self._final is None:
            count = self._stream.receive_now(self._scratch)
            if not count:
                break
            heard = True
            self._buffer += self._scratch[:count]
            self._parse()
        if heard:
            self._slices = 0
        return heard

    def wait(self) -> tuple[FrameKind, bytes]:
        """Return the frame that ends the operation (or begins its data), and its body.

        Raises: the error in a FAILED frame; Unreachable, DeadlineExceeded, ProtocolError.
        """
        # Progress frames say that the peer lives, not that it will ever be done: a disk may hang.
        patience = self._deadline.at_most(OPERATION_TIMEOUT_S)
        while self._final is None:
            patience.check()
            self._receive_more()
            self._parse()
        frame, body = self._final
        if frame.kind is FrameKind.FAILED:
            raise decode_error(body)
        return frame.kind, body

    @property
    def ended(self) -> bool:
        """Return True once the frame that ends the operation is here."""
        return self._final is not None

    def _receive_more(self) -> None:
        missing = FRAME_BYTES - len(self._buffer)
        if missing <= 0:
            frame = decode_frame(bytes(self._buffer[:FRAME_BYTES]))
            missing = FRAME_BYTES + frame.body_length - len(self._buffer)
        while missing:
            part = self._scratch[: min(missing, _SCRATCH_BYTES)]
            self._stream.receive(part, self._wait_stall)
            self._slices = 0
            self._buffer += part
            missing -= len(part)

    def _wait_stall(self, idle_s: float) -> None:
        self._deadline.check()
        self._quiet()

    def _quiet(self) -> None:
        self._slices += 1
        if self._slices * STALL_SLICE_S >= self._silence_s:
            raise Unreachable(f"{self._stream.peer} was silent for {self._silence_s:g} s")

    def _parse(self) -> None:
        while self._final is None and len(self._buffer) >= FRAME_BYTES:
            head = bytes(self._buffer[:FRAME_BYTES])
            frame = decode_frame(head)
            size = FRAME_BYTES + frame.body_length
            if len(self._buffer) < size:
                return
            body = bytes(self._buffer[FRAME_BYTES:size])
            check_frame(frame, head, body)
            del self._buffer[:size]
            if frame.op_id not in (self._op_id, 0):
                raise Unreachable(f"{self._stream.peer} answers another request")
            if frame.kind is not FrameKind.PROGRESS:
                self._final = (frame, body)
