"""A real disk of a master that is nearly full, and has room again: M8 with real processes."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chaos.small_disk import SmallDisk

import gfs_ha
from gfs_ha.client.connection import ClusterConnection
from gfs_ha.config import load
from gfs_ha.errors import NoSpace, NotFound
from gfs_ha.ids import ContentId
from gfs_ha.local.cluster import LocalCluster
from gfs_ha.protocol.metadata import Publish, Published, PublishFile, Staged, StageExtents

pytestmark = pytest.mark.processes

MIB = 1 << 20
DISK_BYTES = 48 * MIB
NO_SPACE_STATUS = 7
WAIT_S = 60.0
GFSCTL = Path(sys.executable).with_name("gfsctl")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    try:
        made = SmallDisk(tmp_path / "disk", DISK_BYTES)
    except OSError as error:
        pytest.skip(str(error))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def cluster(disk: SmallDisk, small_cluster: LocalCluster) -> LocalCluster:
    """A master whose directory lies on the small disk, and two chunkservers elsewhere."""
    small_cluster.down()
    data = small_cluster.directory / "m1" / "data"
    shutil.move(data, disk.outside / "data")
    data.symlink_to(disk.outside / "data")
    small_cluster.up()
    return small_cluster


def gfsctl(cluster: LocalCluster, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(GFSCTL), "--config", str(cluster.config_path), *words],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def wait_until(reached: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not reached():
        assert time.monotonic() < deadline_s, f"not within {WAIT_S:.0f} s: {what}"
        time.sleep(0.05)


def refused(fs: gfs_ha.Cluster, name: str) -> bool:
    """Return whether a name that is made and removed again is refused for want of room."""
    try:
        fs.mkdir(name)
    except NoSpace:
        return True
    fs.remove(name)
    return False


def test_a_nearly_full_disk_refuses_what_grows_and_lets_deletes_and_publishes_through(
    cluster: LocalCluster, disk: SmallDisk
) -> None:
    connection = ClusterConnection(load(cluster.config_path))
    source = cluster.directory / "source"
    source.write_bytes(b"small")
    with gfs_ha.connect(cluster.config_path) as fs:
        fs.mkdir("/old")
        staged = connection.session.change(StageExtents(ContentId(0), ()), Staged)
        free = disk.fill(2 * MIB)
        wait_until(lambda: refused(fs, "/probe"), "growth is refused")

        for words in (("mkdir", "/new"), ("put", str(source), "/new")):
            ended = gfsctl(cluster, *words)
            assert (ended.returncode, "almost full" in ended.stderr) == (NO_SPACE_STATUS, True)
        assert gfsctl(cluster, "rm", "-r", "-y", "/old").returncode == 0
        file = PublishFile("/staged", 0, 0o644, 1, content_id=staged.content_id)
        connection.session.change(Publish((file,)), Published)
        assert fs.stat("/staged").size == 0
        with pytest.raises(NotFound):
            fs.stat("/old")
        free()
        wait_until(lambda: not refused(fs, "/probe"), "there is room again")
        assert gfsctl(cluster, "mkdir", "/new").returncode == 0
    connection.close()
