"""Reports to the leader of replicas that could not be used, sent in the background."""

from __future__ import annotations

import logging
from collections import deque

from gfs_ha.client.cluster import ClusterCalls
from gfs_ha.errors import GfsError, TicketRefused
from gfs_ha.ids import ChunkId, ServerId, format_id
from gfs_ha.protocol.metadata import Done, ReportReplica
from gfs_ha.runtime import Runtime

logger = logging.getLogger(__name__)

WAITING_MAX = 256
TOLD_MAX = 4096
TIMEOUT_S = 5.0


class Complaints:
    """Tells the leader once of each (chunk, server); it may be lost. Thread-safe."""

    def __init__(self, calls: ClusterCalls, runtime: Runtime) -> None:
        self._calls = calls
        self._runtime = runtime
        self._lock = runtime.lock()
        self._waiting: deque[ReportReplica] = deque(maxlen=WAITING_MAX)
        self._told: set[tuple[ChunkId, ServerId]] = set()
        self._sending = False

    def report(self, chunk_id: ChunkId, server_id: ServerId, error: GfsError) -> None:
        """Queue a report, unless a ticket was only too old. Never waits."""
        if isinstance(error, TicketRefused):
            return
        key = (chunk_id, server_id)
        problem = f"{error.code}: {error.message}"[:200]
        logger.info(
            "replica failed chunk=%s server=%d why=%s", format_id(chunk_id), *key[1:], problem
        )
        with self._lock:
            if key in self._told:
                return
            if len(self._told) >= TOLD_MAX:
                self._told.clear()
            self._told.add(key)
            self._waiting.append(ReportReplica(chunk_id, server_id, problem))
            if self._sending:
                return
            self._sending = True
        self._runtime.spawn("report replicas", self._send)

    def _send(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._sending = False
                    return
                report = self._waiting.popleft()
            try:
                self._calls.ask(report, Done, TIMEOUT_S)
            except GfsError as error:
                logger.info("report not delivered error=%s", error.message)
