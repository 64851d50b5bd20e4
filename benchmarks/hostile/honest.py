"""Somebody honest beside the attackers: what he puts he gets, and every master answers him."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable

import gfs_ha
from gfs_ha.config import Config
from gfs_ha.errors import GfsError
from gfs_ha.limits import KIB

_PAUSE_S = 0.3
_FILES = 8
_RECORD = b"a record of somebody honest\n"


class Honest:
    """Works from `start` to `finish` in a thread of his own."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self.wrong: list[str] = []
        self.rounds = 0
        self.longest_s = 0.0
        self.masters_unheard = 0

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        """End it. What went wrong is in `wrong`."""
        self._stop.set()
        self._thread.join(60.0)
        if self._thread.is_alive():
            self.wrong.append("he hangs")
        if not self.rounds:
            self.wrong.append("he got nothing done")

    def _work(self) -> None:
        chance = random.Random(1)
        try:
            with gfs_ha.connect(self._config) as cluster:
                cluster.mkdir("/honest")
                cluster.write_bytes("/honest/log", b"")
                while not self._stop.is_set():
                    path = f"/honest/{self.rounds % _FILES}"
                    data = os.urandom(chance.randrange(1, 600 * KIB))
                    self._timed(lambda: self._round(cluster, path, data))  # noqa: B023
                    self.rounds += 1
                    self._stop.wait(_PAUSE_S)
                if cluster.read_bytes("/honest/log") != _RECORD * self.rounds:
                    self.wrong.append("the log has other records than were acknowledged")
        except GfsError as error:
            self.wrong.append(f"{error.code}: {error}")
        except Exception as error:
            self.wrong.append(repr(error))
            raise

    def _round(self, cluster: gfs_ha.Cluster, path: str, data: bytes) -> None:
        cluster.write_bytes(path, data)
        if cluster.read_bytes(path) != data:
            self.wrong.append(f"{path} came back as something else")
        with cluster.open("/honest/log", "ab") as log:
            log.write(_RECORD)
        self.masters_unheard += sum(not one.reachable for one in cluster.operations.masters().items)

    def _timed(self, action: Callable[[], None]) -> None:
        began_s = time.monotonic()
        action()
        self.longest_s = max(self.longest_s, time.monotonic() - began_s)
