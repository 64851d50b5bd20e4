"""A real Prometheus beside a real cluster: every query of rules and dashboard is answered."""

from __future__ import annotations

import http.client
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from free_ports import HOST, free_ports
from monitored import EXAMPLE, MONITORING, alerts, dashboard_queries, program, series_names

from gfs_ha import connect
from gfs_ha.local.cluster import LocalCluster

pytestmark = pytest.mark.processes

WAIT_S = 60.0
# What an open cluster of a few seconds has not: no planner failed, no port asks for tickets.
ABSENT = {"gfs_cluster_planner_failures_total", "gfs_chunkserver_tickets_refused_total"}
# Panels that show what went wrong, or what comes once: empty while nothing did.
QUIET = {"Findings", "Jobs, holds, faults", "Changes of the leader"}
VARIABLES = {"$cluster": ".*", "$instance": ".*", "$__rate_interval": "10s"}


class Prometheus:
    """One that runs, and its questions."""

    def __init__(self, port: int) -> None:
        self._port = port

    def get(self, path: str) -> Any:
        """Return what the API answers. Raises: OSError while it does not listen."""
        connection = http.client.HTTPConnection(HOST, self._port, timeout=WAIT_S)
        try:
            connection.request("GET", f"/api/v1/{path}")
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str) -> list[Any]:
        """Return the series that a query finds now."""
        return list(self.get(f"query?query={quote(expression)}")["result"])


def wait_until(look: Callable[[], object], what: str) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not look():
        assert time.monotonic() < deadline_s, f"waited {WAIT_S} s for {what}"
        time.sleep(0.1)


def write_configuration(path: Path, targets: list[str]) -> None:
    """Write the example with these targets, and a second instead of a quarter of a minute."""
    read = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    read["global"] = dict.fromkeys(read["global"], "1s")
    read["rule_files"] = [str(MONITORING / one) for one in read["rule_files"]]
    del read["alerting"]
    (job,) = read["scrape_configs"]
    job["scrape_timeout"] = "1s"
    job["static_configs"][0]["targets"] = targets
    path.write_text(yaml.safe_dump(read), encoding="utf-8")


@contextmanager
def scraping(directory: Path, targets: list[str]) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes these."""
    prometheus = program("prometheus")
    (port,) = free_ports(1)
    write_configuration(directory / "prometheus.yml", targets)
    output = directory / "prometheus.log"
    with output.open("wb") as log:
        process = subprocess.Popen(
            [
                prometheus,
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'tsdb'}",
                f"--web.listen-address={HOST}:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        made = Prometheus(port)

        def answers() -> bool:
            assert process.poll() is None, output.read_text(encoding="utf-8")
            try:
                return bool(made.get("status/buildinfo"))
            except (OSError, ValueError):
                return False  # It listens before it answers in JSON.

        wait_until(answers, "Prometheus")
        yield made
    finally:
        process.terminate()
        try:
            process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(WAIT_S)


def use(cluster: LocalCluster, number: int) -> None:
    """Write, read and append a little."""
    with connect(cluster.config_path) as fs:
        with fs.open(f"/file{number}", "wb") as writer:
            writer.write(b"x" * (3 << 20))
        with fs.open(f"/file{number}") as reader:
            assert len(reader.read()) == 3 << 20
        fs.append("/log", b"a record\n")


def test_every_query_is_answered_by_what_daemons_tell(
    new_cluster: Callable[[str], LocalCluster], tmp_path: Path
) -> None:
    program("prometheus")
    cluster = new_cluster("watched")
    cluster.up(masters=3, chunkservers=3, chunk_bytes=1 << 20)
    targets = [f"{HOST}:{one.metrics_port}" for one in cluster.status()]
    with scraping(tmp_path, targets) as prometheus:
        wait_until(
            lambda: len(prometheus.query("up == 1")) == len(targets), "a scrape of every daemon"
        )
        for number in range(3):
            use(cluster, number)
            time.sleep(1.0)  # So that rates see it grow.
        wait_until(
            lambda: prometheus.query('gfs_cluster_chunk_copies{goal="3", copies="3+"} > 0'),
            "a whole count of copies",
        )
        with connect(cluster.config_path) as fs:
            fs.operations.start_scrub()
        wait_until(
            lambda: prometheus.query("gfs_chunkserver_scrub_round_size_bytes > 0"), "a scrub"
        )
        wait_until(lambda: not unanswered(prometheus), "answers to every query")
        assert prometheus.query("ALERTS{alertstate='firing'}") == []

        cluster.kill("cs3")
        wait_until(
            lambda: prometheus.query('gfs_cluster_findings{code="TOO_FEW_SERVERS"}'), "a finding"
        )
        wait_until(
            lambda: prometheus.query("ALERTS{alertname='GfsDaemonDown', alertstate='pending'}"),
            "an alert",
        )
        assert prometheus.query(filled_in(dict(dashboard_queries())["Findings"]))

        rules = [rule for one in prometheus.get("rules")["groups"] for rule in one["rules"]]
        assert {rule["name"] for rule in rules} == set(alerts())
        assert {rule["health"] for rule in rules} == {"ok"}, rules
        seen = set(prometheus.get("label/__name__/values"))
        ours = {name for name in seen if name.startswith(("gfs_", "process_"))}
        assert ours == series_names() - ABSENT


def unanswered(prometheus: Prometheus) -> list[tuple[str, str]]:
    """Return the queries of the dashboard that find nothing now, with their panels."""
    found = [
        (title, query)
        for title, query in dashboard_queries()
        if title not in QUIET and not prometheus.query(filled_in(query))
    ]
    print("unanswered:", found)  # Shown when they never are.
    return found


def filled_in(query: str) -> str:
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    return query
