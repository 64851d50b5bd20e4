"""The log lines about what a data port serves: every write whole, reads that fail or take long."""

from __future__ import annotations

import logging

from gfs_ha.errors import (
    ChunkUnavailable,
    CorruptData,
    DeadlineExceeded,
    DiskFailed,
    DiskFull,
    GfsError,
    InternalError,
)
from gfs_ha.logs.requests import RequestLog
from gfs_ha.protocol.data import DataRequest
from gfs_ha.protocol.frames import ReplicaAck
from gfs_ha.runtime import Runtime

SLOW_S = 1.0
DONE = "done"
_PUSH = "push chunk=%#x at=%d bytes=%d client=%s outcome=%s copies=%d/%d ms=%.1f"
_APPEND = "append chunk=%#x client=%s records=%d outcome=%s ms=%.1f"
_REQUEST = "request op=%s chunk=%#x at=%d bytes=%d client=%s outcome=%s ms=%.1f"
_TROUBLE = {error.__name__ for error in (CorruptData, DeadlineExceeded, DiskFailed, DiskFull)}


class DataLines:
    """Thread-safe. Times are milliseconds from the request to its answer, all of the transfer."""

    def __init__(self, log: RequestLog, runtime: Runtime) -> None:
        self._log = log
        self._runtime = runtime

    def pushed(
        self, request: DataRequest, length: int, acks: tuple[ReplicaAck, ...], begun_s: float
    ) -> None:
        """Tell of a push that was answered; the first acknowledgement is that of this server.

        Pushes of a primary have a rate of their own: they are many and small.
        """
        if request.brings_records and not length:
            return  # A note; nothing was written.
        own = acks[0].code or DONE
        level = _level(own)
        kind = "records" if request.brings_records else "push"
        if self._log.admits(kind, level):
            whole = sum(ack.complete for ack in acks)
            facts = (request.chunk_id, request.offset, length, _client(request), own)
            more = (whole, 1 + len(request.hops), self._ms(begun_s))
            self._log.note(level, _PUSH, facts + more, request.trace_id)

    def appended(self, request: DataRequest, records: int, error: str, begun_s: float) -> None:
        """Tell of a client's stream of records that ended, after so many that were acknowledged."""
        outcome = error or DONE
        level = _level(outcome)
        if self._log.admits("append", level):
            facts = (request.chunk_id, _client(request), records, outcome, self._ms(begun_s))
            self._log.note(level, _APPEND, facts, request.trace_id)

    def read(self, request: DataRequest, begun_s: float) -> None:
        """Tell of a read that was served, if it took long."""
        if self._runtime.monotonic_s() - begun_s >= SLOW_S:
            self._tell(request, DONE, logging.INFO, begun_s)

    def failed(self, request: DataRequest, error: GfsError, begun_s: float) -> None:
        """Tell of a request that was refused, or whose peer left in the middle."""
        level = _level(error.code)
        # What lies beyond the end that counts is asked for by everybody who follows a file.
        if isinstance(error, ChunkUnavailable) and "end" in error.details:
            return
        self._tell(request, error.code, level, begun_s)

    def _tell(self, request: DataRequest, outcome: str, level: int, begun_s: float) -> None:
        if self._log.admits(request.op.name, level):
            facts = (request.op.name.lower(), request.chunk_id, request.offset, request.length)
            more = (_client(request), outcome, self._ms(begun_s))
            self._log.note(level, _REQUEST, facts + more, request.trace_id)

    def _ms(self, begun_s: float) -> float:
        return (self._runtime.monotonic_s() - begun_s) * 1000


def _client(request: DataRequest) -> str:
    return request.label.replace(" ", ":") or "-"


def _level(outcome: str) -> int:
    if outcome == InternalError.__name__:
        return logging.ERROR
    return logging.WARNING if outcome in _TROUBLE else logging.INFO
