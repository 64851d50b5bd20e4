"""Every call on a master's port: decoded, each request sent its way, all answered together.

Reads wait for one read index per call and then look at one moment of the state on the door's
thread; changes are proposed; what the leader adds something to has a handler of its own. Nothing
here waits: answers come through the call's Deferred.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from gfs_ha.errors import (
    GfsError,
    InternalError,
    LimitExceeded,
    NotInitialized,
    ProtocolError,
    WrongCluster,
)
from gfs_ha.ids import NO_SESSION, SessionId
from gfs_ha.limits import PROTOCOL_VERSION, REQUEST_DEADLINE_S, REQUESTS_PER_CALL_MAX
from gfs_ha.master.handlers import (
    admin,
    chunks,
    chunkservers,
    masters,
    namespace,
    verification,
)
from gfs_ha.master.handlers.call import Call, Slot
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.handlers.mutations import propose_for_client
from gfs_ha.master.observed import Observed
from gfs_ha.master.proposals import MARGIN_S
from gfs_ha.master.state.view import View
from gfs_ha.net.network import Connection, Deferred
from gfs_ha.protocol import control, metadata, reports
from gfs_ha.protocol.calls import SERVE_METHOD, CallBody, CallContext
from gfs_ha.protocol.codec import Failure, Hello, HelloReply, Word, decode, encode, failure

logger = logging.getLogger(__name__)

_READS_SLICE_S = 0.02  # How long reads of one call hold the door before others have a turn.

Read = Callable[[Desk, View, Any, Slot], Word]
Led = Callable[[Desk, Any, Slot], None]

READS: dict[type, Read] = {
    metadata.Stat: namespace.stat,
    metadata.ListDirectory: namespace.list_directory,
    metadata.OpenFile: namespace.open_file,
    metadata.ReadExtents: namespace.read_extents,
    metadata.Locate: namespace.locate,
    metadata.Renew: namespace.renew,
    metadata.ReportReplica: chunks.report_replica,
    metadata.ListServers: chunkservers.list_servers,
    reports.GetMasters: masters.get_masters,
    reports.GetServers: admin.get_servers,
    reports.GetChunks: admin.get_chunks,
    reports.GetPlacement: admin.get_placement,
    reports.GetHealth: admin.get_health,
    reports.GetStatus: admin.get_status,
}

LED: dict[type, Led] = {
    metadata.AllocateChunk: chunks.allocate_chunk,
    metadata.SealChunk: chunks.seal_chunk,
    control.RegisterServer: chunkservers.register_server,
    control.Heartbeat: chunkservers.heartbeat,
    reports.TransferLeadership: masters.transfer_leadership,
    reports.CheckStates: verification.check_states,
    reports.CountStates: verification.count_states,
}

# What is asked of a cluster whose first leader has not written its settings yet.
_BEFORE_INIT = (reports.GetHealth, reports.GetMasters)

_Asked = tuple[Slot, Any]


class Dispatcher:
    """The handler behind a master's door; all of it runs on the door's thread.

    The door takes its port before the store is opened, so the desk comes later, by `furnish`.
    """

    _desk: Desk

    def furnish(self, desk: Desk) -> None:
        """Take what the handlers work with; before the door runs."""
        self._desk = desk

    def greet(self, connection: Connection, body: bytes) -> bytes:
        """Judge the first words of a peer. Raises: ProtocolError, WrongCluster."""
        hello = decode(Hello, body)
        if hello.protocol_version != PROTOCOL_VERSION:
            raise ProtocolError(
                f"{hello.role} {hello.name} speaks protocol {hello.protocol_version}, "
                f"this master speaks {PROTOCOL_VERSION}; install the same release on both"
            )
        own = self._desk.config.cluster.id
        if hello.cluster_id != own:
            raise WrongCluster(
                f"this is a master of cluster {own}, not of {hello.cluster_id}; "
                "look at the cluster id and the masters' addresses in your configuration"
            )
        connection.identity = hello
        return encode(HelloReply(self._desk.name, PROTOCOL_VERSION))

    def error_reply(self, error: GfsError) -> bytes:
        """Return the answer that tells the caller of an error of the whole call."""
        return encode(failure(error))

    def handle(
        self, connection: Connection, method: int, context: bytes, body: bytes
    ) -> bytes | Deferred:
        """Send each request of a call its way. Raises: ProtocolError, LimitExceeded."""
        if method != SERVE_METHOD:
            raise ProtocolError(f"there is no method {method}")
        told = decode(CallContext, context)
        asked = decode(CallBody, body)
        if not 1 <= len(asked) <= REQUESTS_PER_CALL_MAX:
            raise LimitExceeded(f"a call has 1 to {REQUESTS_PER_CALL_MAX} requests")
        timeout_s = min(max(told.deadline_ms, 1) / 1000, REQUEST_DEADLINE_S)
        call = Call(self._desk.runtime, len(asked), timeout_s)
        reads: list[_Asked] = []
        for position, one in enumerate(asked):
            slot = Slot(call, position, one.session_id, one.sequence, one.window_start)
            try:
                self._route(slot, one.request, reads)
            except GfsError as error:
                slot.fail(self._desk.weigh(error))
        if reads:
            self._read(reads, call)
        return call.deferred

    def _route(self, slot: Slot, request: Any, reads: list[_Asked]) -> None:
        kind = type(request)
        if kind is reports.GetMasterFacts:
            slot.reply(masters.master_facts(self._desk))
            return
        reign = self._desk.leading()
        if slot.session_id != NO_SESSION:
            self._hear(reign.observed, slot.session_id)
        if kind in READS:
            reads.append((slot, request))
        elif kind in LED:
            LED[kind](self._desk, request, slot)
        else:
            propose_for_client(self._desk, request, slot)

    def _hear(self, observed: Observed, session_id: SessionId) -> None:
        """Break a session's silence (C11), if there is such a session.

        One that is not visible yet is met with its next request; until then its row speaks for it.
        """
        now_s = self._desk.now_s()
        if observed.heard_session(session_id, now_s):
            return
        with self._desk.kv.read() as reader:
            known = View(reader).session(session_id) is not None
        if known:
            observed.met_session(session_id, now_s)

    def _read(self, reads: list[_Asked], call: Call) -> None:
        def done(error: GfsError | None) -> None:
            if error is None:
                self._desk.post_or_fail(partial(self._answer_reads, reads), fail)
            else:
                fail(self._desk.proposer.for_client(error))

        def fail(error: GfsError) -> None:
            for slot, _ in reads:
                slot.fail(error)

        self._desk.proposer.read_index(call.left_s() - MARGIN_S, done)

    def _answer_reads(self, reads: list[_Asked]) -> None:
        """Answer reads from one moment of the state; what takes long goes on in a later turn."""
        end_s = self._desk.now_s() + _READS_SLICE_S
        with self._desk.kv.read() as reader:
            view = View(reader)
            initialized = view.settings() is not None
            for position, (slot, request) in enumerate(reads):
                if self._desk.now_s() >= end_s and position:
                    rest = reads[position:]
                    self._desk.post(partial(self._answer_reads, rest))
                    return
                slot.reply(self._answer(view, slot, request, initialized))

    def _answer(self, view: View, slot: Slot, request: Any, initialized: bool) -> Word:
        try:
            if not initialized and not isinstance(request, _BEFORE_INIT):
                raise NotInitialized(
                    "the cluster has no settings yet; its first leader writes them"
                )
            return READS[type(request)](self._desk, view, request, slot)
        except GfsError as error:
            return failure(self._desk.weigh(error))
        except Exception:
            logger.exception("a read failed request=%s", type(request).__name__)
            name = type(request).__name__
            return Failure(
                InternalError.__name__, f"{name} failed inside; the master's log says why"
            )
