"""Orders cut off by a failing disk or the power: answered once durable, obeyed again (C2, C7)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from chunk_house import CHUNK
from replica_house import RUNTIME, append, digest_of, make_replica, noise, open_store, readable

from gfs_ha.chunk.disk_memory import MemoryDisk, MemoryFile, PowerCut
from gfs_ha.chunk.slots.format import State
from gfs_ha.chunk.slots.replica import Replica
from gfs_ha.chunk.slots.slot import read_header
from gfs_ha.errors import DiskFailed, ReplicaDamaged
from gfs_ha.ids import LogIndex
from gfs_ha.protocol.data import Durability

DATA = noise(100_000)
ORDER = LogIndex(10)


def fence(replica: Replica) -> None:
    replica.fence(ORDER)


def finish(replica: Replica) -> None:
    replica.finish(ORDER, len(DATA), digest_of(DATA))


@pytest.fixture
def disk() -> MemoryDisk:
    return MemoryDisk(RUNTIME)


def fail_sync(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let the sync with that number from now on fail, once."""
    sync, calls = MemoryFile.sync, iter(range(1 << 30))

    def failing(self: MemoryFile) -> None:
        if next(calls) == number:
            raise DiskFailed("no sector left to remap to")
        sync(self)

    monkeypatch.setattr(MemoryFile, "sync", failing)


@pytest.mark.parametrize(("order", "state"), [(fence, State.FENCED), (finish, State.SEALED)])
@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("durability", [Durability.DISK, Durability.MEMORY])
def test_an_order_that_failed_at_a_sync_is_done_only_when_it_is_on_the_disk(
    disk: MemoryDisk,
    monkeypatch: pytest.MonkeyPatch,
    order: Callable[[Replica], None],
    state: State,
    number: int,
    durability: Durability,
) -> None:
    replica = make_replica(open_store(disk), durability)
    append(replica, DATA)
    fail_sync(monkeypatch, number)
    try:
        order(replica)
    except DiskFailed:
        order(replica)  # As the leader does, every second.
    disk.power_cycle()
    reading = read_header(disk, replica.name)
    assert reading is not None
    assert (reading.header.state, reading.header.end) == (state, len(DATA))


@pytest.mark.parametrize("kept", [0, 1, 2])
@pytest.mark.parametrize("cut_after", range(3))
def test_a_seal_that_a_power_cut_tore_is_taken_again_and_served_whole(
    disk: MemoryDisk, cut_after: int, kept: int
) -> None:
    replica = make_replica(open_store(disk))
    append(replica, DATA)
    disk.cut_after = cut_after
    with pytest.raises(PowerCut):
        finish(replica)
    disk.power_cycle(lambda write, sector: sector % 3 == kept)
    again = open_store(disk).get(CHUNK)
    finish(again)
    assert again.condition == "sealed"
    assert readable(again, disk, len(DATA)) == DATA


def test_a_seal_with_other_bytes_repeated_every_second_wears_no_disk(disk: MemoryDisk) -> None:
    replica = make_replica(open_store(disk))
    append(replica, DATA)
    for _ in range(2):
        before = disk.operations
        with pytest.raises(ReplicaDamaged):
            replica.finish(ORDER, len(DATA), 1)
        written = disk.operations - before
    assert written == 0
    assert replica.condition == "quarantined"


@pytest.mark.parametrize("copy", [0, 1])
def test_a_sealed_replica_that_lost_a_copy_of_its_header_is_told_again_and_whole_again(
    disk: MemoryDisk, copy: int
) -> None:
    replica = make_replica(open_store(disk))
    append(replica, DATA)
    fence(replica)
    finish(replica)
    disk.flip(replica.name, 8192 * copy + 20)
    again = open_store(disk).get(CHUNK)
    assert again.condition == "damaged"
    finish(again)
    assert again.condition == "sealed"
    disk.flip(replica.name, 8192 * (1 - copy) + 20)
    again = open_store(disk).get(CHUNK)
    assert (again.header.state, again.header.end) == (State.SEALED, len(DATA))
    assert readable(again, disk, len(DATA)) == DATA


@pytest.mark.parametrize("copy", [0, 1])
def test_whichever_copy_of_its_header_is_lost_one_that_was_cut_to_the_seal_is_whole(
    disk: MemoryDisk, copy: int
) -> None:
    store = open_store(disk)
    replica = make_replica(store)
    append(replica, DATA)
    append(replica, DATA)
    fence(replica)
    finish(replica)
    disk.flip(replica.name, 8192 * copy + 20)
    again = open_store(disk).get(CHUNK)
    finish(again)
    assert again.condition == "sealed"
    assert readable(again, disk, len(DATA)) == DATA
