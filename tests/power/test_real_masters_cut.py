"""Real masters on real disks that lose power; a few cuts, `make power-cuts` makes many.

Needs root, loop devices and mount namespaces; elsewhere the recorded disk tells the same story.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from power.real_cuts import RealCuts

pytestmark = pytest.mark.processes


def test_what_was_acknowledged_is_there_after_real_power_cuts(tmp_path: Path) -> None:
    try:
        cluster = RealCuts(tmp_path, seed=1)
    except OSError as error:
        pytest.skip(str(error))
    with cluster:
        cluster.cut_all()
        assert "DiskFailed" in cluster.cut_one()
        assert len(cluster.acknowledged) > 40
