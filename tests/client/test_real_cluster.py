"""The library against real processes: leaders that hang or die, servers that hang or lie."""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import gfs_ha
from gfs_ha.errors import AlreadyExists, GfsError, NoLeader, NotFound, WrongCluster
from gfs_ha.limits import MIB

if TYPE_CHECKING:
    from gfs_ha.client.filesystem import Cluster
    from gfs_ha.local.cluster import LocalCluster

pytestmark = pytest.mark.processes

DATA = os.urandom(6 * MIB + 1234)


def test_values_by_key(real_cluster: LocalCluster) -> None:
    with gfs_ha.StorageClient(str(real_cluster.config_path)) as storage:
        storage.write("key", b"one")
        storage.write("/key", b"two")
        assert storage.read("key") == b"two"
        storage.write("big", DATA)
        assert storage.read("big") == DATA
        with pytest.raises(NotFound):
            storage.read("no/such")


def test_a_leader_that_hangs_is_left_for_its_successor(
    real_cluster: LocalCluster, client: Cluster
) -> None:
    client.mkdir("/a")
    first = client.leader
    real_cluster.kill(first, signal.SIGSTOP)
    client.mkdir("/b")
    client.put(io.BytesIO(DATA), "/b/file")
    assert client.leader != first
    real_cluster.kill(first, signal.SIGKILL)
    real_cluster.start(first)
    client.mkdir("/c")
    assert client.read_bytes("/b/file") == DATA


def test_threads_of_one_client_lose_and_double_nothing_while_leaders_die(
    real_cluster: LocalCluster, client: Cluster
) -> None:
    client.mkdir("/made")
    made: list[str] = []
    failures: list[GfsError] = []
    stop = threading.Event()

    def create(number: int) -> None:
        index = 0
        while not stop.is_set() and not failures:
            path = f"/made/{number}-{index}"
            try:
                with client.open(path, "wb", if_absent=True) as file:
                    file.write(path.encode() * (index % 3))
            except GfsError as error:
                failures.append(error)
                return
            made.append(path)
            index += 1

    threads = [threading.Thread(target=create, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(2):
            _until(lambda: (len(made) > 20 and client.leader != "") or bool(failures))
            leader = client.leader
            assert not failures
            real_cluster.kill(leader, signal.SIGKILL)
            before = len(made)
            _until(lambda before=before: len(made) > before + 20 or bool(failures))
            real_cluster.start(leader)
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    assert not failures
    listed = {f"/made/{entry.name}" for entry in client.listdir("/made")}
    assert listed == set(made)
    for path in made:
        assert client.read_bytes(path) == path.encode() * (int(path.rsplit("-", 1)[1]) % 3)


def test_a_server_that_hangs_costs_no_byte(real_cluster: LocalCluster, client: Cluster) -> None:
    client.put(io.BytesIO(DATA), "/a")
    real_cluster.kill("cs1", signal.SIGSTOP)
    assert client.read_bytes("/a") == DATA
    stored = client.put(io.BytesIO(DATA), "/b")
    assert stored.copies >= 2
    assert client.read_bytes("/b") == DATA
    real_cluster.kill("cs1", signal.SIGCONT)
    assert client.read_bytes("/b") == DATA


def test_bytes_that_changed_on_a_disk_are_read_elsewhere(
    real_cluster: LocalCluster, client: Cluster, tmp_path: Path
) -> None:
    client.put(io.BytesIO(DATA), "/a")
    client.write_bytes("/small", DATA[:1000])
    for slot in (real_cluster.directory / "cs1").rglob("*.slot"):
        # What the tests before this one removed is collected meanwhile.
        with suppress(FileNotFoundError), slot.open("r+b") as file:
            data = file.read()
            for at in (data.find(DATA[:64]) + 100, len(data) // 2) if len(data) > MIB // 2 else ():
                file.seek(at)
                file.write(bytes([data[at] ^ 1]))
    for _ in range(3):
        assert client.read_bytes("/a") == DATA
        client.get("/a", tmp_path / "a", verify=True)
        assert (tmp_path / "a").read_bytes() == DATA


def test_a_wrong_cluster_is_denied_and_no_cluster_is_no_leader(
    real_cluster: LocalCluster, tmp_path: Path
) -> None:
    text = real_cluster.config_path.read_text()
    wrong = tmp_path / "wrong.toml"
    lines = text.splitlines()
    changed = ['id = "another"' if line.startswith("id") else line for line in lines]
    wrong.write_text("\n".join(changed))
    with gfs_ha.connect(wrong, timeout_s=5) as cluster, pytest.raises(WrongCluster):
        cluster.mkdir("/a")
    real_cluster.down()
    with (
        gfs_ha.connect(real_cluster.config_path, timeout_s=1) as cluster,
        pytest.raises(NoLeader, match="tried m1, m2, m3"),
    ):
        cluster.stat("/")


def test_eight_that_want_one_name_are_served_once(
    real_cluster: LocalCluster, client: Cluster
) -> None:
    outcomes: list[str] = []

    def put(number: int) -> None:
        with gfs_ha.connect(real_cluster.config_path) as own:
            try:
                own.put(io.BytesIO(b"%d" % number * MIB), "/one", if_absent=True)
                outcomes.append(f"won {number}")
            except AlreadyExists:
                outcomes.append("lost")

    threads = [threading.Thread(target=put, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert outcomes.count("lost") == 7
    winner = next(outcome for outcome in outcomes if outcome != "lost").split()[1]
    assert client.read_bytes("/one") == winner.encode() * MIB


def _until(condition: Callable[[], bool], timeout_s: float = 90.0) -> None:
    """Wait until something that other threads do is done."""
    done = threading.Event()
    for _ in range(int(timeout_s / 0.02)):
        if condition():
            return
        done.wait(0.02)
    raise AssertionError("it did not happen in time")
