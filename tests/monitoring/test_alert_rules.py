"""The alerts fire when they should and not else, as promtool plays them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from monitored import EXAMPLE, RULE_TESTS, RULES, alerts, program

_CODE = re.compile(r'code="([A-Z_]+)"')
_LEADER = 'job="gfs-ha", cluster="archive", instance="m1:9701"'
_NEXT = 'job="gfs-ha", cluster="archive", instance="m2:9701"'


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run(
        [program("promtool"), *map(str, arguments)], capture_output=True, text=True, timeout=120
    )
    assert not done.returncode, done.stdout + done.stderr


def play(path: Path, tests: list[dict[str, Any]]) -> None:
    """Have promtool play tests; JSON is YAML, too."""
    played = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}
    path.write_text(json.dumps(played), encoding="utf-8")
    promtool("test", "rules", path)


def finding_alerts() -> dict[str, dict[str, Any]]:
    """Return the alerts of findings, by code."""
    found = {
        _CODE.findall(rule["expr"])[0]: (name, rule)
        for name, rule in alerts().items()
        if "gfs_cluster_findings" in rule["expr"]
    }
    return {code: {"name": name, **rule} for code, (name, rule) in found.items()}


def minutes(text: str) -> int:
    return int(text[:-1]) * {"m": 1, "h": 60}[text[-1]]


def fires(rule: dict[str, Any], code: str, found: str) -> dict[str, Any]:
    """Return the alert that is expected of a finding of such severity."""
    fixed = str(rule["labels"]["severity"])
    severity = fixed if "{{" not in fixed else "critical" if found == "error" else "warning"
    notes = {
        key: value.replace("{{ $labels.cluster }}", "archive")
        for key, value in rule["annotations"].items()
    }
    return {
        "exp_labels": {"cluster": "archive", "code": code, "severity": severity},
        "exp_annotations": notes,
    }


def test_rules_and_example_are_right() -> None:
    promtool("check", "rules", RULES)
    promtool("check", "config", EXAMPLE)


def test_the_alerts_of_daemons_fire_as_their_tests_say() -> None:
    tested = RULE_TESTS.read_text(encoding="utf-8")
    for name, rule in alerts().items():
        if "gfs_cluster_findings" not in rule["expr"]:
            assert f"alertname: {name}\n" in tested, f"{name} is not tested"
            assert f"alertname: {name}, " in tested, f"{name} may fire at once"
    promtool("test", "rules", RULE_TESTS)


def test_each_finding_fires_its_own_alert_after_its_time(tmp_path: Path) -> None:
    tests = []
    for code, rule in finding_alerts().items():
        wait = minutes(rule.get("for", "0m"))
        for found in ("error", "warning"):
            series = f'gfs_cluster_findings{{{_LEADER}, code="{code}", severity="{found}"}}'
            checks = [
                {
                    "alertname": rule["name"],
                    "eval_time": f"{wait + 6}m",
                    "exp_alerts": [fires(rule, code, found)],
                },
                {"alertname": rule["name"], "eval_time": "4m", "exp_alerts": []},
            ]
            if wait:
                early = {"eval_time": f"{5 + wait - 1}m", "exp_alerts": []}
                checks.append({"alertname": rule["name"], **early})
            tests.append(
                {
                    "name": f"{code} {found}",
                    "interval": "1m",
                    "input_series": [{"series": series, "values": f"_x5 1x{wait + 10}"}],
                    "alert_rule_test": checks,
                }
            )
    play(tmp_path / "findings.json", tests)


def test_a_change_of_the_leader_does_not_begin_the_time_anew(tmp_path: Path) -> None:
    rule = finding_alerts()["CHUNKS_UNDER"]
    labels = 'code="CHUNKS_UNDER", severity="error"'
    play(
        tmp_path / "leaders.json",
        [
            {
                "interval": "1m",
                "input_series": [
                    {
                        "series": f"gfs_cluster_findings{{{_LEADER}, {labels}}}",
                        "values": "1x15 stale _x60",
                    },
                    {
                        "series": f"gfs_cluster_findings{{{_NEXT}, {labels}}}",
                        "values": "_x17 1x60",
                    },
                ],
                "alert_rule_test": [
                    {
                        "alertname": rule["name"],
                        "eval_time": "31m",
                        "exp_alerts": [fires(rule, "CHUNKS_UNDER", "error")],
                    },
                ],
            }
        ],
    )


def test_a_healthy_cluster_fires_nothing(tmp_path: Path) -> None:
    values = {
        f"up{{{_LEADER}}}": "1x300",
        f"gfs_alive{{{_LEADER}}}": "1x300",
        f"gfs_ready{{{_LEADER}}}": "1x300",
        f"gfs_master_leads{{{_LEADER}}}": "1x300",
        f"gfs_master_leads{{{_NEXT}}}": "0x300",
        f"gfs_master_failovers_total{{{_LEADER}}}": "0x30 1x270",
        f"gfs_master_state_age_seconds{{{_LEADER}}}": "0.1x300",
        f"gfs_master_store_used_bytes{{{_LEADER}}}": "50x300",
        f"gfs_master_store_free_bytes{{{_LEADER}}}": "5x300",
        f"gfs_master_store_map_bytes{{{_LEADER}}}": "100x300",
        f"gfs_master_disk_free_bytes{{{_LEADER}}}": "50x300",
        f"gfs_master_disk_size_bytes{{{_LEADER}}}": "100x300",
        f"gfs_cluster_free_bytes{{{_LEADER}}}": "50x300",
        f"gfs_cluster_size_bytes{{{_LEADER}}}": "100x300",
        f'gfs_cluster_findings{{{_LEADER}, code="SERVER_SUSPECT"}}': "1x300",
        f'gfs_cluster_findings{{{_LEADER}, code="SERVER_MAINTENANCE"}}': "1x300",
    }
    checks = [
        {"alertname": name, "eval_time": f"{at}m", "exp_alerts": []}
        for name in alerts()
        for at in (3, 45, 290)
    ]
    series = [{"series": name, "values": value} for name, value in values.items()]
    test = {"interval": "1m", "input_series": series, "alert_rule_test": checks}
    play(tmp_path / "healthy.json", [test])
