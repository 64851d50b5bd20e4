"""A real master whose disk fails or fills up says so and ends; with a good disk it has it all."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from chaos.masters import MasterProcess, Masters, Place
from chaos.small_disk import SmallDisk

import gfs_ha
from gfs_ha.client.connection import ClusterConnection
from gfs_ha.config import load
from gfs_ha.errors import GfsError
from gfs_ha.protocol.metadata import Publish, Published, PublishFile

pytestmark = pytest.mark.processes

WAIT_S = 60.0
FILES = 200
# The exit status of each error, as docs/operations.md says.
FAILED, FULL = (1, "DiskFailed"), (7, "DiskFull")


class House:
    """One master, alone in its cluster, and what it acknowledged."""

    def __init__(self, directory: Path, data: Path) -> None:
        address = f"127.{os.getpid() % 250 + 1}.251.1"
        self.environment: dict[str, str] = {}
        self.acknowledged: list[str] = []
        place = Place("m1", directory / "m1", address, lambda: None, self.environment, str(data))
        self.masters = Masters({"m1": place}, directory / "client.toml", "failing")

    @property
    def master(self) -> MasterProcess:
        return self.masters.all["m1"]

    def work_until_it_ends(self) -> None:
        """Make names until the master has ended by itself."""
        with gfs_ha.connect(self.masters.config, timeout_s=1.0) as fs:
            deadline_s = time.monotonic() + WAIT_S
            while not self.master.ended_by_itself:
                assert time.monotonic() < deadline_s, "the master goes on without its disk"
                name = f"n{len(self.acknowledged)}-" + "x" * 200
                with suppress(GfsError):
                    fs.mkdir(f"/{name}")
                    self.acknowledged.append(name)

    def told(self, status: int, code: str) -> None:
        """The master ended with this status and said why."""
        assert self.master.ended_with(status, code), self.master.last_words()
        self.master.end(signal.SIGKILL)

    def check(self) -> None:
        """Start on a good disk; all that was acknowledged is there, and the hash is right."""
        self.environment.clear()
        self.master.start()
        self.master.wait_ready()
        with gfs_ha.connect(self.masters.config, timeout_s=WAIT_S) as fs:
            assert set(self.acknowledged) <= {entry.name for entry in fs.listdir("/")}

            def compared() -> bool:
                (row,) = fs.operations.verify_states(deep=True).items
                if row.verdict == "silent" or row.count is None or not row.count.counted:
                    return False  # On a busy machine it may not answer, or count, in time.
                assert row.verdict == "equal"
                assert row.count.kept == row.count.counted
                return True

            wait_until(compared, "the state is compared")


NewHouse = Callable[[Path], House]


@pytest.fixture
def new_house(tmp_path: Path) -> Iterator[NewHouse]:
    made: list[House] = []

    def make(data: Path) -> House:
        made.append(House(tmp_path, data))
        return made[-1]

    try:
        yield make
    finally:
        for house in made:
            house.master.end(signal.SIGKILL)


@pytest.mark.parametrize(
    ("call", "number", "end"),
    [(3, errno.ENOSPC, FULL), (40, errno.EIO, FAILED)],
    ids=["at the start", "at work"],
)
def test_a_disk_that_fails_stops_the_master_and_nothing_is_lost(
    tmp_path: Path,
    disk_shim: Path,
    new_house: NewHouse,
    call: int,
    number: int,
    end: tuple[int, str],
) -> None:
    house = new_house(tmp_path / "data")
    house.masters.bootstrap()
    house.master.end(signal.SIGKILL)
    house.environment.update(
        LD_PRELOAD=str(disk_shim), DISK_SHIM_DIR=str(tmp_path / "data"),
        DISK_SHIM_FAIL=f"{call} {number}",
    )  # fmt: skip
    house.master.start()
    house.work_until_it_ends()
    house.told(*end)
    house.check()


def fill_up(house: House, disk: SmallDisk) -> Callable[[], None]:
    """Leave less room than one big command needs, until that met it; return what frees it.

    The master looks once a second and then refuses what grows, so the command has to be sooner.
    """
    connection = ClusterConnection(load(house.masters.config), timeout_s=3.0)
    for number in range(30):
        name = f"/n{number}-" + "x" * 200
        files = tuple(PublishFile(f"{name}{each}", 0, 0o644, 1) for each in range(FILES))
        wait_until(lambda: not refused(connection), "there is room")
        free = disk.fill(8 * 4096)
        with suppress(GfsError):
            connection.session.change(Publish(files), Published)
        with suppress(AssertionError):
            wait_until(lambda: house.master.ended_by_itself, "the master ends", 2.0)
            break
        free()
    connection.close()
    return free


def refused(connection: ClusterConnection) -> bool:
    try:
        connection.namespace.mkdir("/probe", parents=True)
    except GfsError:
        return True
    return False


def wait_until(reached: Callable[[], bool], what: str, timeout_s: float = WAIT_S) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < deadline_s, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(0.02)


def test_a_disk_that_is_full_stops_the_master_and_nothing_is_lost(
    tmp_path: Path, new_house: NewHouse
) -> None:
    try:
        disk = SmallDisk(tmp_path / "disk", 24 << 20)
    except OSError as error:
        pytest.skip(str(error))
    try:
        house = new_house(disk.outside / "data")
        house.masters.bootstrap()
        free = fill_up(house, disk)
        house.told(*FULL)
        free()
        house.check()
        house.master.end(signal.SIGKILL)
    finally:
        disk.close()
