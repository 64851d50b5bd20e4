"""The reads of a call: answered by the leader, or under the caller's terms by any master (M4).

They share one read index, look at one moment of the state on the door's thread, and are answered
together; what takes long goes on in a later turn. What needs facts that only a leader hears is not
answered by a follower, whatever the terms.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from gfs_ha.errors import GfsError, InternalError, NotInitialized, ProtocolError
from gfs_ha.limits import RAFT_TIMEOUT_MAX_S, REQUEST_DEADLINE_S
from gfs_ha.master.handlers import (
    admin,
    appends,
    chunk_reports,
    chunks,
    chunkservers,
    disks,
    events,
    fsck,
    gc,
    jobs,
    leases,
    live,
    losses,
    masters,
    namespace,
    placement,
    rebalance,
    repair,
    scrub,
    server_detail,
    server_modes,
    tickets,
    usage,
)
from gfs_ha.master.handlers.call import Call, Slot
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.proposals import MARGIN_S
from gfs_ha.master.raft.freshness import Freshness
from gfs_ha.master.raft.journal import stored_applied
from gfs_ha.master.roles import takes_part
from gfs_ha.master.state.view import View
from gfs_ha.protocol import append, damage, garbage, metadata, reports, servers
from gfs_ha.protocol import events as event_words
from gfs_ha.protocol import fsck as fsck_words
from gfs_ha.protocol import jobs as job_words
from gfs_ha.protocol import repair as repair_words
from gfs_ha.protocol import scrub as scrub_words
from gfs_ha.protocol.calls import BOUNDED, LED, LINEARIZABLE, LOCAL, ReadTerms
from gfs_ha.protocol.codec import Failure, Word, failure
from gfs_ha.protocol.disks import ListDisks
from gfs_ha.protocol.live import GetLive
from gfs_ha.protocol.losses import GetLoss
from gfs_ha.protocol.placement import ExplainNewPlacement, ExplainPlacement
from gfs_ha.protocol.policy import GetPolicy
from gfs_ha.protocol.rebalance import GetRebalance
from gfs_ha.protocol.server_modes import ListPlaces
from gfs_ha.protocol.tickets import GetTickets
from gfs_ha.protocol.usage import GetUsage

logger = logging.getLogger(__name__)

_SLICE_S = 0.02  # How long reads of one call hold the door before others have a turn.

Read = Callable[[Desk, View, Any, Slot], Word]
_Asked = tuple[Slot, Any]

# What every master can answer from its tables.
ANYWHERE: dict[type, Read] = {
    metadata.Stat: namespace.stat,
    metadata.ListDirectory: namespace.list_directory,
    metadata.OpenFile: namespace.open_file,
    metadata.ReadExtents: namespace.read_extents,
    metadata.Locate: namespace.locate,
    GetLive: live.get_live,  # Of a follower, what it can tell without having heard a server.
}

READS: dict[type, Read] = ANYWHERE | {
    metadata.Renew: namespace.renew,
    metadata.ReportReplica: chunks.report_replica,
    append.ConfirmTail: appends.confirm_tail,
    append.ListLeases: leases.list_leases,
    append.ListLeaseHistory: leases.list_lease_history,
    servers.ListServers: chunkservers.list_servers,
    reports.GetMasters: masters.get_masters,
    reports.GetServers: admin.get_servers,
    reports.GetChunks: chunk_reports.get_chunks,
    damage.ShowChunks: chunk_reports.show_chunks,
    GetLoss: losses.get_loss,
    fsck_words.ScanFiles: fsck.scan_files,
    fsck_words.ScanChunks: fsck.scan_chunks,
    fsck_words.ScanPlaces: fsck.scan_places,
    fsck_words.ScanTallies: fsck.scan_tallies,
    reports.GetPlacement: placement.get_placement,
    ExplainPlacement: placement.explain_placement,
    ExplainNewPlacement: placement.explain_new_placement,
    GetPolicy: placement.get_policy,
    GetUsage: usage.get_usage,
    reports.GetHealth: admin.get_health,
    reports.GetStatus: admin.get_status,
    repair_words.GetRepair: repair.get_repair,
    scrub_words.GetScrub: scrub.get_scrub,
    event_words.GetEvents: events.get_events,
    job_words.ListJobs: jobs.list_jobs,
    GetRebalance: rebalance.get_rebalance,
    job_words.GetJob: jobs.show_job,
    job_words.GetJobLog: jobs.show_log,
    servers.ShowServer: server_detail.show_server,
    servers.CountPlaces: server_detail.count_places,
    ListPlaces: server_modes.list_places,
    ListDisks: disks.list_disks,
    garbage.GetGarbage: gc.get_garbage,
    garbage.RunGarbage: gc.run_garbage,
    GetTickets: tickets.get_tickets,
}

# What is asked of a cluster whose first leader has not written its settings yet.
_BEFORE_INIT = (reports.GetHealth, reports.GetMasters)


def check_terms(terms: ReadTerms | None) -> None:
    """Raises: ProtocolError for terms that are not known here; a later release may have more."""
    if terms is not None and terms.kind not in (LED, LINEARIZABLE, BOUNDED, LOCAL):
        raise ProtocolError(f"this master answers no reads under terms {terms.kind!r}")


class Reading:
    """The reads of one call. On the door's thread, but for what hears of a read index."""

    def __init__(self, desk: Desk, call: Call, terms: ReadTerms | None) -> None:
        self._desk = desk
        self._call = call
        self._terms = terms
        self._anywhere = terms is not None and terms.kind != LED
        self._asked: list[_Asked] = []

    def takes(self, kind: type) -> bool:
        """Return whether a request of this kind is answered here although another one leads."""
        return self._anywhere and kind in ANYWHERE

    def add(self, slot: Slot, request: Any) -> None:
        """Have one request answered with the others."""
        self._asked.append((slot, request))

    def begin(self) -> None:
        """Answer at once where that is good enough, else once a read index is confirmed."""
        if not self._asked:
            return
        if self._good_at_once():
            self._answer(self._asked, confirmed=False)
        else:
            self._confirm(self._asked)

    def _good_at_once(self) -> bool:
        terms = self._terms
        if terms is None or terms.kind in (LED, LINEARIZABLE):
            return False
        if self._desk.proposer.reads_now():
            return False  # Under the lease confirmation costs nothing.
        if terms.kind == LOCAL:
            # Who was removed or is outdated only grows older: whatever it knows is no answer.
            return takes_part(self._desk.proposer.status())
        return self._young(self._desk.proposer.freshness())

    def _young(self, fresh: Freshness) -> bool:
        assert self._terms is not None
        bound_s = self._terms.bound_ms / 1000
        now_s = self._desk.now_s()
        if not fresh.within(bound_s, now_s):
            return False
        if not fresh.within(bound_s / 2, now_s):
            # Ask ahead of need, so that a steady reader never waits for the leader.
            self._desk.proposer.read_index(REQUEST_DEADLINE_S, _unheard, anywhere=True)
        return True

    def _confirm(self, asked: list[_Asked]) -> None:
        """Answer from a moment at or after now: the index is confirmed after the call came."""

        def done(error: GfsError | None) -> None:
            if error is None:
                self._desk.post_or_fail(partial(self._answer, asked, confirmed=True), fail)
            else:
                fail(self._desk.proposer.for_client(error))

        def fail(error: GfsError) -> None:
            for slot, _ in asked:
                slot.fail(error)

        left_s = self._call.left_s() - MARGIN_S
        self._desk.proposer.read_index(left_s, done, anywhere=self._anywhere)

    def _answer(self, asked: list[_Asked], confirmed: bool) -> None:
        desk = self._desk
        end_s = desk.now_s() + _SLICE_S
        fresh = desk.proposer.freshness()  # Before the transaction, which shows at least this.
        with desk.kv.read() as reader:
            index = stored_applied(reader)
            if not confirmed and not self._good_enough(fresh, index):
                # Behind what the caller has seen or too old by now: the leader knows the way on.
                self._confirm(asked)
                return
            self._date(index, None if confirmed else fresh)
            view = View(reader)
            initialized = view.settings() is not None
            for position, (slot, request) in enumerate(asked):
                if desk.now_s() >= end_s and position:
                    desk.post(partial(self._answer, asked[position:], confirmed))
                    return
                slot.reply(self._one(view, slot, request, initialized))

    def _good_enough(self, fresh: Freshness, index: int) -> bool:
        """Return whether the terms allow what the store shows."""
        terms = self._terms
        assert terms is not None, "reads without terms are confirmed"
        if index < terms.at_least:
            return False
        return terms.kind == LOCAL or fresh.within(terms.bound_ms / 1000, self._desk.now_s())

    def _date(self, index: int, fresh: Freshness | None) -> None:
        now_s = self._desk.now_s()
        if fresh is None:
            self._call.show(index)
        else:
            degraded = fresh.leaderless(RAFT_TIMEOUT_MAX_S, now_s)
            self._call.show(index, fresh.age_ms(now_s), degraded)

    def _one(self, view: View, slot: Slot, request: Any, initialized: bool) -> Word:
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


def _unheard(error: GfsError | None) -> None:
    """Tell nobody: who needs a read index asks for it again."""
