"""A cluster in memory, closed at the end of each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from little_cluster import LittleCluster


@pytest.fixture
def little() -> Iterator[LittleCluster]:
    cluster = LittleCluster()
    try:
        yield cluster
    finally:
        cluster.close()
