"""What tests of several rooms share: a real cluster of processes that always goes away again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from gfs_ha.local.cluster import LocalCluster

MIB = 1 << 20


@pytest.fixture
def local_cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    """Three masters and four chunkservers on two racks, with chunks of 1 MiB, up and ready."""
    from gfs_ha.local.cluster import LocalCluster

    cluster = LocalCluster(tmp_path / "cluster")
    try:
        cluster.up(masters=3, chunkservers=4, racks=("r1", "r2"), chunk_bytes=MIB)
        yield cluster
    finally:
        cluster.down(wipe=True)
