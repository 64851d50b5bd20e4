"""The data directories of a process: taken all or none, and let go of when it cannot start (D6)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gfs_ha.chunk.disk import PosixDisk
from gfs_ha.chunk.machine import close_all, this_machine
from gfs_ha.config import ChunkserverConfig, DiskConfig
from gfs_ha.errors import DiskFailed, WrongDirectory
from gfs_ha.runtime import ThreadedRuntime

RUNTIME = ThreadedRuntime()


def own(*disks: DiskConfig) -> ChunkserverConfig:
    return ChunkserverConfig("one", disks, "127.0.0.1", 7301, "r1", "m1")


def are_free(*directories: Path) -> bool:
    """Return whether somebody else can have them now."""
    for directory in directories:
        PosixDisk(directory).close()
    return True


def test_a_directory_that_another_process_has_ends_the_start_and_none_is_kept(
    tmp_path: Path,
) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    other = PosixDisk(b)
    try:
        with pytest.raises(WrongDirectory, match="in use"):
            this_machine(own(DiskConfig(a), DiskConfig(b)), RUNTIME)
        assert are_free(a)
    finally:
        other.close()


def test_one_directory_under_two_names_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(WrongDirectory, match="in use"):
        this_machine(own(DiskConfig(tmp_path / "a"), DiskConfig(tmp_path / "b")), RUNTIME)
    assert are_free(tmp_path / "a")


def test_one_that_is_not_mounted_or_no_directory_is_told_and_the_others_are_taken(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_bytes(b"x")
    config = own(
        DiskConfig(tmp_path / "a"),
        DiskConfig(tmp_path / "gone", mounted=True),
        DiskConfig(tmp_path / "file"),
        DiskConfig(tmp_path / "capped", capacity=1 << 30),
    )
    machine = this_machine(config, RUNTIME)
    try:
        assert [one.disk is not None for one in machine.disks] == [True, False, False, True]
        assert "nothing is mounted" in machine.disks[1].trouble and machine.disks[2].trouble
        assert not (tmp_path / "gone").exists(), "nothing is written where a disk is missing"
    finally:
        close_all(machine.disks)
    assert are_free(tmp_path / "a", tmp_path / "capped")


def test_without_any_disk_it_does_not_start(tmp_path: Path) -> None:
    missing = [DiskConfig(tmp_path / name, mounted=True) for name in "ab"]
    with pytest.raises(DiskFailed, match="/a: its disk is not there; nothing"):
        this_machine(own(*missing), RUNTIME)


def test_it_says_what_its_host_is_here(tmp_path: Path) -> None:
    named = replace(own(DiskConfig(tmp_path / "a")), host="localhost")
    machine = this_machine(named, RUNTIME)
    close_all(machine.disks)
    assert machine.listening == "127.0.0.1"
