"""One disk of several that neither fails nor answers: what is on the others goes on (D6)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from append_house import primary_of
from chunk_house import BIRTH, CHUNK, house_of, street
from copy_house import DATA, EPOCH, PATIENCE_S, Target, order, seal, source, working_copies
from disks_house import A, B, open_disks, scrubbing, shelf_of
from hanging_disk import HangingDisk
from replica_house import RUNTIME, append, digest_of

from gfs_ha.chunk import scrub_plan
from gfs_ha.chunk.dataport import ServerRun
from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.chunk.epochs import EpochBook
from gfs_ha.chunk.inventory import StoreInventory
from gfs_ha.chunk.obey import WORKERS, Obedience
from gfs_ha.chunk.own_disks import BrokenDisk
from gfs_ha.chunk.slots.spec import ReplicaSpec
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.errors import DiskFailed, Fenced, UnknownReplica
from gfs_ha.ids import ChunkId, DiskId, LogIndex, StartId
from gfs_ha.limits import MIB
from gfs_ha.protocol.control import (
    CompareReplica,
    CreateReplica,
    DeleteReplica,
    FenceAnswer,
    FenceReplica,
    ForgetTombstone,
    Order,
    OrderAnswer,
    OrderDone,
    OrderFailed,
)
from gfs_ha.protocol.data import ChunkKind, Durability

SEALED, ORDER, LATER = LogIndex(40), LogIndex(50), LogIndex(60)
TWINS, TWICE = range(900, 900 + WORKERS), b"it lies here twice"
OUT = "the disk does not answer"


@dataclass
class Server:
    """The orders and copies of a server whose first disk hangs when the test says so."""

    disk: HangingDisk
    store: ChunkStore
    target: Target
    obedience: Obedience

    def make(self, number: int, disk_id: DiskId) -> ChunkId:
        spec = ReplicaSpec(ChunkId(number), BIRTH, ChunkKind.PUT, MIB, Durability.DISK)
        self.store.create_replica(spec, disk_id=disk_id)
        return ChunkId(number)

    def take(self, *orders: Order) -> None:
        self.obedience.take(EPOCH, orders)

    def answers(self, count: int = 1) -> list[OrderAnswer]:
        """Return the next answers; fails when they do not come."""
        found: list[OrderAnswer] = []
        while len(found) < count:
            with self.target.outbox.changed:
                while not self.target.outbox.waiting():
                    assert self.target.outbox.changed.wait(PATIENCE_S), "no answer"
            found += self.target.outbox.take().answers
        return found

    def ask(self, wanted: Order) -> OrderAnswer:
        self.take(wanted)
        (answer,) = self.answers()
        return answer

    def take_out(self) -> None:
        """Do what the server does when the warden gives the disk up."""
        self.store.take_out(shelf_of(self.store, A), OUT)
        self.obedience.give_up(A)


def with_second_replicas(disk: HangingDisk, beside: MemoryDisk, numbers: range) -> None:
    """Seal chunks on both disks, on the second one by a newer order: there they count."""
    for disk_id, one, index in ((A, disk, SEALED), (B, beside, ORDER)):
        store = open_disks({disk_id: one})
        for number in numbers:
            spec = ReplicaSpec(ChunkId(number), BIRTH, ChunkKind.PUT, MIB, Durability.DISK)
            append(store.create_replica(spec), TWICE)
            store.finish_seal(ChunkId(number), index, len(TWICE), digest_of(TWICE))


@pytest.fixture
def server() -> Iterator[Server]:
    disk, beside = HangingDisk(RUNTIME), MemoryDisk(RUNTIME)
    with_second_replicas(disk, beside, TWINS)
    store = open_disks({A: disk, B: beside})
    with working_copies(store) as target:
        epochs = EpochBook([MemoryDisk(RUNTIME)], RUNTIME)
        primary = primary_of(store)
        made = Obedience(store, primary, target.copies, epochs, target.outbox, RUNTIME)
        made.start()
        try:
            yield Server(disk, store, target, made)
        finally:
            disk.let_go()
            assert made.stop(PATIENCE_S)


def fence(chunk_id: ChunkId, disk_id: DiskId, index: LogIndex = ORDER) -> FenceReplica:
    return FenceReplica(chunk_id, BIRTH, index, 0, disk_id)


def create(number: int, disk_id: DiskId) -> CreateReplica:
    return CreateReplica(ChunkId(number), BIRTH, ORDER, disk_id, "disk", MIB)


def stuck_fences(server: Server) -> list[ChunkId]:
    """Order more of a disk that hangs than it has workers."""
    chunks = [server.make(number, A) for number in range(1, 3 * WORKERS + 1)]
    server.disk.hang()
    server.take(*(fence(one, A) for one in chunks))
    server.disk.wait_until_it_hangs(WORKERS)
    return chunks


def test_what_is_to_be_refused_on_a_disk_that_hangs_takes_no_worker_for_good(
    server: Server,
) -> None:
    """The chunks were placed on the other disk, and never came there."""
    good = server.make(100, B)
    server.disk.hang()
    server.take(*(fence(ChunkId(number), B) for number in range(1, WORKERS + 1)))
    server.disk.wait_until_it_hangs(WORKERS)
    server.take_out()
    assert isinstance(server.ask(fence(good, B)), FenceAnswer)


def test_deletes_of_second_replicas_on_a_disk_that_hangs_take_no_worker_for_good(
    server: Server,
) -> None:
    good = server.make(100, B)
    server.disk.hang()
    server.take(*(DeleteReplica(ChunkId(number), LATER, "it is dead") for number in TWINS))
    server.disk.wait_until_it_hangs(WORKERS)
    server.take_out()
    assert isinstance(server.ask(fence(good, B)), FenceAnswer)


def test_a_second_replica_on_a_disk_that_hangs_holds_up_no_scrub_of_another_one(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrub_plan, "LOOK_S", 0.05)
    server.disk.hang()
    with scrubbing(server.store) as scrubbers:
        deadline_s = RUNTIME.monotonic_s() + PATIENCE_S
        while (
            scrubbers[B].facts().replicas_done < len(TWINS) and RUNTIME.monotonic_s() < deadline_s
        ):
            RUNTIME.sleep(0.01)
        found = scrubbers[B].facts()
        assert (found.replicas_done, found.replicas_total) == (len(TWINS), len(TWINS))
        assert scrubbers[B].stop(PATIENCE_S) and server.disk.hanging
        server.disk.let_go()


def test_orders_for_a_disk_that_hangs_hold_up_none_for_another_one(server: Server) -> None:
    good = server.make(100, B)
    stuck_fences(server)
    for index in range(ORDER, ORDER + 5):
        answer = server.ask(fence(good, B, LogIndex(index)))
        assert isinstance(answer, FenceAnswer) and answer.order_index == index
    assert server.ask(create(200, B)) == OrderDone(ChunkId(200), ORDER, "create")
    assert server.disk.hanging == WORKERS, "no more wait there than it has workers"


def test_once_it_is_out_of_service_its_chunks_take_orders_again(server: Server) -> None:
    chunks = stuck_fences(server)
    server.take_out()
    waited = {one.chunk_id for one in server.answers(len(chunks) - WORKERS)}
    assert waited == set(chunks[WORKERS:]), "those that waited fail at once"
    for chunk_id in chunks:
        failed = server.ask(fence(chunk_id, A, LATER))
        assert isinstance(failed, OrderFailed) and failed.failure.error == "DiskFailed"
    assert server.disk.hanging == WORKERS, "it was not touched"
    server.disk.let_go()
    assert server.obedience.stop(PATIENCE_S)
    assert not server.target.outbox.waiting(), "what it did after all counts no more"


def test_a_tail_that_was_being_made_on_it_is_refused_elsewhere_and_never_there(
    server: Server,
) -> None:
    server.disk.hang()
    server.take(create(7, A))
    server.disk.wait_until_it_hangs()
    server.take_out()
    answer = server.ask(fence(ChunkId(7), B))
    assert isinstance(answer, OrderFailed) and answer.failure.error == "UnknownReplica"
    server.disk.let_go()
    assert server.obedience.stop(PATIENCE_S)
    with pytest.raises(UnknownReplica):
        server.store.get(ChunkId(7))
    with pytest.raises(Fenced):
        server.make(7, B)


def test_what_is_forgotten_on_a_disk_that_hangs_holds_up_no_lookup(server: Server) -> None:
    chunk_id, good = ChunkId(9), server.make(100, B)
    assert isinstance(server.ask(fence(chunk_id, A)), OrderFailed)  # Unknown: refused from now on.
    assert chunk_id in shelf_of(server.store, A).tombstones
    server.disk.hang()
    server.take(ForgetTombstone(chunk_id, LATER))
    server.disk.wait_until_it_hangs()
    found: list[object] = []
    asking = threading.Thread(target=lambda: found.append(server.store.get(good)), daemon=True)
    asking.start()
    asking.join(PATIENCE_S)
    assert found, "the lock of the store is held by who waits for the disk"
    # Once it is known to be silent nobody waits for it.
    shelf_of(server.store, A).ailing = OUT
    server.store.forget_tombstone(chunk_id, LATER)


def test_a_tombstone_that_cannot_be_removed_goes_on_to_refuse(server: Server) -> None:
    chunk_id = ChunkId(9)
    server.ask(fence(chunk_id, A))
    server.disk.failing = DiskFailed("Input/output error")
    with pytest.raises(DiskFailed):
        server.store.forget_tombstone(chunk_id, LATER)
    server.disk.failing = None
    with pytest.raises(Fenced):
        server.make(9, B)
    server.store.forget_tombstone(chunk_id, LATER)
    assert server.make(9, B) == chunk_id


def test_who_names_no_disk_gets_one_that_answers(server: Server) -> None:
    assert server.store.shelves[0].disk_id == A
    server.disk.hang(whole=True)
    shelf_of(server.store, A).ailing = OUT
    made = server.store.create_replica(
        ReplicaSpec(ChunkId(1), BIRTH, ChunkKind.PUT, MIB, Durability.DISK)
    )
    assert made.disk_id == B
    answer = server.ask(FenceReplica(ChunkId(2), BIRTH, ORDER, 0))
    assert isinstance(answer, OrderFailed) and answer.failure.error == "UnknownReplica"
    assert server.disk.hanging == 0


def test_copies_go_on_to_another_disk_once_one_is_silent(server: Server, tmp_path: Path) -> None:
    with street(tmp_path, 1) as (house,):
        chunks = [ChunkId(number) for number in range(1, 7)]
        for chunk_id in chunks:
            seal(house.store, DATA, chunk_id)

        def copy_to(number: int, disk_id: DiskId, index: LogIndex = ORDER) -> None:
            wanted = order([source(house)], index, disk_id=disk_id)
            server.take(msgspec.structs.replace(wanted, chunk_id=chunks[number]))

        server.disk.hang()
        for number in range(3):
            copy_to(number, A)
        server.disk.wait_until_it_hangs(2)
        shelf_of(server.store, A).ailing = OUT
        copy_to(3, B)
        assert server.answers() == [OrderDone(chunks[3], ORDER, "copy")]
        assert server.disk.hanging == 2, "the third one waits: nobody knows yet"
        server.take_out()
        (failed,) = server.answers()
        assert isinstance(failed, OrderFailed) and failed.chunk_id == chunks[2]
        for number in (0, 1, 4):
            copy_to(number, B, LATER)
            assert server.answers() == [OrderDone(chunks[number], LATER, "copy")]
        server.disk.let_go()


def test_a_copy_that_waits_for_the_one_that_hangs_keeps_no_other_copy_away(
    server: Server, tmp_path: Path
) -> None:
    """Its own disk is a good one; it waits for who reads the replica that it is to replace."""
    with street(tmp_path, 1) as (house,):
        seal(house.store, DATA)
        seal(server.store, DATA)
        assert server.store.get(CHUNK).disk_id == A
        server.disk.hang(whole=True)
        server.take(CompareReplica(CHUNK, BIRTH, ORDER, len(DATA), digest_of(DATA)))
        server.disk.wait_until_it_hangs()
        server.take(order([source(house)], ORDER, disk_id=B))
        until_s = RUNTIME.monotonic_s() + PATIENCE_S
        before = shelf_of(server.store, B).disk.answer_count
        while shelf_of(server.store, B).disk.answer_count < before + 2:  # Its name, then its bytes.
            assert RUNTIME.monotonic_s() < until_s, "the copy never came to its end"
            RUNTIME.sleep(0.01)
        RUNTIME.sleep(0.1)
        server.take_out()
        assert server.ask(order([source(house)], LATER, disk_id=B)) == OrderDone(
            CHUNK, LATER, "copy"
        )
        server.disk.let_go()


@pytest.mark.parametrize("trouble", ["hangs", "fails once"])
def test_only_what_its_warden_says_makes_a_disk_a_failed_one(server: Server, trouble: str) -> None:
    house = house_of(server.store, RUNTIME, None, 8, ServerRun(StartId(100), lambda: BIRTH))
    inventory = StoreInventory(server.store, house.port, server.target.copies, {})
    try:
        before = inventory.disks()
        assert all(one.total_bytes and not one.failed for one in before)
        if trouble == "hangs":
            server.disk.hang(whole=True)
        else:
            server.disk.failing = DiskFailed("cannot look at /d: Input/output error")
        assert inventory.disks() == before == inventory.serving()
        assert server.disk.hanging == 0, "a heartbeat waits for no disk"
        server.take_out()
        assert [one.failed for one in inventory.disks()] == [OUT, ""]
    finally:
        server.disk.failing = None
        server.disk.let_go()
        house.stop()


def test_a_directory_that_was_never_a_disk_is_told_as_failed_and_not_as_serving(
    server: Server,
) -> None:
    house = house_of(server.store, RUNTIME, None, 8, ServerRun(StartId(100), lambda: BIRTH))
    unknown = BrokenDisk("/new", "nothing is mounted on /new")
    inventory = StoreInventory(server.store, house.port, server.target.copies, {}, [unknown])
    try:
        *serving, told = inventory.disks()
        assert told.failed == unknown.why and told.directory == "/new" and told.disk_id
        assert told.disk_id not in {one.disk_id for one in serving}
        assert inventory.serving() == tuple(serving)
    finally:
        house.stop()
