"""The fuzzer finds no stale read on a follower, and finds one once a guard of them is missing."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from gfs_ha.sim.follower_reads import ReadingRun
from gfs_ha.sim.read_guards import READ_GUARDS, READING

SEEDS = range(1, 13)
FOUND_WITHIN = {
    "follower-asks": range(1, 30),
    "answer-confirmed": range(4, 300),
    "release-when-shown": range(1, 30),
    "question-after-arrival": range(1, 100),
    "age-from-question": range(1, 100),
    "age-of-what-is-shown": range(1, 100),
}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Log lines of simulated members cost more than the members."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_no_read_on_a_follower_is_older_than_it_may_be() -> None:
    followed = bounded = 0
    for seed in SEEDS:
        run = ReadingRun(seed, READING)
        report = run.run()
        assert report.violation is None, f"seed {seed}: {report.violation}"
        followed, bounded = followed + run.followed_count, bounded + run.bounded_count
    assert followed > 50 * len(SEEDS) and bounded > 50 * len(SEEDS)


@pytest.mark.parametrize("guard", sorted(READ_GUARDS))
def test_without_its_guard_a_stale_read_is_found(guard: str) -> None:
    assert any(ReadingRun(s, READ_GUARDS[guard]).run().violation for s in FOUND_WITHIN[guard])
