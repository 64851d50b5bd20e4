"""The newest epoch that a leader told: never forgotten once it counts, whenever the power goes."""

from __future__ import annotations

import itertools

import pytest
from hanging_disk import HangingDisk

from gfs_ha.chunk.disk_memory import MemoryDisk, MemoryFile, PowerCut
from gfs_ha.chunk.epochs import EPOCH_NAME, NO_EPOCH, STALL_S, EpochBook, read_epoch
from gfs_ha.errors import DiskFailed, DiskFull, GfsError
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


# One of several that does not keep it -----------------------------------------------------------


class Ahead(ThreadedRuntime):
    """A runtime whose clock the test sets forward."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.ahead_s


class Stubborn(MemoryDisk):
    """A disk that takes everything but its epoch."""

    def __init__(self, error: GfsError | None = None) -> None:
        super().__init__(RUNTIME)
        self.error = error

    def open(self, name: str) -> MemoryFile:
        if name == EPOCH_NAME and self.error is not None:
            raise self.error
        return super().open(name)


def test_a_disk_that_refuses_its_epoch_only_is_told_of_until_it_takes_it() -> None:
    good, bad = MemoryDisk(RUNTIME), Stubborn()
    book = EpochBook([good, bad], RUNTIME)
    bad.error = DiskFailed("cannot open epoch: Input/output error")
    for count in range(1, 4):
        with pytest.raises(DiskFailed, match="Input/output error"):
            book.told(Epoch(1, 7))
        assert book.refused(bad) == (count, bad.error.message)
    assert book.refused(good) == (0, "") and book.newest == NO_EPOCH
    bad.error = None
    assert book.told(Epoch(1, 7)) and book.refused(bad) == (0, "")


def test_a_server_goes_on_with_the_epoch_on_its_other_disks() -> None:
    good, bad = MemoryDisk(RUNTIME), Stubborn()
    book = EpochBook([good, bad], RUNTIME)
    assert book.told(Epoch(1, 6))
    bad.error = DiskFailed("cannot open epoch: Input/output error")
    with pytest.raises(DiskFailed):
        book.told(Epoch(1, 7))
    book.drop(bad)
    assert book.told(Epoch(1, 7)) and book.newest == Epoch(1, 7)
    assert EpochBook([good], RUNTIME).newest == Epoch(1, 7)
    assert not book.told(Epoch(1, 6))


def test_without_any_disk_no_epoch_counts() -> None:
    only = Stubborn()
    book = EpochBook([only], RUNTIME)
    assert book.told(Epoch(1, 6))
    book.drop(only)
    with pytest.raises(DiskFailed, match="no disk"):
        book.told(Epoch(1, 7))
    assert book.newest == Epoch(1, 6)


def test_a_full_disk_is_to_blame_only_if_another_one_has_room() -> None:
    first, second = (Stubborn(DiskFull("the disk is full")) for _ in range(2))
    first.error, second.error = None, None
    book = EpochBook([first, second], RUNTIME)
    first.error = second.error = DiskFull("the disk is full")
    with pytest.raises(DiskFull):
        book.told(Epoch(1, 7))
    assert book.refused(first) == book.refused(second) == (0, ""), "there is no room at all"
    first.error = None
    with pytest.raises(DiskFull):
        book.told(Epoch(1, 7))
    assert book.refused(second)[1] == "the disk is full" and book.refused(first) == (0, "")


def test_a_disk_that_hangs_keeps_no_heartbeat_and_no_other_disk_from_the_epoch() -> None:
    runtime = Ahead()
    good, bad = MemoryDisk(RUNTIME), HangingDisk(RUNTIME)
    book = EpochBook([bad, good], runtime)
    assert book.told(Epoch(1, 6))
    bad.hang()
    try:
        for _ in range(2):
            with pytest.raises(DiskFailed, match="did not keep"):
                book.told(Epoch(1, 7), timeout_s=0.05)
        assert book.newest == Epoch(1, 6), "one that was not kept everywhere does not count"
        assert book.refused(bad) == (0, ""), "it may only be slow"
        bad.wait_until_it_hangs()
        ends_s = RUNTIME.monotonic_s() + 30.0
        while read_epoch(good) != Epoch(1, 7):
            assert RUNTIME.monotonic_s() < ends_s, "the other one does not keep it"
            RUNTIME.sleep(0.01)
        for count in (1, 2):
            runtime.ahead_s += STALL_S
            assert book.refused(bad)[0] == count and "cannot be written" in book.refused(bad)[1]
        assert bad.hanging == 1, "nobody else waits there"
        assert book.refused(good) == (0, "") and read_epoch(good) == Epoch(1, 7)
        book.drop(bad)
        assert book.told(Epoch(1, 7), timeout_s=0.05) and book.told(Epoch(1, 8))
    finally:
        bad.let_go()


def test_one_that_is_slow_is_found_to_have_it_by_who_tells_again() -> None:
    slow = HangingDisk(RUNTIME)
    book = EpochBook([slow], RUNTIME)
    slow.hang()
    with pytest.raises(DiskFailed):
        book.told(Epoch(1, 7), timeout_s=0.05)
    slow.let_go()
    assert book.told(Epoch(1, 7)) and read_epoch(slow) == Epoch(1, 7)


def test_who_was_deposed_while_it_was_written_down_is_not_obeyed() -> None:
    slow = HangingDisk(RUNTIME)
    book = EpochBook([slow], RUNTIME)
    slow.hang()
    with pytest.raises(DiskFailed):
        book.told(Epoch(1, 8), timeout_s=0.05)
    assert not book.told(Epoch(1, 7), timeout_s=0.05), "a newer one was heard"
    slow.let_go()
    assert book.told(Epoch(1, 8)) and read_epoch(slow) == Epoch(1, 8)
