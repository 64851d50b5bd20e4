"""What is measured, by name, and how Prometheus reads it: the only door to its library.

A metric is declared once, where it is collected; its samples are made when somebody asks, of what
is counted anyway. Names follow the conventions of Prometheus: unit last, `_total` for what only
grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, ProcessCollector, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import (
    Metric as Family,
)
from prometheus_client.registry import Collector

from gfs_ha.protocol.rates import class_begins_us

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"

# Each second boundary of the classes that times are counted in: 64 us, 128 us ... 16.8 s.
_BUCKET_CLASSES = tuple(range(12, 49, 2))
_BOUNDS = tuple(f"{class_begins_us(one) / 1e6:.6f}" for one in _BUCKET_CLASSES)


@dataclass(frozen=True, slots=True)
class Metric:
    """A name that is measured, with the names of its labels."""

    name: str
    kind: str
    text: str
    labels: tuple[str, ...] = ()


def counter(name: str, text: str, *labels: str) -> Metric:
    """Return a metric that only grows while the process lives; its name ends in `_total`."""
    assert name.endswith("_total"), name
    return Metric(name, COUNTER, text, labels)


def gauge(name: str, text: str, *labels: str) -> Metric:
    """Return a metric that goes up and down."""
    assert not name.endswith("_total"), name
    return Metric(name, GAUGE, text, labels)


def histogram(name: str, text: str, *labels: str) -> Metric:
    """Return a metric of times, in seconds."""
    assert name.endswith("_seconds"), name
    return Metric(name, HISTOGRAM, text, labels)


class Samples:
    """What one look at a process finds. Used by one thread."""

    def __init__(self) -> None:
        self._families: dict[str, Family] = {}

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """Add a value, for these values of the metric's labels."""
        family = self._families.get(metric.name)
        if family is None:
            made = CounterMetricFamily if metric.kind == COUNTER else GaugeMetricFamily
            family = made(metric.name, metric.text, labels=metric.labels)
            self._families[metric.name] = family
        assert isinstance(family, CounterMetricFamily | GaugeMetricFamily), metric.name
        family.add_metric(labels, value)

    def times(self, metric: Metric, counts: Sequence[int], total_s: float, *labels: str) -> None:
        """Add times, counted by class (protocol/rates.py), and their sum in seconds."""
        family = self._families.get(metric.name)
        if family is None:
            family = HistogramMetricFamily(metric.name, metric.text, labels=metric.labels)
            self._families[metric.name] = family
        assert isinstance(family, HistogramMetricFamily), metric.name
        buckets: list[tuple[str, float]] = []
        at = passed = 0
        for number, bound in zip(_BUCKET_CLASSES, _BOUNDS, strict=True):
            passed += sum(counts[at:number])
            at = number
            buckets.append((bound, float(passed)))
        buckets.append(("+Inf", float(passed + sum(counts[at:]))))
        family.add_metric(labels, buckets, total_s)

    def families(self) -> Iterator[Family]:
        """Yield what was added, as the library writes it."""
        yield from self._families.values()


Collect = Callable[[Samples], None]


class _Now(Collector):
    """The library's view of one look."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Family]:
        return self._families


class Process:
    """What the operating system knows of this process: CPU, memory, descriptors, start."""

    def __init__(self) -> None:
        self._collector = ProcessCollector(registry=None)

    def families(self) -> Iterable[Family]:
        """Return the metrics `process_…`."""
        return self._collector.collect()


def render(samples: Samples, process: Process) -> bytes:
    """Return the text that Prometheus reads."""
    now = _Now([*samples.families(), *process.families()])
    return generate_latest(now)
