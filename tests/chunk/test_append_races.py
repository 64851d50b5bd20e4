"""Appends whose sync is held up on purpose: what gathers meanwhile, what a fence lets through."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from append_house import appending, order_tail, record_bytes, start_of, tail_length
from chunk_house import BIRTH, CHUNK, NO_JOURNAL, House, start_house
from test_push_races import GatedDisk

from gfs_ha.checksum import crc32c
from gfs_ha.chunk.appends import known_records
from gfs_ha.chunk.appends.append_stream import AppendStream
from gfs_ha.chunk.appends.lease import LeaseClock
from gfs_ha.chunk.appends.waiting_room import WaitingRoom, cost_of
from gfs_ha.chunk.appends.workers import WORKERS
from gfs_ha.chunk.progress import DiskWatch
from gfs_ha.errors import DiskFull, Fenced, Overloaded, TailFull
from gfs_ha.ids import ChunkId, LogIndex, SessionId, StartId
from gfs_ha.limits import LEASE_MS
from gfs_ha.protocol.control import FenceAnswer
from gfs_ha.protocol.records import RecordAck, RecordHeader, TailLength
from gfs_ha.runtime import ThreadedRuntime

ORDER = LogIndex(50)
PATIENCE_S = 60.0


class SteppedRuntime(ThreadedRuntime):
    """A machine whose clock can be put forward."""

    ahead_s = 0.0
    step_s = 0.0  # By which each look at it moves it on.

    def monotonic_s(self) -> float:
        self.ahead_s += self.step_s
        return super().monotonic_s() + self.ahead_s


class Lane:
    """A primary and another server, whose disks can be held up."""

    def __init__(self, stack: ExitStack) -> None:
        self.runtime = SteppedRuntime()
        self.disks = [GatedDisk(), GatedDisk()]
        self.houses: list[House] = []
        for number, disk in enumerate(self.disks, start=1):
            start_id = StartId(number * 100)
            house = start_house(disk, number, self.runtime, start_id=start_id, shape=NO_JOURNAL)
            stack.callback(house.stop)
            stack.callback(disk.gate.set)
            self.houses.append(house)
        order_tail(self.houses)

    def hold_up(self, at: int) -> None:
        self.disks[at].gate.clear()

    def wait_for_sync(self, at: int) -> None:
        assert self.disks[at].waiting.wait(PATIENCE_S)

    def release(self, at: int) -> None:
        self.disks[at].gate.set()


@pytest.fixture
def lane() -> Iterator[Lane]:
    with ExitStack() as stack:
        yield Lane(stack)


def test_what_comes_during_a_sync_is_one_batch_and_one_sync(lane: Lane) -> None:
    with ExitStack() as stack:
        streams = [stack.enter_context(appending(lane.houses[0])) for _ in range(4)]
        first_of_all = stack.enter_context(appending(lane.houses[0]))
        lane.hold_up(1)
        first_of_all.append(1, b"first")
        lane.wait_for_sync(1)
        syncs = lane.disks[1].operations
        for number, stream in enumerate(streams):
            first = 100 * (number + 1)
            stream.send(b"".join(record_bytes(first + n, b"%d" % n) for n in range(8)))
        tail = lane.houses[0].port.primary._tails[CHUNK]
        while len(tail._waiting) < 32:
            first_of_all.wait_for_progress()
        lane.release(1)
        for number, stream in enumerate(streams):
            stream.wait_for(*range(100 * (number + 1), 100 * (number + 1) + 8))
    # Two batches, each of data, entries, header and sync, and what a note costs: nothing.
    assert lane.disks[1].operations - syncs <= 6


def test_a_client_hears_of_progress_while_a_disk_is_slow(lane: Lane) -> None:
    with appending(lane.houses[0]) as stream:
        lane.hold_up(1)
        stream.append(1, b"slow")
        stream.wait_for_progress()
        stream.wait_for_progress()
        assert not stream.acks
        lane.release(1)
        stream.wait_for(1)


@pytest.mark.parametrize("fenced", [0, 1])
def test_no_acknowledgement_leaves_after_a_fence(lane: Lane, fenced: int) -> None:
    """One replica has synced the batch, the other one is at it: the fence of either ends it."""
    answers: list[FenceAnswer] = []
    with appending(lane.houses[0]) as stream:
        stream.append(1, b"before")
        stream.wait_for(1)
        lane.hold_up(1)
        stream.append(2, b"during")
        lane.wait_for_sync(1)

        def fence() -> None:
            answers.append(lane.houses[fenced].store.fence(CHUNK, BIRTH, ORDER))

        fencing = threading.Thread(target=fence)
        fencing.start()
        while not lane.houses[fenced].store.get(CHUNK).gate.closed and fencing.is_alive():
            fencing.join(0.01)
            if fenced == 1:
                break  # It waits for the lock that the sync holds.
        lane.release(1)
        fencing.join(PATIENCE_S)
        assert answers
        if fenced == 0:
            assert isinstance(stream.failure(), Fenced)
            assert set(stream.acks) == {1}
    # Whatever was acknowledged lies below what the fence answered.
    assert tail_length(lane.houses[0]).length <= answers[0].end


def test_the_same_record_under_way_on_another_stream_is_answered_with_its_batch(
    lane: Lane,
) -> None:
    with appending(lane.houses[0]) as one, appending(lane.houses[0]) as other:
        lane.hold_up(1)
        one.append(1, b"same")
        lane.wait_for_sync(1)
        for _ in range(3):
            other.append(1, b"same")
        other.wait_for_progress()  # It waits for the record of the other one.
        lane.release(1)
        assert one.wait_for(1) == other.wait_for(1)
    assert tail_length(lane.houses[0]).length == 4


def test_a_lease_that_ran_out_takes_no_append_until_it_is_renewed(lane: Lane) -> None:
    runtime, primary = lane.runtime, lane.houses[0].port.primary
    with appending(lane.houses[0]) as stream:
        stream.append(1, b"fresh")
        stream.wait_for(1)
        runtime.ahead_s += LEASE_MS / 1000 + 0.001
        stream.append(2, b"late")
        assert isinstance(stream.failure(), Fenced)
    asked_s = runtime.monotonic_s() - 10
    primary.lease.granted(asked_s, 9_999)  # It counts from when it was asked for.
    with appending(lane.houses[0]) as stream:
        assert isinstance(stream.failure(), Fenced)
    primary.lease.granted(asked_s, 30_000)
    with appending(lane.houses[0]) as stream:
        stream.append(2, b"late")
        stream.wait_for(2)


def test_a_lease_is_never_shortened_by_an_older_answer() -> None:
    runtime = SteppedRuntime()
    clock = LeaseClock(runtime)
    now_s = runtime.monotonic_s()
    clock.granted(now_s, 30_000)
    clock.granted(now_s - 20, 15_000)
    assert clock.holds(0.0)
    runtime.ahead_s += 31
    assert not clock.holds(0.0)


def test_a_lease_that_ran_out_during_a_batch_takes_no_further_one(lane: Lane) -> None:
    with appending(lane.houses[0]) as before, appending(lane.houses[0]) as stream:
        lane.hold_up(1)
        before.append(1, b"under way")
        lane.wait_for_sync(1)
        stream.append(2, b"waits")
        tail = lane.houses[0].port.primary._tails[CHUNK]
        while not tail._waiting:
            stream.wait_for_progress()
        tail._first_until_s = 0.0
        lane.release(1)
        failure = stream.failure()
        assert isinstance(failure, Fenced) and failure.details["unwritten"] == 1
        failure = before.failure()
        assert isinstance(failure, Fenced) and "unwritten" not in failure.details
    assert tail_length(lane.houses[0]).length == len(b"under way")


def test_a_primary_whose_lease_ran_out_tells_nobody_that_a_record_is_there(lane: Lane) -> None:
    """A person may have given it up since, and all that only it knows of (C3)."""
    with appending(lane.houses[0]) as stream:
        stream.append(1, b"there")
        stream.wait_for(1)
        lane.houses[0].port.primary._tails[CHUNK]._first_until_s = 0.0
        stream.append(1, b"there")
        failure = stream.failure()
        assert isinstance(failure, Fenced) and "unwritten" not in failure.details
    lane.houses[0].port.primary.lease.granted(lane.runtime.monotonic_s(), 30_000)
    with appending(lane.houses[0]) as stream:
        stream.append(1, b"there")
        assert stream.wait_for(1)[0].offset == 0


def test_what_is_brought_behind_the_last_word_to_its_stream_is_not_appended(lane: Lane) -> None:
    """Its reader waited for room, the lease ran out, and is renewed before the reader goes on.

    The client was told that nothing of it was written, and sends all of it to the next tail.
    """
    runtime, primary = lane.runtime, lane.houses[0].port.primary
    tail = primary._tails[CHUNK]
    peer: list[bytes] = []
    stream = AppendStream(HearingStream(peer), 7, DiskWatch(runtime), runtime)  # type: ignore[arg-type]
    tail.join(stream)
    tail.make_room(cost_of(2, 2))
    heads = [RecordHeader(SessionId(5), number, 1, 1, crc32c(b"x")) for number in (1, 2)]
    assert tail.bring(stream, [(heads[0], b"x")])[1]
    runtime.ahead_s += LEASE_MS / 1000 + 0.001
    assert tail.next_batch() is None and stream.ended and not tail.done()
    primary.lease.granted(runtime.monotonic_s(), 30_000)
    assert tail.bring(stream, [(heads[1], b"x")]) == (0, False)
    assert tail.next_batch() is None
    tail.give_room(cost_of(1, 1))
    assert len(peer) == 1


def test_a_stream_is_not_read_on_while_too_much_waits(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gfs_ha.chunk.appends.tail.WAITING_RECORDS_MAX", 5)
    with appending(lane.houses[0]) as before, appending(lane.houses[0]) as stream:
        lane.hold_up(1)
        before.append(1, b"under way")
        lane.wait_for_sync(1)
        tail = lane.houses[0].port.primary._tails[CHUNK]
        for sequence in range(2, 7):
            stream.append(sequence, b"more")
            while len(tail._waiting) < sequence - 1:
                stream.wait_for_progress()
        stream.append(7, b"more")
        stream.append(8, b"more")
        stream.wait_for_progress()
        assert len(tail._waiting) == 5
        lane.release(1)
        stream.wait_for(*range(2, 9))


class HearingStream:
    """A peer that reads everything at once."""

    def __init__(self, heard: list[bytes]) -> None:
        self._heard = heard

    def send_now(self, data: bytes) -> bool:
        self._heard.append(data)
        return True


class DeafStream:
    """A peer that reads nothing."""

    aborted = False

    def send_now(self, data: bytes) -> bool:
        return False

    def abort(self) -> None:
        self.aborted = True


def test_a_peer_that_reads_no_answer_is_hung_up_on() -> None:
    deaf = DeafStream()
    runtime = SteppedRuntime()
    stream = AppendStream(deaf, 7, DiskWatch(runtime), runtime)  # type: ignore[arg-type]
    for sequence in range(100):
        assert deaf.aborted == stream.ended
        stream.expect(1)
        stream.answer([RecordAck(SessionId(5), sequence, sequence, 1)])
    assert deaf.aborted and stream.ended


def test_the_waiting_room_of_a_server_is_bounded() -> None:
    runtime = SteppedRuntime()
    room = WaitingRoom(runtime, bytes_max=10)
    room.enter(25)  # One record always finds room, however big.
    entered = threading.Event()

    def wait() -> None:
        room.enter(6)
        entered.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert not entered.is_set()
    room.leave(25)
    waiting.join(PATIENCE_S)
    assert entered.is_set()
    runtime.step_s = 40.0
    with pytest.raises(Overloaded):
        room.enter(6)


def test_a_server_leads_so_many_tails(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gfs_ha.chunk.primary.TAILS_PER_SERVER_MAX", 1)
    order_tail(lane.houses)  # The same once more.
    with pytest.raises(Overloaded):
        order_tail(lane.houses, chunk_id=ChunkId(CHUNK + 1))
    lane.houses[0].store.fence(CHUNK, BIRTH, ORDER)
    digest = lane.houses[0].store.prove(CHUNK, ORDER, 0).digest
    lane.houses[0].store.finish_seal(CHUNK, LogIndex(60), 0, digest)
    assert lane.houses[0].port.primary.led() == ()
    order_tail(lane.houses, chunk_id=ChunkId(CHUNK + 1))


def test_a_tail_with_too_many_results_is_full(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_records, "TAIL_RESULTS_MAX", 3)
    with appending(lane.houses[0]) as stream:
        for sequence in range(1, 5):
            stream.append(sequence, b"x")
        assert isinstance(stream.failure(), TailFull)
        assert set(stream.acks) == {1, 2, 3}
    assert lane.houses[0].port.primary.led()[0].full


def test_the_primary_reports_what_it_leads(lane: Lane) -> None:
    with appending(lane.houses[0]) as stream:
        stream.append(1, b"hello")
        stream.wait_for(1)
    lane.runtime.ahead_s += 7
    (led,) = lane.houses[0].port.primary.led()
    assert (led.chunk_id, led.length, led.full) == (CHUNK, 5, False)
    assert 7000 <= led.idle_ms < 27_000
    assert lane.houses[1].port.primary.led() == ()


def test_a_start_later_the_server_is_no_primary_and_serves_no_open_tail(lane: Lane) -> None:
    with appending(lane.houses[0]) as stream:
        stream.append(1, b"hello")
        stream.wait_for(1)
    again = start_house(lane.disks[0], 1, lane.runtime, start_id=StartId(101))
    try:
        for start_id in (start_of(lane.houses[0]), StartId(101)):
            with appending(again, start_id=start_id) as late:
                late.append(2, b"more")
                assert isinstance(late.failure(), Fenced)
            with pytest.raises(Fenced):
                tail_length(again, start_id=start_id)
        with pytest.raises(Fenced):
            order_tail([again])
        answer = again.store.fence(CHUNK, BIRTH, ORDER)
        assert answer.proof and answer.end == 5
        digest = again.store.prove(CHUNK, ORDER, 5).digest
        again.store.finish_seal(CHUNK, LogIndex(60), 5, digest)
        assert tail_length(again, start_id=StartId(0)) == TailLength(CHUNK, 5, False)
    finally:
        again.stop()


def test_tails_whose_servers_hang_do_not_hold_up_the_others(lane: Lane) -> None:
    with ExitStack() as stack:
        hanging = []
        for number in range(1, WORKERS + 4):
            order_tail(lane.houses, chunk_id=ChunkId(CHUNK + number))
        lane.hold_up(1)
        for number in range(1, WORKERS + 4):
            stream = stack.enter_context(
                appending(lane.houses[0], chunk_id=ChunkId(CHUNK + number))
            )
            stream.send(record_bytes(1, b"both") + record_bytes(2, b"hang"))
            hanging.append(stream)
        for stream in hanging:
            stream.wait_for_progress()
        lonely = ChunkId(CHUNK + 100)
        order_tail(lane.houses[:1], chunk_id=lonely)
        with appending(lane.houses[0], chunk_id=lonely) as stream:
            stream.send(record_bytes(1, b"go") + record_bytes(2, b"on"))
            stream.wait_for(1, 2)
        assert not any(stream.acks for stream in hanging)
        lane.release(1)
        for stream in hanging:
            stream.wait_for(1, 2)


def test_a_tail_in_memory_is_acknowledged_without_a_sync(lane: Lane) -> None:
    chunk_id = ChunkId(CHUNK + 1)
    order_tail(lane.houses, durability="memory", chunk_id=chunk_id)
    lane.hold_up(0)
    lane.hold_up(1)
    with appending(lane.houses[0], chunk_id=chunk_id) as stream:
        stream.append(1, b"quick")
        (ack,) = stream.wait_for(1)
    assert (ack.sequence, ack.offset, ack.length) == (1, 0, 5)


def test_a_full_disk_is_named_and_ends_the_appends(lane: Lane) -> None:
    with appending(lane.houses[0]) as stream:
        stream.append(1, b"before")
        stream.wait_for(1)
        lane.disks[1]._capacity = 0
        for sequence in range(2, 5):
            stream.append(sequence, bytes(900_000))
        failure = stream.failure()
    assert isinstance(failure, DiskFull) and failure.details["server"] == 2
    assert tail_length(lane.houses[0]).length >= len(b"before")
