"""A client that appends, by the rules of the library, a step at a time (C8)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from gfs_ha.checksum import crc32c
from gfs_ha.chunk.appends.append_stream import AppendStream
from gfs_ha.chunk.appends.waiting_room import cost_of
from gfs_ha.chunk.progress import DiskWatch
from gfs_ha.client.append_records import Appended, PendingRecords, Settled
from gfs_ha.errors import GfsError
from gfs_ha.ids import ChunkId, ServerId, SessionId, StartId
from gfs_ha.limits import APPEND_WINDOW, BLOCK_BYTES
from gfs_ha.protocol.frames import (
    FRAME_BYTES,
    FrameKind,
    decode_error,
    decode_frame,
)
from gfs_ha.protocol.records import RecordAck, RecordHeader, decode_record_acks
from gfs_ha.runtime import ThreadedRuntime

RUNTIME = ThreadedRuntime()
_HEAD = struct.Struct("<4sQII")
_LENGTHS = (0, 5, 300, 3000, 9000, 40_000, BLOCK_BYTES - _HEAD.size, 150_000)
Found = list[tuple[int, tuple[int, int], int]]


def content_of(appender: SessionId, sequence: int) -> bytes:
    """Return the bytes of a record, which say whose it is."""
    length = _LENGTHS[crc32c(b"%d %d" % (appender, sequence)) % len(_LENGTHS)]
    filler = crc32c(b"%d" % (appender * 1000 + sequence)).to_bytes(4, "little") * (length // 4 + 1)
    return _HEAD.pack(b"REC!", appender, sequence, length) + filler[:length]


def parse(data: bytes) -> Found:
    """Return (offset, (appender, sequence), length) of all records; each has to be whole."""
    found: Found = []
    at = 0
    while at < len(data):
        magic, appender, sequence, length = _HEAD.unpack_from(data, at)
        assert magic == b"REC!", f"no record at {at}"
        size = _HEAD.size + length
        expected = content_of(SessionId(appender), sequence)
        assert data[at : at + size] == expected, f"record {sequence} of {appender} is another one"
        found.append((at, (appender, sequence), size))
        at += size
    return found


@dataclass(frozen=True)
class Grant:
    chunk_id: ChunkId
    primary: ServerId
    start_id: StartId
    file_offset: int
    known: Any


class Pipe:
    """A connection: what each side sent and the other has not taken; the far end of a stream."""

    def __init__(self) -> None:
        self.up: list[bytes] = []  # Frames to the client.
        self.down: list[tuple[RecordHeader, bytes]] = []
        self.broken = False

    def send_now(self, frame: bytes) -> bool:
        self.up.append(bytes(frame))
        return True

    def abort(self) -> None:
        self.broken = True


class Client:
    """Appends records one after the other; each is settled once."""

    def __init__(self, run: Any, appender: SessionId, keyed: bool) -> None:
        self.run, self.appender, self.keyed = run, appender, keyed
        self.told: dict[int, int] = {}  # Where acknowledged records lie; -1: somewhere.
        self.unknown: set[int] = set()
        self._pending = PendingRecords(1)
        self._grant: Grant | None = None
        self._waits: Grant | None = None  # An answer of the leader on its way.
        self._refused = ChunkId(0)
        self._pipe: Pipe | None = None
        self._stream: AppendStream | None = None
        self._earlier: dict[int, Any] = {}
        self._done_below = 0
        self._leftover: list[tuple[Any, AppendStream, Pipe]] = []

    def step(self) -> None:
        rng = self.run.rng
        act = rng.choice((self._add, self._go_on, self._go_on, self._deliver, self._hear))
        act()
        if rng.random() < 0.004:
            self._lose()

    def hang_up(self) -> None:
        self._lose()

    # Records --------------------------------------------------------------------------------------

    def _add(self) -> None:
        if len(self._pending) < 6 and self._pending.next_sequence < 60:
            data = content_of(self.appender, self._pending.next_sequence)
            self._pending.add(data, RUNTIME.future())

    def _settle(self, settled: Settled | None) -> None:
        if settled is None:
            return
        result = settled.result
        assert isinstance(result, Appended), result
        before = self.told.get(result.sequence, result.offset)
        assert result.offset < 0 or before < 0 or result.offset == before, (
            f"record {result.sequence} is told at {result.offset} and was at {before}"
        )
        self.told[result.sequence] = max(before, result.offset)

    # The leader -----------------------------------------------------------------------------------

    def _go_on(self) -> None:
        if self._stream is not None:
            self._send()
        elif self._waits is not None:
            grant, self._waits = self._waits, None
            self._accept(grant)
        elif self._grant is not None and not self._pending.in_doubt():
            self._connect(self._grant)
        elif len(self._pending):
            self._ask()

    def _ask(self) -> None:
        sequences = tuple(self._pending.in_doubt())
        first = self._pending.window_start
        while True:
            if self.keyed:
                sequences = tuple(range(first, first + APPEND_WINDOW))
            grant = self.run.grant(self.appender, sequences, self._refused)
            if grant is None or not self.keyed or grant.known.window_start <= first:
                break
            first = grant.known.window_start
        if grant is not None and self.run.rng.random() < 0.9:
            self._waits = grant  # Its answer is heard later, or never.

    def _accept(self, grant: Grant) -> None:
        assert not grant.known.expired
        self._refused = ChunkId(0)
        self._grant = grant
        for one in grant.known.results:
            before = one.sequence not in self._pending.in_doubt()
            settled = self._pending.found(one.sequence, one.file_offset, one.length, before)
            self._settle(settled)
        self._earlier = {one.sequence: one for one in grant.known.results} if self.keyed else {}
        self._done_below = grant.known.window_start if self.keyed else 0
        for sequence in self._pending.below(self._done_below):
            self._settle(self._pending.found(sequence, -1, 0, True))
        self._connect(grant)

    # The stream -----------------------------------------------------------------------------------

    def _connect(self, grant: Grant) -> None:
        server = self.run.servers[grant.primary]
        if not server.up:
            self._trouble()
            return
        pipe = Pipe()
        try:
            tail = server.primary._led(
                grant.chunk_id, self.run.masters.chunk(grant.chunk_id).birth, grant.start_id
            )
            stream = AppendStream(pipe, 7, DiskWatch(RUNTIME), RUNTIME)  # type: ignore[arg-type]
            tail.join(stream)
        except (GfsError, AttributeError):
            self._trouble()
            return
        self._pipe, self._stream, self._tail = pipe, stream, tail
        self._server, self._life = server, server.life
        self._pending.begin_again()

    def _send(self) -> None:
        assert self._pipe is not None
        for record in self._pending.take_unsent(60_000):
            known = self._earlier.get(record.sequence)
            if known is not None:
                place = (known.file_offset, known.length)
                self._settle(self._pending.found(record.sequence, *place, True))
            elif record.sequence < self._done_below:
                self._settle(self._pending.found(record.sequence, -1, 0, True))
            else:
                start = min(self._pending.window_start, record.sequence)
                size = len(record.data)
                head = RecordHeader(self.appender, record.sequence, start, size, record.crc)
                self._pipe.down.append((head, bytes(record.data)))

    def _deliver(self) -> None:
        """Let the primary read from a stream, also from one that its client has left."""
        rng = self.run.rng
        ends = list(self._leftover)
        if self._stream is not None and self._pipe is not None:
            ends.append(((self._server, self._life, self._tail), self._stream, self._pipe))
        if not ends:
            return
        one = rng.choice(ends)
        (server, life, tail), stream, pipe = one
        if not server.up or server.life != life or not pipe.down:
            if one in self._leftover:
                self._leftover.remove(one)
            return
        count = rng.randint(1, len(pipe.down))
        records, pipe.down = pipe.down[:count], pipe.down[count:]
        cost = cost_of(len(records), sum(len(data) for _, data in records))
        tail.make_room(cost)
        kept, _ = tail.bring(stream, records)
        tail.give_room(cost - kept)

    def _hear(self) -> None:
        pipe = self._pipe
        if pipe is None:
            return
        if not (self._server.up and self._server.life == self._life) and not pipe.up:
            self._lose()
            self._trouble()
            return
        if not pipe.up:
            return
        frame = pipe.up.pop(0)
        head = decode_frame(frame[:FRAME_BYTES])
        body = frame[FRAME_BYTES:]
        if head.kind is FrameKind.RECORDED:
            self._acknowledged(decode_record_acks(body))
        elif head.kind is FrameKind.FAILED:
            error = decode_error(body)
            unwritten = error.details.get("unwritten") == 1
            self._lose()
            if unwritten:
                self._pending.unwritten()
            self._trouble()

    def _acknowledged(self, acks: tuple[RecordAck, ...]) -> None:
        assert self._grant is not None
        for ack in acks:
            offset = ack.offset if ack.offset < 0 else self._grant.file_offset + ack.offset
            self._settle(self._pending.found(ack.sequence, offset, ack.length, False))

    def _trouble(self) -> None:
        if self._grant is not None:
            self._refused = self._grant.chunk_id
        self._grant = None

    def _lose(self) -> None:
        """The connection breaks; what was sent may still be read by the primary."""
        if self._stream is None:
            return
        assert self._pipe is not None
        if self.run.rng.random() < 0.5:
            self._leftover.append(
                ((self._server, self._life, self._tail), self._stream, self._pipe)
            )
        self._stream = self._pipe = None
        if self.run.rng.random() < 0.5:
            self._trouble()

    # The end --------------------------------------------------------------------------------------

    def check(self, found: Found) -> None:
        """All that was acknowledged is in the file, where it was told; others may be."""
        places = {name: at for at, name, _ in found}
        for sequence, offset in self.told.items():
            name = (self.appender, sequence)
            assert name in places, f"record {name} was acknowledged at {offset} and is lost"
            assert offset in (-1, places[name]), f"record {name} is at {places[name]}, not {offset}"
        certain = set(range(1, self._pending.next_sequence)) - self.told.keys()
        certain -= set(self._pending.in_doubt())
        if not self.keyed:
            wrong = [one for one in certain if (self.appender, one) in places]
            assert not wrong, f"records {wrong} were never sent and are there"
