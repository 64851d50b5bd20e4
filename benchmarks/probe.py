"""Creates empty files one after another, and knows the longest time between two answers."""

from __future__ import annotations

import threading
import time
from itertools import pairwise
from types import TracebackType

import gfs_ha
from gfs_ha.errors import GfsError

PAUSE_S = 0.002  # A probe, not a load: one create in flight, about 200 a second.


class Probe:
    """A client of its own that creates files in `directory` from its start to its end."""

    def __init__(self, config: str, directory: str = "/probe") -> None:
        self._cluster = gfs_ha.connect(config)
        self._directory = directory
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._acknowledged_s: list[float] = []
        self._errors: list[str] = []
        self._thread = threading.Thread(target=self._run, name="probe", daemon=True)

    def __enter__(self) -> Probe:
        self._cluster.mkdir(self._directory, parents=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self._cluster.close()

    @property
    def cluster(self) -> gfs_ha.Cluster:
        """Return the probe's connection; others may ask through it, too."""
        return self._cluster

    def stop(self) -> None:
        """End the creates."""
        self._ended.set()
        self._thread.join(60)

    @property
    def count(self) -> int:
        """Return how many creates were acknowledged."""
        with self._lock:
            return len(self._acknowledged_s)

    @property
    def errors(self) -> list[str]:
        """Return what the creates failed with, at best nothing."""
        with self._lock:
            return list(self._errors)

    def gap_s(self, since_s: float = 0.0, until_s: float = float("inf")) -> float:
        """Return the longest time between two acknowledgements, one of them in this span."""
        with self._lock:
            moments = list(self._acknowledged_s)
        gaps = [
            after - before
            for before, after in pairwise(moments)
            if after >= since_s and before <= until_s
        ]
        return max(gaps, default=float("inf"))

    def wait_for_more(self, count: int, timeout_s: float) -> bool:
        """Wait until so many more are acknowledged than now; return False if it took too long."""
        wanted = self.count + count
        deadline_s = time.monotonic() + timeout_s
        while self.count < wanted:
            if time.monotonic() >= deadline_s:
                return False
            time.sleep(0.01)
        return True

    def names(self) -> set[str]:
        """Return the names of the files that were acknowledged."""
        return {f"{number:08d}" for number in range(self.count)}

    def _run(self) -> None:
        number = 0
        while not self._ended.is_set():
            try:
                self._cluster.write_bytes(f"{self._directory}/{number:08d}", b"")
            except GfsError as error:
                with self._lock:
                    self._errors.append(f"{error.code}: {error.message}")
                if len(self._errors) >= 100:
                    return
                continue
            with self._lock:
                self._acknowledged_s.append(time.monotonic())
            number += 1
            time.sleep(PAUSE_S)
