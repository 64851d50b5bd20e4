"""Real disks evened out: what was planned happens, also when the leader is killed on the way."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
from killing import MIB, check_files, content, leader_of, wait_until

import gfs_ha
from gfs_ha.errors import GfsError
from gfs_ha.local.cluster import LocalCluster
from gfs_ha.protocol.jobs import DONE, FINAL, PAUSE, RESUME, JobOptions, JobRow

pytestmark = pytest.mark.processes

CAPACITY = 64 * MIB
FILES = {f"/f{number}": content(3 * MIB, seed=number) for number in range(10)}
EMPTY = ("cs4", "cs5")


def uneven(cluster: LocalCluster) -> None:
    """Make a cluster of which three servers are half full and two are empty."""
    racks = ("r1", "r2", "r3")
    cluster.up(masters=3, chunkservers=5, racks=racks, chunk_bytes=MIB, capacities=(CAPACITY,))
    with gfs_ha.connect(cluster.config_path) as fs:
        for name in EMPTY:
            fs.operations.server_modes.maintain(name, 3_600_000)
        for path, data in FILES.items():
            fs.write_bytes(path, data)
        for name in EMPTY:
            fs.operations.server_modes.maintain(name, 0)


def shares(fs: gfs_ha.Cluster) -> dict[str, float]:
    return {row.name: row.share for row in fs.operations.rebalance.status().items}


def job(fs: gfs_ha.Cluster, number: int) -> JobRow | None:
    try:
        return fs.operations.jobs.get(number)
    except GfsError:
        return None  # No leader for a moment.


def test_a_leader_killed_amid_a_rebalance_is_followed_by_one_that_ends_it(
    new_cluster: Callable[[str], LocalCluster],
) -> None:
    cluster = new_cluster("cluster")
    uneven(cluster)
    with gfs_ha.connect(cluster.config_path) as fs:
        wait_until(
            lambda: all((shares(fs)[f"cs{one}"] > 0.4) == (one < 4) for one in range(1, 6)),
            "the servers to tell how full they are",
        )
        options = JobOptions(bytes_per_s=2 * MIB)
        plan = fs.operations.rebalance.plan(options)
        assert plan.whole and plan.move_count >= 15 and not plan.balanced
        begun = fs.operations.rebalance.start(plan, options, "the test")

        wait_until(lambda: fs.operations.jobs.get(begun.number).moves >= 3, "some moves")
        paused = fs.operations.jobs.change(begun.number, PAUSE, "the test")
        assert paused.phase == "paused"
        known = fs.operations.jobs.get(begun.number)
        cluster.kill(leader_of(fs), signal.SIGKILL)

        wait_until(lambda: (row := job(fs, begun.number)) and row.phase == "paused", "the job")
        after = fs.operations.jobs.get(begun.number)
        # Copies that were under way when it paused may have come to their end.
        assert known.moves <= after.moves < plan.move_count
        assert after.moved_bytes == after.moves * MIB
        fs.operations.jobs.change(begun.number, RESUME, "the test")

        wait_until(lambda: (row := job(fs, begun.number)) and row.phase in FINAL, "its end")
        ended = fs.operations.jobs.get(begun.number)
        assert ended.phase == DONE and not ended.last_error
        assert abs(ended.moves - plan.move_count) <= 6
        texts = [event.text for event in fs.operations.jobs.log(begun.number)]
        assert len(texts) == 4 and "of the mean" in texts[-1]
        assert fs.operations.rebalance.plan(options).balanced
        check_files(fs, FILES)
        for row in fs.operations.chunks():
            if row.state == "sealed":
                assert len(row.replicas) == 3
                assert len({one.name for one in row.replicas}) == 3
