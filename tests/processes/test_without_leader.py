"""Reads of other masters than the leader, through real processes that stop and die."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from killing import RUNTIME, await_applied, content, leader_of, wait_until

import gfs_ha
from gfs_ha.errors import NoLeader
from gfs_ha.local.cluster import LocalCluster

pytestmark = pytest.mark.processes

MASTERS = ("m1", "m2", "m3")
GFSCTL = str(Path(sys.executable).with_name("gfsctl"))


def gfsctl(cluster: LocalCluster, *words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [GFSCTL, "--config", str(cluster.config_path), *words],
        capture_output=True,
        check=False,
        timeout=120,
    )


def test_reads_go_on_while_the_leader_stands_still(local_cluster: LocalCluster) -> None:
    config = local_cluster.config_path
    with (
        gfs_ha.connect(config) as fs,
        gfs_ha.connect(config, consistency="local") as local,
        gfs_ha.connect(config, consistency="bounded:0") as bounded,
    ):
        fs.mkdir("/before")
        leader = leader_of(fs)
        wait_until(lambda: local.exists("/before"), "the others know it, too")
        local_cluster.kill(leader, signal.SIGSTOP)
        try:
            for _ in range(50):
                local.stat("/before")
                assert local.as_of is not None
            # Linearizable at a follower: it waits for the successor, and misses nothing of it.
            fs.mkdir("/after")
            assert bounded.exists("/after")
            assert bounded.as_of is not None and bounded.as_of.master != leader
            assert bounded.as_of.age_ms == 0 and not bounded.as_of.degraded
        finally:
            local_cluster.kill(leader, signal.SIGCONT)
        wait_until(lambda: local.exists("/after"), "the others follow")


def test_with_one_master_of_three_local_reads_go_on_and_say_so(local_cluster: LocalCluster) -> None:
    data = content(300_000)
    with gfs_ha.connect(local_cluster.config_path) as fs:
        fs.write_bytes("/file", data)
        leader = leader_of(fs)
        alive = next(name for name in MASTERS if name != leader)
        assert gfsctl(local_cluster, "stat", "--consistency", "bounded:0", "/file").returncode == 0
        await_applied(local_cluster, alive)
        killed_s = RUNTIME.monotonic_s()
        for name in MASTERS:
            if name != alive:
                local_cluster.kill(name, signal.SIGKILL)

    def shown() -> dict[str, Any]:
        ended = gfsctl(local_cluster, "stat", "--consistency", "local", "-o", "json", "/file")
        assert ended.returncode == 0, ended.stderr
        meta: dict[str, Any] = json.loads(ended.stdout)["meta"]
        return meta

    wait_until(lambda: bool(shown()["degraded"]), "the last master says that nobody leads")
    before = shown()
    answered_s = RUNTIME.monotonic_s()
    RUNTIME.sleep(0.3)
    asked_s = RUNTIME.monotonic_s()
    meta = shown()
    assert meta["master"] == alive and meta["consistency"] == "local" and meta["index"] > 0
    # It grows with the time, from a moment that is not long before the kill.
    assert meta["age_ms"] + 1 >= before["age_ms"] + (asked_s - answered_s) * 1000
    assert meta["age_ms"] <= (RUNTIME.monotonic_s() - killed_s + 5.0) * 1000

    told = gfsctl(local_cluster, "ls", "--consistency", "local", "/")
    assert told.returncode == 0 and told.stdout == b"file\n"
    assert b"warning: degraded: no leader, answer is " in told.stderr
    read = gfsctl(local_cluster, "cat", "--consistency", "local", "/file")
    assert read.returncode == 0 and read.stdout == data, read.stderr

    for words in (
        ("mkdir", "--timeout", "1", "/new"),
        ("stat", "--timeout", "1", "/file"),
        ("stat", "--timeout", "1", "--consistency", "bounded:50", "/file"),
    ):
        ended = gfsctl(local_cluster, *words)
        assert ended.returncode == 5, (words, ended.stderr)
        assert b"no leader" in ended.stderr
    # What the masters say of themselves is not held back until the whole timeout is over.
    ended = gfsctl(local_cluster, "admin", "masters", "ls")
    assert ended.returncode == 5 and re.search(rb"no leader for [12]?\d\.\d s; tried", ended.stderr)
    rows = [line.split() for line in ended.stdout.decode().splitlines()[1:]]
    assert {row[0]: row[1] for row in rows}[alive] in ("follower", "candidate")
    with (
        gfs_ha.connect(local_cluster.config_path, timeout_s=1, consistency="local") as local,
        pytest.raises(NoLeader),
    ):
        assert local.read_bytes("/file") == data
        assert local.as_of is not None and local.as_of.degraded
        local.mkdir("/new")
