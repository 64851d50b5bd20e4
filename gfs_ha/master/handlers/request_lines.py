"""The log lines about calls of a master: every change whole, reads that fail or take long."""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from typing import Any

from gfs_ha.errors import (
    ChunkUnavailable,
    CorruptData,
    DeadlineExceeded,
    DiskFailed,
    DiskFull,
    InternalError,
    NoSpace,
    NotLeader,
    ProtocolError,
    StateDiverged,
    UnknownOutcome,
)
from gfs_ha.ids import TraceId, format_id
from gfs_ha.logs.requests import RequestLog
from gfs_ha.master.handlers.reading import READS
from gfs_ha.protocol.append import FindRecords
from gfs_ha.protocol.calls import Asked, CallBody
from gfs_ha.protocol.codec import Failure, Word, decode, prepare
from gfs_ha.protocol.garbage import RunGarbage
from gfs_ha.protocol.logs import ReadLog
from gfs_ha.protocol.metadata import (
    AllocateChunk,
    ChunkAllocated,
    OpenSession,
    Publish,
    Published,
    Rename,
    ReportReplica,
    SessionOpened,
)
from gfs_ha.protocol.metrics import ReadMetrics
from gfs_ha.protocol.rebalance import PlanRebalance
from gfs_ha.protocol.reports import GetMasterFacts
from gfs_ha.protocol.state_checks import CheckStates, CountStates

SLOW_S = 1.0
PATHS_CHARACTERS_MAX = 1000
DONE = "done"

# What changes nothing is told only when it fails or takes long.
QUIET = (frozenset(READS) - {ReportReplica, RunGarbage}) | {
    GetMasterFacts,
    ReadLog,
    ReadMetrics,
    FindRecords,
    PlanRebalance,
    CheckStates,
    CountStates,
}
_Told = Failure | Published | ChunkAllocated | SessionOpened
_READ_REPLIES = {Publish, AllocateChunk, OpenSession}
_LINE = "request what=%s on=%s client=%s outcome=%s ms=%.1f session=%d"
_TROUBLE = {
    error.__name__
    for error in (
        *(ChunkUnavailable, CorruptData, DeadlineExceeded, DiskFailed, DiskFull, NoSpace),
        *(StateDiverged, UnknownOutcome),
    )
}
_NO_WORD = re.compile(r'[\s,"]')
# Fields of requests that say what it is about, in the order of the request.
_ABOUT = {
    *("path", "source", "target", "name", "client", "key", "host"),
    *("server", "server_id", "disk_id", "chunk_id", "chunk_ids", "inode_id", "content_id"),
    *("job_id", "code", "length", "end", "action", "goal", "term"),
}


class CallLines:
    """What is said of one call once it is answered."""

    __slots__ = ("_asked", "_client", "_log", "_replies", "_trace_id")

    def __init__(self, log: RequestLog, client: str, trace_id: TraceId, asked: CallBody) -> None:
        self._log = log
        self._client = client
        self._trace_id = trace_id
        self._asked = asked
        self._replies: dict[int, bytes] = {}

    def answered(self, position: int, reply: bytes, failed: bool) -> None:
        """Take the encoded reply to one request."""
        if failed or type(self._asked[position].request) in _READ_REPLIES:
            self._replies[position] = reply

    def note(self, took_s: float) -> None:
        """Note what is to be told of the call. Thread-safe; once."""
        for position, one in enumerate(self._asked):
            reply = self._replies.get(position, b"")
            if type(one.request) not in QUIET:
                self._note(one, reply, took_s, "change")
            elif reply or took_s >= SLOW_S:
                self._note(one, reply, took_s, "read")

    def _note(self, one: Asked, reply: bytes, took_s: float, kind: str) -> None:
        told = _told(reply)
        outcome = _outcome(told)
        if kind == "read" and outcome == NotLeader.__name__:
            return  # The usual way to the one that leads.
        level = _level(outcome)
        if self._log.admits(kind, level):
            request = one.request
            on, session_id = about(request), one.session_id
            if isinstance(told, ChunkAllocated):
                on = format_id(told.chunk_id)
            elif isinstance(told, SessionOpened):
                session_id = told.session_id
            facts = (_tag(type(request)), on, self._client.replace(" ", ":"))
            more = (outcome, took_s * 1000, session_id)
            self._log.note(level, _LINE, facts + more, self._trace_id)


def _level(outcome: str) -> int:
    if outcome == InternalError.__name__:
        return logging.ERROR
    return logging.WARNING if outcome in _TROUBLE else logging.INFO


def _told(reply: bytes) -> Word | None:
    """Return what a reply says that is looked into; None for any other."""
    if not reply:
        return None
    try:
        told: Word = decode(_Told, reply)  # type: ignore[arg-type]
    except ProtocolError:
        return None  # A reply of another kind says nothing that is told here.
    return told


def _outcome(told: Word | None) -> str:
    """Return `done`, the code of a failure, or how many of the files of a Publish failed."""
    if isinstance(told, Failure):
        return told.error
    if not isinstance(told, Published):
        return DONE
    failed = [one.error for one in told.files if one.error]
    if not failed:
        return DONE
    return failed[0] if len(told.files) == 1 else f"{failed[0]}({len(failed)}/{len(told.files)})"


def about(request: Any) -> str:
    """Return which names and ids a request is about, in one bounded word or several."""
    if type(request) is Publish:
        return _listed([one.path for one in request.files])
    if type(request) is Rename:
        return f"{shown(request.source)}->{shown(request.target)}"
    told = []
    for field in request.__struct_fields__:
        value = getattr(request, field) if field in _ABOUT else None
        if isinstance(value, str) and value:
            told.append(shown(value))
        elif isinstance(value, tuple) and value and isinstance(value[0], int):
            told.append(_listed([format_id(one) for one in value]))
        elif isinstance(value, int) and value:
            told.append(format_id(value) if field.endswith("_id") else f"{field}:{value}")
    return ",".join(told) or "-"


def shown(text: str) -> str:
    """Return a name as one word: with blanks or quotes in it, in quotes and escaped."""
    text = text if len(text) <= PATHS_CHARACTERS_MAX else f"{text[:PATHS_CHARACTERS_MAX]}…"
    if _NO_WORD.search(text) is None:
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _listed(names: list[str]) -> str:
    told: list[str] = []
    length = 0
    for name in names:
        length += len(name) + 1
        if told and length > PATHS_CHARACTERS_MAX:
            break
        told.append(shown(name))
    left = len(names) - len(told)
    return ",".join(told) + (f"+{left}" if left else "")


@lru_cache(maxsize=256)
def _tag(kind: type[Any]) -> str:
    return str(kind.__struct_config__.tag)


prepare(_Told)
