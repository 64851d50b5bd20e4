"""The disk in memory forgets what a real one may forget."""

from __future__ import annotations

import pytest

from gfs_ha.chunk.disk import opened
from gfs_ha.chunk.disk_memory import SECTOR_BYTES, MemoryDisk, PowerCut
from gfs_ha.errors import DiskFailed, DiskFull
from gfs_ha.runtime import ThreadedRuntime


@pytest.fixture
def disk() -> MemoryDisk:
    return MemoryDisk(ThreadedRuntime())


def content(disk: MemoryDisk, name: str, length: int = 10_000) -> bytes:
    into = memoryview(bytearray(length))
    with opened(disk, name) as file:
        return bytes(into[: file.read(0, into)])


def test_a_power_cut_takes_what_was_not_synced(disk: MemoryDisk) -> None:
    file = disk.create("a")
    file.write(0, b"kept")
    file.sync()
    disk.sync_names()
    file.write(0, b"lost")
    disk.power_cycle()
    assert content(disk, "a") == b"kept"


def test_a_power_cut_takes_a_name_that_was_not_synced(disk: MemoryDisk) -> None:
    disk.create("a").sync()
    disk.power_cycle()
    assert disk.names() == []


def test_a_removed_name_that_was_not_synced_comes_back(disk: MemoryDisk) -> None:
    file = disk.create("a")
    file.write(0, b"back")
    file.sync()
    disk.sync_names()
    disk.unlink("a")
    disk.power_cycle()
    assert content(disk, "a") == b"back"


def test_single_sectors_of_a_write_may_survive(disk: MemoryDisk) -> None:
    file = disk.create("a")
    disk.sync_names()
    file.write(0, b"x" * (3 * SECTOR_BYTES))
    disk.power_cycle(lambda write, sector: sector == 1)
    assert content(disk, "a") == bytes(SECTOR_BYTES) + b"x" * SECTOR_BYTES


def test_the_power_goes_after_the_given_number_of_changes(disk: MemoryDisk) -> None:
    file = disk.create("a")
    disk.cut_after = 1
    file.write(0, b"1")
    with pytest.raises(PowerCut):
        file.write(1, b"2")
    with pytest.raises(PowerCut):
        disk.names()
    disk.power_cycle()
    assert disk.names() == []


def test_a_small_disk_is_full_sooner() -> None:
    disk = MemoryDisk(ThreadedRuntime(), capacity=1000)
    file = disk.create("a")
    file.allocate(800)
    with pytest.raises(DiskFull):
        disk.create("b").write(0, bytes(300))
    file.truncate(100)
    disk.create("c").write(0, bytes(300))


def test_a_failing_disk_fails_everything(disk: MemoryDisk) -> None:
    file = disk.create("a")
    disk.failing = DiskFailed("no more")
    with pytest.raises(DiskFailed):
        file.sync()
