"""Masters, chunkservers and users in virtual time: no seed loses a byte, and each comes to rest."""

from __future__ import annotations

import pytest
from other_processes import printed

from gfs_ha.sim.cluster.run import ClusterRun


@pytest.mark.parametrize("seed", [1, 4])
def test_after_the_last_fault_all_is_whole_again(seed: int) -> None:
    report = ClusterRun(seed).run()
    assert report.violation is None, report.violation
    assert report.operations > 50


def test_a_seed_of_a_cluster_repeats_itself_byte_for_byte_in_another_process() -> None:
    script = (
        "from gfs_ha.sim.cluster.run import ClusterRun\n"
        "print(ClusterRun(3, show=print).run().digest)\n"
    )
    outputs = printed(script, ("1", "random"))
    assert len(outputs) == 1
    assert len(outputs.pop().splitlines()) > 50
