"""Quantiles from classes of time: off by a stated share at most, whatever the distribution."""

from __future__ import annotations

import math
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from gfs_ha.latency import CLASSES, ERROR, LONGEST_US, class_of, quantile_us

_times_s = st.floats(1e-6, 400.0)


@given(st.lists(_times_s, min_size=1, max_size=200), st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]))
@settings(max_examples=200, deadline=None)
def test_a_quantile_is_off_by_a_twentieth_at_most(times: list[float], share: float) -> None:
    told = quantile_us(Counter(map(class_of, times)), share)
    true_us = sorted(times)[max(1, math.ceil(share * len(times))) - 1] * 1e6
    assert told is not None
    assert abs(told - true_us) <= ERROR * true_us * (1 + 1e-9) + 0.5  # Told in whole ones.


@given(st.floats(0.0, 1e9))
@settings(max_examples=200, deadline=None)
def test_every_time_has_one_of_the_classes(took_s: float) -> None:
    assert 0 <= class_of(took_s) < CLASSES


def test_the_classes_reach_further_than_any_operation_is_let_run() -> None:
    assert LONGEST_US > 480e6
    assert class_of(1e9) == CLASSES - 1


def test_of_nothing_nothing_is_told() -> None:
    assert quantile_us({}, 0.5) is None
    assert quantile_us({4: 0}, 0.5) is None
    assert quantile_us({0: 3}, 0.99) == 1
