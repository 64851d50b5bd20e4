"""What is measured, as Prometheus reads it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from gfs_ha.metrics.exposition import Process, Samples, counter, gauge, histogram, render
from gfs_ha.protocol.rates import TIME_CLASSES, class_begins_us, time_class

TIME = histogram("gfs_test_seconds", "How long it takes.", "kind")


def read(samples: Samples) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Return all samples by name and labels, as somebody else's parser reads them."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(render(samples, Process()).decode()):
        for one in family.samples:
            found.setdefault(one.name, {})[tuple(sorted(one.labels.items()))] = one.value
    return found


def test_values_come_with_their_labels_whatever_stands_in_them() -> None:
    samples = Samples()
    disk = gauge("gfs_test_bytes", 'With "quotes", a \\ and a\nline.', "directory")
    for directory in ("/srv/a", '/srv/"b"\n', "/srv/ü\\"):
        samples.set(disk, 2**53, directory)
    samples.set(counter("gfs_test_total", "All of them."), 3)
    found = read(samples)
    assert {dict(labels)["directory"] for labels in found["gfs_test_bytes"]} == {
        "/srv/a",
        '/srv/"b"\n',
        "/srv/ü\\",
    }
    assert set(found["gfs_test_bytes"].values()) == {2.0**53}
    assert found["gfs_test_total"] == {(): 3.0}


def test_the_process_is_measured_as_well() -> None:
    found = read(Samples())
    assert found["process_resident_memory_bytes"][()] > 1 << 20
    assert found["process_open_fds"][()] >= 3


@given(st.lists(st.integers(0, 1 << 30), max_size=40))
def test_times_are_counted_up_to_each_bound(microseconds: list[int]) -> None:
    counts = [0] * TIME_CLASSES
    for one in microseconds:
        counts[time_class(one)] += 1
    while counts and not counts[-1]:
        counts.pop()  # As they are told.
    samples = Samples()
    samples.times(TIME, counts, sum(microseconds) / 1e6, "read")
    found = read(samples)
    kind = ("kind", "read")
    assert found["gfs_test_seconds_count"] == {(kind,): len(microseconds)}
    assert found["gfs_test_seconds_sum"][(kind,)] == sum(microseconds) / 1e6
    for labels, value in found["gfs_test_seconds_bucket"].items():
        bound_s = float(dict(labels)["le"])
        # A time of the very bound counts above it: times are whole microseconds.
        assert value == sum(one < bound_s * 1e6 for one in microseconds)


def test_the_bounds_are_those_of_the_classes() -> None:
    samples = Samples()
    samples.times(TIME, (), 0.0, "read")
    bounds = [float(dict(one)["le"]) * 1e6 for one in read(samples)["gfs_test_seconds_bucket"]]
    classes = {class_begins_us(number) for number in range(TIME_CLASSES)}
    assert bounds[0] == 64.0 and bounds[-1] == float("inf") and len(bounds) == 20
    assert {round(one) for one in bounds[:-1]} <= {round(one) for one in classes}
