"""The client's end of an APPEND stream, byte by byte, and orders that make tails on a street."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec
from chunk_house import BIRTH, CHUNK, CLUSTER, House
from replica_house import RUNTIME

from gfs_ha.checksum import crc32c
from gfs_ha.chunk.primary import Primary
from gfs_ha.chunk.progress import ProgressTicker
from gfs_ha.chunk.push import PushRoom
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.errors import GfsError
from gfs_ha.ids import ChunkId, DiskId, LogIndex, SessionId, StartId
from gfs_ha.limits import MIB
from gfs_ha.net.stream_pool import StreamPool
from gfs_ha.net.streams import TcpStreams
from gfs_ha.protocol.control import CopySource, CreateReplica
from gfs_ha.protocol.data import DataRequest, Op, cluster_hash, encode_request
from gfs_ha.protocol.frames import FRAME_BYTES, FrameKind, check_frame, decode_error, decode_frame
from gfs_ha.protocol.records import (
    RecordAck,
    RecordHeader,
    TailLength,
    decode_record_acks,
    decode_tail_length,
    encode_record_head,
)

MAKING = LogIndex(10)
APPENDER = SessionId(5)
PATIENCE_S = 60.0


def primary_of(store: ChunkStore, start_id: int = 100) -> Primary:
    """A primary without a data port, for orders only."""
    pool = StreamPool(TcpStreams(RUNTIME), RUNTIME)
    return Primary(PushRoom(store, pool, ProgressTicker(RUNTIME), RUNTIME), StartId(start_id))


def start_of(house: House) -> StartId:
    return StartId(house.store.server_id * 100)


def order_tail(
    houses: Sequence[House],
    capacity: int = 4 * MIB,
    durability: str = "disk",
    chunk_id: ChunkId = CHUNK,
) -> None:
    """Make the replicas of the tail of the tests; the first house is its primary."""
    order = CreateReplica(chunk_id, BIRTH, MAKING, DiskId(0), durability, capacity)
    chain = tuple(
        CopySource(house.hop.server_id, house.hop.host, house.hop.port) for house in houses[1:]
    )
    for house in houses[1:]:
        house.port.primary.create(order)
    head = msgspec.structs.replace(order, chain=chain, primary_start=start_of(houses[0]))
    houses[0].port.primary.create(head)


def request_to(house: House, op: Op, **changed: object) -> DataRequest:
    request = DataRequest(
        op=op,
        cluster=cluster_hash(CLUSTER),
        target=house.store.server_id,
        chunk_id=CHUNK,
        birth=BIRTH,
        offset=0,
        length=0,
        deadline_ms=20_000,
        op_id=7,
        start_id=start_of(house),
    )
    return msgspec.structs.replace(request, **changed)


def record_bytes(
    sequence: int, data: bytes, window_start: int = 1, appender: SessionId = APPENDER
) -> bytes:
    head = RecordHeader(appender, sequence, window_start, len(data), crc32c(data))
    return encode_record_head(head) + data


class Appending:
    """One stream of records, and what came back on it."""

    def __init__(self, house: House, **changed: object) -> None:
        self._stream = TcpStreams(RUNTIME).connect(("127.0.0.1", house.port.port), 5.0)
        self.send(encode_request(request_to(house, Op.APPEND, **changed)))
        self.progress = 0
        self.acks: dict[int, RecordAck] = {}

    def send(self, data: bytes) -> None:
        self._stream.send([data], lambda idle_s: None)

    def append(self, sequence: int, data: bytes, window_start: int = 1) -> None:
        self.send(record_bytes(sequence, data, window_start))

    def wait_for_progress(self) -> None:
        """Wait until it is told once more that work goes on."""
        seen = self.progress
        while self.progress == seen:
            kind, body = self._any_frame()
            if kind is FrameKind.FAILED:
                raise decode_error(body)
            if kind is FrameKind.RECORDED:
                self._note(body)

    def next_frame(self) -> tuple[FrameKind, bytes]:
        """Return the next frame, but progress. Raises: Unreachable at the end of the stream."""
        while True:
            kind, body = self._any_frame()
            if kind is not FrameKind.PROGRESS:
                return kind, body

    def _any_frame(self) -> tuple[FrameKind, bytes]:
        head = memoryview(bytearray(FRAME_BYTES))
        self._stream.receive(head, _give_up)
        frame = decode_frame(head)
        body = memoryview(bytearray(frame.body_length))
        if body:
            self._stream.receive(body, _give_up)
        check_frame(frame, head, body)
        assert frame.op_id in (7, 0)
        self.progress += frame.kind is FrameKind.PROGRESS
        return frame.kind, bytes(body)

    def _note(self, body: bytes) -> None:
        for ack in decode_record_acks(body):
            self.acks[ack.sequence] = ack

    def wait_for(self, *sequences: int) -> list[RecordAck]:
        """Return the acknowledgements of these records. Raises: the error in a FAILED frame."""
        while not all(one in self.acks for one in sequences):
            kind, body = self.next_frame()
            if kind is FrameKind.FAILED:
                raise decode_error(body)
            assert kind is FrameKind.RECORDED
            self._note(body)
        return [self.acks[one] for one in sequences]

    def failure(self) -> GfsError:
        """Return why the stream ended."""
        try:
            self.wait_for(-1)
        except GfsError as error:
            return error
        raise AssertionError("it did not fail")

    def close(self) -> None:
        self._stream.close()


def _give_up(idle_s: float) -> None:
    assert idle_s < PATIENCE_S, "nothing came"


@contextmanager
def appending(house: House, **changed: object) -> Iterator[Appending]:
    one = Appending(house, **changed)
    try:
        yield one
    finally:
        one.close()


def tail_length(house: House, **changed: object) -> TailLength:
    """Return what a server says about the length of the tail. Raises: its error."""
    stream = TcpStreams(RUNTIME).connect(("127.0.0.1", house.port.port), 5.0)
    try:
        request = encode_request(request_to(house, Op.TAIL_LENGTH, **changed))
        stream.send([request], lambda idle_s: None)
        head = memoryview(bytearray(FRAME_BYTES))
        stream.receive(head, _give_up)
        frame = decode_frame(head)
        body = memoryview(bytearray(frame.body_length))
        stream.receive(body, _give_up)
        if frame.kind is FrameKind.FAILED:
            raise decode_error(bytes(body))
        assert frame.kind is FrameKind.TAIL
        return decode_tail_length(bytes(body))
    finally:
        stream.close()
