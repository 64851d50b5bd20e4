"""Records down a chain of real data ports: acknowledged when every replica has them, and once."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from append_house import (
    APPENDER,
    PATIENCE_S,
    Appending,
    appending,
    order_tail,
    record_bytes,
    request_to,
    tail_length,
)
from chunk_house import BIRTH, CHUNK, House, client_room, fetch, street
from replica_house import RUNTIME, noise

from gfs_ha.checksum import crc32c
from gfs_ha.chunk import turns
from gfs_ha.chunk.appends.batch_push import check_acks
from gfs_ha.errors import (
    ChunkUnavailable,
    CorruptData,
    DiskFailed,
    DiskFull,
    Fenced,
    GfsError,
    Overloaded,
    ProtocolError,
    TailFull,
    UnknownReplica,
    Unreachable,
    WrongBirth,
)
from gfs_ha.ids import Epoch, LogIndex, ServerId, SessionId, StartId
from gfs_ha.limits import KIB, MIB
from gfs_ha.protocol.data import Op
from gfs_ha.protocol.frames import ReplicaAck
from gfs_ha.protocol.records import RecordAck, TailLength

ORDER = LogIndex(50)


@pytest.fixture
def houses(tmp_path: Path) -> Iterator[list[House]]:
    with street(tmp_path) as made:
        order_tail(made)
        yield made


def proofs(houses: list[House], length: int) -> list[object]:
    for house in houses:
        assert house.store.fence(CHUNK, BIRTH, ORDER).proof
    return [house.store.prove(CHUNK, ORDER, length) for house in houses]


def test_records_are_acknowledged_with_their_place_and_lie_on_every_replica(
    houses: list[House],
) -> None:
    records = [noise(1 + 37 * number, seed=number) for number in range(40)]
    with appending(houses[0]) as stream:
        stream.send(b"".join(record_bytes(n + 1, data) for n, data in enumerate(records)))
        acks = stream.wait_for(*range(1, 41))
    offset = 0
    for number, (ack, data) in enumerate(zip(acks, records, strict=True)):
        assert ack == RecordAck(APPENDER, number + 1, offset, len(data))
        offset += len(data)
    whole = b"".join(records)
    first, *others = proofs(houses, offset)
    assert others == [first, first]
    assert first.crc == crc32c(whole)
    assert [one.sequence for one in first.records] == list(range(1, 41))


def test_big_records_come_whole(houses: list[House]) -> None:
    records = [noise(MIB, seed=1), b"x", noise(200 * KIB, seed=2)]
    with appending(houses[0]) as stream:
        for number, data in enumerate(records):
            stream.append(number + 1, data)
        stream.wait_for(1, 2, 3)
    whole = b"".join(records)
    (first, *_) = proofs(houses, len(whole))
    assert first.crc == crc32c(whole)


def test_a_record_that_was_acknowledged_is_answered_again_and_not_written_again(
    houses: list[House],
) -> None:
    with appending(houses[0]) as one, appending(houses[0]) as other:
        one.append(1, b"once")
        (first,) = one.wait_for(1)
        other.append(1, b"once")
        assert other.wait_for(1) == [first]
    assert tail_length(houses[0]).length == 4


def test_the_same_record_on_two_streams_at_once_is_one_record(houses: list[House]) -> None:
    streams = [Appending(houses[0]) for _ in range(4)]
    try:
        for sequence in range(1, 101):
            for stream in streams:
                stream.append(sequence, b"%03d" % sequence)
        told = [stream.wait_for(*range(1, 101)) for stream in streams]
    finally:
        for stream in streams:
            stream.close()
    assert told[1:] == told[:1] * 3
    assert tail_length(houses[0]).length == 300
    assert {ack.offset for ack in told[0]} == set(range(0, 300, 3))


def test_several_appenders_share_one_tail(houses: list[House]) -> None:
    with appending(houses[0]) as stream:
        for appender in (1, 2, 3):
            stream.send(record_bytes(1, b"abc", appender=SessionId(appender)))
        kinds = set()
        while len(kinds) < 3:
            stream.acks.clear()
            (ack,) = stream.wait_for(1)
            kinds.add(ack.appender)
            if len(kinds) < 3:
                break
    assert kinds <= {1, 2, 3}


def test_a_client_that_hangs_up_does_not_disturb_the_others(houses: list[House]) -> None:
    with appending(houses[0]) as steady:
        for sequence in range(1, 21):
            hasty = Appending(houses[0])
            hasty.append(1000 + sequence, b"left behind")
            hasty.close()
            steady.append(sequence, b"stays")
            (ack,) = steady.wait_for(sequence)
            assert (ack.sequence, ack.length) == (sequence, 5)


def test_readers_get_what_counts_on_the_primary_at_once(houses: list[House]) -> None:
    with client_room() as room, appending(houses[0]) as stream:
        stream.append(1, b"hello")
        stream.wait_for(1)
        assert fetch(room, houses[0], 0, 5)[0] == b"hello"
        assert tail_length(houses[0]) == TailLength(CHUNK, 5, True)
        with pytest.raises(ChunkUnavailable) as caught:
            fetch(room, houses[0], 0, 6)
        assert caught.value.details["end"] == 5


def test_the_others_hear_of_the_last_batch_without_another_one(houses: list[House]) -> None:
    with client_room() as room, appending(houses[0]) as stream:
        stream.append(1, b"hello")
        stream.wait_for(1)
        for house in houses[1:]:
            deadline_s = RUNTIME.monotonic_s() + PATIENCE_S
            while tail_length(house, start_id=StartId(0)).length < 5:
                assert RUNTIME.monotonic_s() < deadline_s, "no note came"
            assert not tail_length(house, start_id=StartId(0)).exact
            assert fetch(room, house, 0, 5)[0] == b"hello"


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"start_id": StartId(0)}, Fenced),
        ({"start_id": StartId(99)}, Fenced),
        ({"birth": Epoch(1, 9)}, WrongBirth),
        ({"chunk_id": CHUNK + 1}, Fenced),
    ],
)
def test_a_stream_that_is_meant_for_another_start_takes_no_record(
    houses: list[House], changed: dict[str, object], error: type[Exception]
) -> None:
    with appending(houses[0], **changed) as stream:
        stream.append(1, b"not for you")
        assert isinstance(stream.failure(), error)
    assert tail_length(houses[0]).length == 0


def test_who_is_no_primary_takes_no_record(houses: list[House]) -> None:
    with appending(houses[1]) as stream:
        assert isinstance(stream.failure(), Fenced)


def test_the_length_for_another_start_is_refused(houses: list[House]) -> None:
    with pytest.raises(Fenced):
        tail_length(houses[0], start_id=StartId(99))
    with pytest.raises(UnknownReplica):
        tail_length(houses[0], chunk_id=CHUNK + 1)


def test_a_fence_on_any_replica_ends_the_appends(houses: list[House]) -> None:
    with appending(houses[0]) as stream, appending(houses[0]) as idle:
        stream.append(1, b"before")
        stream.wait_for(1)
        answer = houses[2].store.fence(CHUNK, BIRTH, ORDER)
        stream.append(2, b"after")
        failure = stream.failure()
        assert isinstance(failure, Fenced) and "server" not in failure.details
        assert isinstance(idle.failure(), Fenced)
    assert answer.end == 6
    with appending(houses[0]) as late:
        late.append(3, b"late")
        assert isinstance(late.failure(), Fenced)
    assert houses[0].port.primary.led()[0].full


def test_a_lost_server_is_named_and_ends_the_appends(houses: list[House]) -> None:
    with appending(houses[0]) as stream:
        stream.append(1, b"before")
        stream.wait_for(1)
        houses[1].stop()
        stream.append(2, b"after")
        failure = stream.failure()
    assert isinstance(failure, Unreachable) and failure.details["server"] == 2
    assert tail_length(houses[0]) == TailLength(CHUNK, 6, True)


def test_a_full_tail_sends_its_streams_on(tmp_path: Path) -> None:
    with street(tmp_path, 2) as houses:
        order_tail(houses, capacity=1000)
        with appending(houses[0]) as stream:
            for sequence in range(1, 12):
                stream.append(sequence, bytes(150))
            assert isinstance(stream.failure(), TailFull)
            assert set(stream.acks) == set(range(1, 7))
        with appending(houses[0]) as late:
            assert isinstance(late.failure(), TailFull)
        (led,) = houses[0].port.primary.led()
        assert led.full and led.length == 900


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (b"GFSX" + bytes(36), ProtocolError),
        (record_bytes(1, b"ok")[:-1] + b"?", CorruptData),
        (record_bytes(1, b"ok", window_start=2), ProtocolError),
        (record_bytes(5000, b"ok"), ProtocolError),
        (record_bytes(1, b"ok", appender=SessionId(0)), ProtocolError),
        (record_bytes(1, bytes(MIB + 1)), ProtocolError),  # More than a quarter of the chunk.
        (record_bytes(1, b""), ProtocolError),
        (record_bytes(1, b"one") + record_bytes(1, b"other"), ProtocolError),
    ],
)
def test_what_is_no_record_ends_its_stream_and_no_other(
    houses: list[House], wrong: bytes, error: type[Exception]
) -> None:
    with appending(houses[0]) as steady, appending(houses[0]) as bad:
        bad.send(wrong)
        assert isinstance(bad.failure(), error)
        steady.append(9, b"fine")
        steady.wait_for(9)


def test_a_record_below_a_known_window_was_appended_nobody_knows_where(houses: list[House]) -> None:
    with appending(houses[0]) as stream:
        stream.append(1, b"a")
        stream.append(2, b"b")
        stream.wait_for(1, 2)
        stream.append(3, b"c", window_start=2)
        stream.wait_for(3)
        stream.append(2, b"b", window_start=2)
        stream.wait_for(2)
        stream.acks.clear()
        stream.append(1, b"a")
        assert stream.wait_for(1)[0].offset == -1
    assert tail_length(houses[0]).length == 3


def test_half_a_record_leaves_nothing(houses: list[House]) -> None:
    cut = Appending(houses[0])
    cut.send(record_bytes(1, b"whole") + record_bytes(2, bytes(1000))[:500])
    cut.wait_for(1)
    cut.close()
    with appending(houses[0]) as stream:
        stream.append(3, b"next")
        (ack,) = stream.wait_for(3)
    assert ack.offset == 5


GOOD = (ReplicaAck(ServerId(1), "", 30), ReplicaAck(ServerId(2), "", 30))


@pytest.mark.parametrize(
    ("acks", "error", "server"),
    [
        (GOOD[:1], Unreachable, 2),
        (GOOD[1:], Unreachable, 1),
        ((GOOD[1], GOOD[0]), Unreachable, None),
        ((GOOD[0], GOOD[0]), Unreachable, 2),
        ((GOOD[0], ReplicaAck(ServerId(2), "", 29)), ProtocolError, 2),
        ((GOOD[0], ReplicaAck(ServerId(2), "DiskFull", 0)), DiskFull, 2),
        ((ReplicaAck(ServerId(1), "DiskFailed", 0), GOOD[1]), DiskFailed, 1),
        ((GOOD[0], ReplicaAck(ServerId(2), "Fenced", 30)), Fenced, None),
    ],
)
def test_a_batch_counts_only_when_each_replica_says_that_it_has_exactly_that(
    houses: list[House], acks: tuple[ReplicaAck, ...], error: type[GfsError], server: int | None
) -> None:
    hops = (houses[1].hop,)
    request = request_to(houses[0], Op.PUSH, offset=10, length=20, hops=hops)
    check_acks("chunk 7", GOOD, request)
    with pytest.raises(error) as caught:
        check_acks("chunk 7", acks, request)
    assert caught.value.details.get("server") == server


def test_a_stream_that_brings_nothing_is_hung_up_on(houses: list[House]) -> None:
    with appending(houses[0], deadline_ms=1) as stream:
        failure = stream.failure()
    assert isinstance(failure, Unreachable) and failure.details["hung_up"] == 1


def test_garbage_on_streams_leaves_a_tail_of_whole_records(houses: list[House]) -> None:
    chance = random.Random(7)
    for number in range(60):
        first = 1000 + 10 * number
        sent = bytearray(b"".join(record_bytes(first + n, noise(50 + n)) for n in range(5)))
        for _ in range(chance.randint(1, 3)):
            sent[chance.randrange(len(sent))] ^= 1 << chance.randrange(8)
        cut = chance.choice((len(sent), chance.randrange(1, len(sent))))
        with appending(houses[0]) as hostile:
            hostile.send(bytes(sent[:cut]))
            if chance.random() < 0.5:
                hostile.send(chance.randbytes(chance.randint(1, 500)))
    with appending(houses[0]) as stream:
        stream.append(1, b"still there", window_start=1)
        stream.wait_for(1)
    length = tail_length(houses[0]).length
    first_proof, *others = proofs(houses, length)
    assert others == [first_proof, first_proof]
    for one in first_proof.records:
        assert one.sequence == 1 or one.length == 50 + one.sequence % 10


def test_more_clients_than_places_append_in_turn(
    houses: list[House], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is refused is told when to come again, and for it one that had its turn gives way.

    It was answered all that it brought, and what it did not bring is not written.
    """
    monkeypatch.setattr(turns, "TURN_S", 0.02)
    primary = houses[0].port.primary
    primary.turns = turns.Turns(RUNTIME, places_max=2)
    rounds: dict[int, int] = dict.fromkeys(range(1, 6), 0)
    waiting = list(rounds)
    inside: list[tuple[int, Appending]] = []
    ends_s = RUNTIME.monotonic_s() + PATIENCE_S
    while min(rounds.values()) < 2:
        assert RUNTIME.monotonic_s() < ends_s, "a place was not given back"
        for appender in list(waiting):
            stream = Appending(houses[0])
            sequence = rounds[appender] + 1
            stream.send(record_bytes(sequence, b"x" * 10, appender=SessionId(appender)))
            try:
                stream.wait_for(sequence)
            except Overloaded as error:
                assert error.details["unwritten"] == 1 and error.details["retry_ms"] > 0
                stream.close()
                continue
            rounds[appender] += 1
            waiting.remove(appender)
            inside.append((appender, stream))
        assert len(inside) <= 2, "more were let in than there are places"
        if len(inside) < 2:
            continue  # Who was told that he gives way is still on his way out.
        for appender, stream in list(inside):
            try:
                stream.wait_for(-1)
            except Overloaded as error:
                assert error.details["unwritten"] == 1
                stream.close()
                inside.remove((appender, stream))
                waiting.append(appender)
    for _, stream in inside:
        stream.close()
    assert tail_length(houses[0]).length == 10 * sum(rounds.values())
