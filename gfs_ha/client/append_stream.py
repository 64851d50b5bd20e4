"""The client's end of one APPEND stream: records down to the primary of a tail, answers up."""

from __future__ import annotations

from collections.abc import Sequence

from gfs_ha.client.append_records import Record
from gfs_ha.client.data_plane import primary_of
from gfs_ha.client.data_room import DataRoom
from gfs_ha.errors import GfsError, ProtocolError, Unreachable
from gfs_ha.ids import SessionId
from gfs_ha.limits import KIB, OPERATION_TIMEOUT_S, SILENCE_S
from gfs_ha.net.answers import AnswerReader, Deadline
from gfs_ha.net.asking import ask, showing
from gfs_ha.net.streams import STALL_SLICE_S, Bytes
from gfs_ha.protocol.append import AppendGrant
from gfs_ha.protocol.data import (
    DEADLINE_MS_MAX,
    ChunkKind,
    DataRequest,
    Durability,
    Hop,
    Op,
)
from gfs_ha.protocol.frames import (
    FRAME_BYTES,
    FrameKind,
    check_frame,
    decode_error,
    decode_frame,
)
from gfs_ha.protocol.metadata import MEMORY, FileTail
from gfs_ha.protocol.records import (
    RecordAck,
    RecordHeader,
    TailLength,
    decode_record_acks,
    decode_tail_length,
    encode_record_head,
)

_SCRATCH_BYTES = 64 * KIB
_JOINED_BYTES_MAX = 16 * KIB
_SILENT_SLICES = round(SILENCE_S / STALL_SLICE_S)


class AppendStream:
    """One stream to a primary under one grant.

    `send` is used by one thread at a time, `receive` by one other; `abort` by any. An answer that
    does not come is found by `receive`, which counts waiting in slices, so that a pause of our own
    process is not blamed on the peer.
    """

    def __init__(self, room: DataRoom, grant: AppendGrant) -> None:
        """Dial the primary; nothing is sent yet. Raises: Unreachable."""
        tail = grant.tail
        primary = primary_of(tail)
        self._op_id = room.runtime.random_u64() or 1
        request = DataRequest(
            op=Op.APPEND,
            cluster=room.cluster,
            target=tail.primary,
            chunk_id=tail.chunk_id,
            birth=tail.birth,
            offset=0,
            length=0,
            deadline_ms=DEADLINE_MS_MAX,
            op_id=self._op_id,
            kind=ChunkKind.TAIL,
            durability=Durability.MEMORY if grant.durability == MEMORY else Durability.DISK,
            start_id=tail.start_id,
            label=room.label,
            trace_id=room.trace_id,
        )
        asked = showing(request, tail.pass_, primary.ticket, room.runtime)
        self._request: DataRequest | None = asked
        self._stream = room.streams.take((primary.host, primary.port))
        self._buffer = bytearray()
        self._scratch = memoryview(bytearray(_SCRATCH_BYTES))
        self._quiet_slices = 0
        self._failure: GfsError | None = None

    def send(
        self, appender: SessionId, window_start: int, records: Sequence[Record], alone: bool
    ) -> None:
        """Send records, in order. Raises: Unreachable when the primary is gone.

        Args: `alone` says that nobody receives meanwhile, so that a peer that neither takes nor
        says anything is found here.
        """
        parts: list[Bytes] = []
        small: list[Bytes] = []  # Joined: the system takes few pieces faster than many.
        for one in records:
            start = min(window_start, one.sequence)
            head = RecordHeader(appender, one.sequence, start, len(one.data), one.crc)
            small.append(encode_record_head(head))
            if len(one.data) <= _JOINED_BYTES_MAX:
                small.append(one.data)
            else:
                parts += (b"".join(small), one.data)
                small = []
        parts.append(b"".join(small))
        stall = self._stall_alone if alone else _stall_watched
        request, self._request = self._request, None
        if request is None:
            self._stream.send(parts, stall)
        else:
            ask(self._stream, request, parts, stall)

    def receive(self, in_flight: bool, wait_s: float = STALL_SLICE_S) -> list[RecordAck]:
        """Return the records that were acknowledged meanwhile; none after a slice of waiting.

        Args: `in_flight` says that answers are due, so that silence is a failure. Raises: what the
        primary says in a FAILED frame; Unreachable, ProtocolError.
        """
        if self._failure is not None:
            raise self._failure
        if not self._stream.wait(wait_s):
            self._note_silence(in_flight)
            return []
        count = self._stream.receive_now(self._scratch)
        if not count:
            return []
        self._quiet_slices = 0
        self._buffer += self._scratch[:count]
        try:
            return self._parse()
        except ProtocolError as error:
            if error is self._failure:
                raise
            raise Unreachable(f"{self._stream.peer} answers nonsense: {error.message}") from error

    def abort(self) -> None:
        """End it under whoever sends or waits. Never blocks."""
        self._stream.abort()

    def close(self) -> None:
        """Hang up. What was sent and not acknowledged stays in doubt."""
        self._stream.abort()
        self._stream.close()

    def _note_silence(self, in_flight: bool) -> None:
        self._quiet_slices = self._quiet_slices + 1 if in_flight else 0
        if self._quiet_slices >= _SILENT_SLICES:
            raise Unreachable(f"{self._stream.peer} was silent for {SILENCE_S:g} s")

    def _stall_alone(self, idle_s: float) -> None:
        alive = self._stream.wait(0.0)  # It says that it works, or that it is done.
        if idle_s >= (OPERATION_TIMEOUT_S if alive else SILENCE_S):
            raise Unreachable(f"{self._stream.peer} took no byte for {idle_s:.1f} s")

    def _parse(self) -> list[RecordAck]:
        acks: list[RecordAck] = []
        while len(self._buffer) >= FRAME_BYTES:
            head = bytes(self._buffer[:FRAME_BYTES])
            frame = decode_frame(head)
            size = FRAME_BYTES + frame.body_length
            if len(self._buffer) < size:
                break
            body = bytes(self._buffer[FRAME_BYTES:size])
            check_frame(frame, head, body)
            del self._buffer[:size]
            if frame.op_id not in (self._op_id, 0):
                raise ProtocolError(f"{self._stream.peer} answers another request")
            match frame.kind:
                case FrameKind.RECORDED:
                    acks += decode_record_acks(body)
                case FrameKind.PROGRESS:
                    pass
                case FrameKind.FAILED:
                    self._failure = decode_error(body)  # What came before it counts.
                    if not acks:
                        raise self._failure
                    return acks
                case kind:
                    raise ProtocolError(f"a {kind.name} frame where RECORDED was expected")
        return acks


def _stall_watched(idle_s: float) -> None:
    """Wait on: who receives on the same stream ends it."""


def ask_tail_length(room: DataRoom, tail: FileTail, hop: Hop, deadline_s: float) -> TailLength:
    """Return how much of a tail every replica acknowledged, as the server at `hop` knows it.

    Raises: Unreachable; what the server refuses (it is not the primary any more, or started again).
    """
    deadline = Deadline(room.runtime, deadline_s)
    request = DataRequest(
        op=Op.TAIL_LENGTH,
        cluster=room.cluster,
        target=hop.server_id,
        chunk_id=tail.chunk_id,
        birth=tail.birth,
        offset=0,
        length=0,
        deadline_ms=max(1, int(deadline.left_s() * 1000)),
        op_id=room.runtime.random_u64() or 1,
        kind=ChunkKind.TAIL,
        start_id=tail.start_id,
        trace_id=room.trace_id,
    )
    request = showing(request, tail.pass_, hop.ticket, room.runtime)
    address = (hop.host, hop.port)
    stream = room.streams.take(address)
    try:
        reader = AnswerReader(stream, request.op_id, deadline)
        ask(stream, request, [], reader.stall)
        kind, body = reader.wait()
        if kind is not FrameKind.TAIL:
            raise ProtocolError(f"a {kind.name} frame where TAIL was expected")
        told = decode_tail_length(body)
        if told.chunk_id != tail.chunk_id:
            raise ProtocolError(f"an answer about another chunk, {told.chunk_id:#x}")
    except BaseException:
        stream.close()
        raise
    room.streams.give_back(address, stream)
    return told
