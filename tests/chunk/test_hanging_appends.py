"""Appends that hang on a disk which answers nothing: those to tails of other disks go on (D6)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import msgspec
import pytest
from append_house import MAKING, appending, record_bytes, start_of
from chunk_house import BIRTH, House, house_of
from disks_house import A, B, open_disks, shelf_of
from hanging_disk import HangingDisk
from replica_house import RUNTIME

from gfs_ha.chunk import primary
from gfs_ha.chunk.appends import workers
from gfs_ha.chunk.appends.waiting_room import cost_of
from gfs_ha.chunk.dataport import ServerRun
from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.ids import ChunkId, DiskId, StartId
from gfs_ha.limits import MIB
from gfs_ha.protocol.control import CreateReplica

WORKERS_MAX = 6
HANGING = WORKERS_MAX + 2
LONG = bytes(100)
ROOM_BYTES = 2 * cost_of(1, len(LONG))  # One record that hangs fills the half of its disk.
ON_B = ChunkId(100)


@pytest.fixture
def disk() -> Iterator[HangingDisk]:
    made = HangingDisk(RUNTIME)
    yield made
    made.let_go()


@pytest.fixture
def house(disk: HangingDisk, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """A server that leads many tails on its first disk and one on the second, all alone."""
    monkeypatch.setattr(workers, "WORKERS_MAX", WORKERS_MAX)
    store = open_disks({A: disk, B: MemoryDisk(RUNTIME)})
    made = house_of(store, RUNTIME, None, 4 * HANGING, ServerRun(StartId(100), lambda: BIRTH))
    for number in range(1, HANGING + 1):
        lead(made, ChunkId(number), A)
    lead(made, ON_B, B)
    yield made
    disk.let_go()
    made.stop()


@pytest.fixture
def little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(primary, "SERVER_BYTES_MAX", ROOM_BYTES)


def lead(house: House, chunk_id: ChunkId, disk_id: DiskId) -> None:
    order = CreateReplica(chunk_id, BIRTH, MAKING, disk_id, "disk", MIB)
    house.port.primary.create(msgspec.structs.replace(order, primary_start=start_of(house)))


def test_tails_whose_disk_hangs_take_no_worker_from_tails_of_another_disk(
    house: House, disk: HangingDisk
) -> None:
    with ExitStack() as stack:
        disk.hang(whole=True)
        hanging = []
        for number in range(1, HANGING + 1):
            stream = stack.enter_context(appending(house, chunk_id=ChunkId(number)))
            stream.send(record_bytes(1, b"it") + record_bytes(2, b"hangs"))
            hanging.append(stream)
        disk.wait_until_it_hangs(WORKERS_MAX)
        with appending(house, chunk_id=ON_B) as stream:
            stream.send(record_bytes(1, b"go") + record_bytes(2, b"on"))
            stream.wait_for(1, 2)
        house.store.take_out(shelf_of(house.store, A), "the disk does not answer")
        house.port.give_up(A)
        with appending(house, chunk_id=ON_B) as stream:
            stream.send(record_bytes(3, b"still") + record_bytes(4, b"there"))
            stream.wait_for(3, 4)
        assert disk.hanging >= WORKERS_MAX and not any(one.acks for one in hanging)


def test_appends_that_hang_on_a_disk_out_of_service_take_no_place_from_others(
    house: House, disk: HangingDisk
) -> None:
    house.port.primary.turns._places_max = 3
    with ExitStack() as stack:
        disk.hang(whole=True)
        # One hangs itself, one waits for it, and one for a worker that hangs.
        for chunk_id, records in ((1, (1,)), (1, (2,)), (2, (1, 2))):
            stream = stack.enter_context(appending(house, chunk_id=ChunkId(chunk_id)))
            stream.send(b"".join(record_bytes(one, b"it hangs") for one in records))
            disk.wait_until_it_hangs(chunk_id)
        house.store.take_out(shelf_of(house.store, A), "the disk does not answer")
        house.port.give_up(A)
        others = [stack.enter_context(appending(house, chunk_id=ON_B)) for _ in range(3)]
        for number, stream in enumerate(others, 1):
            stream.append(number, b"goes on")
            stream.wait_for(number)


def test_records_that_wait_for_a_disk_that_hangs_take_no_room_from_others(
    little_room: None, house: House, disk: HangingDisk
) -> None:
    with ExitStack() as stack:
        disk.hang(whole=True)
        for number in range(1, 4):
            hanging = stack.enter_context(appending(house, chunk_id=ChunkId(number)))
            hanging.append(1, LONG)
        disk.wait_until_it_hangs()
        with appending(house, chunk_id=ON_B) as stream:
            for sequence in range(1, 4):
                stream.append(sequence, LONG)
            stream.wait_for(1, 2, 3)
