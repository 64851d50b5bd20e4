"""Steps and rates of clocks reach the process that they are meant for, and no other clock of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from chaos.wall_clock import WallClocks

pytestmark = pytest.mark.processes

_LOOK = """
import datetime, json, sys, time
for _ in sys.stdin:
    facts = [time.time(), time.time_ns() / 1e9, datetime.datetime.now().timestamp()]
    facts += [time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME)]
    print(json.dumps(facts), flush=True)
"""
_BETWEEN_LOOKS_S = 0.05  # The shim looks at its file every 20 ms.


def test_a_step_is_seen_by_one_process_and_only_as_wall_time(tmp_path: Path) -> None:
    clocks = WallClocks(tmp_path)
    if clocks.why_not:
        pytest.skip(clocks.why_not)
    process = subprocess.Popen(
        [sys.executable, "-c", _LOOK],
        env={**os.environ, **clocks.environment("m1")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        for offset_s in (0.0, 3600.0, -400 * 86400.0, 0.0):
            clocks.step("m1", offset_s)
            clocks.step("m2", 77.0)
            time.sleep(_BETWEEN_LOOKS_S)
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            *walls, monotonic_s, boot_s = json.loads(process.stdout.readline())
            assert all(abs(wall_s - offset_s - time.time()) < 30 for wall_s in walls), offset_s
            assert abs(monotonic_s - time.monotonic()) < 30
            assert abs(boot_s - time.clock_gettime(time.CLOCK_BOOTTIME)) < 30
    finally:
        process.kill()
        process.communicate()


_RATE = """
import json, time
begin = [time.clock_gettime(clock) for clock in (time.CLOCK_BOOTTIME, time.CLOCK_MONOTONIC)]
time.sleep(1.0)
end = [time.clock_gettime(clock) for clock in (time.CLOCK_BOOTTIME, time.CLOCK_MONOTONIC)]
print(json.dumps([late - early for early, late in zip(begin, end)]))
"""


def test_a_boot_clock_runs_fast_while_waits_go_by_the_true_one(tmp_path: Path) -> None:
    clocks = WallClocks(tmp_path)
    if clocks.why_not:
        pytest.skip(clocks.why_not)
    for faster in (0.5, -0.5):
        done = subprocess.run(
            [sys.executable, "-c", _RATE],
            env={**os.environ, **clocks.environment("m1", faster)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        boot_s, monotonic_s = json.loads(done.stdout)
        assert 0.4 * abs(faster) < abs(boot_s / monotonic_s - 1) < 1.6 * abs(faster)
        assert (boot_s > monotonic_s) == (faster > 0)
