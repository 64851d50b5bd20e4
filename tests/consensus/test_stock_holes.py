"""Every hole of stock PySyncObj 0.3.17, shown on it and shown closed in ours, by one scenario each.

Stock must show the damage (or the test proves nothing), ours must not.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from raft_lab import OurLab, StockLab
from raft_scenarios import SCENARIOS, Scenario, callbacks_never_fire, play, snapshot_commits


class OurLabWithShortLog(OurLab):
    """Drops its log early, where stock takes a snapshot."""

    log_bytes_max = 2000


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Stock does not close what it reads.
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_stock_pysyncobj_shows_the_hole(scenario: Scenario, tmp_path: Path) -> None:
    assert play(scenario, StockLab, tmp_path)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_ours_has_closed_the_hole(scenario: Scenario, tmp_path: Path) -> None:
    assert not play(scenario, OurLab, tmp_path)


@pytest.mark.parametrize("scenario", [snapshot_commits, callbacks_never_fire])
def test_a_dropped_log_does_not_open_it_again(scenario: Scenario, tmp_path: Path) -> None:
    assert not play(scenario, OurLabWithShortLog, tmp_path)
