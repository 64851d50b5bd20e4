"""A power cut at any recorded instant leaves a store of a master that holds what was committed.

`make power-cuts` looks at every point of several records; here it is a share of them.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from power.crash_points import CrashPoints, Verdict, judge, record

pytestmark = pytest.mark.processes

STEPS = 45


def judged(
    directory: Path, shim: Path, share: float, steps: int = STEPS, mode: str = ""
) -> Verdict:
    log = record(directory, shim, 1, steps, mode)
    points = CrashPoints(log, directory / "disk", 1, share)
    return judge(points, directory, violations_max=3)


def test_what_was_committed_is_there_after_a_power_cut_at_any_instant(
    memory_place: Path, disk_shim: Path
) -> None:
    log = record(memory_place, disk_shim, 1, STEPS)
    points = CrashPoints(log, memory_place / "disk", 1, share=0.03)
    done = {commit.what for commit in points.commits}
    assert {"truncate", "vote", "drop", "members", "offer", "chunk", "install", "freeze"} <= done
    verdict = judge(points, memory_place)
    assert not verdict.violations
    assert verdict.points > 250


def test_a_store_that_was_being_made_is_there_whole_or_can_be_made_again(
    memory_place: Path, disk_shim: Path
) -> None:
    """LMDB refuses a first page that is torn, and syncs no name of a file or directory."""
    verdict = judged(memory_place, disk_shim, share=0.3, steps=0)
    assert not verdict.violations
    assert verdict.points > 80


@pytest.mark.parametrize("mode", ["nosync", "nometasync"])
def test_without_the_syncs_the_loss_is_found(
    memory_place: Path, disk_shim: Path, mode: str
) -> None:
    assert judged(memory_place, disk_shim, share=0.1, mode=mode).violations
