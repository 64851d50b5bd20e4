"""What the kill tests share: sources that act in mid-read, and checks of a whole cluster."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

import gfs_ha
from gfs_ha.errors import GfsError, NoLeader, Unavailable
from gfs_ha.limits import DEAD_MIN_S
from gfs_ha.local.cluster import LocalCluster
from gfs_ha.protocol.reports import ChunkRow, MasterFacts
from gfs_ha.runtime import ThreadedRuntime

RUNTIME = ThreadedRuntime()
MIB = 1 << 20
SETTLE_S = 120.0


def content(size: int, seed: int = 0) -> bytes:
    """Return bytes that differ everywhere and are the same in every run."""
    return random.Random(seed).randbytes(size)


class Feed:
    """A stream of known bytes that calls `events[offset]` before it hands out what lies there."""

    def __init__(self, data: bytes, events: Mapping[int, Callable[[], object]]) -> None:
        self._data = data
        self._offset = 0
        self._events = dict(events)

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, in small pieces as a pipe does."""
        for offset in sorted(self._events):
            if offset <= self._offset:
                self._events.pop(offset)()
        piece = self._data[self._offset : self._offset + min(size, 65_536)]
        self._offset += len(piece)
        return piece


@dataclass(frozen=True)
class Orphan:
    """A cluster with a client that died in the middle of a put, and when it did."""

    cluster: LocalCluster
    killed_s: float
    chunk_ids: frozenset[int]


def begin_put(config: Path, target: str, *options: str) -> subprocess.Popen[bytes]:
    """Start `gfsctl put - target`; the caller feeds it, and ends it."""
    code = "import sys; from gfs_ha.cli.main import main; sys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", code, "--config", str(config), "put", *options, "-", target],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def wait_until(reached: Callable[[], bool], what: str, timeout_s: float = SETTLE_S) -> None:
    """Wait for a condition, over times without a leader."""
    deadline_s = RUNTIME.monotonic_s() + timeout_s
    while True:
        try:
            if reached():
                return
        except Unavailable:
            pass
        if RUNTIME.monotonic_s() >= deadline_s:
            pytest.fail(f"not within {timeout_s:.0f} s: {what}")
        RUNTIME.sleep(0.05)


def chunks(fs: gfs_ha.Cluster) -> dict[int, ChunkRow]:
    """Return all chunks that are not dead, by id."""
    return {row.chunk_id: row for row in fs.operations.chunks() if row.state != "dead"}


def open_chain(fs: gfs_ha.Cluster) -> list[str]:
    """Return the servers of the newest chunk that is being written, head first; waits for one."""
    found: list[str] = []

    def look() -> bool:
        rows = [row for row in fs.operations.chunks() if row.state == "open"]
        if rows:
            newest = max(rows, key=lambda row: row.chunk_id)
            found[:] = [replica.name for replica in newest.replicas]
        return bool(found)

    wait_until(look, "a chunk is open")
    return found


def check_files(fs: gfs_ha.Cluster, files: Mapping[str, bytes]) -> None:
    """Every file is there, byte for byte, and so is its size."""
    for path, data in files.items():
        assert fs.stat(path).size == len(data), path
        assert fs.read_bytes(path) == data, path


def holds_most(fs: gfs_ha.Cluster) -> str:
    """Return the server with the most copies: of a few chunks any other one may have none."""
    held = Counter(one.name for row in chunks(fs).values() for one in row.replicas)
    return max(sorted(held), key=lambda name: held[name])


def settle(fs: gfs_ha.Cluster) -> None:
    """Wait until every chunk is sealed and none is blocked or waits to be collected."""

    def settled() -> bool:
        rows = list(fs.operations.chunks())
        return all(row.state == "sealed" and not row.blocked for row in rows)

    wait_until(settled, "all chunks are sealed")


def settle_whole(fs: gfs_ha.Cluster) -> None:
    """Wait until every chunk is sealed with all its copies.

    Who was slow while one was written has no part in it, and gets its copy from repair.
    """
    settle(fs)

    def whole() -> bool:
        return all(row.copies == row.goal == len(row.replicas) for row in chunks(fs).values())

    wait_until(whole, "all chunks have their copies")


def bury_early(cluster: LocalCluster, masters: int = 3) -> None:
    """Have masters take a server for dead as early as they may; they start anew with that."""
    for number in range(1, masters + 1):
        name = f"m{number}"
        place = Path(cluster.directory, name, "gfs.toml")
        before, head, after = place.read_text().partition("[master]\n")
        assert head, "no section to put it into"
        place.write_text(f"{before}{head}dead_after_s = {DEAD_MIN_S}\n{after}")
        cluster.kill(name, signal.SIGTERM)
        cluster.start(name)
    cluster.wait_serving()


def await_applied(cluster: LocalCluster, name: str) -> None:
    """Wait until a master shows all that was acknowledged: a follower may be behind."""
    with gfs_ha.connect(cluster.config_path, consistency="bounded:0") as fs:
        calls = fs._connection.calls
        list(fs.listdir("/"))  # What a master tells of itself is older by a moment.
        shown = calls.index
        assert shown > 0

        def heard() -> bool:
            facts = calls.facts().get(name)
            return isinstance(facts, MasterFacts) and facts.applied_index >= shown

        wait_until(heard, f"{name} hears of what the leader wrote")


def leader_of(fs: gfs_ha.Cluster) -> str:
    """Return who leads now."""
    names: list[str] = []

    def look() -> bool:
        try:
            names[:] = [fs.operations.status().leader]
        except GfsError as error:
            if isinstance(error, NoLeader):
                return False
            raise
        return bool(names[0])

    wait_until(look, "there is a leader")
    return names[0]
