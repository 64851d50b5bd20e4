"""A client's own quick measurement of a cluster that works, in a directory that goes afterwards."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

from gfs_ha.client.crew import Crew
from gfs_ha.client.filesystem import Cluster
from gfs_ha.client.latencies import Latencies, percentiles
from gfs_ha.client.namespace import join
from gfs_ha.client.transfers import Cancel
from gfs_ha.errors import GfsError, NotFound
from gfs_ha.limits import MIB
from gfs_ha.protocol.metadata import DIRECTORY
from gfs_ha.runtime import Runtime

PUT, GET, META = "put", "get", "meta"
PREFIX = "gfs-bench-"
PATIENCE_S = 5.0  # At the end for workers that wait for an answer.
_BUFFER_BYTES = 4 * MIB
_META_OPERATIONS = ("create", "stat", "rename", "remove")


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """What is measured: `files` of `size` bytes at most, for so long at most, so many at once."""

    kind: str
    size: int
    files: int
    seconds: float
    jobs: int
    directory: str = "/"
    durability: str = ""
    replicas: int = 0


@dataclass(frozen=True, slots=True)
class OperationRow:
    """One kind of operation; times in nanoseconds."""

    name: str
    count: int
    p50_ns: int
    p99_ns: int
    max_ns: int


@dataclass(slots=True)
class BenchResult:
    """What was measured; `took_ns` from the first operation's begin to the last one's end."""

    plan: BenchPlan
    took_ns: int = 0
    size: int = 0  # Bytes of files that were moved in this time.
    files: int = 0
    copies: int = 0  # The fewest that any file had when it was acknowledged; 0: nothing put.
    goal: int = 0
    rows: list[OperationRow] = field(default_factory=list)

    def per_second(self, amount: int) -> float:
        return amount * 1e9 / self.took_ns if self.took_ns else 0.0


class Bench:
    """One measurement. Args: `on_progress` is told how much of it is over, between 0 and 1."""

    def __init__(
        self,
        cluster: Cluster,
        runtime: Runtime,
        plan: BenchPlan,
        on_progress: Callable[[str, float], None] = lambda what, share: None,
    ) -> None:
        self._cluster = cluster
        self._runtime = runtime
        self._plan = plan
        self._on_progress = on_progress
        self._cancel = Cancel()  # Of what is under way; set by the crew's end.
        self._lock = runtime.lock()
        self._next = 0
        self._until_ns = 0
        self._result = BenchResult(plan)
        self._times: list[dict[str, Latencies]] = []
        self.left_over = ""  # The scratch directory, when it could not be removed, and why.
        self.scratch = join(plan.directory, f"{PREFIX}{runtime.random_u64():016x}")

    def run(self) -> BenchResult:
        """Measure, and remove the scratch directory whatever happens. Raises: what ends it early.

        When the directory cannot be removed, `left_over` says so.
        """
        self._cluster.mkdir(self.scratch)
        try:
            if self._plan.kind == GET:
                self._work("preparing", self._put_one, 0.0)
                self._times.clear()
                self._result.size = self._result.files = 0
            step = {PUT: self._put_one, GET: self._get_one, META: self._meta_one}[self._plan.kind]
            self._work("measuring", step, self._plan.seconds)
            self._summarise()
        finally:
            self._remove()
        return self._result

    def _work(
        self, what: str, step: Callable[[int, dict[str, Latencies]], None], seconds: float
    ) -> None:
        """Run a step over and over in all workers, for so long or (0) for all files."""
        began_ns = self._runtime.monotonic_ns()
        self._next = 0
        self._until_ns = began_ns + int(seconds * 1e9) if seconds else 0

        def worker(number: int) -> None:
            times: dict[str, Latencies] = {}
            with self._lock:
                self._times.append(times)
            while (index := self._claim()) is not None:
                step(index, times)

        self._cancel = Cancel()
        crew: Crew[int] = Crew(self._runtime, self._plan.jobs, worker, self._cancel)
        try:
            for number in range(self._plan.jobs):
                crew.give(number)
            while not crew.drained(0.2):
                self._on_progress(what, self._share(began_ns, seconds))
        finally:
            crew.stop(PATIENCE_S)
        self._result.took_ns = self._runtime.monotonic_ns() - began_ns

    def _share(self, began_ns: int, seconds: float) -> float:
        by_files = self._next / self._plan.files if self._plan.kind != GET or not seconds else 0.0
        by_time = 0.0
        if seconds:
            by_time = (self._runtime.monotonic_ns() - began_ns) / (seconds * 1e9)
        return min(1.0, max(by_files, by_time))

    def _claim(self) -> int | None:
        """Return the number of the next operation, or None when it is over."""
        self._cancel.check()
        if self._until_ns and self._runtime.monotonic_ns() >= self._until_ns:
            return None
        with self._lock:
            index = self._next
            again = self._plan.kind == GET and self._until_ns
            if index >= self._plan.files and not again:
                return None
            self._next += 1
        return index % self._plan.files

    # Steps --------------------------------------------------------------------------------------

    def _put_one(self, index: int, times: dict[str, Latencies]) -> None:
        plan = self._plan
        began_ns = self._runtime.monotonic_ns()
        stored = self._cluster.put(
            _Noise(plan.size),
            self._file(index),
            durability=plan.durability,
            replicas=plan.replicas,
            cancel=self._cancel,
        )
        self._note(times, PUT, began_ns, plan.size)
        with self._lock:
            if plan.size:
                before = self._result.copies
                self._result.copies = min(before, stored.copies) if before else stored.copies
                self._result.goal = max(self._result.goal, stored.goal)

    def _get_one(self, index: int, times: dict[str, Latencies]) -> None:
        began_ns = self._runtime.monotonic_ns()
        with self._cluster.open(self._file(index)) as file:
            size = file.copy_to(lambda data: self._cancel.check())
        self._note(times, GET, began_ns, size)

    def _meta_one(self, index: int, times: dict[str, Latencies]) -> None:
        path, moved = self._file(index), f"{self._file(index)}-moved"
        steps: dict[str, Callable[[], object]] = {
            "create": lambda: self._cluster.write_bytes(path, b""),
            "stat": lambda: self._cluster.stat(path),
            "rename": lambda: self._cluster.rename(path, moved),
            "remove": lambda: self._cluster.remove(moved),
        }
        for name in _META_OPERATIONS:
            self._cancel.check()
            began_ns = self._runtime.monotonic_ns()
            steps[name]()
            self._note(times, name, began_ns, 0)

    def _note(self, times: dict[str, Latencies], name: str, began_ns: int, size: int) -> None:
        times.setdefault(name, Latencies()).add(self._runtime.monotonic_ns() - began_ns)
        with self._lock:
            self._result.size += size
            self._result.files += 1

    def _file(self, index: int) -> str:
        return f"{self.scratch}/f{index:07}"

    # The end ------------------------------------------------------------------------------------

    def _summarise(self) -> None:
        names = dict.fromkeys(name for times in self._times for name in times)
        for name in names:
            parts = [times[name] for times in self._times if name in times]
            p50_ns, p99_ns = percentiles(parts, (0.5, 0.99))
            count, most = sum(one.count for one in parts), max(one.max_ns for one in parts)
            self._result.rows.append(OperationRow(name, count, p50_ns, p99_ns, most))

    def _remove(self) -> None:
        try:
            self._cluster.remove(self.scratch, recursive=True)
        except NotFound:
            return
        except GfsError as error:
            self.left_over = f"{self.scratch}: {error.message}"


def left_overs(cluster: Cluster, directory: str) -> list[str]:
    """Return the scratch directories in a directory, also those of measurements under way."""
    return [
        join(directory, entry.name)
        for entry in cluster.listdir(directory)
        if entry.name.startswith(PREFIX) and entry.status.kind == DIRECTORY
    ]


@lru_cache(maxsize=1)
def _noise() -> bytes:
    return os.urandom(_BUFFER_BYTES)


class _Noise:
    """A stream of bytes that no disk or network can make smaller."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._at = 0

    def read(self, size: int, /) -> bytes:
        size = min(size, self._left, _BUFFER_BYTES - self._at)
        data = _noise()[self._at : self._at + size]
        self._left -= size
        self._at = (self._at + size) % _BUFFER_BYTES
        return data
