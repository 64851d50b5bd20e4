"""The only door to PySyncObj: its replica with the overrides of this room, driven by our own loop.

PySyncObj keeps the state of a replica and its tick: when an election starts, what its start and the
new leader's first entry are, when heartbeats are due. The mixins replace what facts about 0.3.17
showed to be unsafe. Its clock is one global of the module: it is bound once, to a dispatcher that
asks the member that is ticking now in this thread.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pysyncobj.syncobj as _stock
from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.journal import Journal as _StockJournal
from pysyncobj.node import Node
from pysyncobj.transport import Transport
from pysyncobj.version import VERSION

from gfs_ha.checksum import crc32c
from gfs_ha.master.raft import (
    changes,
    elections,
    follower_reads,
    installing,
    internals,
    proposals,
    replication,
    snapshots,
    transfer,
)
from gfs_ha.master.raft.contract import RaftConfig, StateMachine
from gfs_ha.master.raft.internals import CANDIDATE, FOLLOWER, LEADER, Surroundings
from gfs_ha.master.raft.journal import Journal
from gfs_ha.master.raft.members import Configuration
from gfs_ha.master.raft.messages import (
    Appended,
    AppendEntries,
    AskPreVote,
    AskReadIndex,
    AskVote,
    Message,
    OfferSnapshot,
    PreVote,
    ReadIndex,
    SnapshotChunk,
    SnapshotStored,
    TimeoutNow,
    Vote,
)
from gfs_ha.master.raft.progress import Progress
from gfs_ha.runtime import Lock

PYSYNCOBJ_VERSION = "0.3.17"
assert VERSION == PYSYNCOBJ_VERSION, f"the overrides were written for {PYSYNCOBJ_VERSION}"
assert (FOLLOWER, CANDIDATE, LEADER) == (
    _stock._RAFT_STATE.FOLLOWER,
    _stock._RAFT_STATE.CANDIDATE,
    _stock._RAFT_STATE.LEADER,
)

_clock: ContextVar[Callable[[], float]] = ContextVar("clock", default=_stock.monotonicTime)
_stock_create_journal = _stock.createJournal


def _monotonic_time() -> float:
    return _clock.get()()


def _create_journal(journal: Any = None) -> Any:
    if isinstance(journal, Journal | _StockJournal):
        return journal
    return _stock_create_journal(journal)


_stock.monotonicTime = _monotonic_time
_stock.createJournal = _create_journal


def use_clock(now_s: Callable[[], float]) -> None:
    """Make `now_s` the clock of whatever replica ticks next in this thread."""
    _clock.set(now_s)


class _StableNode(Node):  # type: ignore[misc]
    """A member whose hash is the same in every run, so that simulations repeat themselves."""

    def __hash__(self) -> int:
        return crc32c(self.id.encode())


class _NoPoller:
    """Our loop waits by itself, before the tick and not in it."""

    def poll(self, wait_s: float) -> None:
        pass


class _Outgoing(Transport):  # type: ignore[misc]
    """What PySyncObj takes for its transport. It only ever sends vote requests by itself."""

    ready = True

    def __init__(self, around: Surroundings, ask: Callable[[int, int, int], AskVote]) -> None:
        super().__init__(None, None, [])
        self._around = around
        self._ask = ask

    def send(self, node: internals.Member, message: dict[str, Any]) -> bool:
        assert message["type"] == "request_vote", f"PySyncObj sends {message['type']} by itself"
        ask = self._ask(message["term"], message["last_log_index"], message["last_log_term"])
        self._around.send_durable(node.id, ask)
        return True


_HANDLERS = {
    AppendEntries: "_on_append_entries",
    Appended: "_on_appended",
    AskPreVote: "_on_ask_pre_vote",
    PreVote: "_on_pre_vote",
    AskVote: "_on_ask_vote",
    Vote: "_on_vote",
    TimeoutNow: "_on_timeout_now",
    OfferSnapshot: "_on_offer_snapshot",
    SnapshotChunk: "_on_snapshot_chunk",
    SnapshotStored: "_on_snapshot_stored",
    AskReadIndex: "_on_ask_read_index",
    ReadIndex: "_on_read_index",
}


class Replica(
    elections._SyncObj,
    replication._SyncObj,
    follower_reads._SyncObj,
    proposals._SyncObj,
    transfer._SyncObj,
    changes._SyncObj,
    snapshots._SyncObj,
    installing._SyncObj,
    SyncObj,  # type: ignore[misc]  # It has no types.
):
    """One member of the consensus: PySyncObj's with our overrides. One thread only.

    PySyncObj's constructor reads every attribute, so no property may fail before it is done.
    """

    def __init__(
        self,
        config: RaftConfig,
        journal: Journal,
        machine: StateMachine,
        around: Surroundings,
        lock: Lock,
    ) -> None:
        use_clock(around.now_s)
        self._config = config
        self._journal = journal
        self._machine = machine
        self._around = around
        self._nodes: dict[str, internals.Member] = {}
        self._begin_changes()
        self._begin_replication()
        self._begin_reads()
        self._begin_proposals(lock)
        self._begin_transfers()
        self._begin_installing()
        self._begin_elections()
        self._led_round_s = 0.0
        SyncObj.__init__(
            self,
            _StableNode(config.member_id),
            [self._node(name) for name in self._other_voters()],
            _stock_configuration(config, journal),
            transport=_Outgoing(around, self.ask_vote),
        )
        self._poller = _NoPoller()
        self._restore_applied()

    def tick(self) -> None:
        """Run one tick: elections, commits, applying, heartbeats, proposals, reads."""
        self._watch_elections()
        if self.role == LEADER:
            self._advance_commit()
        self._onTick(0.0)
        self._note_reads()
        self._watch_changes()
        self._watch_transfer()
        self._watch_snapshots()

    def committed(self, seconds: float) -> None:
        """Hear that all of this tick is durable, and how long the commit took."""
        self._excuse(seconds)
        self._release_outcomes()

    def receive(self, peer: str, message: Message) -> None:
        """Take a message of a peer, which need not be a member by one's own configuration.

        Votes and appends are answered by term and log: one's own configuration may be an old one.
        Raises: CorruptData, which is fatal.
        """
        getattr(self, _HANDLERS[type(message)])(self._node(peer), message)

    def connected(self, peer: str) -> None:
        self._SyncObj__onNodeConnected(self._node(peer))

    def disconnected(self, peer: str) -> None:
        self._SyncObj__onNodeDisconnected(self._node(peer))

    def _node(self, name: str) -> internals.Member:
        """Return the node of a name: the same one always, be it a member or not."""
        if name not in self._nodes:
            self._nodes[name] = _StableNode(name)
        return self._nodes[name]

    def give_up(self) -> None:
        """End everything that is pending; the member is about to stop."""
        if self.role == LEADER:
            self._step_down(self.term)
        self._refuse_transfers()
        self._refuse_changes()
        self._drop_export()
        self._refuse_proposals()
        self._refuse_reads()

    @property
    def role(self) -> int:
        return int(self._SyncObj__raftState)

    @property
    def serving(self) -> bool:
        """Return whether it leads and has applied all that earlier leaders committed."""
        return self._serving()

    @property
    def term(self) -> int:
        return int(self._SyncObj__raftCurrentTerm)

    @property
    def commit_index(self) -> int:
        return int(self._SyncObj__raftCommitIndex)

    @property
    def next_deadline_s(self) -> float:
        """Return when the next tick is due, if nothing comes before."""
        if self.role == LEADER:
            due_s = float(self._SyncObj__newAppendEntriesTime)
            return min(due_s, self._next_chunk_s) if self._sending else due_s
        return min(float(self._SyncObj__raftElectionDeadline), self._apply_at_s)

    @property
    def busy(self) -> bool:
        """Return whether the next tick has something to do at once. Thread-safe."""
        return (
            self.proposals_waiting
            or self.reads_waiting
            or self.transfers_waiting
            or self.changes_waiting
            or (self.role == LEADER and self._SyncObj__raftLastApplied < self.commit_index)
            or self._commits_alone
        )

    @property
    def lingers(self) -> bool:
        """Return whether applied state may wait for the next commit: nobody asks for it yet.

        What is applied is durable on a majority; only readers need it in the store. One that leads
        and needs nobody has yet to tell the outcomes.
        """
        alone = self.role == LEADER and not self._others_needed
        return not alone and not self.reads_held

    @property
    def _commits_alone(self) -> bool:
        """Return whether the only member has to count its own commit now."""
        alone = not self._others_needed and self.role == LEADER
        return alone and self._journal.durable_index > self._SyncObj__raftCommitIndex

    @property
    def lease_until_s(self) -> float:
        """Return until when nobody else can lead, on this member's clock."""
        return self._lease_until_s if self._others_needed else float("inf")

    @property
    def leader_id(self) -> str:
        return self._leader_id()

    @property
    def first_own_index(self) -> int:
        """Return where the entries of the newest own term begin; 0 when it never led."""
        return int(self._SyncObj__noopIDx or 0)

    @property
    def peers(self) -> tuple[str, ...]:
        return tuple(self._peers)

    @property
    def configuration(self) -> Configuration:
        """Return the configuration in force."""
        return self._configuration

    @property
    def leaderless_since_s(self) -> float | None:
        return self._leaderless_since_s

    @property
    def leader_contact_s(self) -> float:
        """Return when this member last heard the leader that it follows."""
        return self._leader_contact_s

    @property
    def too_far_behind(self) -> str | None:
        return self._too_far_behind

    def is_connected(self, peer: str) -> bool:
        return self._node(peer) in self._SyncObj__connectedNodes

    def progress_of(self, peer: str) -> Progress | None:
        """Return what this member, if it leads, knows of another one."""
        return self._progress.get(peer) if self.role == LEADER else None

    def release_reads(self) -> None:
        """Release the reads whose state is visible in the store."""
        self._release_reads()

    def _leader_id(self) -> str:
        leader = self._SyncObj__raftLeader
        return "" if leader is None else str(leader.id)

    def _restore_applied(self) -> None:
        journal = self._journal
        applied = journal.applied_index
        self._SyncObj__raftLastApplied = applied
        commit = max(journal.getRaftCommitIndex(), applied)
        self._SyncObj__raftCommitIndex = min(commit, journal.last_index)

    def _SyncObj__onMessageReceived(self, node: Any, message: Any) -> None:
        raise AssertionError("PySyncObj's own messages are not spoken here")

    def _SyncObj__loadDumpFile(self, clearJournal: bool) -> None:
        raise AssertionError("PySyncObj's own snapshots are not used")

    def _SyncObj__doApplyCommand(self, command: bytes) -> None:
        raise AssertionError("PySyncObj's own commands are not used")


def _stock_configuration(config: RaftConfig, journal: Journal) -> Any:
    return SyncObjConf(
        autoTick=False,
        journalFile=journal,
        appendEntriesUseBatch=True,
        appendEntriesPeriod=config.period_s,
        raftMinTimeout=config.timeout_min_s,
        raftMaxTimeout=config.timeout_max_s,
        connectionTimeout=config.timeout_max_s,
        leaderFallbackTimeout=1e9,  # We step down by the send times of confirmed rounds.
        commandsWaitLeader=False,
        dynamicMembershipChange=False,
        useFork=False,
    )
