"""Compiles the shim below recorded processes, and gives them a place in memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def disk_shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that records and fails what a process does to its disk."""
    from power.recorded_disk import NoCompiler, compile_shim

    try:
        return compile_shim(tmp_path_factory.mktemp("shim"))
    except NoCompiler as error:
        pytest.skip(str(error))


@pytest.fixture
def memory_place(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory, where there is one: what is recorded needs no real syncs."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="gfs-ha-power-", dir="/dev/shm") as name:
        yield Path(name)
