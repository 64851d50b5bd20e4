"""A whole rack is lost and comes back: its copies are made anew, then the rule is restored."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
from killing import check_files, content, wait_until
from test_repair import FILES, repairing, rows

import gfs_ha
from gfs_ha.local.cluster import LocalCluster

pytestmark = pytest.mark.processes

LOST = ("cs2", "cs4")  # All of rack r2.
MEANWHILE = {f"/new{number}": content(400_000, seed=90 + number) for number in range(3)}


def live_racks(fs: gfs_ha.Cluster) -> list[list[str]]:
    return [sorted(one.rack for one in row.replicas if one.health == "live") for row in rows(fs)]


def test_a_rack_that_is_lost_and_comes_back_leaves_the_rule_and_no_copy_too_many(
    new_cluster: Callable[[str], LocalCluster],
) -> None:
    cluster = repairing(new_cluster("cluster"), masters=1, chunkservers=5)
    with gfs_ha.connect(cluster.config_path) as fs:
        lost = sum(one.name in LOST for row in rows(fs) for one in row.replicas)
        assert lost
        made = fs.operations.repair().made_count
        for name in LOST:
            cluster.kill(name, signal.SIGKILL)
        wait_until(lambda: set(map(tuple, live_racks(fs))) == {("r1",) * 3}, "copies in r1")
        assert fs.operations.repair().made_count == made + lost, "one copy for each that was lost"
        with gfs_ha.connect(cluster.config_path) as writer:
            for path, data in MEANWHILE.items():
                writer.write_bytes(path, data)

        def kept() -> bool:
            whole = all(row.state == "sealed" and row.copies == 3 for row in rows(fs))
            return whole and set(map(tuple, live_racks(fs))) == {("r1",) * 3}

        # A server that was slow while they were written gets its copy from repair.
        wait_until(kept, "seals, and three copies in r1")
        before = fs.operations.repair().made_count
        misplaced = len(rows(fs)) - _chunks_of(fs, FILES)
        assert misplaced
        for name in LOST:
            cluster.start(name)

        def restored() -> bool:
            found = rows(fs)
            whole = all(row.copies == 3 == len(row.replicas) for row in found)
            return whole and all(set(racks) == {"r1", "r2"} for racks in live_racks(fs))

        wait_until(restored, "the rule")
        made = fs.operations.repair().made_count
        assert made == before + misplaced, "and one for each chunk that lay in one rack alone"
        check_files(fs, FILES | MEANWHILE)


def _chunks_of(fs: gfs_ha.Cluster, paths: dict[str, bytes]) -> int:
    found = (fs.operations.placement(path).items for path in paths)
    return len({item.chunk.chunk_id for items in found for item in items})
