"""Growing files in memory: a leader's table of records, and primaries on real streams with faults.

A model of the masters' and the chunkserver's side of record append, as small as can be: what it
knows of exactly-once is a dictionary for each chunk and one for the file. `Primary` may lose the
answer to a record it took, fall silent, refuse, or hang up, as a test says.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from little_cluster import LittleMasters
from msgspec import structs

from gfs_ha.checksum import crc32c
from gfs_ha.errors import Fenced, FileChanged, GfsError, SessionExpired, TailFull, Unreachable
from gfs_ha.ids import ChunkId, Epoch, InodeId, LogIndex, ServerId, SessionId, StartId
from gfs_ha.net.streams import Stream, TcpStreams
from gfs_ha.protocol.append import (
    AppendGrant,
    AppendResult,
    ConfirmTail,
    FindRecords,
    GrantAppend,
    RecordsFound,
)
from gfs_ha.protocol.calls import Asked, Reply
from gfs_ha.protocol.data import PREFIX_BYTES, Op, decode_request, request_length
from gfs_ha.protocol.frames import FrameKind, encode_error, encode_frame
from gfs_ha.protocol.metadata import (
    Done,
    Extent,
    FileOpened,
    FileStatus,
    FileTail,
    Location,
    OpenFile,
)
from gfs_ha.protocol.records import (
    RECORD_HEAD_BYTES,
    RecordAck,
    TailLength,
    decode_record_head,
    encode_record_acks,
    encode_tail_length,
)
from gfs_ha.runtime import ThreadedRuntime

RUNTIME = ThreadedRuntime()
RECORD_MAX = 256 * 1024


class HangUp(Exception):
    """A fault: the primary hangs up here."""


class Babble(Exception):
    """A fault: the primary answers this instead of a frame, and goes on."""

    def __init__(self, words: bytes) -> None:
        super().__init__(words)
        self.words = words


@dataclass
class Tail:
    """An open chunk: its records in order, and whether it still takes any."""

    chunk_id: ChunkId
    inode_id: InodeId
    file_offset: int
    server: Primary
    data: bytearray = field(default_factory=bytearray)
    entries: dict[tuple[SessionId, int], tuple[int, int]] = field(default_factory=dict)
    window_starts: dict[SessionId, int] = field(default_factory=dict)
    fenced: bool = False


# Called before a record is taken and before it is acknowledged; raises what goes wrong there.
Fault = Callable[[str, Tail], None]


class Primary:
    """One chunkserver that orders appends, on a port of its own."""

    def __init__(self, number: int) -> None:
        self.server_id = ServerId(number)
        self.start_id = StartId(1000 + number)
        self.lock = threading.Lock()
        self.tails: dict[ChunkId, Tail] = {}
        self.faults: deque[Fault] = deque()  # Each looks at one record.
        self.record_count = 0
        self._listener = TcpStreams(RUNTIME).listen(("127.0.0.1", 0))
        self._streams: list[Stream] = []
        self.port = self._listener.port
        RUNTIME.spawn("primary", self._accept)

    def location(self) -> Location:
        name = f"cs{self.server_id}"
        return Location(self.server_id, name, "127.0.0.1", self.port, "r1", "h")

    def close(self) -> None:
        self._listener.close()
        for stream in self._streams:
            stream.abort()

    def _accept(self) -> None:
        while True:
            try:
                stream = self._listener.accept()
            except Unreachable:
                return
            if stream is not None:
                self._streams.append(stream)
                RUNTIME.spawn("append stream", lambda stream=stream: self._serve(stream))

    def _serve(self, stream: Stream) -> None:
        try:
            while True:
                request = self._request(stream)
                tail = self.tails[request.chunk_id]
                assert request.start_id == self.start_id
                if request.op is Op.TAIL_LENGTH:
                    told = TailLength(tail.chunk_id, len(tail.data), True)
                    frame = encode_frame(FrameKind.TAIL, request.op_id, encode_tail_length(told))
                    stream.send([frame], _patient)
                    continue
                self._take_records(stream, tail, request.op_id)
        except (Unreachable, HangUp):
            pass
        finally:
            stream.abort()
            stream.close()

    def _request(self, stream: Stream):
        head = bytearray(PREFIX_BYTES)
        stream.receive(memoryview(head), _patient)
        rest = bytearray(request_length(head) - PREFIX_BYTES)
        stream.receive(memoryview(rest), _patient)
        return decode_request(bytes(head + rest))

    def _take_records(self, stream: Stream, tail: Tail, op_id: int) -> None:
        while True:
            head = bytearray(RECORD_HEAD_BYTES)
            stream.receive(memoryview(head), _patient)
            record = decode_record_head(head)
            data = bytearray(record.length)
            stream.receive(memoryview(data), _patient)
            assert crc32c(data) == record.crc
            try:
                ack = self._take(tail, record, data)
            except Babble as babble:
                stream.send([babble.words], _patient)
                continue
            except GfsError as error:
                stream.send([encode_frame(FrameKind.FAILED, op_id, encode_error(error))], _patient)
                raise HangUp from error
            body = encode_record_acks((ack,))
            stream.send([encode_frame(FrameKind.RECORDED, op_id, body)], _patient)

    def _take(self, tail: Tail, record, data: bytearray) -> RecordAck:
        self.record_count += 1
        fault = self.faults.popleft() if self.faults else _no_fault
        fault("before", tail)
        with self.lock:
            if tail.fenced:
                raise Fenced("sealed")
            key = (record.appender, record.sequence)
            start = tail.window_starts.get(record.appender, 0)
            if record.sequence < start and key not in tail.entries:
                return RecordAck(*key, -1, record.length)
            tail.window_starts[record.appender] = max(start, record.window_start)
            if key not in tail.entries:
                if len(tail.data) + len(data) > 1 << 20:
                    raise TailFull("full")
                tail.entries[key] = (len(tail.data), len(data))
                tail.data += data
            offset, length = tail.entries[key]
        fault("after", tail)
        return RecordAck(record.appender, record.sequence, offset, length)


class TailMasters(LittleMasters):
    """The real namespace; tails and their records by the model. `primaries` may be named failed."""

    def __init__(self, primaries: list[Primary]) -> None:
        self.primaries = primaries
        self.open: dict[InodeId, Tail] = {}
        self.sealed: dict[InodeId, bytearray] = {}
        self.table: dict[InodeId, dict[tuple[SessionId, int], tuple[int, int]]] = {}
        self.window_starts: dict[InodeId, dict[SessionId, int]] = {}
        self.grants: list[GrantAppend] = []
        self.grant_errors: deque[GfsError] = deque()
        self.confirming: deque[Callable[[], None]] = deque()  # Done before a confirmation.
        self.expired: set[SessionId] = set()
        self.forgotten: set[InodeId] = set()  # Files that are gone for too long.
        self._chunks = 100
        super().__init__()

    def content(self, path: str) -> bytes:
        """Return all that was appended to a file."""
        with self.lock:
            inode_id = self.view().status(path).inode_id
            self.seal(inode_id)
            return bytes(self.sealed.get(inode_id, b""))

    def _serve(self, asked: Asked) -> Reply:
        match asked.request:
            case GrantAppend() as request:
                return self._grant(request)
            case FindRecords() as request:
                return self._find(request)
            case OpenFile(path) if (found := self.view().status(path)).inode_id in self.open:
                return self._opened(found)
            case ConfirmTail(inode_id, chunk_id):
                if self.confirming:
                    self.confirming.popleft()()
                tail = self.open.get(inode_id)
                if tail is None or tail.chunk_id != chunk_id:
                    raise FileChanged("it was sealed meanwhile")
                return Done()
        return super()._serve(asked)

    def _opened(self, status: FileStatus) -> FileOpened:
        tail = self.open[status.inode_id]
        length = tail.file_offset
        extents = (Extent(0, ChunkId(1), 0, length),) if length else ()
        grown = structs.replace(status, size=length, growing=True)
        return FileOpened(grown, extents, (), False, _told(tail))

    def _grant(self, request: GrantAppend) -> AppendGrant:
        self.grants.append(request)
        if self.grant_errors:
            raise self.grant_errors.popleft()
        if self.view().session(request.appender) is None:
            raise SessionExpired(f"session {request.appender} is unknown or expired")
        inode_id = self.view().status(request.path).inode_id
        if request.inode_id not in (0, inode_id):
            raise FileChanged(f"{request.path} is another file")
        tail = self.open.get(inode_id)
        if tail is not None and request.refused == tail.chunk_id:
            self.seal(inode_id)
            tail = None
        if tail is None:
            tail = self._open(inode_id, request.failed)
        table = self.table.get(inode_id, {})
        results = tuple(
            AppendResult(sequence, *table[request.appender, sequence])
            for sequence in request.sequences
            if (request.appender, sequence) in table
            and sequence >= self.window_starts[inode_id].get(request.appender, 0)
        )
        facts = (inode_id, _told(tail), 1 << 20, "disk", 60_000, RECORD_MAX, results)
        start = self.window_starts.get(inode_id, {}).get(request.appender, 0)
        return AppendGrant(*facts, start, request.appender in self.expired)

    def _find(self, request: FindRecords) -> RecordsFound:
        if request.inode_id in self.forgotten:
            return RecordsFound(expired=True)
        tail = self.open.get(request.inode_id)
        if tail is not None and tail.chunk_id == request.chunk_id:
            self.seal(request.inode_id)
        table = self.table.get(request.inode_id, {})
        keys = [(request.appender, sequence) for sequence in request.sequences]
        start = self.window_starts.get(request.inode_id, {}).get(request.appender, 0)
        results = [
            AppendResult(key[1], *table[key]) for key in keys if key in table and key[1] >= start
        ]
        return RecordsFound(tuple(results), window_start=start)

    def seal(self, inode_id: InodeId) -> None:
        """Fence the open tail, and merge its bytes and records into the file."""
        tail = self.open.pop(inode_id, None)
        if tail is None:
            return
        with tail.server.lock:
            tail.fenced = True
        data = self.sealed.setdefault(inode_id, bytearray())
        assert len(data) == tail.file_offset
        table = self.table.setdefault(inode_id, {})
        for key, (offset, length) in tail.entries.items():
            assert key not in table, f"record {key} is in two chunks"
            table[key] = (tail.file_offset + offset, length)
        data += tail.data
        starts = self.window_starts.setdefault(inode_id, {})
        for appender, start in tail.window_starts.items():
            starts[appender] = max(start, starts.get(appender, 0))

    def reopen(self, inode_id: InodeId) -> Tail:
        """Open another tail on another server, as for another client."""
        old = [one.server_id for one in self.primaries[:1]]
        return self._open(inode_id, tuple(old))

    def _open(self, inode_id: InodeId, failed: tuple[ServerId, ...]) -> Tail:
        free = [one for one in self.primaries if one.server_id not in failed]
        server = (free or self.primaries)[self._chunks % len(free or self.primaries)]
        self._chunks += 1
        start = len(self.sealed.get(inode_id, b""))
        tail = Tail(ChunkId(self._chunks), inode_id, start, server)
        self.open[inode_id] = server.tails[tail.chunk_id] = tail
        return tail


def _told(tail: Tail) -> FileTail:
    server = tail.server
    return FileTail(
        *(tail.chunk_id, Epoch(1, 1), tail.file_offset, 0),
        *(server.server_id, server.start_id, LogIndex(1), (server.location(),)),
    )


def _patient(idle_s: float) -> None:
    pass


def _no_fault(when: str, tail: Tail) -> None:
    pass
