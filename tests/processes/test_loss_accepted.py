"""A person ends a tail whose last good replica is out of reach, and it comes back afterwards."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from killing import MIB, bury_early, settle_whole, wait_until

import gfs_ha
from gfs_ha.errors import GfsError
from gfs_ha.ids import ServerId
from gfs_ha.local.cluster import LocalCluster
from gfs_ha.protocol.append import LeaseRow

pytestmark = pytest.mark.processes

TAILS_MAX = 5


def gfsctl(cluster: LocalCluster, *words: str) -> tuple[int, str, str]:
    environment = {**os.environ, "GFS_CONFIG": str(cluster.config_path)}
    program = str(Path(sys.executable).with_name("gfsctl"))
    ended = subprocess.run(
        [program, *words], env=environment, capture_output=True, text=True, timeout=120
    )
    return ended.returncode, ended.stdout, ended.stderr


def test_a_tail_is_ended_without_its_last_replica_which_brings_nothing_back(
    new_cluster: Callable[[str], LocalCluster],
) -> None:
    cluster = new_cluster("cluster")
    cluster.up(masters=1, chunkservers=3, chunk_bytes=MIB)
    bury_early(cluster, masters=1)
    with gfs_ha.connect(cluster.config_path) as fs:
        fs.write_bytes("/log", b"old;")
        kept, lease, others = whole_tail(fs, b"old;")
        chunk = f"{lease.chunk_id:#x}"
        status, _, said = gfsctl(cluster, "admin", "chunks", "seal", "--accept-loss", "-y", chunk)
        assert status == 4 and "is open" in said

        for name in (lease.holder, *others):
            cluster.kill(name, signal.SIGKILL)
        for name in (lease.holder, others[0]):
            shutil.rmtree(cluster.directory / name / "data")
            cluster.start(name)
        plan = ("admin", "chunks", "seal", "--accept-loss", "-n", "-o", "json", chunk)
        told = wait_for_plan(cluster, *plan)
        found = json.loads(told)
        facts = found["items"][0] if "items" in found else found
        assert facts["length"] == 0 and facts["path"] == "/log"
        assert [one["name"] for one in facts["replicas"] if one["missing"]] == [others[1]]

        words = ("admin", "chunks", "seal", "--accept-loss", chunk)
        status, _, said = gfsctl(cluster, *words)
        assert status == 2 and "-y" in said, "without a terminal it asks nobody"
        status, told, said = gfsctl(cluster, *words, "-y")
        assert status == 0 and "sealed at 0 bytes" in told, said
        assert fs.stat("/log").size == len(kept)

        cluster.start(others[1])
        wait_until(lambda: read(fs) == kept, "the part that was sealed before to be back")
        with fs.open("/log", "ab") as log:
            log.write(b"new;")
        wait_until(
            lambda: read(fs) == kept + b"new;", "the record after the loss, and nothing else"
        )


def whole_tail(fs: gfs_ha.Cluster, written: bytes) -> tuple[bytes, LeaseRow, list[str]]:
    """Append `lost;` to a tail with three replicas; return what is before it, and who has it.

    A server that is late to create its replica has no part in a tail: then it takes the next one.
    """
    for _ in range(TAILS_MAX):
        settle_whole(fs)
        with fs.open("/log", "ab") as log:
            log.write(b"lost;")
        await_tail(fs)
        (lease,) = fs.operations.leases()
        (row,) = fs.operations.show_chunks([lease.chunk_id]).items
        others = [one.name for one in row.row.replicas if one.name != lease.holder]
        if len(others) == 2:
            return written, lease, others
        fs.operations.revoke_lease(lease.chunk_id, ServerId(0))
        written += b"lost;"
    pytest.fail(f"{TAILS_MAX} tails have too few replicas")


def await_tail(fs: gfs_ha.Cluster) -> None:
    """Wait until the file has an end that is led."""
    wait_until(lambda: len(fs.operations.leases()) == 1, "an open tail")


def wait_for_plan(cluster: LocalCluster, *words: str) -> str:
    """Return the plan once the leader has asked everybody, and takes the silent one for dead."""
    seen: list[tuple[int, str, str]] = []

    def made() -> bool:
        seen.append(gfsctl(cluster, *words))
        return seen[-1][0] == 0

    try:
        wait_until(made, "a plan without the dead server")
    except BaseException:
        print(sorted({said for _, _, said in seen}))
        raise
    return seen[-1][1]


def read(fs: gfs_ha.Cluster) -> bytes:
    try:
        return fs.read_bytes("/log")
    except GfsError:
        return b""
