"""Two of three masters are gone for good: the third one's copy becomes the cluster."""

from __future__ import annotations

import io
import re
import shutil
import signal
import subprocess
import sys

import pytest
from killing import leader_of, wait_until

import gfs_ha
from gfs_ha.local.cluster import STOPPED, LocalCluster

pytestmark = pytest.mark.processes

WAIT_S = 30


def recover(cluster: LocalCluster, name: str, typed: str) -> subprocess.Popen[str]:
    """Start a master by hand with --recover-from-this-copy, and type a name."""
    home = cluster.directory / name
    process = subprocess.Popen(
        [
            sys.executable,
            *("-m", "gfs_ha.cli.daemons", "master", "--config", str(home / "gfs.toml")),
            *("--log-file", str(home / f"{name}.log"), "--recover-from-this-copy"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(f"{typed}\n")
    process.stdin.flush()
    return process


def refused_while_others_live(cluster: LocalCluster, own: str, others: list[str]) -> None:
    """Whoever led would stop for good when it is shown the new incarnation."""
    cluster.kill(own, signal.SIGKILL)
    with gfs_ha.connect(cluster.config_path) as fs:
        wait_until(lambda: leader_of(fs) in others, "another one leads")
        process = recover(cluster, own, "local")
        _, errors = process.communicate(timeout=WAIT_S)
        assert process.returncode == 4 and f"{leader_of(fs)} leads" in errors, errors
        assert "Nothing was changed. Start" in errors
        # With one of the others it is a majority that could be elected.
        cluster.kill(others[1], signal.SIGKILL)
        process = recover(cluster, own, "no")
        _, errors = process.communicate(timeout=WAIT_S)
        assert process.returncode == 4 and f"{others[0]} still answers: with" in errors, errors
        for name in (own, others[1]):
            cluster.start(name)
        fs.mkdir("/serves")
        assert fs.operations.status().incarnation == 1


def test_one_copy_goes_on_and_grows_to_three_again(local_cluster: LocalCluster) -> None:
    with gfs_ha.connect(local_cluster.config_path) as fs:
        fs.put(io.BytesIO(b"before"), "/before")
        last = leader_of(fs)
    lost = [name for name in ("m1", "m2", "m3") if name != last]
    refused_while_others_live(local_cluster, last, lost)
    for name in (*lost, last):
        local_cluster.kill(name, signal.SIGKILL)
    for name in lost:
        # Kept aside: what comes back from the old incarnation is not let in below.
        data = local_cluster.directory / name / "data"
        data.rename(data.with_name("lost"))

    wrong = recover(local_cluster, last, "another cluster")
    _, errors = wrong.communicate(timeout=WAIT_S)
    assert wrong.returncode == 2 and "nothing was changed" in errors
    right = recover(local_cluster, last, "local")
    try:
        assert right.stdout is not None
        assert right.stdout.readline().startswith(f"ready name={last}")
        with gfs_ha.connect(local_cluster.config_path) as fs:
            wait_until(lambda: leader_of(fs) == last, "it leads")
            status = fs.operations.status()
            assert status.incarnation == 2 and [row.name for row in status.masters] == [last]
            assert fs.read_bytes("/before") == b"before"
            fs.put(io.BytesIO(b"after"), "/after")
            # A master of the old incarnation is not let in, and does no harm.
            old_data = local_cluster.directory / lost[0] / "data"
            old_data.with_name("lost").rename(old_data)
            local_cluster.start(lost[0])
            wait_until(lambda: len(fs.operations.servers().items) == 4, "the servers follow")
            local_cluster.kill(lost[0], signal.SIGKILL)
        for name in lost:
            steps = list(local_cluster.replace_master(name))
            assert any(step.endswith("votes") for step in steps), steps
        with gfs_ha.connect(local_cluster.config_path) as fs:
            assert len(fs.operations.masters().items) == 3
            assert fs.operations.transfer_leadership("m4").leader == "m4"
            assert fs.operations.status().incarnation == 2
            assert fs.read_bytes("/after") == b"after"
            fs.mkdir("/more")
    finally:
        right.kill()
        _, errors = right.communicate()
    assert re.search(r"It restarts from entry [1-9][0-9]* of the log", errors), errors
    assert {one.state for one in local_cluster.status() if one.name == last} == {STOPPED}
    shutil.rmtree(local_cluster.directory / last / "data")
