"""What a data port tells of requests: every write, and of reads those that fail or take long."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from gfs_ha.chunk.request_lines import SLOW_S, DataLines
from gfs_ha.errors import ChunkUnavailable, CorruptData, DiskFull, UnknownReplica
from gfs_ha.ids import ChunkId, Epoch, ServerId, TraceId
from gfs_ha.logs.requests import BURST_LINES, RequestLog
from gfs_ha.logs.ring import LogEntry, LogRing
from gfs_ha.protocol.data import DataRequest, Hop, Op, RequestFlag
from gfs_ha.protocol.frames import ReplicaAck, failed_ack
from gfs_ha.runtime import ThreadedRuntime

TRACE = TraceId(0xBEEF)
HOPS = (Hop(ServerId(2), "h", 1), Hop(ServerId(3), "h", 2))


class HandClock(ThreadedRuntime):
    now_s = 50.0

    def monotonic_s(self) -> float:
        return self.now_s


class House:
    def __init__(self) -> None:
        self.ring = LogRing()
        logging.getLogger().handlers = [self.ring]
        logging.getLogger().setLevel("INFO")
        self.clock = HandClock()
        self.log = RequestLog(self.clock, logging.getLogger("gfs_ha.requests"))
        self.lines = DataLines(self.log, self.clock)

    def told(self) -> list[LogEntry]:
        self.log.write()
        return self.ring.entries()


@pytest.fixture
def house() -> Iterator[House]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield House()
    root.handlers[:] = handlers
    root.setLevel(level)


def request(op: Op = Op.PUSH, flags: int = 0) -> DataRequest:
    return DataRequest(
        *(op, 5, ServerId(1), ChunkId(0x1F), Epoch(1, 3), 4096, 100, 1000, 9),
        flags=RequestFlag(flags),
        hops=HOPS if op is Op.PUSH else (),
        label="ann b@host",
        trace_id=TRACE,
    )


def ack(server: int) -> ReplicaAck:
    return ReplicaAck(ServerId(server), "", 4196)


def test_a_push_is_told_with_all_copies(house: House) -> None:
    house.clock.now_s += 0.25
    house.lines.pushed(request(), 100, (ack(1), ack(2), ack(3)), 50.0)
    (line,) = house.told()
    assert line.trace_id == TRACE and line.level == logging.INFO
    assert line.text == (
        "push chunk=0x1f at=4096 bytes=100 client=ann:b@host outcome=done copies=3/3 ms=250.0"
    )


def test_a_push_that_failed_here_is_a_warning_when_the_disk_is_to_blame(house: House) -> None:
    mine = failed_ack(ServerId(1), DiskFull("full"))
    house.lines.pushed(request(), 100, (mine, ack(2)), 50.0)
    (line,) = house.told()
    assert line.level == logging.WARNING and "outcome=DiskFull copies=1/3" in line.text


def test_notes_of_a_primary_are_not_told_and_its_pushes_do_not_hide_puts(house: House) -> None:
    records = request(flags=RequestFlag.RECORDS)
    house.lines.pushed(records, 0, (ack(1),), 50.0)
    assert not house.told()
    for _ in range(BURST_LINES + 10):
        house.lines.pushed(records, 100, (ack(1),), 50.0)
    house.lines.pushed(request(), 77, (ack(1),), 50.0)
    lines = house.told()
    assert len(lines) == BURST_LINES + 1 and "bytes=77" in lines[-1].text


def test_reads_are_told_when_they_fail_or_take_long(house: House) -> None:
    fetch = request(Op.FETCH)
    house.lines.read(fetch, 50.0)
    house.lines.failed(fetch, ChunkUnavailable("not so far yet", end=5), 50.0)
    assert not house.told()
    house.lines.failed(fetch, UnknownReplica("none"), 50.0)
    house.lines.failed(fetch, CorruptData("bad"), 50.0)
    house.clock.now_s += SLOW_S
    house.lines.read(fetch, 50.0)
    lines = house.told()
    assert [line.level for line in lines] == [logging.INFO, logging.WARNING, logging.INFO]
    assert lines[0].text.startswith("request op=fetch chunk=0x1f at=4096 bytes=100 client=")
    assert lines[2].text.endswith("outcome=done ms=1000.0")


def test_a_stream_of_records_is_told_once_at_its_end(house: House) -> None:
    house.lines.appended(request(Op.APPEND), 12, "", 50.0)
    house.lines.appended(request(Op.APPEND), 0, "Fenced", 50.0)
    told = [line.text for line in house.told()]
    assert told[0] == "append chunk=0x1f client=ann:b@host records=12 outcome=done ms=0.0"
    assert "records=0 outcome=Fenced" in told[1]
