"""What many files cost the masters: the same figures with 10,000 files and with a million.

    python benchmarks/many_files.py [--files 1000000] [--few 10000] [--json FILE]

For each count: anonymous memory and store of a master, stat p50 and p99, time from starting all
masters to the first answer, failover gap, and what it takes to replace a master by an empty one
while a client goes on creating files (its longest wait is told).
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from probe import Probe
from stage import Failed, Interrupted, Stage

import gfs_ha
from gfs_ha.client.connection import ClusterConnection
from gfs_ha.config import load as load_config
from gfs_ha.limits import FILES_PER_COMMAND_MAX
from gfs_ha.protocol.metadata import Publish, Published, PublishFile

FILES_PER_DIRECTORY = 10_000
COMMANDS_PER_CALL = 4
STATS = 3000
KILLS = 3
READY_S = 120.0
FIGURES = (
    ("load_per_s", "files/s"),
    ("rss_anon_mib", "MiB"),
    ("store_mib", "MiB"),
    ("stat_p50_ms", "ms"),
    ("stat_p99_ms", "ms"),
    ("restart_s", "s"),
    ("failover_ms", "ms"),
    ("replace_s", "s"),
    ("replace_gap_ms", "ms"),
)


def load(config: str, start: int, end: int) -> float:
    """Publish the empty files start <= number < end; return files per second."""
    began_s = time.monotonic()
    connection = ClusterConnection(load_config(Path(config)))
    with gfs_ha.connect(config) as cluster, closing(connection):
        for directory in range(start // FILES_PER_DIRECTORY, -(-end // FILES_PER_DIRECTORY)):
            cluster.mkdir(f"/many/{directory:04d}", parents=True)
        step = FILES_PER_COMMAND_MAX * COMMANDS_PER_CALL
        for first in range(start, end, step):
            numbers = range(first, min(first + step, end))
            requests = [
                Publish(tuple(_file(number) for number in numbers[at : at + FILES_PER_COMMAND_MAX]))
                for at in range(0, len(numbers), FILES_PER_COMMAND_MAX)
            ]
            for reply in connection.session.change_all(requests):
                if not isinstance(reply, Published) or any(one.error for one in reply.files):
                    raise Failed(f"files were not published: {reply}")
    return (end - start) / (time.monotonic() - began_s)


def _file(number: int) -> PublishFile:
    return PublishFile(path=_path(number), size=0, mode=0o644, mtime_ns=number)


def _path(number: int) -> str:
    return f"/many/{number // FILES_PER_DIRECTORY:04d}/file-{number:08d}"


class Look:
    """The figures of one cluster with so many files in it."""

    def __init__(self, stage: Stage, count: int) -> None:
        self._stage = stage
        self._cluster = stage.cluster
        self._config = str(stage.cluster.config_path)
        self._count = count
        self.figures: dict[str, float] = {}

    def take(self) -> dict[str, float]:
        """Measure everything."""
        self._memory()
        self._stats()
        self._restart()
        self._failover()
        self._replace()
        return self.figures

    def _memory(self) -> None:
        pids = [one.pid for one in self._cluster.status() if one.role == "master" and one.pid]
        self.figures["rss_anon_mib"] = max(_rss_anon_bytes(pid) for pid in pids) / 2**20
        with gfs_ha.connect(self._config) as cluster:
            rows = cluster.operations.masters().items
            sizes = [row.facts.state_bytes for row in rows if row.facts is not None]
        self.figures["store_mib"] = max(sizes) / 2**20

    def _stats(self) -> None:
        chance = random.Random(1)
        took_s: list[float] = []
        with gfs_ha.connect(self._config) as cluster:
            for _ in range(STATS):
                path = _path(chance.randrange(self._count))
                began_s = time.perf_counter()
                cluster.stat(path)
                took_s.append(time.perf_counter() - began_s)
        took_s.sort()
        self.figures["stat_p50_ms"] = took_s[STATS // 2] * 1000
        self.figures["stat_p99_ms"] = took_s[STATS * 99 // 100] * 1000

    def _masters(self) -> list[str]:
        return [one.name for one in self._cluster.status() if one.role == "master"]

    def _restart(self) -> None:
        names = self._masters()
        for name in names:
            self._cluster.kill(name, signal.SIGKILL)
        began_s = time.monotonic()
        for name in names:
            self._cluster.start(name, wait=False)
        with gfs_ha.connect(self._config) as cluster:
            cluster.stat(_path(0))
        self.figures["restart_s"] = time.monotonic() - began_s

    def _failover(self) -> None:
        gaps_s = []
        with Probe(self._config) as probe:
            for _ in range(KILLS):
                self._await(probe)
                leader = probe.cluster.leader
                since_s = time.monotonic()
                self._cluster.kill(leader, signal.SIGKILL)
                self._await(probe)
                gaps_s.append(probe.gap_s(since_s))
                self._cluster.start(leader)
            if probe.errors:
                raise Failed(f"a create failed: {probe.errors[0]}")
        gaps_s.sort()
        self.figures["failover_ms"] = gaps_s[len(gaps_s) // 2] * 1000

    def _replace(self) -> None:
        with Probe(self._config, "/replacing") as probe:
            self._await(probe)
            leader = probe.cluster.leader
            old = next(name for name in self._masters() if name != leader)
            self._cluster.kill(old, signal.SIGKILL)
            began_s = time.monotonic()
            for _ in self._cluster.replace_master(old):
                pass
            self.figures["replace_s"] = time.monotonic() - began_s
            self._await(probe)
            self.figures["replace_gap_ms"] = probe.gap_s(began_s) * 1000
            if probe.errors:
                raise Failed(f"a create failed: {probe.errors[0]}")

    def _await(self, probe: Probe) -> None:
        if not probe.wait_for_more(50, READY_S):
            raise Failed(f"no creates within {READY_S:.0f} s")


def _rss_anon_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise Failed(f"process {pid} tells no RssAnon")


def measure(count: int) -> dict[str, float]:
    """Return the figures with so many files, in a cluster of its own."""
    with Stage("many-files") as stage:
        stage.cluster.up(masters=3, chunkservers=2, racks=("r1",))
        rate = load(str(stage.cluster.config_path), 0, count)
        print(f"  {count:,} files loaded, {rate:,.0f} per second", flush=True)
        return {"load_per_s": rate, **Look(stage, count).take()}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--few", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: dict[str, Any] = {}
    try:
        for count in (options.few, options.files):
            found[str(count)] = measure(count)
    except Interrupted as interrupted:
        return interrupted.exit_status
    except Failed as error:
        print(f"BENCHMARK FAILED: {error}", file=sys.stderr)
        return 1
    few, many = found.values()
    print(f"{'':16}{options.few:>14,}{options.files:>14,}{'ratio':>8}")
    for key, unit in FIGURES:
        print(f"{key:16}{few[key]:14,.2f}{many[key]:14,.2f}{many[key] / few[key]:8.2f}  {unit}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
