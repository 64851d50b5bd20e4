"""Copies beside the other orders: what comes first is decided by the index, not by the wire."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from append_house import primary_of
from chunk_house import BIRTH, CHUNK, House, street
from copy_house import (
    DATA,
    EPOCH,
    ORDER,
    PATIENCE_S,
    SEALED,
    Target,
    order,
    seal,
    source,
    working_copies,
)
from replica_house import RUNTIME, append, make_replica, open_store, readable

from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.chunk.epochs import EpochBook
from gfs_ha.chunk.obey import Obedience
from gfs_ha.chunk.slots.format import DATA_OFFSET
from gfs_ha.errors import UnknownReplica
from gfs_ha.ids import Epoch, LogIndex
from gfs_ha.limits import MIB
from gfs_ha.protocol.control import (
    DeleteReplica,
    FenceAnswer,
    FenceReplica,
    KeepReplica,
    Order,
    OrderAnswer,
    OrderDone,
    OrderFailed,
    StopCopy,
)

LATER = LogIndex(60)


@dataclass
class Server:
    disk: MemoryDisk
    target: Target
    obedience: Obedience
    source: House

    def ask(self, wanted: Order) -> OrderAnswer:
        """Order something, and return the answer to that very order."""
        self.obedience.take(EPOCH, [wanted])
        while True:
            answer = self.target.answer()
            if (answer.order_index, type(answer)) == (wanted.order_index, FenceAnswer):
                return answer
            if isinstance(answer, (OrderDone, OrderFailed)) and answer.kind != "copy":
                return answer

    def begin_slow_copy(self) -> None:
        self.obedience.take(EPOCH, [order([source(self.source)], bytes_per_s=1)])
        while not any(one.bytes_done for one in self.target.copies.progress()):
            RUNTIME.sleep(0.002)

    def wait_for_rest(self) -> None:
        while self.target.copies.progress():
            RUNTIME.sleep(0.002)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    disk = MemoryDisk(RUNTIME)
    store = open_store(disk)
    with street(tmp_path, 1) as (house,), working_copies(store) as target:
        seal(house.store)
        epochs = EpochBook([MemoryDisk(RUNTIME)], RUNTIME)
        obedience = Obedience(
            store, primary_of(store), target.copies, epochs, target.outbox, RUNTIME
        )
        obedience.start()
        try:
            yield Server(disk, target, obedience, house)
        finally:
            assert obedience.stop(PATIENCE_S)


def test_a_delete_that_is_older_than_a_copy_is_refused(server: Server) -> None:
    append(make_replica(server.target.store, capacity=4 * MIB), DATA[:MIB])
    server.begin_slow_copy()
    answer = server.ask(DeleteReplica(CHUNK, SEALED, "short"))
    assert isinstance(answer, OrderFailed) and answer.failure.error == "StaleOrder"
    assert server.target.store.get(CHUNK).header.end == MIB
    server.obedience.take(EPOCH, [order([source(server.source)])])
    server.wait_for_rest()
    assert readable(server.target.store.get(CHUNK), server.disk, len(DATA)) == DATA


def test_a_delete_that_is_newer_ends_the_copy_and_what_was_here(server: Server) -> None:
    append(make_replica(server.target.store, capacity=4 * MIB), DATA[:MIB])
    server.begin_slow_copy()
    freed = DATA_OFFSET + MIB
    done = OrderDone(CHUNK, LATER, "delete", freed)
    assert server.ask(DeleteReplica(CHUNK, LATER, "dead")) == done
    server.wait_for_rest()
    server.obedience.take(EPOCH, [order([source(server.source)])])  # Late on its way.
    server.wait_for_rest()
    with pytest.raises(UnknownReplica):
        server.target.store.get(CHUNK)
    assert server.disk.names() == []


def test_a_stopped_copy_leaves_what_was_here(server: Server) -> None:
    append(make_replica(server.target.store, capacity=4 * MIB), DATA[:MIB])
    names = server.disk.names()
    server.begin_slow_copy()
    assert server.ask(StopCopy(CHUNK, ORDER)) == OrderDone(CHUNK, ORDER, "stop_copy")
    server.wait_for_rest()
    assert server.disk.names() == names
    assert server.target.store.get(CHUNK).header.end == MIB


def test_a_copy_that_waits_while_its_leader_is_deposed_is_not_begun(server: Server) -> None:
    target = server.target
    target.copies.take(Epoch(EPOCH.incarnation, EPOCH.term - 1), order([source(server.source)]))
    while target.copies._waiting:
        RUNTIME.sleep(0.002)
    target.copies.take(EPOCH, order([source(server.source)], LATER))
    assert target.answer() == OrderDone(CHUNK, LATER, "copy")


def test_a_slow_copy_holds_up_no_fence(server: Server) -> None:
    append(make_replica(server.target.store, capacity=4 * MIB), DATA[:MIB])
    server.begin_slow_copy()
    answer = server.ask(FenceReplica(CHUNK, BIRTH, SEALED, 0))
    assert isinstance(answer, FenceAnswer) and answer.end == MIB
    assert server.target.copies.progress(), "the copy goes on"


def test_a_kept_replica_refuses_the_delete_that_was_taken_back(server: Server) -> None:
    seal(server.target.store)
    assert server.ask(KeepReplica(CHUNK, ORDER)) == OrderDone(CHUNK, ORDER, "keep")
    answer = server.ask(DeleteReplica(CHUNK, ORDER, "surplus"))
    assert isinstance(answer, OrderFailed) and answer.failure.error == "StaleOrder"
    freed = DATA_OFFSET + len(DATA)
    done = OrderDone(CHUNK, LATER, "delete", freed)
    assert server.ask(DeleteReplica(CHUNK, LATER, "surplus")) == done
