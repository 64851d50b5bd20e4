"""What was begun with a ticket ends with it: records to the moment, pushes and reads soon after."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from append_house import APPENDER, order_tail, start_of
from chunk_house import BIRTH, CHUNK
from replica_house import noise
from sealed_house import (
    RUNTIME,
    Guarded,
    Leader,
    patient,
    push_sealed,
    request_of,
    sealed_room,
    sealed_street,
)

from gfs_ha.client.append_records import Appended, Record
from gfs_ha.client.append_stream import AppendStream
from gfs_ha.client.data_room import DataRoom
from gfs_ha.client.push import Push
from gfs_ha.errors import TicketRefused, Unreachable
from gfs_ha.ids import InodeId, LogIndex, make_chunk_id
from gfs_ha.limits import MIB
from gfs_ha.net import ticket_guard
from gfs_ha.net.asking import ask
from gfs_ha.protocol.append import AppendGrant
from gfs_ha.protocol.data import DEADLINE_MS_MAX
from gfs_ha.protocol.metadata import FileTail, Location
from gfs_ha.protocol.records import RecordHeader, encode_record_head
from gfs_ha.runtime import Future

LEFT_MS = 300
LATE_S = 0.2
WAIT_S = 30.0


def soon(left_ms: int = LEFT_MS) -> int:
    return RUNTIME.monotonic_ns() // 1_000_000 + left_ms


def grant(leader: Leader, one: Guarded, ends_ms: int) -> AppendGrant:
    hop = leader.hop(one, ends_ms=ends_ms)
    place = Location(hop.server_id, "cs1", hop.host, hop.port, "r", "m", ticket=hop.ticket)
    start = start_of(one.house)
    tail = FileTail(CHUNK, BIRTH, 0, 0, one.server_id, start, LogIndex(1), (place,), leader.given)
    return AppendGrant(InodeId(1), tail, MIB, "disk", 60_000, MIB // 4)


def record(sequence: int) -> Record:
    done: Future[Appended] = RUNTIME.future()
    return Record(sequence, b"record %d\n" % sequence, done)


def answers(stream: AppendStream) -> list[int]:
    return [ack.sequence for ack in stream.receive(True)]


def begun(room: DataRoom, leader: Leader, one: Guarded) -> tuple[AppendStream, float]:
    """Return a stream whose first record is written, and when its ticket ends.

    That is soon, and later only where a machine is so slow that it was over before that record.
    """
    for times in (1, 8, 64):
        left_ms = times * LEFT_MS
        stream = None
        ends_s = RUNTIME.monotonic_s() + left_ms / 1000
        try:
            stream = AppendStream(room, grant(leader, one, soon(left_ms)))
            stream.send(APPENDER, 1, [record(1)], alone=False)
            while not answers(stream):
                pass
        except TicketRefused:
            if stream is not None:
                stream.close()
        else:
            return stream, ends_s
    raise AssertionError("no ticket was good for as long as a record takes")


def test_a_stream_of_records_ends_with_its_ticket_and_says_what_it_wrote(tmp_path: Path) -> None:
    with sealed_street(tmp_path, 1) as (one,), sealed_room() as room:
        order_tail([one.house])
        leader = Leader([one])
        answered, sent = [1], 1
        stream, _ = begun(room, leader, one)
        refused = dict(one.refused)
        ends_s = RUNTIME.monotonic_s() + WAIT_S
        with closing(stream), pytest.raises(TicketRefused) as told:
            while RUNTIME.monotonic_s() < ends_s:
                sent += 1
                stream.send(APPENDER, sent, [record(sent)], alone=False)
                while sent not in answered and RUNTIME.monotonic_s() < ends_s:
                    answered += answers(stream)
        assert told.value.details == {"reason": "expired", "unwritten": 1}
        assert answered == list(range(1, len(answered) + 1))

        # The next one goes on with a new ticket, where this one ended.
        with closing(AppendStream(room, grant(leader, one, soon() + 60_000))) as again:
            again.send(APPENDER, sent, [record(sent)], alone=False)
            while sent not in answered:
                answered += answers(again)
        assert one.refused == refused
        whole = b"".join(record(number).data for number in range(1, sent + 1))
        assert one.house.store.fence(CHUNK, BIRTH, LogIndex(50)).end == len(whole)


def test_records_that_are_on_their_way_when_the_ticket_ends_are_not_written(tmp_path: Path) -> None:
    with sealed_street(tmp_path, 1) as (one,), sealed_room() as room:
        order_tail([one.house])
        stream, ends_s = begun(room, Leader([one]), one)
        with closing(stream):
            whole = _wire(record(2))
            stream._stream.send([whole[:-4]], patient)
            RUNTIME.sleep(max(0.0, ends_s - RUNTIME.monotonic_s()) + LEFT_MS / 1000)
            stream._stream.send([whole[-4:]], patient)
            with pytest.raises(TicketRefused):
                while True:
                    assert answers(stream) == []
        assert one.house.store.fence(CHUNK, BIRTH, LogIndex(50)).end == len(record(1).data)


def _wire(one: Record) -> bytes:
    head = RecordHeader(APPENDER, one.sequence, 1, len(one.data), one.crc)
    return encode_record_head(head) + one.data


@pytest.mark.parametrize("short", [0, 1])
def test_a_push_ends_soon_after_the_first_ticket_of_its_chain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: int
) -> None:
    monkeypatch.setattr(ticket_guard, "TICKET_LATE_S", LATE_S)
    with sealed_street(tmp_path, 2) as guarded, sealed_room() as room:
        leader = Leader(guarded)
        hops = [
            leader.hop(one, **({"ends_ms": soon()} if number == short else {}))
            for number, one in enumerate(guarded)
        ]
        target = replace(leader.target(), chain=tuple(hops))
        with Push(room, target, 0, MIB, WAIT_S) as push:
            push.write(noise(MIB // 2))
            RUNTIME.sleep(LEFT_MS / 1000 + 6 * LATE_S)
            push.write(noise(MIB // 4))
            result = push.finish()
        assert not result.complete
        acks = {ack.server_id: ack for ack in result.acks}
        assert not acks[guarded[short].server_id].complete
        assert push_sealed(room, leader.target(make_chunk_id(1, 9)), b"and it goes on").complete


def test_who_reads_slowly_is_hung_up_on_soon_after_his_ticket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticket_guard, "TICKET_LATE_S", LATE_S)
    length = 16 * MIB  # More than fits the buffers of two sockets.
    with sealed_street(tmp_path, 1) as (one,), sealed_room() as room:
        leader = Leader([one])
        target = replace(leader.target(), capacity=length)
        assert push_sealed(room, target, bytes(length)).complete
        ticket = leader.ticket(one, ends_ms=soon())
        request = request_of(one, leader, ticket, length=length, deadline_ms=DEADLINE_MS_MAX)
        with closing(room.streams.take((one.house.hop.host, one.house.hop.port))) as stream:
            ask(stream, request, [], patient)
            ends_s = RUNTIME.monotonic_s() + WAIT_S
            assert stream.wait(WAIT_S)
            while one.house.port.serving_count and RUNTIME.monotonic_s() < ends_s:
                RUNTIME.sleep(0.02)
            assert not one.house.port.serving_count
            with pytest.raises(Unreachable):
                stream.receive(memoryview(bytearray(length)), patient)
