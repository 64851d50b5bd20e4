"""Power cuts of masters and servers under gfsctl: nothing acknowledged is lost, nobody waits."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
from pathlib import Path

import pytest
from gfsctl_program import CHUNK_BYTES, Gfsctl, kill_member, wait_until

import gfs_ha
from gfs_ha.errors import GfsError
from gfs_ha.local.cluster import LocalCluster

BIG_BYTES = 96 * CHUNK_BYTES
HALF_BYTES = 48 * CHUNK_BYTES + 300_000  # Between two chunks there may be none that is open.


def test_what_was_acknowledged_survives_the_death_of_everything_twice(
    gfsctl: Gfsctl, home: str, whole_cluster: LocalCluster, tmp_path: Path
) -> None:
    contents: dict[str, bytes] = {}
    used: set[int] = set()
    for turn in range(2):
        for size in (0, 100, CHUNK_BYTES, 2 * CHUNK_BYTES + 5):
            path = f"{home}/{turn}-{size}"
            contents[path] = os.urandom(size)
            gfsctl.ok("put", "-", path, stdin=contents[path])
            fresh = set(gfsctl.chunk_ids(path))
            assert not fresh & used, "a chunk id was given twice"
            used |= fresh
        for member in whole_cluster.status():
            kill_member(whole_cluster, member.name)
        whole_cluster.up()
        assert gfsctl.ok("cat", *contents).out == b"".join(contents.values())
    gfsctl.ok("put", "-", f"{home}/after", stdin=b"after")
    assert not set(gfsctl.chunk_ids(f"{home}/after")) & used


class Creator:
    """A client that creates files one after another until it is told to stop."""

    def __init__(self, config: Path, directory: str) -> None:
        self.directory = directory
        self.acknowledged: list[str] = []
        self.errors: list[GfsError] = []
        self._config = config
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with gfs_ha.connect(self._config) as cluster:
            while not self._stop.is_set():
                name = f"{len(self.acknowledged):06d}"
                try:
                    cluster.open(f"{self.directory}/{name}", "wb", if_absent=True).close()
                except GfsError as error:
                    self.errors.append(error)
                    return
                self.acknowledged.append(name)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "a client waits for ever"


def test_five_dead_leaders_under_four_creating_clients(
    gfsctl: Gfsctl, home: str, whole_cluster: LocalCluster
) -> None:
    for number in range(4):
        gfsctl.ok("mkdir", f"{home}/{number}")
    creators = [Creator(gfsctl.config, f"{home}/{number}") for number in range(4)]
    try:
        for _ in range(5):
            leader = gfsctl.library.operations.status().leader
            seen = [len(creator.acknowledged) for creator in creators]
            kill_member(whole_cluster, leader)
            wait_until(
                lambda seen=seen: all(  # type: ignore[misc]
                    creator.errors or len(creator.acknowledged) > before + 5
                    for creator, before in zip(creators, seen, strict=True)
                ),
                "all clients go on",
            )
            whole_cluster.start(leader)
    finally:
        for creator in creators:
            creator.stop()
    for creator in creators:
        # `if_absent` makes a request that was applied twice fail as AlreadyExists.
        assert creator.errors == []
        assert gfsctl.names(creator.directory) == creator.acknowledged


def newest_holder(gfsctl: Gfsctl, old: set[int]) -> str:
    """Return the server that was given a fresh open chunk last, or an empty string."""
    fresh = [row for chunk_id, row in gfsctl.live_chunks().items() if chunk_id not in old]
    opened = [row for row in fresh if row.state == "open" and row.replicas]
    return opened[-1].replicas[-1].name if len(fresh) >= 5 and opened else ""


@pytest.mark.parametrize("way", ["file", "pipe"])
def test_a_server_that_dies_in_mid_write_does_not_end_the_write(
    gfsctl: Gfsctl, home: str, whole_cluster: LocalCluster, tmp_path: Path, way: str
) -> None:
    old = set(gfsctl.live_chunks())
    content = os.urandom(BIG_BYTES)
    (tmp_path / "big").write_bytes(content)
    victim = ""

    def found() -> bool:
        nonlocal victim
        victim = newest_holder(gfsctl, old)
        return bool(victim)

    if way == "file":
        child = gfsctl.begin("put", tmp_path / "big", f"{home}/big")
        wait_until(found, "the put is in its middle")
        rest = None
    else:
        child = gfsctl.begin("put", "-", f"{home}/big", stdin=subprocess.PIPE)
        assert child.stdin is not None
        child.stdin.write(content[:HALF_BYTES])
        child.stdin.flush()
        wait_until(found, "the put is in its middle")
        rest = content[HALF_BYTES:]
    kill_member(whole_cluster, victim)
    assert child.poll() is None, "the put was over before the kill; this proves nothing"
    ended = gfsctl.end(child, rest)
    assert ended.status == 0, ended.err

    wanted = hashlib.sha256(content).hexdigest()
    assert hashlib.sha256(gfsctl.ok("cat", f"{home}/big").out).hexdigest() == wanted
    whole_cluster.start(victim)
    gfsctl.ok("get", "--verify", f"{home}/big", tmp_path / "back")
    assert hashlib.sha256((tmp_path / "back").read_bytes()).hexdigest() == wanted
    gfsctl.ok("rm", f"{home}/big")
