"""A file system that really loses power: ext4 on a loop device, shut down without its journal.

Needs root and loop devices; elsewhere the disk in memory tells the same story (test_power_cuts).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from chunk_house import BIRTH, BOOT_ID, CHUNK, client_room, identity, start_house, target
from replica_house import noise

from gfs_ha.chunk.disk import PosixDisk, opened
from gfs_ha.chunk.slots.format import DATA_OFFSET
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.client.push import Push
from gfs_ha.errors import GfsError, UnknownReplica
from gfs_ha.ids import LogIndex
from gfs_ha.limits import MIB
from gfs_ha.runtime import ThreadedRuntime

pytestmark = pytest.mark.processes

EXT4_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2
DATA = noise(8 * MIB)
PUSH_BYTES = 300_001


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[Path]:
    run("mount", "-o", "loop", str(image), str(place))
    try:
        yield place
    finally:
        run("umount", "-l", str(place))  # Also with a file left open by a failed test.


@pytest.fixture
def image(tmp_path: Path) -> Path:
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("needs root and mkfs.ext4")
    path = tmp_path / "image"
    with path.open("wb") as file:
        file.truncate(96 * MIB)
    run("mkfs.ext4", "-q", str(path))
    place = tmp_path / "mounted"
    place.mkdir()
    try:
        with mounted(path, place):
            pass
    except subprocess.CalledProcessError:
        pytest.skip("this machine cannot mount a loop device")
    return path


def cut_power(place: Path) -> None:
    number = os.open(place, os.O_RDONLY)
    try:
        fcntl.ioctl(number, EXT4_IOC_SHUTDOWN, struct.pack("=i", NO_LOG_FLUSH))
    finally:
        os.close(number)


def push_until_it_fails(place: Path, some: threading.Event, ends: list[int]) -> None:
    """Push piece after piece, and note each end that was acknowledged."""
    runtime = ThreadedRuntime()
    disk = PosixDisk(place / "cs1")
    house = start_house(disk, 1, runtime)
    try:
        with client_room() as room:
            where = target([house], capacity=8 * MIB)
            for start in range(0, len(DATA), PUSH_BYTES):
                part = DATA[start : start + PUSH_BYTES]
                with Push(room, where, start, len(part), 10.0) as push:
                    push.write(part)
                    result = push.finish()
                if not result.complete:
                    break
                ends.append(result.end)
                some.set()
    except GfsError:
        pass
    finally:
        house.stop()
        disk.close()


@pytest.mark.parametrize("amid", [False, True])
def test_what_was_acknowledged_is_there_after_a_real_power_cut(
    image: Path, tmp_path: Path, amid: bool
) -> None:
    place = tmp_path / "mounted"
    some = threading.Event()
    ends: list[int] = []
    before_the_cut: list[int] = []

    def cut() -> None:
        if some.wait(60.0):
            # What is acknowledged later does not count: this kernel can return from a sync that
            # the cut overtook, while without power nothing is acknowledged any more.
            before_the_cut.extend(ends)
            cut_power(place)

    with mounted(image, place):
        if amid:
            cutter = threading.Thread(target=cut)
            cutter.start()
            push_until_it_fails(place, some, ends)
            cutter.join(90.0)
        else:
            push_until_it_fails(place, some, ends)
            cut()
    assert before_the_cut
    acknowledged = before_the_cut[-1]
    with mounted(image, place):
        disk = PosixDisk(place / "cs1")
        store = ChunkStore.on(disk, identity(1), ThreadedRuntime(), BOOT_ID + 1)
        try:
            answer = store.fence(CHUNK, BIRTH, LogIndex(5))
        except UnknownReplica:
            pytest.fail("an acknowledged chunk is gone")
        assert answer.end >= acknowledged
        assert answer.end % PUSH_BYTES == 0 or answer.end == len(DATA)
        into = memoryview(bytearray(answer.end))
        with opened(disk, store.get(CHUNK).name) as file:
            file.read(DATA_OFFSET, into)
        assert into == DATA[: answer.end]
        disk.close()
