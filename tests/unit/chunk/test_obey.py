"""Orders: durable epoch first, in log-index order per chunk, never twice at once, never a stop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import pytest

from gfs_ha.checksum import block_crcs, chunk_digest
from gfs_ha.chunk.copies import Copies
from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.chunk.epochs import EpochBook
from gfs_ha.chunk.obey import WAITING_MAX, Obedience
from gfs_ha.chunk.outbox import Outbox
from gfs_ha.chunk.primary import Primary
from gfs_ha.chunk.progress import ProgressTicker
from gfs_ha.chunk.push import PushRoom
from gfs_ha.chunk.repair_pace import RepairPace
from gfs_ha.chunk.slots.format import DATA_OFFSET
from gfs_ha.chunk.slots.identity import Identity
from gfs_ha.chunk.slots.store import ChunkStore, ReplicaSpec
from gfs_ha.errors import DiskFailed, Fenced
from gfs_ha.ids import Birth, ChunkId, DiskId, Epoch, LogIndex, ServerId, StartId
from gfs_ha.limits import BLOCK_BYTES
from gfs_ha.net.stream_pool import StreamPool
from gfs_ha.net.streams import TcpStreams
from gfs_ha.protocol.control import (
    CopySource,
    CreateReplica,
    DeleteReplica,
    FenceAnswer,
    FenceReplica,
    FinishReplica,
    OrderAnswer,
    OrderDone,
    OrderFailed,
    ProofAnswer,
    ProveReplica,
    PunchReplica,
)
from gfs_ha.protocol.data import ChunkKind, Durability
from gfs_ha.protocol.grid import part_crcs
from gfs_ha.protocol.tickets import OperationPass
from gfs_ha.runtime import ThreadedRuntime

RUNTIME = ThreadedRuntime()
BIRTH = Birth(1, 2)
EPOCH = Epoch(1, 3)

START = StartId(8)


def primary_of(store: ChunkStore) -> Primary:
    pool = StreamPool(TcpStreams(RUNTIME), RUNTIME)
    return Primary(PushRoom(store, pool, ProgressTicker(RUNTIME), RUNTIME), START)


@dataclass
class Server:
    disk: MemoryDisk
    store: ChunkStore
    epochs: EpochBook
    outbox: Outbox
    obedience: Obedience

    def make(self, number: int) -> ChunkId:
        chunk_id = ChunkId(number)
        spec = ReplicaSpec(chunk_id, BIRTH, ChunkKind.PUT, 1 << 20, Durability.DISK)
        self.store.create_replica(spec)
        return chunk_id

    def answers(self, count: int) -> list[OrderAnswer]:
        """Return the next answers; fails when they do not come."""
        found: list[OrderAnswer] = []
        with self.outbox.changed:
            deadline = RUNTIME.monotonic_s() + 20
            while len(self.outbox._answers) < count:
                assert RUNTIME.monotonic_s() < deadline, "no answer"
                self.outbox.changed.wait(1)
        while len(found) < count:
            found += self.outbox.take().answers
        return found


@pytest.fixture
def server() -> Iterator[Server]:
    disk = MemoryDisk(RUNTIME)
    identity = Identity("c", ServerId(1), DiskId(2))
    store = ChunkStore.on(disk, identity, RUNTIME, boot_id=7)
    epochs = EpochBook([disk], RUNTIME)
    outbox = Outbox(RUNTIME)
    copies = Copies(
        *(store, StreamPool(TcpStreams(RUNTIME), RUNTIME), epochs, outbox),
        *(RepairPace(RUNTIME), RUNTIME),
    )
    obedience = Obedience(store, primary_of(store), copies, epochs, outbox, RUNTIME)
    made = Server(disk, store, epochs, outbox, obedience)
    yield made
    assert made.obedience.stop(20)


def test_each_order_is_answered_by_what_the_replica_says(server: Server) -> None:
    chunk = server.make(1)
    server.obedience.start()
    server.obedience.take(EPOCH, [FenceReplica(chunk, BIRTH, LogIndex(5), 0)])
    (fenced,) = server.answers(1)
    assert isinstance(fenced, FenceAnswer) and fenced.proof and fenced.end == 0
    server.obedience.take(EPOCH, [ProveReplica(chunk, BIRTH, LogIndex(5), 0)])
    (proof,) = server.answers(1)
    assert isinstance(proof, ProofAnswer) and proof.length == 0
    server.obedience.take(EPOCH, [FinishReplica(chunk, BIRTH, LogIndex(6), 0, proof.digest)])
    assert server.answers(1) == [OrderDone(chunk, LogIndex(6), "finish_seal")]
    server.obedience.take(EPOCH, [DeleteReplica(chunk, LogIndex(7), "dead")])
    assert server.answers(1) == [OrderDone(chunk, LogIndex(7), "delete", freed=65536)]
    assert server.store.chunk_count == 0


def create_order(number: int = 1, **changed: object) -> CreateReplica:
    order = CreateReplica(ChunkId(number), BIRTH, LogIndex(4), DiskId(2), "disk", 1 << 20)
    return msgspec.structs.replace(order, **changed)


def test_a_tail_is_made_durably_and_only_once(server: Server) -> None:
    server.obedience.start()
    for _ in range(2):
        server.obedience.take(EPOCH, [create_order()])
        assert server.answers(1) == [OrderDone(ChunkId(1), LogIndex(4), "create")]
    server.disk.power_cycle()
    found = ChunkStore.on(server.disk, server.store.shelves[0].identity, RUNTIME, boot_id=7)
    header = found.get(ChunkId(1), BIRTH).header
    assert (header.kind, header.end, header.capacity) == (ChunkKind.TAIL, 0, 1 << 20)


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"birth": Birth(1, 9)}, "AlreadyExists"),
        ({"capacity": 2 << 20}, "AlreadyExists"),
        ({"durability": "memory"}, "AlreadyExists"),
        ({"durability": "tape"}, "ProtocolError"),
        ({"capacity": 0}, "ProtocolError"),
        ({"capacity": 1 << 40}, "ProtocolError"),
        ({"disk_id": DiskId(9)}, "DiskFailed"),
    ],
)
def test_an_order_for_another_tail_is_refused(
    server: Server, changed: dict[str, object], error: str
) -> None:
    server.obedience.start()
    server.obedience.take(EPOCH, [create_order()])
    server.answers(1)
    server.obedience.take(EPOCH, [create_order(**changed)])
    (refused,) = server.answers(1)
    assert isinstance(refused, OrderFailed) and refused.failure.error == error


def test_a_tail_that_was_fenced_first_is_not_made(server: Server) -> None:
    server.obedience.start()
    server.obedience.take(EPOCH, [FenceReplica(ChunkId(1), BIRTH, LogIndex(5), 0)])
    server.answers(1)
    server.obedience.take(EPOCH, [create_order()])
    (refused,) = server.answers(1)
    assert isinstance(refused, OrderFailed) and refused.failure.error == "Fenced"


def test_a_tail_of_another_start_is_not_taken_for_a_new_one(server: Server) -> None:
    primary_of(server.store).create(create_order())
    again = ChunkStore.on(server.disk, server.store.shelves[0].identity, RUNTIME, boot_id=7)
    with pytest.raises(Fenced):
        primary_of(again).create(create_order())


def test_the_start_that_the_order_names_is_the_primary(server: Server) -> None:
    primary = primary_of(server.store)
    primary.create(create_order(1, primary_start=StartId(9)))
    primary.create(create_order(2, primary_start=START))
    primary.create(create_order(2, primary_start=START))
    primary.create(create_order(3))
    assert [one.chunk_id for one in primary.led()] == [ChunkId(2)]
    server.store.delete(ChunkId(2), LogIndex(9))
    assert primary.led() == ()


def test_the_epoch_is_on_the_disk_before_its_orders_run(server: Server) -> None:
    assert server.obedience.take(EPOCH, [])
    server.disk.power_cycle()
    assert EpochBook([server.disk], RUNTIME).newest == EPOCH


def test_an_epoch_that_cannot_be_kept_has_no_order_obeyed(server: Server) -> None:
    chunk = server.make(1)
    server.disk.failing = DiskFailed("I/O error")
    with pytest.raises(DiskFailed):
        server.obedience.take(EPOCH, [DeleteReplica(chunk, LogIndex(7), "dead")])
    server.disk.failing = None
    server.obedience.start()
    server.obedience.take(EPOCH, [FenceReplica(chunk, BIRTH, LogIndex(5), 0)])
    (answer,) = server.answers(1)
    assert isinstance(answer, FenceAnswer), "it was not deleted"


def test_a_deposed_leader_is_not_obeyed(server: Server) -> None:
    chunk = server.make(1)
    server.obedience.start()
    assert server.obedience.take(Epoch(1, 4), [])
    assert not server.obedience.take(EPOCH, [DeleteReplica(chunk, LogIndex(7), "dead")])
    server.obedience.take(Epoch(1, 4), [FenceReplica(chunk, BIRTH, LogIndex(5), 0)])
    assert len(server.answers(1)) == 1
    assert server.store.chunk_count == 1


def test_an_order_that_waits_while_its_leader_is_deposed_is_dropped(server: Server) -> None:
    chunk = server.make(1)
    other = server.make(2)
    server.obedience.take(EPOCH, [DeleteReplica(chunk, LogIndex(7), "dead")])
    server.obedience.take(Epoch(1, 4), [FenceReplica(other, BIRTH, LogIndex(9), 0)])
    server.obedience.start()
    (answer,) = server.answers(1)
    assert answer.chunk_id == other
    assert server.obedience.stop(20)
    assert server.store.chunk_count == 2


def test_orders_of_a_chunk_run_in_log_index_order_whatever_way_they_came(server: Server) -> None:
    chunk = server.make(1)
    orders = [
        DeleteReplica(chunk, LogIndex(9), "dead"),
        ProveReplica(chunk, BIRTH, LogIndex(5), 0),
        FenceReplica(chunk, BIRTH, LogIndex(4), 0),
    ]
    server.obedience.take(EPOCH, orders)
    server.obedience.start()
    kinds = [type(answer) for answer in server.answers(3)]
    assert kinds == [FenceAnswer, ProofAnswer, OrderDone]


def test_the_same_order_is_taken_once_and_keeps_the_newest_leader(server: Server) -> None:
    chunk = server.make(1)
    order = FenceReplica(chunk, BIRTH, LogIndex(5), 0)
    for epoch in (EPOCH, EPOCH, Epoch(1, 4)):
        server.obedience.take(epoch, [order])
    server.obedience.start()
    assert len(server.answers(1)) == 1
    assert server.obedience.stop(20)
    assert not server.outbox.waiting()


def test_an_order_is_the_same_with_the_tickets_of_the_next_second(server: Server) -> None:
    for secret in (b"1", b"2"):
        chain = (CopySource(ServerId(5), "h", 7300, ticket=secret),)
        order = create_order(chain=chain, pass_=OperationPass(secret * 32, 2, 1000))
        server.obedience.take(EPOCH, [order])
    server.obedience.start()
    assert len(server.answers(1)) == 1
    assert server.obedience.stop(20)
    assert not server.outbox.waiting()


@pytest.mark.parametrize(
    ("order", "code"),
    [
        (FenceReplica(ChunkId(99), BIRTH, LogIndex(5), 0), "UnknownReplica"),
        (ProveReplica(ChunkId(1), Birth(1, 9), LogIndex(5), 0), "WrongBirth"),
        (FinishReplica(ChunkId(1), BIRTH, LogIndex(5), 100, 1), "ReplicaDamaged"),
    ],
)
def test_an_order_that_cannot_be_obeyed_is_answered_with_the_reason(
    server: Server, order: FenceReplica, code: str
) -> None:
    server.make(1)
    server.obedience.start()
    server.obedience.take(EPOCH, [order])
    (answer,) = server.answers(1)
    assert isinstance(answer, OrderFailed)
    assert answer.failure.error == code and answer.order_index == 5


def test_an_order_that_keeps_failing_is_answered_each_time_and_logged_once(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.obedience.start()
    order = FenceReplica(ChunkId(99), BIRTH, LogIndex(5), 0)
    with caplog.at_level("WARNING"):
        for _ in range(3):
            server.obedience.take(EPOCH, [order])
            assert len(server.answers(1)) == 1
    assert caplog.text.count("an order failed") == 1


def test_what_the_disk_got_back_is_told_again_when_the_order_comes_again(server: Server) -> None:
    """The first answer may be lost, and the leader with it: the next one counts it all the same."""
    chunk = server.make(1)
    data = bytes(3 * BLOCK_BYTES)
    push = server.store.get(chunk).begin_push(0, len(data))
    with push:
        push.append(memoryview(data), part_crcs(0, memoryview(data)))
        push.commit()
    digest = chunk_digest(block_crcs(data))
    server.store.finish_seal(chunk, LogIndex(5), len(data), digest)
    server.obedience.start()
    punch = PunchReplica(chunk, BIRTH, LogIndex(6), b"\x05")
    delete = DeleteReplica(chunk, LogIndex(7), "dead")
    for order, kind, freed in (
        (punch, "punch", 2 * BLOCK_BYTES),
        (delete, "delete", DATA_OFFSET + BLOCK_BYTES),
    ):
        for _ in range(2):
            server.obedience.take(EPOCH, [order])
            assert server.answers(1) == [OrderDone(chunk, order.order_index, kind, freed)]
    server.obedience.take(EPOCH, [punch])
    (failed,) = server.answers(1)
    assert isinstance(failed, OrderFailed) and failed.failure.error == "UnknownReplica"
    odd = PunchReplica(chunk, BIRTH, LogIndex(8), bytes(200))
    server.obedience.take(EPOCH, [odd])
    (failed,) = server.answers(1)
    assert isinstance(failed, OrderFailed)


def test_deleting_what_is_gone_already_is_done(server: Server) -> None:
    server.obedience.start()
    server.obedience.take(EPOCH, [DeleteReplica(ChunkId(99), LogIndex(5), "dead")])
    assert server.answers(1) == [OrderDone(ChunkId(99), LogIndex(5), "delete")]


def test_more_orders_than_there_is_room_for_are_dropped(server: Server) -> None:
    orders = [
        DeleteReplica(ChunkId(number), LogIndex(5), "dead") for number in range(WAITING_MAX + 50)
    ]
    server.obedience.take(EPOCH, orders)
    assert server.obedience._waiting_count == WAITING_MAX
    server.obedience.start()
    assert len(server.answers(WAITING_MAX)) == WAITING_MAX
