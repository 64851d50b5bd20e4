"""Real servers with three disks each: one is emptied, one dies, one is new; every byte compared."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from killing import MIB, check_files, content, leader_of, wait_until
from stage import START_S

import gfs_ha
from gfs_ha.client.jobs import own_name
from gfs_ha.local.cluster import LocalCluster
from gfs_ha.protocol.disks import DiskStanding
from gfs_ha.protocol.jobs import DONE

pytestmark = pytest.mark.processes

FILES = {f"/f{number}": content(2 * MIB + 200_000, seed=number) for number in range(8)}
WHO = own_name("here")
GFSCTL = str(Path(sys.executable).with_name("gfsctl"))
WAIT_S = 90.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Three servers: each of them is needed for the three copies of every chunk."""
    made = LocalCluster(tmp_path_factory.mktemp("disks") / "cluster", timeout_s=START_S)
    try:
        racks = ("r1", "r2", "r3")
        made.up(chunkservers=3, racks=racks, chunk_bytes=MIB, capacities=(256 * MIB,), disks=3)
        with gfs_ha.connect(made.config_path) as fs:
            for path, data in FILES.items():
                fs.write_bytes(path, data)
            fs.append("/log", b"first\n")
            settle_files(fs)
        yield made
    finally:
        made.down(wipe=True)


@pytest.fixture
def fs(cluster: LocalCluster) -> Iterator[gfs_ha.Cluster]:
    with gfs_ha.connect(cluster.config_path) as connected:
        yield connected


def settle_files(fs: gfs_ha.Cluster) -> None:
    """Wait until all but the tail of the log is sealed, which takes records for minutes yet."""

    def settled() -> bool:
        rows = [row for row in fs.operations.chunks() if row.state != "sealed" or row.blocked]
        return len(rows) <= 1 and all((row.kind, row.state) == ("tail", "open") for row in rows)

    wait_until(settled, "all but the tail is sealed")


def disks(fs: gfs_ha.Cluster, server: str) -> list[DiskStanding]:
    return [one for one in fs.operations.disks.all().items if one.server == server]


def fullest(fs: gfs_ha.Cluster, server: str) -> DiskStanding:
    return max(disks(fs, server), key=lambda one: one.chunk_count)


def slots(disk: DiskStanding) -> list[Path]:
    return list(Path(disk.directory).glob("*.slot"))


def good_copies(fs: gfs_ha.Cluster) -> set[int]:
    """Return how many good copies the sealed chunks have."""
    return {row.copies for row in fs.operations.chunks() if row.state == "sealed"}


def wait_for_health(fs: gfs_ha.Cluster) -> None:
    last: list[object] = []

    def healthy() -> bool:
        report = fs.operations.health()
        last[:] = report.items
        return report.healthy

    try:
        wait_until(healthy, "health")
    except pytest.fail.Exception:
        pytest.fail(f"it does not get healthy: {last}")


def test_the_chunks_of_a_server_are_spread_over_its_disks(fs: gfs_ha.Cluster) -> None:
    for server in ("cs1", "cs2", "cs3"):
        counts = [len(slots(one)) for one in disks(fs, server)]
        assert len(counts) == 3 and min(counts) > 0, counts
    check_files(fs, FILES)


def test_a_disk_is_emptied_onto_the_others_while_its_server_and_the_leader_are_killed(
    cluster: LocalCluster, fs: gfs_ha.Cluster
) -> None:
    disk = fullest(fs, "cs1")
    number = fs.operations.disks.drain("cs1", disk.disk_id, (0, 0), WHO).number
    leader = leader_of(fs)
    cluster.kill(leader, signal.SIGKILL)
    # Before the server goes: a tail that is begun without it has too few copies for a while.
    fs.append("/log", b"second\n")
    cluster.start(leader)
    cluster.kill("cs1", signal.SIGKILL)
    check_files(fs, FILES)
    cluster.start("cs1")
    wait_until(lambda: fs.operations.jobs.get(number).phase == DONE, "the disk is empty")
    assert not slots(disk), "and says so itself"
    check_files(fs, FILES)
    assert fs.read_bytes("/log") == b"first\nsecond\n"
    wait_until(lambda: good_copies(fs) == {3}, "three copies of each")
    fs.operations.disks.undrain("cs1", disk.disk_id, WHO)


def test_a_dead_disk_is_taken_out_and_its_server_goes_on(
    cluster: LocalCluster, fs: gfs_ha.Cluster
) -> None:
    disk = fullest(fs, "cs2")
    shutil.rmtree(disk.directory)
    written = dict(FILES)

    def out() -> bool:
        path = f"/more{len(written)}"  # Who writes there finds that it is dead.
        written[path] = content(300_000, seed=len(written))
        fs.write_bytes(path, written[path])
        (row,) = [one for one in fs.operations.servers().items if one.name == "cs2"]
        assert row.state != "dead"
        found = {one.disk_id: one.state for one in disks(fs, "cs2")}
        return found.get(disk.disk_id) in ("failed", "lost", None)

    wait_until(out, "the disk is out of service")
    codes = {one.code for one in fs.operations.health().items}
    assert codes & {"DISK_FAILED", "DISK_LOST"}, codes
    wait_until(lambda: good_copies(fs) == {3}, "its copies are made anew")
    check_files(fs, written)
    # A new disk is put in: it is empty, and taken into service when the server starts.
    cluster.kill("cs2", signal.SIGTERM)
    cluster.start("cs2")
    wait_until(
        lambda: [one.state for one in disks(fs, "cs2")] == ["in-service"] * 3, "it is as before"
    )
    assert disk.disk_id not in {one.disk_id for one in disks(fs, "cs2")}
    wait_for_health(fs)
    fs.append("/log", b"third\n")
    settle_files(fs)
    check_files(fs, written)
    assert fs.read_bytes("/log") == b"first\nsecond\nthird\n"


def test_a_disk_that_dies_while_nobody_uses_it_is_taken_out_too(fs: gfs_ha.Cluster) -> None:
    disk = fullest(fs, "cs3")
    assert disk.state == "in-service"
    shutil.rmtree(disk.directory)

    def out() -> bool:
        return any(
            one.disk_id == disk.disk_id and one.state == "failed" for one in disks(fs, "cs3")
        )

    wait_until(out, "the disk is out of service")
    check_files(fs, FILES)


def test_a_server_whose_disks_all_died_ends_with_a_word_and_comes_back_with_new_ones(
    cluster: LocalCluster, fs: gfs_ha.Cluster
) -> None:
    for disk in disks(fs, "cs3"):
        place = Path(disk.directory)
        if place.exists():  # At once: what is written there meanwhile would keep a part of it.
            place.rename(place.with_suffix(".gone"))

    def told() -> bool:
        said = [one for one in fs.operations.health().items if one.subject == "cs3"]
        away = [one for one in said if one.code in ("SERVER_SUSPECT", "SERVER_DEAD")]
        # It may be missed on a busy machine before it has said its last word.
        explained = all("ended when its last disk failed" in one.message for one in away)
        return bool(away) and explained and sum(one.code == "DISK_FAILED" for one in said) >= 2

    wait_until(told, "it has said why it ends")
    # All others have a copy of everything: what is missed can be made anew on its new disks only.
    for disk in disks(fs, "cs3"):
        command = [GFSCTL, "--config", str(cluster.config_path), "-o", "json", "admin", "disks"]
        command += ["replace", f"cs3:{disk.disk_id:#x}", "--wait"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S)
        assert ended.returncode == 0, ended.stderr
        guide = json.loads(ended.stdout)
        assert guide["ready"] and (guide["stuck"] or not guide["short_count"]), guide
    cluster.start("cs3")
    log = next(one.log for one in cluster.status() if one.name == "cs3")
    assert "all data directories are new, and chunks lie on other disks" in log.read_text()
    wait_until(lambda: good_copies(fs) == {3}, "its copies are made anew")
    wait_for_health(fs)
    check_files(fs, FILES)
