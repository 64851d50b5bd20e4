"""A real server killed amid a copy: what its disk holds afterwards, and that the order ends it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from chunk_house import BOOT_ID, CHUNK, House, identity, street
from copy_house import CAPACITY, DATA, ORDER, seal
from replica_house import append, digest_of, make_replica

from gfs_ha.chunk.disk import PosixDisk
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.errors import UnknownReplica
from gfs_ha.limits import MIB
from gfs_ha.runtime import ThreadedRuntime

pytestmark = pytest.mark.processes

PROGRAM = Path(__file__).with_name("copy_program.py")


@contextmanager
def copying(directory: Path, house: House, rate: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), str(directory), str(house.port.port), str(rate)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(60.0)
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def says(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().decode().strip()


@contextmanager
def started_again(directory: Path) -> Iterator[ChunkStore]:
    disk = PosixDisk(directory)
    try:
        yield ChunkStore.on(disk, identity(9), ThreadedRuntime(), BOOT_ID)
    finally:
        disk.close()


@pytest.mark.parametrize("before", ["nothing", "short"])
def test_a_server_killed_amid_a_copy_starts_without_it_and_makes_it_again(
    tmp_path: Path, before: str
) -> None:
    target = tmp_path / "target"
    if before == "short":
        with started_again(target) as store:
            append(make_replica(store, capacity=CAPACITY), DATA[:MIB])
    with street(tmp_path, 1) as (house,):
        seal(house.store)
        with copying(target, house, rate=1) as process:
            assert says(process) == "begun"
        with started_again(target) as store:
            if before == "short":
                assert store.get(CHUNK).header.end == MIB
                assert len(store.shelves[0].disk.names()) == 1
            else:
                assert store.shelves[0].disk.names() == []
                with pytest.raises(UnknownReplica):
                    store.get(CHUNK)
        with copying(target, house, rate=0) as process:
            assert (says(process), says(process)) == ("begun", "OrderDone")
        with started_again(target) as store:
            assert store.list_sealed() == ((CHUNK, len(DATA)),)
            assert store.confirm(CHUNK, store.get(CHUNK).header.birth, whole())
            assert len(store.shelves[0].disk.names()) == 1


def whole() -> tuple[int, int, int]:
    return ORDER, len(DATA), digest_of(DATA)
