"""What deploy/monitoring asks for, and what daemons tell: read for the tests of both."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from gfs_ha.chunk import measures as chunkserver_measures
from gfs_ha.master import cluster_measures, measures
from gfs_ha.metrics import port
from gfs_ha.metrics.exposition import HISTOGRAM, Metric

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "deploy/monitoring"
RULES = MONITORING / "rules/gfs-ha.yml"
RULE_TESTS = MONITORING / "rules/gfs-ha.test.yml"
EXAMPLE = MONITORING / "prometheus.yml"
DASHBOARD = MONITORING / "grafana/gfs-ha.json"
DOCUMENT = ROOT / "docs/monitoring.md"
NAME = re.compile(r"\b(?:gfs|process)_[a-z0-9_]+\b")
ROOMS = {
    "every daemon": port,
    "masters": measures,
    "the leader": cluster_measures,
    "chunkservers": chunkserver_measures,
}
# Of the process; told by Prometheus' library.
PROCESS = {
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_virtual_memory_bytes",
}


def metrics_of(module: ModuleType) -> list[Metric]:
    """Return the metrics that a module declares, in the order in which it does."""
    return [one for one in vars(module).values() if isinstance(one, Metric)]


def declared() -> list[Metric]:
    """Return all metrics that a daemon may tell."""
    return [one for module in ROOMS.values() for one in metrics_of(module)]


def series_names() -> set[str]:
    """Return the names of all series that a daemon may tell."""
    names = set(PROCESS)
    for one in declared():
        if one.kind == HISTOGRAM:
            names |= {f"{one.name}_{suffix}" for suffix in ("bucket", "sum", "count")}
        else:
            names.add(one.name)
    return names


def alerts() -> dict[str, dict[str, Any]]:
    """Return the alerting rules by name."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def panels() -> list[dict[str, Any]]:
    """Return the panels of the dashboard that show something."""
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return [one for one in dashboard["panels"] if one["type"] != "row"]


def dashboard_queries() -> Iterator[tuple[str, str]]:
    """Yield (panel, query) of all that the dashboard asks for; annotations, too."""
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    for one in dashboard["annotations"]["list"]:
        yield one["name"], one["expr"]


def program(name: str) -> str:
    """Return where a program of Debian's package `prometheus` is; skips where it is not."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: apt-get install prometheus)")
    return found
