"""The client's end of one ranged read from one replica: every part checked while it is in cache."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

from gfs_ha.checksum import chunk_digest, crc32c
from gfs_ha.client.data_room import DataRoom
from gfs_ha.errors import CorruptData, GfsError, ProtocolError, RangeGone, Unreachable
from gfs_ha.ids import Birth, ChunkId
from gfs_ha.limits import BLOCK_BYTES, MIB
from gfs_ha.net.answers import AnswerReader, Deadline
from gfs_ha.net.asking import ask, showing
from gfs_ha.net.streams import STALL_SLICE_S, Stream
from gfs_ha.protocol.data import DataRequest, Hop, Op, RequestFlag
from gfs_ha.protocol.frames import DataEcho, FrameKind, decode_echo
from gfs_ha.protocol.grid import cuts, range_crc
from gfs_ha.protocol.tickets import OperationPass

FETCH_SILENCE_S = 3.0  # A read sends no progress frames, and a disk may take a while.
_WINDOW_BYTES = MIB  # Checked while it is still in the second-level cache.


@dataclass(frozen=True, slots=True)
class FetchTarget:
    """The replica to read from."""

    hop: Hop
    chunk_id: ChunkId
    birth: Birth
    given: OperationPass | None = None  # Of the ticket of the hop.


@dataclass(frozen=True, slots=True)
class Fetched:
    """A range that arrived whole.

    Fields:
        crc: CRC-32C of the range, to be compared with the extent's.
        crcs: of its grid parts, to be compared with the block array of a sealed chunk.
    """

    crc: int
    crcs: array[int]
    sealed: bool


@dataclass(frozen=True, slots=True)
class SealedBlocks:
    """Length and block CRCs of a sealed chunk; `digest` is that of the CRCs (C4)."""

    length: int
    digest: int
    crcs: array[int]


class Fetch:
    """One read from one replica. `abort` may be called from another thread, to give up early."""

    def __init__(self, room: DataRoom, target: FetchTarget, deadline_s: float) -> None:
        self._room = room
        self._target = target
        self._deadline = Deadline(room.runtime, deadline_s)
        self._address = (target.hop.host, target.hop.port)
        self._stream: Stream | None = None

    def read(self, offset: int, into: memoryview) -> Fetched:
        """Fill `into` from `offset` of the chunk, and return its CRCs.

        Raises: CorruptData (`details["confirmed"]` is 1 when the server found the damage itself),
        UnknownReplica, WrongBirth, ChunkUnavailable, RangeGone, ReplicaDamaged, Unreachable,
        WrongCluster, DeadlineExceeded.
        """
        echo, bad = self._read(offset, into, RequestFlag(0))
        if bad is not None:
            self._blame(offset, cuts(offset, len(into))[bad])
        return Fetched(range_crc(offset, len(into), echo.crcs), echo.crcs, echo.sealed)

    def _blame(self, offset: int, cut: tuple[int, int]) -> None:
        """Raise CorruptData, after asking the server to read the bad part itself."""
        start, end = cut
        where = f"{end - start} bytes at {offset + start} of chunk {self._target.chunk_id:#x}"
        server = self._target.hop.server_id
        block = (offset + start) // BLOCK_BYTES
        try:
            self._read(offset + start, memoryview(bytearray(end - start)), RequestFlag.CHECKED)
        except CorruptData:
            raise CorruptData(
                f"{where} are damaged on server {server}; read another replica",
                block=block,
                server=server,
                confirmed=1,
            ) from None
        except RangeGone:
            raise  # It was given back while it was read: no damage.
        except GfsError:
            pass  # It cannot tell; the error below stands.
        raise CorruptData(
            f"{where} arrived damaged from server {server}; read again or another replica",
            block=block,
            server=server,
            confirmed=0,
        )

    def read_blocks(self) -> SealedBlocks:
        """Return the block CRCs of a sealed chunk, which fit the digest beside them.

        Compare the digest with the leader's. Raises: ReplicaBusy if it is not sealed there;
        CorruptData if CRCs and digest differ; as `read`.
        """
        reader = self._ask(Op.BLOCKS, 0, 0, RequestFlag(0))
        try:
            kind, body = reader.wait()
            echo = self._check_echo(kind, FrameKind.BLOCKS, body)
        except BaseException:
            self._drop()
            raise
        self._keep()
        if chunk_digest(echo.crcs) != echo.digest:
            raise CorruptData(
                f"the block CRCs of chunk {echo.chunk_id:#x} do not fit their digest",
                server=self._target.hop.server_id,
                confirmed=1,
            )
        return SealedBlocks(echo.length, echo.digest, echo.crcs)

    def abort(self) -> None:
        """End it from another thread."""
        stream = self._stream
        if stream is not None:
            stream.abort()

    def _read(
        self, offset: int, into: memoryview, flags: RequestFlag
    ) -> tuple[DataEcho, int | None]:
        """Return the answer and the index of the first part that arrived wrong."""
        reader = self._ask(Op.FETCH, offset, len(into), flags)
        try:
            kind, body = reader.wait()
            echo = self._check_echo(kind, FrameKind.DATA, body)
            if (echo.offset, echo.length) != (offset, len(into)):
                raise ProtocolError(f"asked for {len(into)} bytes at {offset}, got another range")
            bad = self._receive(echo, into)
        except BaseException:
            self._drop()
            raise
        self._keep()
        return echo, bad

    def _ask(self, op: Op, offset: int, length: int, flags: RequestFlag) -> AnswerReader:
        request = DataRequest(
            op=op,
            cluster=self._room.cluster,
            target=self._target.hop.server_id,
            chunk_id=self._target.chunk_id,
            birth=self._target.birth,
            offset=offset,
            length=length,
            deadline_ms=max(1, int(self._deadline.left_s() * 1000)),
            op_id=self._room.runtime.random_u64() or 1,
            flags=flags,
            label=self._room.label,
            trace_id=self._room.trace_id,
        )
        request = showing(request, self._target.given, self._target.hop.ticket, self._room.runtime)
        self._deadline.check()
        self._stream = self._room.streams.take(self._address)
        reader = AnswerReader(self._stream, request.op_id, self._deadline, FETCH_SILENCE_S)
        try:
            ask(self._stream, request, [], reader.stall)
        except BaseException:
            self._drop()
            raise
        return reader

    def _check_echo(self, kind: FrameKind, wanted: FrameKind, body: bytes) -> DataEcho:
        if kind is not wanted:
            raise ProtocolError(f"a {kind.name} frame where {wanted.name} was expected")
        echo = decode_echo(body)
        if echo.chunk_id != self._target.chunk_id:
            raise ProtocolError(f"an answer about another chunk, {echo.chunk_id:#x}")
        return echo

    def _receive(self, echo: DataEcho, into: memoryview) -> int | None:
        stream = self._stream
        assert stream is not None
        silence = _Silence(self._deadline, stream.peer)
        parts = cuts(echo.offset, len(into))
        bad = None
        index = 0
        while index < len(parts):
            start = parts[index][0]
            after = index + 1
            while after < len(parts) and parts[after][1] - start <= _WINDOW_BYTES:
                after += 1
            stream.receive(into[start : parts[after - 1][1]], silence.stall)
            for part in range(index, after):
                begin, end = parts[part]
                if crc32c(into[begin:end]) != echo.crcs[part] and bad is None:
                    bad = part
            index = after
        return bad

    def _keep(self) -> None:
        assert self._stream is not None
        self._room.streams.give_back(self._address, self._stream)
        self._stream = None

    def _drop(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


class _Silence:
    """Gives up on a server that sends nothing for too long amid its answer."""

    def __init__(self, deadline: Deadline, peer: str) -> None:
        self._deadline = deadline
        self._peer = peer
        self._slices = 0

    def stall(self, idle_s: float) -> None:
        self._deadline.check()
        self._slices = self._slices + 1 if idle_s else 0
        if self._slices * STALL_SLICE_S >= FETCH_SILENCE_S:
            raise Unreachable(f"{self._peer} was silent for {FETCH_SILENCE_S:g} s")
