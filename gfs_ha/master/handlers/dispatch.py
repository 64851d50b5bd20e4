"""Every call on a master's port: decoded, each request sent its way, all answered together.

Reads go to reading.py; changes are proposed; what the leader adds something to has a handler of its
own. Nothing here waits: answers come through the call's Deferred.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from gfs_ha.errors import (
    Denied,
    GfsError,
    LimitExceeded,
    ProtocolError,
    WrongCluster,
)
from gfs_ha.ids import NO_SESSION, SessionId, TraceId
from gfs_ha.limits import PROTOCOL_VERSION, REQUEST_DEADLINE_S, REQUESTS_PER_CALL_MAX
from gfs_ha.logs.trace import traced
from gfs_ha.master.handlers import (
    appended,
    appends,
    chunks,
    chunkservers,
    disks,
    events,
    jobs,
    leases,
    losses,
    masters,
    rebalance,
    repair,
    replica_checks,
    scrub,
    server_modes,
    verification,
)
from gfs_ha.master.handlers.access import admit, check_hello
from gfs_ha.master.handlers.call import Call, Slot
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.handlers.holds import TAKES_TAILS, propose_without_tails
from gfs_ha.master.handlers.metering import CallMeter, client_of
from gfs_ha.master.handlers.metrics import read_metrics
from gfs_ha.master.handlers.mutations import once_visible, propose_for_client
from gfs_ha.master.handlers.reading import READS, Reading, check_terms
from gfs_ha.master.handlers.session_owners import SessionOwners
from gfs_ha.master.handlers.tickets import take_key
from gfs_ha.master.observed import Observed
from gfs_ha.master.state.view import View
from gfs_ha.net.log_pages import own_page
from gfs_ha.net.network import Connection, Deferred
from gfs_ha.protocol import append, control, extents, metadata, reports, state_checks
from gfs_ha.protocol import server_modes as mode_words
from gfs_ha.protocol.calls import SERVE_METHOD, CallBody, CallContext
from gfs_ha.protocol.codec import Hello, HelloReply, decode, encode, failure
from gfs_ha.protocol.damage import VerifyChunk
from gfs_ha.protocol.disks import DrainDisk, RemoveDisk, UndrainDisk
from gfs_ha.protocol.events import MuteFinding
from gfs_ha.protocol.jobs import ChangeJob
from gfs_ha.protocol.logs import ReadLog
from gfs_ha.protocol.losses import AcceptLoss
from gfs_ha.protocol.metrics import ReadMetrics
from gfs_ha.protocol.rebalance import PlanRebalance, StartRebalance
from gfs_ha.protocol.repair import SetBudget
from gfs_ha.protocol.scrub import ChangeScrub, StartScrub
from gfs_ha.protocol.tickets import TellTicketKey

logger = logging.getLogger(__name__)

_TRACE_MASK = (1 << 63) - 1

Led = Callable[[Desk, Any, Slot], None]

LED: dict[type, Led] = {
    metadata.AllocateChunk: chunks.allocate_chunk,
    metadata.SealChunk: chunks.seal_chunk,
    extents.MoveReferences: chunks.move_references,
    append.GrantAppend: appends.grant_append,
    append.FindRecords: appended.find_records,
    append.RevokeLease: leases.revoke_lease,
    control.RegisterServer: chunkservers.register_server,
    control.Heartbeat: chunkservers.heartbeat,
    reports.TransferLeadership: masters.transfer_leadership,
    reports.AddMaster: masters.add_master,
    reports.AdmitMaster: masters.admit_master,
    reports.RemoveMaster: masters.remove_master,
    state_checks.CheckStates: verification.check_states,
    state_checks.CountStates: verification.count_states,
    SetBudget: repair.set_budget,
    VerifyChunk: replica_checks.verify_chunk,
    AcceptLoss: losses.accept_loss,
    StartScrub: scrub.start_scrub,
    ChangeJob: jobs.change_job,
    PlanRebalance: rebalance.plan_rebalance,
    StartRebalance: rebalance.start_rebalance,
    MuteFinding: events.mute_finding,
    ChangeScrub: scrub.change_scrub,
    mode_words.DrainServer: server_modes.drain_server,
    mode_words.UndrainServer: server_modes.undrain_server,
    mode_words.ChangeMaintenance: server_modes.change_maintenance,
    mode_words.ChangeLabels: server_modes.change_labels,
    mode_words.RemoveChunkserver: server_modes.remove_chunkserver,
    DrainDisk: disks.drain_disk,
    UndrainDisk: disks.undrain_disk,
    RemoveDisk: disks.remove_disk,
}


class Dispatcher:
    """The handler behind a master's door; all of it runs on the door's thread.

    The door takes its port before the store is opened, so the desk comes later, by `furnish`.
    """

    _desk: Desk
    _owners: SessionOwners

    def furnish(self, desk: Desk) -> None:
        """Take what the handlers work with; before the door runs."""
        self._desk = desk
        self._owners = SessionOwners(desk)

    def greet(self, connection: Connection, body: bytes) -> bytes:
        """Judge the first words of a peer. Raises: ProtocolError, WrongCluster, Denied."""
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
        check_hello(connection.certificate, hello)
        connection.identity = hello
        incarnation = self._desk.proposer.incarnation
        return encode(HelloReply(self._desk.name, PROTOCOL_VERSION, incarnation))

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
        check_terms(told.terms)
        dated_by = "" if told.terms is None else self._desk.name
        parked = all(type(one.request) is control.Heartbeat for one in asked)
        client = client_of(connection.identity)
        trace_id = TraceId(told.trace_id & _TRACE_MASK)  # Whatever a peer sends.
        meter = None if parked else CallMeter(self._desk, client, asked, trace_id)
        if parked and self._desk.requests is not None:
            self._desk.requests.beat(client)
        call = Call(self._desk.runtime, len(asked), timeout_s, dated_by, meter)
        call.peer = connection.certificate
        reading = Reading(self._desk, call, told.terms)
        with traced(trace_id):
            for position, one in enumerate(asked):
                slot = Slot(call, position, one.session_id, one.sequence, one.window_start)
                try:
                    admit(self._desk, connection.certificate, one.request)
                    self._route(slot, one.request, reading)
                except GfsError as error:
                    if isinstance(error, Denied):
                        self._desk.denials.note(connection.peer, error)
                    slot.fail(self._desk.weigh(error))
            reading.begin()
        return call.deferred

    def _route(self, slot: Slot, request: Any, reading: Reading) -> None:
        kind = type(request)
        if kind is reports.GetMasterFacts:
            slot.reply(masters.master_facts(self._desk))
            return
        if kind is ReadLog:
            slot.reply(own_page(self._desk.name, request))
            return
        if kind is TellTicketKey:
            take_key(self._desk, request, slot)
            return
        if kind is ReadMetrics:
            read_metrics(self._desk, slot)
            return
        if self._desk.reign is None and reading.takes(kind):
            reading.add(slot, request)
            return
        reign = self._desk.leading()
        admitted = self._owners.admits(slot)
        if slot.session_id != NO_SESSION:
            self._hear(reign.observed, slot.session_id)
        if kind in READS:
            reading.add(slot, request)
        elif admitted:
            self._change(slot, request)
        else:
            once_visible(self._desk, slot, partial(self._change_if_admitted, slot, request))

    def _change_if_admitted(self, slot: Slot, request: Any) -> None:
        reign = self._desk.leading()
        self._owners.check(slot)
        self._hear(reign.observed, slot.session_id)
        self._change(slot, request)

    def _change(self, slot: Slot, request: Any) -> None:
        request = self._owners.stamp(request, slot)
        kind = type(request)
        if kind in LED:
            LED[kind](self._desk, request, slot)
        elif kind in TAKES_TAILS:
            propose_without_tails(self._desk, request, slot)
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
