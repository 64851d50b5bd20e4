"""One call on a master's port: who asks, by when, and a bounded list of requests."""

from __future__ import annotations

from gfs_ha.ids import NO_SESSION, NO_TRACE, SessionId, TraceId
from gfs_ha.protocol.append import AppendReply, AppendRequest
from gfs_ha.protocol.codec import Failure, Word, prepare
from gfs_ha.protocol.control import (
    Heartbeat,
    HeartbeatReply,
    RegisterServer,
    ServerRegistered,
)
from gfs_ha.protocol.damage import DamageReply, DamageRequest
from gfs_ha.protocol.disks import DiskReply, DiskRequest
from gfs_ha.protocol.events import EventReply, EventRequest
from gfs_ha.protocol.extents import ExtentMutation, ExtentReply
from gfs_ha.protocol.fsck import FsckReply, FsckRequest
from gfs_ha.protocol.garbage import GarbageReply, GarbageRequest
from gfs_ha.protocol.jobs import JobReply, JobRequest
from gfs_ha.protocol.live import LiveReply, LiveRequest
from gfs_ha.protocol.logs import LogReply, LogRequest
from gfs_ha.protocol.losses import LossReply, LossRequest
from gfs_ha.protocol.metadata import LedMutation, MetadataReply, PureMutation, ReadRequest
from gfs_ha.protocol.metrics import MetricsReply, MetricsRequest
from gfs_ha.protocol.placement import PlacementReply, PlacementRequest
from gfs_ha.protocol.policy import PolicyReply, PolicyRequest
from gfs_ha.protocol.rebalance import RebalanceReply, RebalanceRequest
from gfs_ha.protocol.repair import RepairReply, RepairRequest
from gfs_ha.protocol.reports import ReportReply, ReportRequest
from gfs_ha.protocol.scrub import ScrubReply, ScrubRequest
from gfs_ha.protocol.server_modes import ServerModeReply, ServerModeRequest
from gfs_ha.protocol.servers import ServersReply, ServersRequest
from gfs_ha.protocol.tickets import TicketReply, TicketRequest
from gfs_ha.protocol.usage import UsageReply, UsageRequest

HELLO_METHOD = 0
SERVE_METHOD = 1

Request = (
    ReadRequest
    | PureMutation
    | LedMutation
    | RegisterServer
    | Heartbeat
    | ReportRequest
    | RepairRequest
    | PlacementRequest
    | PolicyRequest
    | GarbageRequest
    | DamageRequest
    | FsckRequest
    | LossRequest
    | LogRequest
    | MetricsRequest
    | ScrubRequest
    | ServersRequest
    | ServerModeRequest
    | DiskRequest
    | JobRequest
    | RebalanceRequest
    | EventRequest
    | LiveRequest
    | UsageRequest
    | ExtentMutation
    | AppendRequest
    | TicketRequest
)
Reply = (
    MetadataReply
    | ServerRegistered
    | HeartbeatReply
    | ReportReply
    | RepairReply
    | PlacementReply
    | PolicyReply
    | GarbageReply
    | DamageReply
    | FsckReply
    | LossReply
    | LogReply
    | MetricsReply
    | ScrubReply
    | ServersReply
    | ServerModeReply
    | DiskReply
    | JobReply
    | RebalanceReply
    | EventReply
    | LiveReply
    | UsageReply
    | ExtentReply
    | AppendReply
    | TicketReply
)


LED, LINEARIZABLE, BOUNDED, LOCAL = "led", "linearizable", "bounded", "local"


class ReadTerms(Word, frozen=True):
    """Who may answer the reads of a call, and how old the answer may be (M4); it is dated then.

    LED: only the leader, linearizable, as without terms. The others are answered by any master.
    """

    kind: str  # LED, LINEARIZABLE, BOUNDED or LOCAL.
    bound_ms: int = 0  # BOUNDED: what was acknowledged longer ago than this is never missing.
    at_least: int = 0  # The log index that the asking client has seen: no answer goes behind it.


class CallContext(Word, frozen=True):
    """What belongs to the whole call: the rest of its time, a trace id, terms of its reads."""

    deadline_ms: int
    trace_id: TraceId = NO_TRACE  # Of the command of a client that asks.
    terms: ReadTerms | None = None  # None: the leader answers, all reads are linearizable.


class AsOf(Word, frozen=True, tag="as_of"):
    """Which moment the answers of a call show; the last of the replies to a call with terms."""

    master: str
    index: int  # What is at or below it in the log was seen.
    age_ms: int  # At most; 0 = linearizable, -1 = not known.
    degraded: bool = False  # No leader is known to have led for one longest election timeout.


class Asked(Word, frozen=True):
    """One request. (session, sequence) make a change exactly-once; reads carry none (S1)."""

    request: Request
    session_id: SessionId = NO_SESSION
    sequence: int = 0
    window_start: int = 0


CallBody = tuple[Asked, ...]  # At most REQUESTS_PER_CALL_MAX.
CallReply = tuple[Reply, ...]  # One per request, in order; Failure where it failed.
DatedReply = tuple[Reply | AsOf, ...]  # To a call with terms: the last one is an AsOf.

prepare(CallContext, CallBody, CallReply, DatedReply, Reply)

__all__ = [
    "BOUNDED",
    "HELLO_METHOD",
    "LED",
    "LINEARIZABLE",
    "LOCAL",
    "SERVE_METHOD",
    "AsOf",
    "Asked",
    "CallBody",
    "CallContext",
    "CallReply",
    "DatedReply",
    "Failure",
    "ReadTerms",
    "Reply",
    "Request",
]
