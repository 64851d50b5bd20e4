"""Fixtures of the masters' tests: a trio that is always stopped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from trio import Client, Trio


@pytest.fixture
def trio(tmp_path: Path) -> Iterator[Trio]:
    """Three masters of a fresh cluster, started."""
    cluster = Trio(tmp_path)
    try:
        cluster.start(bootstrap=True)
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def client(trio: Trio) -> Client:
    """A client with an open session."""
    return Client(trio)
