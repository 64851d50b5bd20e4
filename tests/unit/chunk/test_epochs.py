"""The newest epoch that a leader told: never forgotten once it counts, whenever the power goes."""

from __future__ import annotations

import itertools

import pytest

from gfs_ha.chunk.disk_memory import MemoryDisk, PowerCut
from gfs_ha.chunk.epochs import EPOCH_NAME, NO_EPOCH, EpochBook
from gfs_ha.errors import DiskFailed
from gfs_ha.ids import Epoch
from gfs_ha.runtime import ThreadedRuntime

RUNTIME = ThreadedRuntime()


def test_a_new_directory_knows_no_epoch() -> None:
    assert EpochBook([MemoryDisk(RUNTIME)], RUNTIME).newest == NO_EPOCH


def test_an_older_epoch_is_refused_also_after_a_restart() -> None:
    disk = MemoryDisk(RUNTIME)
    book = EpochBook([disk], RUNTIME)
    assert book.told(Epoch(1, 7))
    assert book.told(Epoch(1, 7))
    assert not book.told(Epoch(1, 6))
    disk.power_cycle()
    again = EpochBook([disk], RUNTIME)
    assert again.newest == Epoch(1, 7)
    assert not again.told(Epoch(1, 6))
    assert again.told(Epoch(2, 1)), "a new incarnation is newer, whatever its term"


@pytest.mark.parametrize("survivor", ["nothing", "all", "names", "first sector"])
def test_a_power_cut_at_any_moment_forgets_nothing_that_counted(survivor: str) -> None:
    survives = {
        "nothing": lambda write, sector: False,
        "all": lambda write, sector: True,
        "names": lambda write, sector: (write, sector) == (0, 0),
        "first sector": lambda write, sector: write == 0,
    }[survivor]
    for moment in itertools.count():
        disk = MemoryDisk(RUNTIME)
        book = EpochBook([disk], RUNTIME)
        counted = NO_EPOCH
        disk.cut_after = moment
        try:
            for term in range(1, 4):
                assert book.told(Epoch(1, term))
                counted = Epoch(1, term)
        except PowerCut:
            pass
        finished = disk.cut_after is not None and counted == Epoch(1, 3)
        disk.power_cycle(survives)
        found = EpochBook([disk], RUNTIME).newest
        assert counted <= found <= Epoch(1, 3)
        if finished:
            break
    assert moment > 10, "every disk operation was a moment"


@pytest.mark.parametrize("offset", [0, 12, 19, 4096, 4108, 4115])
def test_one_rotten_byte_forgets_nothing(offset: int) -> None:
    disk = MemoryDisk(RUNTIME)
    EpochBook([disk], RUNTIME).told(Epoch(3, 9))
    disk.flip(EPOCH_NAME, offset)
    assert EpochBook([disk], RUNTIME).newest == Epoch(3, 9)


@pytest.mark.parametrize("offset", [0, 4096])
def test_a_copy_that_cannot_be_read_forgets_nothing(offset: int) -> None:
    disk = MemoryDisk(RUNTIME)
    EpochBook([disk], RUNTIME).told(Epoch(1, 7))
    disk.break_sector(EPOCH_NAME, offset)
    book = EpochBook([disk], RUNTIME)
    assert book.newest == Epoch(1, 7)
    assert book.told(Epoch(1, 8)) and EpochBook([disk], RUNTIME).newest == Epoch(1, 8)
    disk.break_sector(EPOCH_NAME, 0)
    disk.break_sector(EPOCH_NAME, 4096)
    with pytest.raises(DiskFailed):
        EpochBook([disk], RUNTIME)


def test_a_server_that_lost_both_copies_does_not_start() -> None:
    disk = MemoryDisk(RUNTIME)
    EpochBook([disk], RUNTIME).told(Epoch(3, 9))
    disk.flip(EPOCH_NAME, 12)
    disk.flip(EPOCH_NAME, 4108)
    with pytest.raises(DiskFailed, match="both copies"):
        EpochBook([disk], RUNTIME)


def test_an_epoch_that_cannot_be_kept_does_not_count() -> None:
    disk = MemoryDisk(RUNTIME)
    book = EpochBook([disk], RUNTIME)
    disk.failing = DiskFailed("I/O error")
    with pytest.raises(DiskFailed):
        book.told(Epoch(1, 1))
    assert book.newest == NO_EPOCH


def test_a_disk_that_comes_later_knows_the_epoch_before_the_older_one_dies() -> None:
    old, new = MemoryDisk(RUNTIME), MemoryDisk(RUNTIME)
    EpochBook([old], RUNTIME).told(Epoch(1, 7))
    both = EpochBook([old, new], RUNTIME)
    assert both.told(Epoch(1, 7)), "it is the epoch of before"
    assert not EpochBook([new], RUNTIME).told(Epoch(1, 6)), "a deposed leader"


def test_no_order_counts_before_each_disk_knows_the_epoch() -> None:
    old, new = MemoryDisk(RUNTIME), MemoryDisk(RUNTIME)
    EpochBook([old], RUNTIME).told(Epoch(1, 7))
    both = EpochBook([old, new], RUNTIME)
    new.failing = DiskFailed("I/O error")
    for _ in range(2):
        with pytest.raises(DiskFailed):
            both.told(Epoch(1, 7))
    both.drop(new)
    assert both.told(Epoch(1, 7))
