"""One contract for the disk seam, over the real directory and the one in memory."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from gfs_ha.chunk.capped_disk import CappedDisk
from gfs_ha.chunk.disk import Disk, PosixDisk, opened
from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.errors import DiskFailed, NotFound, WrongDirectory
from gfs_ha.runtime import ThreadedRuntime


@pytest.fixture(params=["posix", "memory", "capped"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    runtime = ThreadedRuntime()
    made: Disk
    made = MemoryDisk(runtime) if request.param == "memory" else PosixDisk(tmp_path / "d")
    if request.param == "capped":
        made = CappedDisk(made, 1 << 30, runtime.lock())
    yield made
    made.close()


def read(disk: Disk, name: str, offset: int, length: int) -> bytes:
    into = memoryview(bytearray(length))
    with opened(disk, name) as file:
        return bytes(into[: file.read(offset, into)])


def put(disk: Disk, name: str, offset: int, data: bytes) -> None:
    file = disk.create(name)
    file.write(offset, data)
    file.sync()
    file.close()


def test_what_was_written_is_read_back(disk: Disk) -> None:
    put(disk, "a", 0, b"hello world")
    assert read(disk, "a", 6, 5) == b"world"


def test_a_gap_reads_as_zeros(disk: Disk) -> None:
    put(disk, "a", 10_000, b"x")
    assert read(disk, "a", 0, 10_001) == bytes(10_000) + b"x"


def test_a_read_beyond_the_end_is_short(disk: Disk) -> None:
    put(disk, "a", 0, b"abc")
    assert read(disk, "a", 1, 100) == b"bc"
    assert read(disk, "a", 50, 100) == b""


def test_a_write_in_the_middle_keeps_the_rest(disk: Disk) -> None:
    put(disk, "a", 0, b"aaaaaa")
    with opened(disk, "a") as file:
        file.write(2, memoryview(b"bb"))
    assert read(disk, "a", 0, 10) == b"aabbaa"


def test_names_are_listed_in_order_and_removed(disk: Disk) -> None:
    for name in ("b", "a", "c"):
        put(disk, name, 0, b"")
    disk.unlink("b")
    disk.sync_names()
    assert disk.names() == ["a", "c"]
    disk.unlink("b")
    assert disk.names() == ["a", "c"]


def test_a_name_is_given_once(disk: Disk) -> None:
    put(disk, "a", 0, b"")
    with pytest.raises(DiskFailed):
        disk.create("a")


def test_a_file_that_is_not_there_is_not_found(disk: Disk) -> None:
    with pytest.raises(NotFound):
        disk.open("nothing")


def test_room_that_is_reserved_does_not_show_in_the_size(disk: Disk) -> None:
    file = disk.create("a")
    file.allocate(1 << 20)
    assert file.size() == 0
    file.write(0, b"x" * 100)
    assert file.size() == 100
    file.close()


def test_a_cut_file_ends_there(disk: Disk) -> None:
    put(disk, "a", 0, b"0123456789")
    with opened(disk, "a") as file:
        file.truncate(4)
        assert file.size() == 4
    assert read(disk, "a", 0, 100) == b"0123"


def test_a_range_given_back_reads_as_zeros(disk: Disk) -> None:
    put(disk, "a", 0, b"x" * 8192)
    with opened(disk, "a") as file:
        file.punch(0, 4096)
    assert read(disk, "a", 0, 8192) == bytes(4096) + b"x" * 4096


def test_a_range_given_back_takes_no_room_and_the_size_stays(disk: Disk) -> None:
    put(disk, "a", 0, b"x" * (1 << 18))
    with opened(disk, "a") as file:
        file.sync()
        before = file.room()
        file.punch(1 << 16, 1 << 16)
        assert before - file.room() == 1 << 16
        file.punch(1 << 16, 1 << 16)
        file.punch((1 << 18) - 4096, 1 << 16)  # Beyond the end there is nothing to give back.
        assert before - file.room() == (1 << 16) + 4096
        assert file.size() == 1 << 18
        file.write(1 << 16, b"y" * (1 << 16))
        file.sync()
        assert before - file.room() == 4096


def test_a_range_can_be_written_back_and_dropped_from_the_cache(disk: Disk) -> None:
    put(disk, "a", 0, b"x" * 8192)
    with opened(disk, "a") as file:
        file.write(100, b"y")
        file.write_back(0, 8192)
        file.drop_cache()
    assert read(disk, "a", 99, 3) == b"xyx"


def test_an_open_file_outlives_its_name(disk: Disk) -> None:
    put(disk, "a", 0, b"still here")
    with opened(disk, "a") as file:
        disk.unlink("a")
        into = memoryview(bytearray(10))
        assert file.read(0, into) == 10
        assert bytes(into) == b"still here"


def test_usage_adds_up(disk: Disk) -> None:
    usage = disk.usage()
    assert usage.total == usage.used + usage.free
    assert usage.free > 0


def test_a_directory_belongs_to_one_process_at_a_time(tmp_path: Path) -> None:
    first = PosixDisk(tmp_path / "d")
    with pytest.raises(WrongDirectory, match="in use"):
        PosixDisk(tmp_path / "d")
    first.close()
    PosixDisk(tmp_path / "d").close()


def test_a_directory_that_lies_where_it_was_taken_is_at_its_place(disk: Disk) -> None:
    put(disk, "a", 0, b"x")
    disk.check_place()
    assert disk.error_count == 0


@pytest.mark.parametrize("capped", [False, True])
@pytest.mark.parametrize("what", ["removed", "made anew", "moved", "another", "a file"])
def test_a_directory_that_is_another_one_now_is_not_at_its_place(
    tmp_path: Path, what: str, capped: bool
) -> None:
    place = tmp_path / "d"
    disk: Disk = PosixDisk(place)
    if capped:
        disk = CappedDisk(disk, 1 << 30, ThreadedRuntime().lock())
    file = disk.create("a")
    if what == "moved":
        place.rename(tmp_path / "e")
    else:
        shutil.rmtree(place)
    if what in ("made anew", "another"):
        place.mkdir()
    if what == "another":
        place.rmdir()
        (tmp_path / "e").mkdir()
        place.symlink_to(tmp_path / "e")
    if what == "a file":
        place.write_bytes(b"")
    file.write(0, b"still there")  # Who only goes on to write does not find out.
    file.sync()
    with pytest.raises(DiskFailed, match=str(place)):
        disk.check_place()
    assert disk.error_count == 1
    # Who looks for a file that went with it hears of the directory, not of a file.
    with pytest.raises(DiskFailed, match=str(place)):
        disk.open("b")
    assert disk.error_count == 2
    file.close()
    disk.close()


@pytest.mark.parametrize("length", [1000, 5000, 20_000])
def test_a_cut_gives_back_what_was_reserved(tmp_path: Path, length: int) -> None:
    disk = PosixDisk(tmp_path / "d")
    file = disk.create("a")
    file.write(0, bytes(5000))
    file.allocate(8 << 20)
    file.truncate(length)
    file.close()
    assert (tmp_path / "d" / "a").stat().st_blocks * 512 < 1 << 20
    disk.close()
