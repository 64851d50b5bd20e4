"""Whichever call of a master's store the disk refuses, it stops, and nothing committed is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from power.crash_points import HERE
from power.failing_store import Failures

pytestmark = pytest.mark.processes

STEPS = 45
SHARE = 0.02  # Of all calls and ways to fail; `make power-cuts` tries all.


def test_a_call_that_fails_stops_the_store_and_loses_nothing(
    memory_place: Path, disk_shim: Path
) -> None:
    words = [sys.executable, "-m", "power.failing_store", str(memory_place), "1", str(STEPS)]
    done = subprocess.run(
        [*words, str(SHARE)],
        env={**os.environ, "LD_PRELOAD": str(disk_shim), "DISK_SHIM_DIR": str(memory_place)},
        cwd=HERE.parent, capture_output=True, check=True, timeout=600,
    )  # fmt: skip
    found = msgspec.json.decode(done.stdout, type=Failures)
    assert not found.violations
    assert found.tried > 20
    assert set(found.errors) == {"DiskFailed", "DiskFull"}
