"""What many files cost the masters: the same figures with 10,000 files and with a million.

    python benchmarks/many_files.py [--files 1000000] [--few 10000] [--json FILE]

For each count: anonymous memory and store of a master, stat p50 and p99, time from starting all
masters to the first answer, failover gap, and what it takes to replace a master by an empty one,
which a snapshot brings up to date, while a client goes on creating files (its longest wait is
told). Exit status 1 when a file is missing or a create failed.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from chaos import leftovers
from probe import Probe
from stage import CHECKOUT, Failed, Interrupted, Stage

import gfs_ha
from gfs_ha.client.connection import ClusterConnection
from gfs_ha.config import load as load_config
from gfs_ha.limits import FILES_PER_COMMAND_MAX, RAFT_SNAPSHOT_CHUNK_BYTES
from gfs_ha.protocol.metadata import Publish, Published, PublishFile

PURPOSE = "many-files"
FILES_PER_DIRECTORY = 10_000
COMMANDS_PER_CALL = 4
WRITERS = 3  # While the masters carry out the commands of one, the next one encodes its own.
TOLD_FILES = 100_000
STATS = 3000
KILLS = 3
READY_S = 120.0
_INSTALLING = re.compile(r"installing a snapshot index=\d+ chunks=(\d+)")
FIGURES = (
    ("load_per_s", "files/s"),
    ("rss_anon_mib", "MiB"),
    ("store_mib", "MiB"),
    ("stat_p50_ms", "ms"),
    ("stat_p99_ms", "ms"),
    ("restart_s", "s"),
    ("failover_ms", "ms"),
    ("snapshot_mib", "MiB"),
    ("replace_s", "s"),
    ("replace_gap_ms", "ms"),
)


class Loader:
    """Publishes empty files, the numbers below `count`, by several writers at once."""

    def __init__(self, config: str, count: int) -> None:
        self._config = config
        self._count = count
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._done = 0
        self._began_s = time.monotonic()
        step = FILES_PER_COMMAND_MAX * COMMANDS_PER_CALL
        # Never a call over the end of a directory, so that two writers seldom meet in one.
        assert FILES_PER_DIRECTORY % step == 0
        self._calls: Iterator[range] = (
            range(first, min(first + step, count)) for first in range(0, count, step)
        )

    def run(self) -> float:
        """Do it; return files per second."""
        with gfs_ha.connect(self._config) as cluster:
            for directory in range(-(-self._count // FILES_PER_DIRECTORY)):
                cluster.mkdir(f"/many/{directory:04d}", parents=True)
        self._began_s = time.monotonic()
        with ThreadPoolExecutor(WRITERS) as writers:
            try:
                for one in [writers.submit(self._write) for _ in range(WRITERS)]:
                    one.result()
            finally:
                self._ended.set()  # Also when we were interrupted: the pool waits for them.
        return self._count / (time.monotonic() - self._began_s)

    def _write(self) -> None:
        with closing(ClusterConnection(load_config(Path(self._config)))) as connection:
            while not self._ended.is_set():
                with self._lock:
                    numbers = next(self._calls, None)
                if numbers is None:
                    return
                starts = range(0, len(numbers), FILES_PER_COMMAND_MAX)
                requests = [
                    Publish(tuple(map(_file, numbers[at : at + FILES_PER_COMMAND_MAX])))
                    for at in starts
                ]
                for reply in connection.session.change_all(requests):
                    if not isinstance(reply, Published) or any(one.error for one in reply.files):
                        raise Failed(f"files were not published: {reply}")
                self._note(len(numbers))

    def _note(self, count: int) -> None:
        with self._lock:
            before, self._done = self._done, self._done + count
            if self._done // TOLD_FILES > before // TOLD_FILES:
                rate = self._done / (time.monotonic() - self._began_s)
                print(f"  {self._done:,} files, {rate:,.0f} per second", flush=True)


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
            before = self._masters()
            self._cluster.kill(old, signal.SIGKILL)
            began_s = time.monotonic()
            for _ in self._cluster.replace_master(old):
                pass
            self.figures["replace_s"] = time.monotonic() - began_s
            self._await(probe)
            new = next(name for name in self._masters() if name not in before)
            self.figures["snapshot_mib"] = self._snapshot_bytes(new) / 2**20
            self.figures["replace_gap_ms"] = probe.gap_s(began_s) * 1000
            if probe.errors:
                raise Failed(f"a create failed: {probe.errors[0]}")

    def _snapshot_bytes(self, name: str) -> int:
        """Return how much of a snapshot a new master was sent; 0 when the log sufficed."""
        chunks = [
            int(match[1])
            for path in (self._cluster.directory / name).glob("*.log")
            for match in _INSTALLING.finditer(path.read_text(errors="replace"))
        ]
        return max(chunks, default=0) * RAFT_SNAPSHOT_CHUNK_BYTES

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
    with Stage(PURPOSE) as stage:
        leftovers.claim(stage.directory)
        stage.cluster.up(masters=3, chunkservers=2, racks=("r1",))
        rate = Loader(str(stage.cluster.config_path), count).run()
        print(f"  {count:,} files loaded, {rate:,.0f} per second", flush=True)
        return {"load_per_s": rate, **Look(stage, count).take()}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--few", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: dict[str, Any] = {}
    leftovers.remove_leftovers(CHECKOUT / "build", PURPOSE)
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
        ratio = f"{many[key] / few[key]:8.2f}" if few[key] else f"{'-':>8}"
        print(f"{key:16}{few[key]:14,.2f}{many[key]:14,.2f}{ratio}  {unit}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
