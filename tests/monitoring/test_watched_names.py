"""Alerts, dashboard and documents name only what daemons tell, and runbooks that there are."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest
from monitored import (
    DASHBOARD,
    DOCUMENT,
    NAME,
    PROCESS,
    ROOMS,
    RULE_TESTS,
    RULES,
    alerts,
    dashboard_queries,
    declared,
    metrics_of,
    panels,
    series_names,
)

from gfs_ha.metrics.exposition import COUNTER, GAUGE, HISTOGRAM
from gfs_ha.protocol.findings import FINDING_CODES

# They end, or become another finding, by themselves; or a person made them.
NOT_ALERTED = {"SERVER_SUSPECT", "SERVER_MAINTENANCE"}
# What a port in clear may tell (docs/adr/0014), by label: names that the operator gave to his own
# machines, numbers, or words of the program. Nothing that a user or a client named, and no id.
HIS_OWN = {
    *("cluster_id", "name", "server", "peer"),  # The cluster, and its daemons.
    *("rack", "directory"),  # Where they stand, and where their disks are mounted.
}
NUMBERS = {"goal", "copies", "version"}
WORDS = {
    *("role", "loop", "planner"),  # Parts of a daemon.
    *("operation", "reason", "state", "code", "severity"),
}
_CODE = re.compile(r'gfs_cluster_findings\{code="([A-Z_]+)"\}')


def test_each_metric_is_declared_once_with_a_help_that_says_something() -> None:
    names = Counter(one.name for one in declared())
    assert not [name for name, count in names.items() if count > 1]
    for one in declared():
        assert one.text.endswith(".") and len(one.text) > 8, one.name
        assert re.fullmatch(r"gfs_[a-z]+(_[a-z]+)*", one.name), one.name
        assert not {"le", "quantile", "job", "instance", "cluster"} & set(one.labels), one.name


def test_what_a_port_in_clear_tells_is_of_the_kinds_that_were_decided() -> None:
    used = {label for one in declared() for label in one.labels}
    assert used == HIS_OWN | NUMBERS | WORDS, "docs/adr/0014 says what may leave a host in clear"


def test_units_are_the_base_units_of_prometheus_and_come_last() -> None:
    for one in declared():
        words = one.name.removesuffix("_total").split("_")
        for unit in ("seconds", "bytes", "ratio"):
            if unit in words[:-1] and "per" not in words:
                pytest.fail(f"{one.name}: the unit does not come last")
        for wrong in ("ms", "us", "milliseconds", "kib", "mib", "percent", "count", "number"):
            assert wrong not in words, one.name
        assert (one.kind == COUNTER) == one.name.endswith("_total"), one.name
        assert one.kind in (COUNTER, GAUGE, HISTOGRAM)


def test_every_name_in_rules_and_dashboard_is_told_by_some_daemon() -> None:
    known = series_names()
    for alert, rule in alerts().items():
        named = set(NAME.findall(rule["expr"]))
        assert named - {"gfs_ha"} <= known, (alert, named - known)
        assert named or rule["expr"].startswith("up{"), alert
    for title, query in dashboard_queries():
        named = set(NAME.findall(query))
        assert named <= known, (title, named - known)
        assert named or "up{" in query, title


def test_every_name_in_the_tests_of_rules_is_told_by_some_daemon() -> None:
    text = RULE_TESTS.read_text(encoding="utf-8")
    named = set(re.findall(r"series: '([a-z_]+)\{", text))
    assert named - {"up"} <= series_names()


def test_every_finding_that_needs_a_person_has_its_alert() -> None:
    alerted = _CODE.findall(RULES.read_text(encoding="utf-8"))
    assert sorted(alerted) == sorted(set(FINDING_CODES) - NOT_ALERTED)
    for name, rule in alerts().items():
        found = _CODE.search(rule["expr"])
        if found is not None:
            code = found.group(1)
            assert name == "Gfs" + "".join(word.capitalize() for word in code.split("_"))
            assert rule["annotations"]["runbook"] == f"gfsctl explain {code}"


def test_every_alert_says_what_is_wrong_and_where_its_runbook_is() -> None:
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line.lstrip("# ").lower()).strip().replace(" ", "-")
        for line in DOCUMENT.read_text(encoding="utf-8").splitlines()
        if line.startswith("#")
    }
    for name, rule in alerts().items():
        assert rule["annotations"]["summary"], name
        assert rule["labels"]["severity"] in ("critical", "warning") or "{{" in str(
            rule["labels"]["severity"]
        )
        runbook = rule["annotations"]["runbook"]
        if not runbook.startswith("gfsctl explain "):
            document, _, anchor = runbook.partition("#")
            assert document == "docs/monitoring.md" and anchor in headings, name


def test_the_document_lists_exactly_what_there_is() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for whose, module in ROOMS.items():
        part = text.partition(f"### Of {whose}\n")[2].partition("\n#")[0]
        listed = re.findall(r"^\| `([a-z_]+)` \| (\w+) \| ([^|]*) \| (.*) \|$", part, re.MULTILINE)
        assert listed == [
            (one.name, one.kind, ", ".join(f"`{label}`" for label in one.labels), one.text)
            for one in metrics_of(module)
        ], whose
    for name in PROCESS:
        assert f"`{name}`" in text


def test_the_dashboard_is_whole() -> None:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    numbers = [one["id"] for one in dashboard["panels"]]
    assert len(numbers) == len(set(numbers))
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
    titles = Counter(one["title"] for one in panels())
    assert max(titles.values()) == 1
    variables = {one["name"] for one in dashboard["templating"]["list"]}
    assert variables == {"datasource", "cluster", "instance"}
    for title, query in dashboard_queries():
        used = set(re.findall(r"\$(\w+)", query))
        assert used <= variables | {"__rate_interval"}, title
        assert "$cluster" in query, f"{title}: several clusters would be mixed"
