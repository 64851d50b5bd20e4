"""An etcd whose leader is killed again and again, under puts that go where somebody answers."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from beside_etcd import Etcd
from etcd_load import _field as field_of

_TRY_S = 1.0
_PAUSE_S = 0.01


class MortalEtcd(Etcd):
    """Three members, of which one can be killed and started again."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.all_endpoints = list(self.endpoints)

    def kill_leader(self) -> int:
        """Kill the member that leads; return which it was."""
        at = self.all_endpoints.index(self.leader())
        self._processes[at].kill()
        self._processes[at].wait(10)
        del self.endpoints[self.endpoints.index(self.all_endpoints[at])]  # Not asked who leads.
        return at

    def restart(self, at: int) -> None:
        """Start a member again, from its own disk."""
        log: Path = self._directory / f"e{at}.log"
        with log.open("ab") as output:
            words: Any = self._processes[at].args
            self._processes[at] = subprocess.Popen(
                words, stdout=output, stderr=output, process_group=0
            )

    def wait_whole(self) -> None:
        """Wait until all members answer again. Raises: Failed."""
        self.endpoints[:] = self.all_endpoints
        self.leader()


class EtcdLoad:
    """Threads that put new keys, one in flight each. Use it with `with`."""

    def __init__(self, endpoints: list[str], threads: int) -> None:
        import grpc

        self.acknowledged_s: list[float] = []
        self._error = grpc.RpcError
        self._channels = [grpc.insecure_channel(one) for one in endpoints]
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number,), daemon=True)
            for number in range(threads)
        ]

    def __enter__(self) -> EtcdLoad:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(10)
        for channel in self._channels:
            channel.close()

    def _run(self, worker: int) -> None:
        puts = [channel.unary_unary("/etcdserverpb.KV/Put") for channel in self._channels]
        at = worker
        number = 0
        while not self._ended.is_set():
            key = field_of(1, f"/k/{worker}/{number:08d}".encode())
            try:
                puts[at % len(puts)](key + field_of(2, b"x" * 64), timeout=_TRY_S)
            except self._error:
                at += 1
                time.sleep(_PAUSE_S)
                continue
            self.acknowledged_s.append(time.monotonic())
            number += 1
