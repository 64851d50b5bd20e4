"""Watches a cluster heal: which copies are missing, which were made, and when.

What is missing is taken from the reports of the leader, what was copied from the logs of the
chunkservers that made the copies: two sides that can be held against each other.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import gfs_ha
from gfs_ha.errors import GfsError
from gfs_ha.protocol.reports import ChunkRow

POLL_S = 0.2
_COPIED = re.compile(r"^(\S+)Z INFO (\S+) \S+: copied chunk=(0x[0-9a-f]+) \S+ bytes=(\d+)")
_FAILED = re.compile(r"^(\S+)Z \S+ (\S+) \S+: a copy failed chunk=(0x[0-9a-f]+) (.*)")
_THERE = ("live", "suspect")


@dataclass(frozen=True, slots=True)
class Copied:
    """A copy that a server made; `at_s` of the monotonic clock, when it was complete."""

    at_s: float
    server: str
    chunk_id: int
    length: int


@dataclass
class Moment:
    """The cluster as its leader told it at one time."""

    at_s: float
    states: dict[str, str] = field(default_factory=dict)
    rows: list[ChunkRow] = field(default_factory=list)
    healthy: bool = False

    @property
    def under(self) -> int:
        """Return how many sealed chunks have fewer good copies than their goal."""
        return sum(lacking(row) > 0 for row in self.rows)

    @property
    def rested(self) -> bool:
        """Return whether every sealed chunk has exactly the copies of its goal, all good."""
        return all(
            len(row.replicas) == row.goal and all(one.health == "live" for one in row.replicas)
            for row in self.rows
            if row.state == "sealed"
        )


def lacking(row: ChunkRow) -> int:
    """Return how many copies a sealed chunk lacks; a server that is only silent counts as there."""
    if row.state != "sealed":
        return 0
    return max(0, row.goal - sum(one.health in _THERE for one in row.replicas))


class Watch:
    """Asks the leader several times a second, in a thread of its own. Use it with `with`."""

    def __init__(self, config: Path, directory: Path) -> None:
        """Args: `directory` is that of the cluster, with the logs of the servers."""
        self._directory = directory
        self._clock_s = time.time() - time.monotonic()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._lacked: dict[int, tuple[int, int]] = {}
        self._newest = Moment(0.0)
        self.cluster = gfs_ha.connect(config, timeout_s=60.0)
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(60)
        self.cluster.close()

    def begin(self) -> None:
        """Forget what was missing until now."""
        with self._lock:
            self._lacked = {}

    def expect(self, *names: str) -> None:
        """Count the copies of some servers as missing, which are lost for a while from now on.

        Copies may be made faster than the leader is asked again.
        """
        with self._lock:
            for row in self._newest.rows:
                copies = sum(one.name in names for one in row.replicas)
                if row.state == "sealed" and copies > self._lacked.get(row.chunk_id, (0, 0))[0]:
                    self._lacked[row.chunk_id] = (copies, row.length)

    def least_bytes(self) -> int:
        """Return the bytes of all copies that were ever missing since `begin`, at the same time."""
        with self._lock:
            return sum(copies * length for copies, length in self._lacked.values())

    def lacked(self) -> dict[int, tuple[int, int]]:
        """Return the chunks that lacked copies since `begin`: the most copies, and their length."""
        with self._lock:
            return dict(self._lacked)

    @property
    def newest(self) -> Moment:
        with self._lock:
            return self._newest

    def wait(self, reached: Callable[[Moment], bool], timeout_s: float) -> float | None:
        """Wait for something that the leader tells; return when it was so, None if it was not."""
        begun_s = time.monotonic()
        while time.monotonic() - begun_s < timeout_s:
            moment = self.newest
            if moment.at_s > begun_s and reached(moment):
                return moment.at_s
            time.sleep(POLL_S / 4)
        return None

    def copies(self, since_s: float, until_s: float = float("inf")) -> list[Copied]:
        """Return the copies that servers completed in a span of time, by their logs."""
        found = []
        for at_s, match in self._logged(_COPIED):
            if since_s <= at_s < until_s:
                found.append(Copied(at_s, match[2], int(match[3], 16), int(match[4])))
        return sorted(found, key=lambda one: one.at_s)

    def failures(self, since_s: float) -> list[str]:
        """Return the copies that failed, by the servers' logs."""
        return [f"{m[2]} {m[3]} {m[4]}" for at_s, m in self._logged(_FAILED) if at_s >= since_s]

    def _logged(self, pattern: re.Pattern[str]) -> list[tuple[float, re.Match[str]]]:
        found = []
        for log in self._directory.glob("cs*/*.log*"):
            for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
                match = pattern.match(line)
                if match is not None:
                    at = datetime.fromisoformat(f"{match[1]}+00:00").timestamp()
                    found.append((at - self._clock_s, match))
        return found

    def _run(self) -> None:
        while not self._ended.wait(POLL_S):
            try:
                moment = _look(self.cluster)
            except GfsError:
                continue  # No leader for a moment: nothing is told.
            with self._lock:
                self._newest = moment
                for row in moment.rows:
                    copies = lacking(row)
                    if copies > self._lacked.get(row.chunk_id, (0, 0))[0]:
                        self._lacked[row.chunk_id] = (copies, row.length)


def _look(cluster: gfs_ha.Cluster) -> Moment:
    servers = {row.name: row.state for row in cluster.operations.servers().items}
    rows = [row for row in cluster.operations.chunks() if row.state != "dead"]
    healthy = cluster.operations.health().healthy
    return Moment(time.monotonic(), servers, rows, healthy)
