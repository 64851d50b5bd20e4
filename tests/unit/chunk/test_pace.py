"""A pace: in no span of time goes more than its rate and one burst, and nothing is lost by it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gfs_ha.chunk.pace import BURST_BYTES, BURST_S, NONE, Pace
from gfs_ha.limits import MIB


@settings(max_examples=150, deadline=None)
@given(
    st.integers(100_000, 200 * MIB),
    st.lists(st.tuples(st.integers(1, BURST_BYTES), st.floats(0.0, 0.5)), max_size=60),
)
def test_in_no_span_of_time_goes_more_than_the_rate_and_a_burst(
    rate: int, steps: list[tuple[int, float]]
) -> None:
    pace, now_s = Pace(rate, 0.0), 0.0
    went: list[tuple[float, int]] = []
    for count, idle_s in steps:
        now_s += idle_s
        now_s += pace.wait_s(now_s, count)
        pace.take(count, now_s)
        went.append((now_s, count))
    burst = max(BURST_BYTES, rate * BURST_S)
    for start, (from_s, _) in enumerate(went):
        total = 0
        for at_s, count in went[start:]:
            total += count
            assert total <= burst + rate * (at_s - from_s) + 1


def test_who_comes_a_little_late_loses_nothing() -> None:
    pace, rate, went = Pace(8 * MIB, 0.0), 8 * MIB, 0
    now_s = 0.0
    while now_s < 10.0:
        now_s += 0.05
        now_s += 0.15 if went % (3 * 256 * 1024) == 0 else 0.0  # It gets no turn at a processor.
        while not pace.wait_s(now_s, 256 * 1024):
            pace.take(256 * 1024, now_s)
            went += 256 * 1024
    assert went >= (now_s - 0.1) * rate


def test_a_rate_that_changes_holds_from_then_on_and_none_lets_nothing_go() -> None:
    pace = Pace(MIB, 0.0)
    pace.take(2 * MIB, 0.0)
    assert pace.wait_s(0.0) == pytest.approx(1.0)
    pace.change(2 * MIB, 0.5)
    assert pace.wait_s(0.5) == pytest.approx(0.25)
    pace.change(NONE, 0.5)
    assert pace.wait_s(100.0) > 1000.0
    pace.change(2 * MIB, 100.0)
    assert pace.wait_s(100.0) == pytest.approx(0.25), "while none was allowed nothing was earned"
    pace.change(0, 100.0)
    pace.take(1 << 40, 100.0)
    assert pace.wait_s(100.0, 1 << 40) == 0.0
