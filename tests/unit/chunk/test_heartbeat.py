"""Heartbeats: one parks, news do not wait for it, and every leader change is followed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from gfs_ha.chunk.copies import Copies
from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.chunk.epochs import EpochBook
from gfs_ha.chunk.heartbeat import LANES, HeartbeatLanes
from gfs_ha.chunk.obey import Obedience
from gfs_ha.chunk.outbox import Outbox
from gfs_ha.chunk.primary import Primary
from gfs_ha.chunk.progress import ProgressTicker
from gfs_ha.chunk.push import PushRoom
from gfs_ha.chunk.registration import ServerFacts
from gfs_ha.chunk.repair_pace import RepairPace
from gfs_ha.chunk.slots.identity import Identity
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.errors import Denied, GfsError, NotLeader, Unreachable, WrongCluster, WrongDirectory
from gfs_ha.ids import ChunkId, DiskId, Epoch, LogIndex, ServerId, StartId
from gfs_ha.net.stream_pool import StreamPool
from gfs_ha.net.streams import TcpStreams
from gfs_ha.protocol.calls import CallBody, CallReply, Reply
from gfs_ha.protocol.codec import failure
from gfs_ha.protocol.control import (
    BucketListing,
    CopyProgress,
    DamageFound,
    DeleteReplica,
    DiskFacts,
    DiskTally,
    Heartbeat,
    HeartbeatReply,
    LedTail,
    OpenReplica,
    OrderDone,
    RegisterServer,
    ServerRegistered,
)
from gfs_ha.protocol.rates import LoadFacts
from gfs_ha.protocol.repair import RepairAllowance, RepairFacts
from gfs_ha.protocol.scrub import ScrubFacts, ScrubWanted
from gfs_ha.protocol.usage import UsageFacts
from gfs_ha.runtime import Future, ThreadedRuntime

RUNTIME = ThreadedRuntime()
FACTS = ServerFacts(
    "cs1", ServerId(4), "127.0.0.1", 7301, "r1", "host", StartId(11), 12, "127.0.1.1"
)
EPOCH = Epoch(1, 5)
PATIENCE_S = 60.0


@dataclass
class Call:
    """A call that waits for its answer."""

    request: object
    future: Future[Reply] = field(default_factory=RUNTIME.future)

    def reply(self, answer: Reply) -> None:
        self.future.set(answer)

    def fail(self, error: GfsError) -> None:
        self.future.fail(error)


class ScriptedLeader:
    """A leader that answers what the test says; its calls wait as a parked heartbeat does."""

    def __init__(self) -> None:
        self.calls = RUNTIME.queue(100)
        self.waiting: list[Call] = []
        self.closed = False

    def call(self, body: CallBody, timeout_s: float) -> CallReply:
        if self.closed:
            raise Unreachable("closed")
        call = Call(body[0].request)
        self.waiting.append(call)
        self.calls.put(call)
        return (call.future.result(PATIENCE_S),)

    def close(self) -> None:
        self.closed = True
        for call in self.waiting:
            call.fail(Unreachable("closed"))


class Shelf:
    """The inventory of a server."""

    replicas: tuple[OpenReplica, ...] = ()
    copying: tuple[CopyProgress, ...] = ()
    told: tuple[DiskTally, ...] = (DiskTally(DiskId(2), b"a"),)
    leading: tuple[LedTail, ...] = ()

    def __init__(self) -> None:
        self.leases: list[tuple[float, int]] = []
        self.scrubs: list[ScrubWanted] = []
        self.allowances: list[RepairAllowance] = []

    def disks(self) -> tuple[DiskFacts, ...]:
        return (DiskFacts(DiskId(2), 1000, 250, 3),)

    def serving(self) -> tuple[DiskFacts, ...]:
        return self.disks()

    def open_replicas(self) -> tuple[OpenReplica, ...]:
        return self.replicas

    def stream_count(self) -> int:
        return 6

    def copies(self) -> tuple[CopyProgress, ...]:
        return self.copying

    def tallies(self) -> tuple[DiskTally, ...]:
        return self.told

    def list_buckets(self, wanted: tuple[tuple[DiskId, int], ...]) -> tuple[BucketListing, ...]:
        return tuple(BucketListing(disk, bucket, ()) for disk, bucket in wanted)

    def led(self) -> tuple[LedTail, ...]:
        return self.leading

    def note_lease(self, asked_s: float, lease_ms: int) -> None:
        self.leases.append((asked_s, lease_ms))

    def scrub(self) -> tuple[ScrubFacts, ...]:
        return ()

    def note_scrub(self, wanted: ScrubWanted) -> None:
        self.scrubs.append(wanted)

    def repair(self) -> RepairFacts:
        return RepairFacts(5, 6)

    def load(self) -> LoadFacts:
        return LoadFacts(put_bytes=7)

    def usage(self) -> UsageFacts | None:
        return None

    def note_repair(self, allowance: RepairAllowance) -> None:
        self.allowances.append(allowance)


def primary_of(store: ChunkStore) -> Primary:
    pool = StreamPool(TcpStreams(RUNTIME), RUNTIME)
    return Primary(PushRoom(store, pool, ProgressTicker(RUNTIME), RUNTIME), FACTS.start_id)


class Server:
    """A server under test, with a scripted leader."""

    def __init__(self) -> None:
        self.leader = ScriptedLeader()
        disk = MemoryDisk(RUNTIME)
        store = ChunkStore.on(disk, Identity("c", ServerId(4), DiskId(2)), RUNTIME, 12)
        self.epochs = EpochBook([disk], RUNTIME)
        self.outbox = Outbox(RUNTIME)
        streams = StreamPool(TcpStreams(RUNTIME), RUNTIME)
        pace = RepairPace(RUNTIME)
        copies = Copies(store, streams, self.epochs, self.outbox, pace, RUNTIME)
        self.obedience = Obedience(
            store, primary_of(store), copies, self.epochs, self.outbox, RUNTIME
        )
        self.shelf = Shelf()
        self.lanes = HeartbeatLanes(FACTS, self.shelf, self.obedience, self.leader, RUNTIME)
        self.final = RUNTIME.future()

    def start(self) -> None:
        self.obedience.start()
        self.lanes.start(self.final.set)

    def next(self) -> Call:
        return self.leader.calls.get(PATIENCE_S)

    def next_beat(self) -> tuple[Call, Heartbeat]:
        call = self.next()
        assert isinstance(call.request, Heartbeat), call.request
        return call, call.request

    def take_registration(self, epoch: Epoch = EPOCH) -> None:
        call = self.next()
        assert isinstance(call.request, RegisterServer)
        call.reply(ServerRegistered(FACTS.server_id, epoch))


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    assert made.lanes.stop(PATIENCE_S)
    assert made.obedience.stop(PATIENCE_S)


@pytest.fixture
def registered(server: Server) -> Server:
    server.start()
    server.take_registration()
    return server


def test_a_start_is_registered_and_then_beats(server: Server) -> None:
    server.start()
    call = server.next()
    assert call.request == RegisterServer(
        "cs1", ServerId(4), "127.0.0.1", 7301, "r1", "host", StartId(11), 12, Shelf().disks()
    )
    assert len(server.leader.calls) == 0, "one lane alone tries"
    call.reply(ServerRegistered(ServerId(4), EPOCH))
    _, beat = server.next_beat()
    assert (beat.server_id, beat.start_id, beat.beat, beat.epoch) == (4, 11, 1, EPOCH)
    assert (beat.disk_usage, beat.chunk_count, beat.streams) == (0.75, 3, 6)
    assert abs(beat.timestamp - RUNTIME.wall_ns() // 1_000_000) < 60_000
    assert beat.disks == Shelf().disks()


def test_a_tally_is_told_when_it_changed_and_else_with_every_tenth_beat(
    registered: Server,
) -> None:
    told = []
    for number in range(1, 24):
        call, beat = registered.next_beat()
        if beat.tallies:
            told.append((beat.beat, beat.tallies[0].buckets))
        if number == 4:  # Before the next one is made.
            registered.shelf.told = (DiskTally(DiskId(2), b"b"),)
        call.reply(HeartbeatReply(EPOCH))
    assert told == [(1, b"a"), (5, b"b"), (10, b"b"), (20, b"b")]


def test_the_next_beat_lists_the_buckets_that_were_asked_for(registered: Server) -> None:
    registered.shelf.copying = (CopyProgress(ChunkId(1), LogIndex(2), 3, 4),)
    call, beat = registered.next_beat()
    assert beat.listed == ()
    call.reply(HeartbeatReply(EPOCH, list_buckets=tuple((DiskId(2), one) for one in range(20))))
    call, beat = registered.next_beat()
    assert [one.bucket for one in beat.listed] == list(range(8)), "no more than eight"
    assert beat.copies == (CopyProgress(ChunkId(1), LogIndex(2), 3, 4),)
    call.reply(HeartbeatReply(EPOCH))
    assert registered.next_beat()[1].listed == ()


def test_each_beat_says_where_the_server_listens(registered: Server) -> None:
    assert registered.next_beat()[1].listening == FACTS.listening == "127.0.1.1"


def test_the_last_word_is_a_heartbeat_of_its_own_and_comes_again_if_it_is_lost(
    registered: Server,
) -> None:
    parked, first = registered.next_beat()
    said = RUNTIME.future()
    RUNTIME.spawn("last word", lambda: said.set(registered.lanes.say_last(PATIENCE_S)))
    call, beat = registered.next_beat()
    assert not parked.future.done() and beat.beat > first.beat and beat.disks == first.disks
    call.fail(NotLeader("deposed", leader="m2"))
    call, again = registered.next_beat()
    assert again.beat > beat.beat
    call.reply(HeartbeatReply(EPOCH, register_again=True))  # That leader took nothing of it.
    call, third = registered.next_beat()
    assert third.beat > again.beat and not said.done()
    call.reply(HeartbeatReply(EPOCH))
    assert said.result(PATIENCE_S) is True


def test_a_last_word_that_nobody_hears_ends_by_itself(registered: Server) -> None:
    registered.next_beat()
    registered.leader.close()
    assert registered.lanes.say_last(0.3) is False


def test_an_answered_heartbeat_is_followed_by_the_next(registered: Server) -> None:
    for number in range(1, 4):
        call, beat = registered.next_beat()
        assert beat.beat == number
        call.reply(HeartbeatReply(EPOCH))


def test_what_repair_may_take_comes_with_the_answer_of_a_leader_that_is_obeyed(
    registered: Server,
) -> None:
    call, beat = registered.next_beat()
    assert beat.repair == RepairFacts(5, 6)
    assert beat.load == LoadFacts(put_bytes=7)
    some, other = RepairAllowance(1000, 500), RepairAllowance(0, 0)
    call.reply(HeartbeatReply(EPOCH, repair=some))
    call, _ = registered.next_beat()
    deposed = Epoch(EPOCH.incarnation, EPOCH.term - 1)
    call.reply(HeartbeatReply(deposed, repair=other))
    registered.next_beat()
    assert registered.shelf.allowances == [some]


def test_a_lease_counts_from_the_moment_at_which_its_heartbeat_left(registered: Server) -> None:
    registered.shelf.leading = (LedTail(ChunkId(3), 100, 20),)
    before_s = RUNTIME.monotonic_s()
    call, _ = registered.next_beat()
    sent_s = RUNTIME.monotonic_s()
    call.reply(HeartbeatReply(EPOCH, lease_ms=30_000))
    call, beat = registered.next_beat()
    assert beat.led == registered.shelf.leading
    ((asked_s, lease_ms),) = registered.shelf.leases
    assert before_s - 1 < asked_s <= sent_s and lease_ms == 30_000
    call.reply(HeartbeatReply(EPOCH))
    call, _ = registered.next_beat()
    call.reply(HeartbeatReply(EPOCH, lease_ms=1 << 60))
    registered.next_beat()
    assert [lease_ms for _, lease_ms in registered.shelf.leases] == [30_000, 60_000]


def test_a_deposed_leader_grants_no_lease(registered: Server) -> None:
    call, _ = registered.next_beat()
    call.reply(HeartbeatReply(Epoch(1, 1), lease_ms=30_000))
    registered.next_beat()
    assert not registered.shelf.leases


def test_news_do_not_wait_for_the_parked_heartbeat(registered: Server) -> None:
    parked, _ = registered.next_beat()
    damage = DamageFound(ChunkId(1), DiskId(2), 3)
    registered.outbox.add_damage(damage)
    telling, beat = registered.next_beat()
    assert beat.damage == (damage,)
    assert not parked.future.done()
    telling.reply(HeartbeatReply(EPOCH))


def test_orders_are_obeyed_and_answered_at_once(registered: Server) -> None:
    call, _ = registered.next_beat()
    call.reply(HeartbeatReply(EPOCH, (DeleteReplica(ChunkId(9), LogIndex(7), "dead"),)))
    answers: list[object] = []
    while not answers:
        _, beat = registered.next_beat()
        answers += beat.answers
    assert answers == [OrderDone(ChunkId(9), LogIndex(7), "delete")]


def test_news_of_a_lost_heartbeat_are_told_again(registered: Server) -> None:
    parked, _ = registered.next_beat()
    damage = DamageFound(ChunkId(1), DiskId(2), 3)
    registered.outbox.add_damage(damage)
    telling, beat = registered.next_beat()
    assert beat.damage == (damage,)
    telling.fail(Unreachable("connection lost", sent=1))
    parked.reply(HeartbeatReply(EPOCH))
    _, beat = registered.next_beat()
    assert beat.damage == (damage,)


def test_a_leader_that_does_not_know_this_start_is_told_it(registered: Server) -> None:
    call, _ = registered.next_beat()
    call.reply(HeartbeatReply(Epoch(1, 6), register_again=True))
    registered.take_registration(Epoch(1, 6))
    _, beat = registered.next_beat()
    assert beat.epoch == Epoch(1, 6)


def test_a_lost_leader_is_tried_again_by_one_lane_until_there_is_one(registered: Server) -> None:
    for error in (Unreachable("gone", sent=1), NotLeader("not me"), Unreachable("gone", sent=0)):
        call, _ = registered.next_beat()
        assert len(registered.leader.calls) == 0
        call.fail(error)
    call, beat = registered.next_beat()
    assert beat.beat == 4
    call.reply(failure(NotLeader("not me either")))
    registered.next_beat()


def test_a_deposed_leader_is_not_obeyed(registered: Server) -> None:
    call, _ = registered.next_beat()
    order = DeleteReplica(ChunkId(9), LogIndex(7), "dead")
    call.reply(HeartbeatReply(Epoch(1, 4), (order,)))
    call, beat = registered.next_beat()
    assert beat.epoch == EPOCH and not beat.answers
    call.reply(HeartbeatReply(EPOCH))
    _, beat = registered.next_beat()
    assert not beat.answers


def test_a_registration_by_a_deposed_leader_does_not_count(server: Server) -> None:
    server.epochs.told(EPOCH)
    server.start()
    server.take_registration(Epoch(1, 4))
    server.take_registration(EPOCH)
    server.next_beat()


@pytest.mark.parametrize(
    "answer",
    [
        lambda call: call.reply(failure(WrongDirectory("it is cs9's"))),
        lambda call: call.reply(ServerRegistered(ServerId(5), EPOCH)),
        lambda call: call.fail(WrongCluster("another cluster")),
    ],
    ids=["refused", "another id", "another cluster"],
)
def test_what_trying_again_cannot_help_ends_the_server(
    server: Server, answer: Callable[[Call], None]
) -> None:
    server.start()
    answer(server.next())
    error = server.final.result(PATIENCE_S)
    assert isinstance(error, WrongDirectory | Denied)


def test_masters_that_refuse_a_server_they_took_before_are_tried_again(
    registered: Server,
) -> None:
    call, _ = registered.next_beat()
    call.fail(WrongCluster("being changed"))
    registered.next_beat()
    assert not registered.final.done()


def test_stopping_ends_the_parked_heartbeat_too(registered: Server) -> None:
    registered.next_beat()
    assert registered.lanes.stop(PATIENCE_S)


def test_no_more_calls_are_in_flight_than_there_are_lanes(registered: Server) -> None:
    for block in range(LANES + 2):
        registered.outbox.add_damage(DamageFound(ChunkId(1), DiskId(2), block))
    calls = [registered.next()]
    while len(calls) < LANES:
        registered.outbox.add_damage(DamageFound(ChunkId(2), DiskId(2), len(calls)))
        calls.append(registered.next())
    registered.outbox.add_damage(DamageFound(ChunkId(3), DiskId(2), 0))
    assert len(registered.leader.calls) == 0
    calls[0].reply(HeartbeatReply(EPOCH))
    _, beat = registered.next_beat()
    assert DamageFound(ChunkId(3), DiskId(2), 0) in beat.damage
