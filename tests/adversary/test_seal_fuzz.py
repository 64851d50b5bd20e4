"""Random lives of a chunk lose no acknowledged byte and block no seal (C1-C7)."""

from __future__ import annotations

import pytest
from seal_run import SealRun


@pytest.mark.parametrize("seed", range(25))
def test_what_was_acknowledged_lies_within_the_seal_and_on_every_holder(seed: int) -> None:
    run = SealRun(seed)
    run.play(400)
    run.check()
