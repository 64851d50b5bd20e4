"""Random lives of a file that is appended to lose and double no record (C1-C10, D4)."""

from __future__ import annotations

import pytest
from append_run import AppendRun


@pytest.mark.parametrize("seed", range(12))
def test_every_acknowledged_record_is_in_the_file_once_where_it_was_told(seed: int) -> None:
    run = AppendRun(seed)
    run.play(4000)
    run.check()


@pytest.mark.parametrize("seed", range(100, 104))
def test_killed_processes_lose_no_record_that_is_kept_in_memory(seed: int) -> None:
    run = AppendRun(seed, "memory")
    run.play(4000)
    run.check()
