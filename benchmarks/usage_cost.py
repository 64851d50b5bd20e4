"""What it costs to count who does how much: two clusters of processes, one of which counts nothing.

Both run at once, and rounds of the same work go to one and the other in turns, so that both meet
the same noise. Beside operations per second (the median of the ratios of the rounds) it tells the
processor time of all servers per operation, of all rounds together, which a busy machine disturbs
less. Prints one JSON object per kind of work: what counts are the ratios, 1 = counting costs
nothing. With --nothing neither counts: how far the ratios are from 1 then is the noise.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psutil

import gfs_ha
from gfs_ha.local.cluster import LocalCluster

WORKERS = 8
SMALL = 4096
NOTHING = """
from gfs_ha.net.usage_book import UsageBook
UsageBook.note = UsageBook.note_paths = lambda self, *facts: None
"""  # Run by each server of the second cluster when it starts.

Work = Callable[[gfs_ha.Cluster, int], int]


class Side:
    """One of the clusters, and a client of it."""

    def __init__(self, directory: Path, counts: bool, stack: ExitStack) -> None:
        self.counts = counts
        patch = directory.parent / f"{directory.name}-patch"
        patch.mkdir()
        (patch / "sitecustomize.py").write_text("" if counts else NOTHING)
        os.environ["PYTHONPATH"] = str(patch)
        self._local = LocalCluster(directory)
        stack.callback(self._local.down, wipe=True)
        self._local.up(masters=3, chunkservers=3, racks=("r1", "r2"))
        os.environ.pop("PYTHONPATH")
        self.cluster = stack.enter_context(gfs_ha.connect(self._local.config_path))
        self.rates: list[float] = []
        self.costs: list[float] = []

    def cpu_s(self) -> float:
        """Return the processor time that all servers have used."""
        used = 0.0
        for member in self._local.status():
            if member.pid:
                times = psutil.Process(member.pid).cpu_times()
                used += times.user + times.system
        return used

    def run(self, work: Work, number: int) -> None:
        cpu_s, begun_s = self.cpu_s(), time.monotonic()
        count = work(self.cluster, number)
        self.rates.append(count / (time.monotonic() - begun_s))
        self.costs.append((self.cpu_s() - cpu_s) / count)


def _each(count: int, one: Callable[[int], object]) -> int:
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(one, range(count)))
    return count


def create(cluster: gfs_ha.Cluster, number: int) -> int:
    """Empty files, one request each."""
    return _each(1500, lambda at: cluster.put(io.BytesIO(b""), f"/create/{number}-{at}"))


def look(cluster: gfs_ha.Cluster, number: int) -> int:
    """Facts of one name."""
    return _each(6000, lambda at: cluster.stat("/read/small"))


def put(cluster: gfs_ha.Cluster, number: int) -> int:
    """Small files, each a push of its own or shared."""
    data = os.urandom(SMALL)
    return _each(300, lambda at: cluster.put(io.BytesIO(data), f"/put/{number}-{at}"))


def get(cluster: gfs_ha.Cluster, number: int) -> int:
    """A small file, opened and read each time."""
    return _each(1500, lambda at: cluster.read_bytes("/read/small"))


def append(cluster: gfs_ha.Cluster, number: int) -> int:
    """Records of 100 bytes, many in flight."""
    with cluster.appender(f"/append-{number}") as appender:
        for future in [appender.append(b"x" * 100) for _ in range(20_000)]:
            future.result(60)
    return 20_000


WORKS: dict[str, Work] = {
    "create": create,
    "stat": look,
    "put 4 KiB": put,
    "get 4 KiB": get,
    "append 100 B": append,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--nothing", action="store_true")
    parser.add_argument("--only", choices=sorted(WORKS))
    given = parser.parse_args()
    rounds = given.rounds
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # No one is left.
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="usage-cost-")))
        sides = [
            Side(place / name, name == "with" and not given.nothing, stack)
            for name in ("with", "without")
        ]
        for side in sides:
            for directory in ("/create", "/put", "/read"):
                side.cluster.mkdir(directory)
            side.cluster.put(io.BytesIO(os.urandom(SMALL)), "/read/small")
        for name, work in WORKS.items():
            if given.only not in (None, name):
                continue
            for side in sides:
                side.rates, side.costs = [], []
            for number in range(rounds + 1):
                for side in sides if number % 2 else reversed(sides):
                    side.run(work, number)
            told, untold = sides
            rates = [one / other for one, other in zip(told.rates, untold.rates, strict=True)][1:]
            row = {
                "work": name,
                "rate_ratio": round(statistics.median(rates), 3),
                "cpu_ratio": round(sum(untold.costs[1:]) / sum(told.costs[1:]), 3),
                "per_s": round(statistics.median(told.rates)),
                "server_cpu_us": round(statistics.mean(told.costs[1:]) * 1e6, 1),
                "rounds": rounds,
                "load": os.getloadavg()[0],
            }
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
