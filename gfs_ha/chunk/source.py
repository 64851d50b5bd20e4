"""The reading end of a copy: block array and pieces of a sealed chunk from one other server."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass

from gfs_ha.checksum import chunk_digest, crc32c
from gfs_ha.errors import CorruptData, ProtocolError, Unreachable
from gfs_ha.limits import REQUEST_DEADLINE_S, SILENCE_S
from gfs_ha.net.answers import AnswerReader, Deadline
from gfs_ha.net.asking import ask, showing
from gfs_ha.net.stream_pool import StreamPool
from gfs_ha.net.streams import STALL_SLICE_S, Stream
from gfs_ha.protocol.control import CopyReplica, CopySource
from gfs_ha.protocol.data import DataRequest, Op, RequestFlag
from gfs_ha.protocol.frames import DataEcho, FrameKind, decode_echo
from gfs_ha.protocol.grid import cuts
from gfs_ha.runtime import Runtime


@dataclass(frozen=True, slots=True)
class SourceRoom:
    """What reading from other servers needs."""

    cluster: int
    streams: StreamPool
    runtime: Runtime


class Source:
    """One server that is said to hold the chunk; used by one thread."""

    def __init__(
        self, room: SourceRoom, where: CopySource, order: CopyReplica, check: Callable[[], None]
    ) -> None:
        """Args: `check` raises to end a read that waits."""
        self._check = check
        self.server_id = where.server_id
        self._room = room
        self._address = (where.host, where.port)
        self._order = order
        self._shown = (order.pass_, where.ticket)

    def renew(self, order: CopyReplica) -> None:
        """Show the tickets of the same order as it came again, from the next request on."""
        for where in order.sources:
            if where.server_id == self.server_id and where.ticket:
                self._shown = (order.pass_, where.ticket)

    def read_blocks(self) -> array[int]:
        """Return the CRCs of the blocks, which are those of the order's digest.

        Raises: CorruptData where they are others; UnknownReplica, WrongBirth, ReplicaBusy,
        ReplicaDamaged, Unreachable, DeadlineExceeded, ProtocolError.
        """
        with _Asked(self._room, self._address) as asked:
            echo = asked.ask(self._request(Op.BLOCKS, 0, 0, RequestFlag(0)), FrameKind.BLOCKS)
        order = self._order
        if echo.chunk_id != order.chunk_id:
            raise ProtocolError(f"an answer about another chunk, {echo.chunk_id:#x}")
        if echo.length != order.length or chunk_digest(echo.crcs) != order.digest:
            raise CorruptData(
                f"server {self.server_id} has another chunk {order.chunk_id:#x} than the sealed "
                f"one, of {echo.length} bytes",
                server=self.server_id,
            )
        crcs: array[int] = echo.crcs
        return crcs

    def read(self, offset: int, into: memoryview, checked: bool = False) -> None:
        """Fill `into` from a block's start; what arrives is not checked yet.

        Args: `checked` has the server look for damage itself, and report it (D3).
        Raises: CorruptData when it finds some; as `read_blocks`.
        """
        flags = RequestFlag.REPAIR | (RequestFlag.CHECKED if checked else RequestFlag(0))
        with _Asked(self._room, self._address) as asked:
            request = self._request(Op.FETCH, offset, len(into), flags)
            echo = asked.ask(request, FrameKind.DATA)
            about = (echo.chunk_id, echo.offset, echo.length)
            if about != (self._order.chunk_id, offset, len(into)):
                raise ProtocolError(f"asked for {len(into)} bytes at {offset}, got another range")
            asked.receive(into, self._check)

    def _request(self, op: Op, offset: int, length: int, flags: RequestFlag) -> DataRequest:
        request = DataRequest(
            op=op,
            cluster=self._room.cluster,
            target=self.server_id,
            chunk_id=self._order.chunk_id,
            birth=self._order.birth,
            offset=offset,
            length=length,
            deadline_ms=int(REQUEST_DEADLINE_S * 1000),
            op_id=self._room.runtime.random_u64() or 1,
            flags=flags,
        )
        given, ticket = self._shown
        return showing(request, given, ticket, self._room.runtime)


class _Asked:
    """One request on a stream, which is used again only if its answer came whole."""

    def __init__(self, room: SourceRoom, address: tuple[str, int]) -> None:
        self._pool = room.streams
        self._address = address
        self._deadline = Deadline(room.runtime, REQUEST_DEADLINE_S)
        self._stream: Stream = room.streams.take(address)

    def __enter__(self) -> _Asked:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._pool.give_back(self._address, self._stream)
        else:
            self._stream.close()

    def ask(self, request: DataRequest, wanted: FrameKind) -> DataEcho:
        """Send it, and return what its answer begins with."""
        reader = AnswerReader(self._stream, request.op_id, self._deadline, SILENCE_S)
        ask(self._stream, request, [], reader.stall)
        kind, body = reader.wait()
        if kind is not wanted:
            raise ProtocolError(f"a {kind.name} frame where {wanted.name} was expected")
        return decode_echo(body)

    def receive(self, into: memoryview, check: Callable[[], None]) -> None:
        """Take the bytes that follow. Raises: what `check` raises."""
        slices = 0

        def stall(idle_s: float) -> None:
            nonlocal slices
            check()
            self._deadline.check()
            slices = slices + 1 if idle_s else 0
            if slices * STALL_SLICE_S >= SILENCE_S:
                raise Unreachable(f"{self._stream.peer} was silent for {SILENCE_S:g} s")

        self._stream.receive(into, stall)


def bad_blocks(offset: int, data: memoryview, crcs: array[int]) -> list[int]:
    """Return which blocks of a piece differ from their CRCs, counted from the piece's start."""
    parts = cuts(offset, len(data))
    assert len(parts) == len(crcs), (len(parts), len(crcs))
    return [
        index
        for index, ((start, end), crc) in enumerate(zip(parts, crcs, strict=True))
        if crc32c(data[start:end]) != crc
    ]
