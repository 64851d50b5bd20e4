"""Watches a cluster heal: which copies are missing, which were made, and when.

What is missing is taken from the reports of the leader, what was copied from the logs of the
chunkservers that made the copies: two sides that can be held against each other.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from heal_copies import THERE, Copied, Sorted, Stand, lacking, sort_copies, stand_of

import gfs_ha
from gfs_ha.errors import GfsError
from gfs_ha.protocol.reports import ChunkRow

POLL_S = 0.2
_COPIED = re.compile(r"^(\S+)Z INFO (\S+) \S+: copied chunk=(0x[0-9a-f]+) (\S+) bytes=(\d+)")
_FAILED = re.compile(r"^(\S+)Z \S+ (\S+) \S+: a copy failed chunk=(0x[0-9a-f]+) (.*)")


@dataclass
class Moment:
    """The cluster as its leader told it at one time."""

    at_s: float
    states: dict[str, str] = field(default_factory=dict)
    avoided: frozenset[str] = frozenset()  # Servers that beat and that others cannot reach.
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


class Watch:
    """Asks the leader several times a second, in a thread of its own. Use it with `with`."""

    def __init__(self, config: Path, directory: Path) -> None:
        """Args: `directory` is that of the cluster, with the logs of the servers."""
        self._directory = directory
        self._clock_s = time.time() - time.monotonic()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._lacked: dict[int, tuple[int, int]] = {}
        self._history: dict[int, list[Stand]] = {}
        self._away: frozenset[str] = frozenset()
        self._rotten: dict[int, int] = {}
        self.lacked_since_s: float | None = None  # When a copy was missing first since `begin`.
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
        """Forget what was missing until now, and how copies lay before."""
        with self._lock:
            self._lacked = {}
            self.lacked_since_s = None
            self._history = {one: stands[-1:] for one, stands in self._history.items()}

    def expect(self, *names: str) -> None:
        """Count the copies of these servers as missing until it is called again.

        What is lost with them may be copied faster than the leader is asked again.
        """
        with self._lock:
            self._away = frozenset(names)
            for row in self._newest.rows:
                self._note_lack(row)

    def held(self, server: str) -> list[ChunkRow]:
        """Return the chunks that a server has a copy of."""
        rows = self.newest.rows
        return [row for row in rows if any(one.name == server for one in row.replicas)]

    def missed(self, rows: Iterable[ChunkRow]) -> None:
        """Count one copy of these chunks as missing since `begin`."""
        with self._lock:
            for row in rows:
                if row.state == "sealed":
                    self._lacked.setdefault(row.chunk_id, (1, row.length))

    def rotted(self, chunk_id: int) -> None:
        """Note that a copy of a chunk is damaged, whether anybody meets it or not."""
        with self._lock:
            self._rotten[chunk_id] = self._rotten.get(chunk_id, 0) + 1

    def sort_copies(self, since_s: float, until_s: float) -> Sorted:
        """Return what explains each copy of a span of time."""
        copies = self.copies(since_s, until_s)
        with self._lock:
            lacked = {one: most for one, (most, _) in self._lacked.items()}
            for chunk_id, count in self._rotten.items():
                lacked[chunk_id] = max(count, lacked.get(chunk_id, 0))
            for copy in copies:
                self._rotten.pop(copy.chunk_id, None)
            return sort_copies(copies, lacked, self._history)

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
        """Return the copies that servers completed in a span of time, by their logs.

        An order that came again is answered again; what is there is not copied twice for it.
        """
        found: dict[tuple[str, ...], Copied] = {}
        for at_s, match in sorted(self._logged(_COPIED), key=lambda one: one[0]):
            order = match.group(2, 3, 4)
            if order not in found:
                found[order] = Copied(at_s, match[2], int(match[3], 16), int(match[5]))
        return [one for one in found.values() if since_s <= one.at_s < until_s]

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
                there = {row.chunk_id for row in moment.rows}
                for gone in self._history.keys() - there:
                    del self._history[gone]
                for row in moment.rows:
                    self._note_stand(row, moment.at_s)
                    self._note_lack(row)

    def _note_lack(self, row: ChunkRow) -> None:
        lost = sum(one.name in self._away and one.health in THERE for one in row.replicas)
        copies = lacking(row) + lost
        if row.state == "sealed" and copies > self._lacked.get(row.chunk_id, (0, 0))[0]:
            self._lacked[row.chunk_id] = (min(copies, row.goal), row.length)
            self.lacked_since_s = self.lacked_since_s or time.monotonic()

    def _note_stand(self, row: ChunkRow, at_s: float) -> None:
        if row.state != "sealed":
            return
        stand = stand_of(row, at_s)
        stands = self._history.setdefault(row.chunk_id, [])
        if not stands or replace(stands[-1], at_s=at_s) != stand:
            stands.append(stand)


def _look(cluster: gfs_ha.Cluster) -> Moment:
    told = cluster.operations.servers().items
    states = {row.name: row.state for row in told}
    avoided = frozenset(row.name for row in told if row.state == "live" and row.reason)
    rows = [row for row in cluster.operations.chunks() if row.state != "dead"]
    healthy = cluster.operations.health().healthy
    return Moment(time.monotonic(), states, avoided, rows, healthy)
