"""A fence beside an append: whichever comes first, no acknowledged byte is missing from its answer.

The disk of these tests stops inside a sync until it is told to go on, so that each order of events
happens on purpose.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from chunk_house import CHUNK
from replica_house import append, make_replica, open_store

from gfs_ha.chunk.disk_memory import MemoryDisk, MemoryFile
from gfs_ha.chunk.slots.replica import Replica
from gfs_ha.errors import Fenced
from gfs_ha.ids import LogIndex
from gfs_ha.protocol.control import FenceAnswer
from gfs_ha.protocol.grid import part_crcs
from gfs_ha.runtime import ThreadedRuntime

ORDER = LogIndex(5)
DEADLINE_S = 10.0


class GatedDisk(MemoryDisk):
    """A disk whose syncs wait at a gate once it is closed."""

    def __init__(self) -> None:
        super().__init__(ThreadedRuntime())
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Event()

    def open(self, name: str) -> MemoryFile:
        file = super().open(name)
        sync = file.sync

        def gated() -> None:
            if not self.gate.is_set():
                self.waiting.set()
                assert self.gate.wait(DEADLINE_S)
            sync()

        file.sync = gated  # type: ignore[method-assign]
        return file


@pytest.fixture
def disk() -> Iterator[GatedDisk]:
    made = GatedDisk()
    yield made
    made.gate.set()


class Told:
    """What two threads were told about one replica."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.acknowledged = 0
        self.refused: Exception | None = None
        self.answer: FenceAnswer | None = None

    def push(self, data: bytes) -> None:
        try:
            end = append(self.replica, data)
            self.replica.look_before_ack()
            self.acknowledged = end
        except Fenced as error:
            self.refused = error

    def fence(self) -> None:
        self.answer = self.replica.fence(ORDER)


def started(body: object, *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=body, args=arguments, daemon=True)  # type: ignore[arg-type]
    thread.start()
    return thread


def test_a_fence_waits_for_the_sync_of_an_append_and_counts_it(disk: GatedDisk) -> None:
    told = Told(make_replica(open_store(disk)))
    told.push(b"abc")
    disk.gate.clear()
    pushing = started(told.push, b"def")
    assert disk.waiting.wait(DEADLINE_S)
    fencing = started(told.fence)
    fencing.join(0.2)
    assert told.answer is None, "the fence answered while an append was being synced"
    disk.gate.set()
    pushing.join(DEADLINE_S)
    fencing.join(DEADLINE_S)
    assert told.answer is not None and told.answer.end == 6
    # Acknowledged or not, depending on who came first after the sync: never above the answer.
    assert told.acknowledged in (3, 6)


def test_an_append_that_comes_after_the_fence_is_not_acknowledged(disk: GatedDisk) -> None:
    told = Told(make_replica(open_store(disk)))
    told.push(b"abc")
    disk.gate.clear()
    fencing = started(told.fence)
    assert disk.waiting.wait(DEADLINE_S)
    pushing = started(told.push, b"def")
    pushing.join(0.2)
    disk.gate.set()
    fencing.join(DEADLINE_S)
    pushing.join(DEADLINE_S)
    assert told.answer is not None and told.answer.end == 3
    assert told.acknowledged == 3 and told.refused is not None


def test_a_reader_does_not_wait_for_a_sync(disk: GatedDisk) -> None:
    replica = make_replica(open_store(disk))
    append(replica, b"abc")
    disk.gate.clear()
    pushing = started(append, replica, b"def")
    assert disk.waiting.wait(DEADLINE_S)
    assert replica.plan_read(0, 3).end == 3
    assert replica.header.end == 3, "what is not synced yet counts for nobody"
    disk.gate.set()
    pushing.join(DEADLINE_S)
    assert replica.plan_read(0, 6).end == 6


def test_many_appends_and_a_fence_agree_in_any_order() -> None:
    for round_number in range(60):
        store = open_store(MemoryDisk(ThreadedRuntime()))
        told = Told(make_replica(store))
        ready = threading.Barrier(2)

        def pushes(told: Told = told, ready: threading.Barrier = ready) -> None:
            ready.wait(DEADLINE_S)
            while told.refused is None:
                told.push(b"0123456789")

        def fences(told: Told = told, ready: threading.Barrier = ready) -> None:
            ready.wait(DEADLINE_S)
            told.fence()

        threads = [started(pushes), started(fences)]
        for thread in threads:
            thread.join(DEADLINE_S)
        assert told.answer is not None, round_number
        assert told.acknowledged <= told.answer.end, round_number
        assert store.get(CHUNK).fence(ORDER).end == told.answer.end


def test_a_commit_and_a_seal_do_not_mix(disk: GatedDisk) -> None:
    from replica_house import digest_of

    replica = make_replica(open_store(disk))
    append(replica, b"abc")
    with replica.begin_push(3, 3) as push:
        data = memoryview(b"def")
        push.append(data, part_crcs(3, data))
        replica.finish(ORDER, 3, digest_of(b"abc"))
        with pytest.raises(Fenced):
            push.commit()
    assert replica.plan_read(0, 3).sealed and replica.header.end == 3
