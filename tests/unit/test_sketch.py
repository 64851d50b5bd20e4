"""Heavy hitters: never too much is counted, what is missed is bounded, sums are the truth."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from gfs_ha.sketch import OPERATION_COST, Sketch, Tally

KEPT = 4

Noted = tuple[str, int, int]  # Key, bytes, operations.

# A few keys that return and many that come once, cheap and dear ones, in any order.
_keys = st.integers(0, 400).map(lambda number: f"c{number % 9 if number < 200 else number}")
_notes = st.lists(
    st.tuples(_keys, st.sampled_from([0, 1, 4096, 1 << 20, 1 << 30]), st.integers(1, 3)),
    max_size=300,
)


class Truth:
    """All that was noted, exactly."""

    def __init__(self) -> None:
        self.operations: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()

    def note(self, key: str, length: int, count: int) -> None:
        self.operations[key] += count
        self.bytes[key] += length

    def cost(self, key: str) -> int:
        return self.operations[key] * OPERATION_COST + self.bytes[key]

    @property
    def all_cost(self) -> int:
        return self.operations.total() * OPERATION_COST + self.bytes.total()


def filled(notes: list[Noted], truth: Truth, kept: int = KEPT) -> Sketch:
    sketch = Sketch(kept)
    for number, (key, length, count) in enumerate(notes):
        sketch.note(key, length, number % 7, count)
        truth.note(key, length, count)
    return sketch


def check(sketch: Sketch, truth: Truth, kept: int = KEPT, held: int = KEPT) -> None:
    """Check all that the sketch promises against what was really noted."""
    for key, tally in sketch.tallies.items():
        assert tally.operations <= truth.operations[key]
        assert tally.bytes <= truth.bytes[key]
        assert truth.operations[key] - tally.operations <= tally.operations_missed
        assert truth.bytes[key] - tally.bytes <= tally.missed
        assert truth.cost(key) <= tally.estimate
        assert tally.missed <= sketch.floor
        assert sum(tally.times.values()) == tally.operations
    for key in truth.operations:
        if key not in sketch.tallies:
            assert truth.cost(key) <= sketch.floor
    assert sketch.floor * kept <= truth.all_cost
    assert len(sketch.tallies) <= 2 * held
    shown = list(sketch.tallies.values())[:3]
    others = sketch.others(shown)
    assert others.operations + sum(one.operations for one in shown) == truth.operations.total()
    assert others.bytes + sum(one.bytes for one in shown) == truth.bytes.total()
    assert sum(others.times.values()) == others.operations


@given(_notes)
@settings(max_examples=150, deadline=None)
def test_what_is_counted_is_never_too_much_and_what_is_missed_is_bounded(
    notes: list[Noted],
) -> None:
    truth = Truth()
    check(filled(notes, truth), truth)


@given(st.lists(_notes, min_size=2, max_size=4))
@settings(max_examples=80, deadline=None)
def test_merged_sketches_keep_what_one_sketch_of_all_would_promise(
    parts: list[list[Noted]],
) -> None:
    truth, merged = Truth(), Sketch(KEPT)
    for notes in parts:
        merged.add(filled(notes, truth))
        check(merged, truth)
    if parts[-1]:
        merged.note("late", 5, 0)
        truth.note("late", 5, 1)
    check(merged, truth)


@given(_notes, _notes)
@settings(max_examples=60, deadline=None)
def test_a_sketch_that_was_cut_for_the_wire_still_bounds_what_it_left_out(
    one: list[Noted], other: list[Noted]
) -> None:
    truth, merged = Truth(), Sketch(KEPT)
    for notes in (one, other):
        sketch = filled(notes, truth)
        sketch.cut(2)
        assert len(sketch.tallies) <= 2
        merged.add(sketch)
    check(merged, truth, kept=2, held=KEPT)


def test_few_keys_are_counted_exactly() -> None:
    truth = Truth()
    sketch = filled([("a", 10, 1), ("b", 0, 2), ("a", 5, 1)] * 50, truth)
    assert sketch.floor == 0
    assert [(key, one.operations, one.bytes, one.missed) for key, one in sketch.dearest()] == [
        ("a", 100, 750, 0),
        ("b", 100, 0, 0),
    ]


def test_a_million_distinct_keys_take_no_more_room_than_a_few_and_hide_nobody() -> None:
    chance = random.Random(5)
    sketch, truth = Sketch(128), Truth()
    most = 0
    for number in range(1_000_000):
        key = f"once-{number}" if number % 50 else "often"
        sketch.note(key, 4096, number % 5)
        if number % 50 == 0:
            truth.note(key, 4096, 1)
        if chance.random() < 0.001:
            most = max(most, len(sketch.tallies))
    assert most <= 256
    dearest, tally = next(sketch.dearest())
    assert dearest == "often"  # One in fifty: more than one in `kept`.
    assert truth.operations["often"] - tally.operations <= tally.operations_missed
    assert sketch.floor * 128 <= sketch.total.cost


def test_merging_leaves_what_is_merged_as_it_was() -> None:
    one, other = Sketch(4), Sketch(4)
    other.note("x", 7, 3)
    one.add(other)
    one.note("x", 1, 3)
    assert (other.tallies["x"].operations, other.tallies["x"].bytes) == (1, 7)
    assert other.tallies["x"].times == {3: 1}
    assert isinstance(one.tallies["x"], Tally)
    assert one.tallies["x"].times == {3: 2}
