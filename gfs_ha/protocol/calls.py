"""One call on a master's port: who asks, by when, and a bounded list of requests."""

from __future__ import annotations

from gfs_ha.ids import NO_SESSION, SessionId
from gfs_ha.protocol.codec import Failure, Word, prepare
from gfs_ha.protocol.control import (
    Heartbeat,
    HeartbeatReply,
    RegisterServer,
    ServerRegistered,
)
from gfs_ha.protocol.metadata import LedMutation, MetadataReply, PureMutation, ReadRequest
from gfs_ha.protocol.reports import ReportReply, ReportRequest

HELLO_METHOD = 0
SERVE_METHOD = 1

Request = ReadRequest | PureMutation | LedMutation | RegisterServer | Heartbeat | ReportRequest
Reply = MetadataReply | ServerRegistered | HeartbeatReply | ReportReply


class CallContext(Word, frozen=True):
    """What belongs to the whole call: the rest of its time, and a trace id."""

    deadline_ms: int
    trace_id: int = 0


class Asked(Word, frozen=True):
    """One request. (session, sequence) make a change exactly-once; reads carry none (S1)."""

    request: Request
    session_id: SessionId = NO_SESSION
    sequence: int = 0
    window_start: int = 0


CallBody = tuple[Asked, ...]  # At most REQUESTS_PER_CALL_MAX.
CallReply = tuple[Reply, ...]  # One per request, in order; Failure where it failed.

prepare(CallContext, CallBody, CallReply, Reply)

__all__ = [
    "HELLO_METHOD",
    "SERVE_METHOD",
    "Asked",
    "CallBody",
    "CallContext",
    "CallReply",
    "Failure",
    "Reply",
    "Request",
]
