"""A disk that may take a part of its file system: never more, and what is given back counts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gfs_ha.chunk.capped_disk import CappedDisk
from gfs_ha.chunk.disk import PosixDisk, opened
from gfs_ha.chunk.disk_memory import MemoryDisk, MemoryFile
from gfs_ha.errors import DiskFailed, DiskFull
from gfs_ha.runtime import ThreadedRuntime

RUNTIME = ThreadedRuntime()
BLOCK = 4096


def capped(capacity: int, inner: MemoryDisk | None = None) -> CappedDisk:
    return CappedDisk(inner or MemoryDisk(RUNTIME), capacity, RUNTIME.lock())


def test_what_is_reserved_counts_and_is_given_back() -> None:
    disk = capped(100 * BLOCK)
    file = disk.create("a")
    file.allocate(60 * BLOCK)
    assert disk.usage().free == 40 * BLOCK and disk.usage().total == 100 * BLOCK
    with pytest.raises(DiskFull, match="of the 409600 bytes that it may take"):
        disk.create("b").allocate(41 * BLOCK)
    file.write(0, b"x" * BLOCK)
    file.truncate(10 * BLOCK)
    disk.create("c").allocate(50 * BLOCK)
    disk.unlink("a")
    assert disk.usage().used <= 50 * BLOCK + BLOCK
    disk.unlink("a")


def test_a_write_beyond_what_was_reserved_is_refused_when_there_is_no_room() -> None:
    disk = capped(10 * BLOCK)
    file = disk.create("a")
    file.write(0, bytes(10 * BLOCK))
    with pytest.raises(DiskFull):
        file.write(10 * BLOCK, b"x")
    file.write(5 * BLOCK, b"y" * BLOCK)  # What is there already may be written again.


class Meanwhile(MemoryDisk):
    """A disk on which something else happens while a file is given its room, or fails to be."""

    happens: Callable[[], object] = staticmethod(lambda: None)

    def create(self, name: str) -> MemoryFile:
        file = super().create(name)
        if name == "slow":
            file.allocate = self.slowly(file.allocate)  # type: ignore[method-assign]
            file.write = self.slowly(file.write)  # type: ignore[method-assign]
        return file

    def slowly(self, call):
        def called(*facts) -> None:
            self.happens()
            call(*facts)

        return called


@pytest.mark.parametrize("kind", ["a", "w"])
def test_two_at_once_are_not_given_the_same_bytes(kind: str) -> None:
    inner = Meanwhile(RUNTIME)
    disk = capped(10 * BLOCK, inner)
    slow, other = disk.create("slow"), disk.create("other")
    refused = []

    def happens() -> None:
        with pytest.raises(DiskFull) as caught:
            other.allocate(6 * BLOCK)
        refused.append(caught.value)

    inner.happens = happens
    if kind == "a":
        slow.allocate(5 * BLOCK)
    else:
        slow.write(0, bytes(5 * BLOCK))
    assert len(refused) == 1 and disk.usage().used == 5 * BLOCK
    other.allocate(5 * BLOCK)


@pytest.mark.parametrize("kind", ["a", "w"])
@pytest.mark.parametrize("error", [DiskFull, DiskFailed])
def test_what_the_file_system_refused_is_not_counted(kind: str, error: type[Exception]) -> None:
    inner = Meanwhile(RUNTIME)
    disk = capped(10 * BLOCK, inner)
    slow = disk.create("slow")

    def happens() -> None:
        raise error("others have it")

    inner.happens = happens
    with pytest.raises(error):
        if kind == "a":
            slow.allocate(5 * BLOCK)
        else:
            slow.write(0, bytes(5 * BLOCK))
    assert disk.usage().used == 0 and disk.usage().free == 10 * BLOCK


def test_what_is_no_file_of_a_store_keeps_no_server_from_starting(tmp_path: Path) -> None:
    (tmp_path / "d" / "lost+found").mkdir(parents=True)
    inner = PosixDisk(tmp_path / "d")
    with opened_new(inner, "a") as file:
        file.allocate(1 << 20)
    disk = CappedDisk(inner, 1 << 30, RUNTIME.lock())
    assert 1 << 20 <= disk.usage().used < 2 << 20
    disk.close()


def test_a_file_that_lost_its_name_counts_no_more_whoever_still_has_it_open() -> None:
    disk = capped(10 * BLOCK)
    file = disk.create("a")
    file.allocate(8 * BLOCK)
    disk.unlink("a")
    file.allocate(9 * BLOCK)
    assert disk.usage().used == 0
    disk.create("a").allocate(10 * BLOCK)


def test_what_lies_there_already_counts_from_the_start(tmp_path: Path) -> None:
    inner = PosixDisk(tmp_path / "d")
    with opened_new(inner, "a") as file:
        file.allocate(1 << 20)
    disk = CappedDisk(inner, 2 << 20, RUNTIME.lock())
    used = disk.usage().used
    assert used >= 1 << 20
    with pytest.raises(DiskFull):
        disk.create("b").allocate((2 << 20) - used + BLOCK)
    disk.close()


def opened_new(disk: PosixDisk, name: str):
    disk.create(name).close()
    return opened(disk, name)


def test_the_real_disk_is_a_bound_too() -> None:
    disk = capped(1 << 40, MemoryDisk(RUNTIME, 1 << 20))
    assert disk.usage().total == 1 << 20 and disk.usage().free <= 1 << 20


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("awtpu"), st.integers(0, 12))))
def test_no_run_of_changes_takes_more_than_the_capacity(changes) -> None:
    disk = capped(20 * BLOCK)
    for name, kind, count in changes:
        try:
            change(disk, name, kind, count * BLOCK)
        except DiskFull:
            pass
        usage = disk.usage()
        real = 0
        for known in disk.names():
            with opened(disk, known) as file:
                real += file.room()
        assert real <= usage.used <= 20 * BLOCK
        assert usage.free == 20 * BLOCK - usage.used


def change(disk: CappedDisk, name: str, kind: str, length: int) -> None:
    if kind == "u":
        disk.unlink(name)
        return
    if name not in disk.names():
        disk.create(name).close()
    with opened(disk, name) as file:
        if kind == "a":
            file.allocate(length)
        elif kind == "w":
            file.write(length, b"x" * BLOCK)
        elif kind == "t":
            file.truncate(length)
        elif length:
            file.punch(0, length)
