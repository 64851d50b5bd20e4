"""Windows over sketches: "now" is meant and not "since the start"."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gfs_ha.sketch_windows import HOUR, MINUTE, SLOT_S, TEN_MINUTES, WINDOWS, SketchWindows

LENGTHS = {MINUTE: 60.0, TEN_MINUTES: 600.0, HOUR: 3600.0}
BEGAN_S = 1000.0


@given(st.lists(st.floats(0.0, 700.0), max_size=60))
@settings(max_examples=100, deadline=None)
def test_a_window_has_exactly_what_came_since_it_begins(pauses: list[float]) -> None:
    windows, now_s, times = SketchWindows(4, BEGAN_S), BEGAN_S, list[float]()
    for pause_s in pauses:
        now_s += pause_s
        windows.now(now_s).note("a", 1, 0)
        times.append(now_s)
    for name in WINDOWS:
        found, over_s = windows.window(name, now_s)
        begins_s = now_s - over_s
        # A note exactly at the edge may fall on either side of it by rounding.
        inside = sum(one > begins_s + 1e-6 for one in times)
        at_edge = sum(abs(one - begins_s) <= 1e-6 for one in times)
        assert inside <= found.total.operations <= inside + at_edge
        assert over_s <= LENGTHS[name] + 1e-6
        lived_s = now_s - BEGAN_S
        forgot = lived_s >= 3600.0  # A long silence begins the grid anew.
        assert forgot or over_s >= min(lived_s, LENGTHS[name] * 5 / 6) - 1e-6


def test_what_was_an_hour_ago_is_gone() -> None:
    windows = SketchWindows(4, BEGAN_S)
    windows.now(BEGAN_S).note("a", 1, 0)
    seen = {
        after: [windows.window(name, BEGAN_S + after)[0].total.operations for name in WINDOWS]
        for after in (0.0, 49.0, 61.0, 601.0, 3601.0)
    }
    assert seen == {
        0.0: [1, 1, 1],
        49.0: [1, 1, 1],
        61.0: [0, 1, 1],
        601.0: [0, 0, 1],
        3601.0: [0, 0, 0],
    }


def test_a_day_of_silence_costs_nothing_and_the_next_note_counts() -> None:
    windows = SketchWindows(4, BEGAN_S)
    windows.now(BEGAN_S).note("a", 1, 0)
    later_s = BEGAN_S + 86_400 * 365
    windows.now(later_s).note("b", 2, 0)
    found, over_s = windows.window(HOUR, later_s + 1)
    assert list(found.tallies) == ["b"]
    assert over_s <= SLOT_S
