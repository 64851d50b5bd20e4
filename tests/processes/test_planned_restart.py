"""Each master in turn is stopped and started under a client: no error, and hardly a pause."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from killing import RUNTIME, leader_of, wait_until

import gfs_ha
from gfs_ha.errors import GfsError
from gfs_ha.local.cluster import LocalCluster

pytestmark = pytest.mark.processes

MASTERS = ("m1", "m2", "m3")
TRIES = 4  # On a busy machine an election may fall between two looks.


class Creator:
    """A client that makes directories one after another and notes its longest wait."""

    def __init__(self, config: Path) -> None:
        self.made: list[str] = []
        self.errors: list[GfsError] = []
        self.longest_s = 0.0
        self._config = config
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with gfs_ha.connect(self._config) as fs:
            while not self._stop.is_set():
                began_s = RUNTIME.monotonic_s()
                path = f"/{len(self.made):06d}"
                try:
                    fs.mkdir(path)
                except GfsError as error:
                    self.errors.append(error)
                    return
                self.made.append(path)
                self.longest_s = max(self.longest_s, RUNTIME.monotonic_s() - began_s)

    def take_longest_s(self) -> float:
        longest_s, self.longest_s = self.longest_s, 0.0
        return longest_s

    def close(self) -> None:
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()


@pytest.fixture
def creator(local_cluster: LocalCluster) -> Iterator[Creator]:
    made = Creator(local_cluster.config_path)
    try:
        yield made
    finally:
        made.close()


def test_a_planned_restart_of_every_master_costs_no_error(
    local_cluster: LocalCluster, creator: Creator
) -> None:
    with gfs_ha.connect(local_cluster.config_path) as fs:
        wait_until(lambda: len(creator.made) > 20, "the client is at work")
        restarts = [_restart(local_cluster, fs, creator, name) for name in MASTERS]
        restarts.append(_restart(local_cluster, fs, creator, leader_of(fs)))
        creator.close()
        assert not creator.errors
        assert True in restarts, "no leader was stopped"
        names = {f"/{entry.name}" for entry in fs.listdir("/")}
        assert names == set(creator.made)


def _restart(cluster: LocalCluster, fs: gfs_ha.Cluster, creator: Creator, name: str) -> bool:
    """Stop and start a master; no election but the one to which a leader hands over."""
    for _ in range(TRIES):
        wait_until(lambda: _all_follow(fs), "all masters are up to date")
        term, leads = fs.operations.status().term, leader_of(fs) == name
        before = len(creator.made)
        creator.take_longest_s()
        cluster.kill(name, signal.SIGTERM)
        wait_until(lambda seen=before: len(creator.made) > seen + 20, "the client goes on")
        elections = fs.operations.status().term - term
        print(f"{name} leads={leads} longest wait {creator.take_longest_s() * 1000:.0f} ms")
        cluster.start(name)
        if elections == leads:
            return leads
    raise AssertionError("an election that nobody needs, each time")


def _all_follow(fs: gfs_ha.Cluster) -> bool:
    rows = fs.operations.masters().items
    return all(row.reachable and row.lag_entries < 100 for row in rows)
