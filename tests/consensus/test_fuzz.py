"""The fuzzer finds nothing, and finds every hole again once its guard is missing."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from gfs_ha.sim.consensus import Run
from gfs_ha.sim.guards import GUARDS, SimNode

SEEDS = range(1, 81)
# Where to look, near seeds that are known to show it (chance finds each within a few hundred seeds
# from anywhere). The guards that are not here have a scenario in test_guards.
FOUND_WITHIN = {
    "strict-append": range(2, 200),
    "log-comparison": range(6, 200),
    "one-vote": range(19, 300),
    "stickiness": range(287, 600),
    "lease-from-send": range(6, 300),
    "no-lease-after-transfer": range(16, 300),
    "learners-do-not-count": range(20, 300),
    "own-entry-before-reads": range(1, 300),
    "reads-after-commit": range(1, 300),
    "send-after-commit": range(3, 500),
    "start-list": range(7, 300),
}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Log lines of simulated members cost more than the members."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def run(seed: int, node_type: type[SimNode]) -> str | None:
    return Run(seed, 3 if seed % 4 else 5, node_type).run().violation


def test_no_seed_breaks_a_promise() -> None:
    acked = reads = terms = 0
    for seed in SEEDS:
        report = Run(seed, 3 if seed % 4 else 5, SimNode).run()
        assert report.violation is None, f"seed {seed}: {report.violation}"
        acked, reads, terms = acked + report.acked, reads + report.reads, terms + report.terms
    assert acked > 10 * len(SEEDS) and reads > 10 * len(SEEDS) and terms > len(SEEDS)


@pytest.mark.parametrize("guard", sorted(FOUND_WITHIN))
def test_without_its_guard_the_hole_is_found(guard: str) -> None:
    assert any(run(seed, GUARDS[guard]) for seed in FOUND_WITHIN[guard])


def test_every_guard_is_tried_somewhere() -> None:
    scenarios = {"answer-term", "own-term-commit"}
    scenarios |= {"one-change-at-a-time", "own-entry-before-changes"}  # In test_changes.
    scenarios |= {"snapshot-keeps-what-follows"}  # In test_snapshots.
    assert set(GUARDS) == set(FOUND_WITHIN) | scenarios


def test_a_seed_repeats_itself_in_another_process() -> None:
    command = [sys.executable, "-m", "gfs_ha.sim.consensus", "--seeds", "2", "--start", "7"]
    outputs = {
        subprocess.run(
            command,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout
        for hash_seed in ("0", "1", "random")
    }
    assert len(outputs) == 1 and "0 with a violation" in outputs.pop()
