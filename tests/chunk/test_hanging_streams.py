"""Streams that hang on a disk which answers nothing: those of other disks go on (D6)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress

import pytest
from chunk_house import BIRTH, House, client_room, fetch, house_of
from copy_house import PATIENCE_S
from disks_house import A, B, open_disks, shelf_of
from hanging_disk import HangingDisk
from replica_house import RUNTIME, append
from server_house import hurry, running, sealed_alone, serving

from gfs_ha.chunk import disk_warden
from gfs_ha.chunk.dataport import ServerRun
from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.chunk.slots.spec import ReplicaSpec
from gfs_ha.errors import Unreachable
from gfs_ha.ids import ChunkId, DiskId, StartId
from gfs_ha.limits import MIB
from gfs_ha.net.streams import TcpStreams
from gfs_ha.protocol.data import ChunkKind, Durability

STREAMS = 4
STOP_S = 2.0  # Waited for twice it would be as much longer: no load is that late.
ON_A, ON_B = ChunkId(1), ChunkId(2)
DATA = b"whatever lies on it"


@pytest.fixture
def disk() -> Iterator[HangingDisk]:
    made = HangingDisk(RUNTIME)
    yield made
    made.let_go()


@pytest.fixture
def house(disk: HangingDisk) -> Iterator[House]:
    """A server of two disks that serves a few streams at once; a replica lies on each disk."""
    store = open_disks({A: disk, B: MemoryDisk(RUNTIME)})
    for chunk_id, disk_id in ((ON_A, A), (ON_B, B)):
        spec = ReplicaSpec(chunk_id, BIRTH, ChunkKind.PUT, MIB, Durability.DISK)
        append(store.create_replica(spec, disk_id=disk_id), DATA)
    made = house_of(store, RUNTIME, None, STREAMS, ServerRun(StartId(100), lambda: BIRTH))
    yield made
    disk.let_go()
    made.stop()


def begin_reads(house: House, count: int, told: list[bytes]) -> list[threading.Thread]:
    """Ask for what lies on the first disk, each in a stream of its own."""

    def read() -> None:
        with client_room() as room, suppress(Unreachable):
            told.append(fetch(room, house, 0, len(DATA), ON_A)[0])

    asking = [threading.Thread(target=read, daemon=True) for _ in range(count)]
    for one in asking:
        one.start()
    return asking


def hang_all(house: House, disk: HangingDisk, told: list[bytes]) -> list[threading.Thread]:
    """Have as many streams as it serves hang on the first disk, which is then out of service."""
    disk.hang(whole=True)
    asking = begin_reads(house, STREAMS, told)
    disk.wait_until_it_hangs(STREAMS)
    house.store.take_out(shelf_of(house.store, A), "the disk does not answer")
    house.port.give_up(A)
    return asking


def test_what_hangs_on_a_disk_that_is_out_of_service_takes_no_place_from_others(
    house: House, disk: HangingDisk
) -> None:
    told: list[bytes] = []
    asking = hang_all(house, disk, told)
    assert (house.port.stream_count, house.port.serving_count) == (0, 0)
    for _ in range(2 * STREAMS):
        with client_room() as room:
            assert fetch(room, house, 0, len(DATA), ON_B)[0] == DATA
    assert disk.hanging == STREAMS and not told
    disk.let_go()
    for one in asking:
        one.join(PATIENCE_S)
    assert told == [DATA] * STREAMS, "who comes through after all is answered"


def test_what_hangs_there_does_not_let_silent_connections_keep_others_out(
    house: House, disk: HangingDisk
) -> None:
    told: list[bytes] = []
    asking = hang_all(house, disk, told)
    with ExitStack() as silent:
        for _ in range(STREAMS):
            where = ("127.0.0.1", house.port.port)
            silent.enter_context(closing(TcpStreams(RUNTIME).connect(where, 10.0)))
        with client_room() as room:
            assert fetch(room, house, 0, len(DATA), ON_B)[0] == DATA
    counts = house.port.turned_away.counts()
    assert (counts["turned_out"], counts["full"]) == (1, 0), counts
    disk.let_go()
    for one in asking:
        one.join(PATIENCE_S)
    assert told == [DATA] * STREAMS


def test_all_that_hangs_is_waited_for_once_when_a_server_stops(
    disk: HangingDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    monkeypatch.setattr(disk_warden, "SILENT_S", PATIENCE_S)
    disks: dict[DiskId, MemoryDisk] = {A: disk, B: MemoryDisk(RUNTIME)}
    for chunk_id, disk_id in ((ON_A, A), (ON_B, B)):
        sealed_alone(disks[disk_id], disk_id, chunk_id, DATA)
    with running(disks) as server, ExitStack() as after:
        after.callback(disk.let_go)
        assert server.store and server._data_port and server._serving
        disk.hang(whole=True)
        begin_reads(House(server.store, server._data_port, server._serving), 1, [])
        disk.wait_until_it_hangs(2)  # A read, and its warden's look.
        began_s = RUNTIME.monotonic_s()
        assert not server.stop(STOP_S)
        assert RUNTIME.monotonic_s() - began_s < 2 * STOP_S


def test_a_server_that_gives_a_disk_up_frees_the_places_of_what_hangs_there(
    disk: HangingDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    monkeypatch.setattr(disk_warden, "SILENT_S", PATIENCE_S)
    disks: dict[DiskId, MemoryDisk] = {A: disk, B: MemoryDisk(RUNTIME)}
    for chunk_id, disk_id in ((ON_A, A), (ON_B, B)):
        sealed_alone(disks[disk_id], disk_id, chunk_id, DATA)
    with serving(disks) as house, ExitStack() as after:
        after.callback(disk.let_go)
        told: list[bytes] = []
        disk.hang(whole=True)
        asking = begin_reads(house, STREAMS, told)
        disk.wait_until_it_hangs(STREAMS + 1)  # Its warden's look, too.
        monkeypatch.setattr(disk_warden, "SILENT_S", 0.3)
        until_s = RUNTIME.monotonic_s() + PATIENCE_S
        while house.port.stream_count:
            assert RUNTIME.monotonic_s() < until_s, "they still have their places"
            RUNTIME.sleep(0.01)
        assert shelf_of(house.store, A).failed and not told
        disk.let_go()
        for one in asking:
            one.join(PATIENCE_S)
        assert told == [DATA] * STREAMS
