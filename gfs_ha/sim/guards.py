"""The guards of the consensus room, each with a replica that lacks it.

They exist only here: a fuzzer that finds nothing proves something only if it finds the hole again
when the guard is gone.
"""

from __future__ import annotations

from typing import Any

from gfs_ha.master.raft import internals
from gfs_ha.master.raft.internals import Member
from gfs_ha.master.raft.members import Point
from gfs_ha.master.raft.messages import (
    Appended,
    AppendEntries,
    AskPreVote,
    AskVote,
    Message,
    PreVote,
    Vote,
    encode,
)
from gfs_ha.master.raft.node import RaftNode
from gfs_ha.master.raft.syncobj import Replica


class SmallReplica(Replica):
    """The replica of every simulation: batches and steps so small that their borders matter."""

    _drop_entries_min = 4
    _drop_entries_max = 64
    _refresh_s = float("inf")
    _small_batches = True
    _snapshot_chunk_bytes = 200
    _snapshot_chunk_s = 0.001

    def _send_to(self, node: Member, heartbeat: bool = False) -> None:
        if self._small_batches:
            self._batch_entries = 1 + self._journal.last_index % 5
        super()._send_to(node, heartbeat)


class _TruncatesAlways(SmallReplica):
    """Stock: what follows the previous entry is cut off, whether it matches or not."""

    def _append(self, node: Member, message: AppendEntries) -> None:
        journal = self._journal
        after = message.prev_index + 1
        known = journal.first_index <= message.prev_index < journal.last_index
        if known and journal.term_at(message.prev_index) == message.prev_term:
            journal.truncate_from(max(after, journal.applied_index + 1))
            self._SyncObj__raftCommitIndex = min(self.commit_index, journal.last_index)
        super()._append(node, message)


class _CountsOldTerms(SmallReplica):
    """Figure 8 of the Raft paper: entries of an older term are committed by counting."""

    def _countable(self, index: int) -> bool:
        return True


class _CountsOldAnswers(SmallReplica):
    """Stock: an acknowledgement of any term counts."""

    def _on_appended(self, node: Member, message: Appended) -> None:
        renewed = Appended(
            self.term,
            self.term,
            message.sent_ns,
            message.matched,
            message.index,
            message.applied,
            message.space_low,
            message.behind,
        )
        super()._on_appended(node, renewed)


class _VotesForAnyLog(SmallReplica):
    """A vote for a candidate whose log is older than one's own."""

    def _up_to_date(self, last_term: int, last_index: int) -> bool:
        return True


class _VotesTwice(SmallReplica):
    """A member forgets whom it voted for."""

    def _on_ask_vote(self, node: Member, message: AskVote) -> None:
        self._SyncObj__votedForNodeId = None
        super()._on_ask_vote(node, message)


class _NotSticky(SmallReplica):
    """Votes although a leader was heard a moment ago: the read lease rests on nothing."""

    def _sticky(self) -> bool:
        return False


class _LeasesFromReceipt(SmallReplica):
    """The lease counts from when an answer came, not from when the round was sent."""

    def _extend_lease(self, round_s: float) -> None:
        super()._extend_lease(self._around.now_s() + self._config.timeout_max_s)


class _LeasesAfterTransfer(SmallReplica):
    """A leader that handed over relies on its read lease as before."""

    def _renounce_lease(self) -> None:
        pass


class _ReadsBeforeOwnEntry(SmallReplica):
    """Reads before the own term's first entry is applied: old commits are not known yet."""

    def _serving(self) -> bool:
        return self.role == internals.LEADER


class _ReadsInsideTick(SmallReplica):
    """Releases reads as soon as the state is applied, before the commit that readers see."""

    def _release_reads(self) -> None:
        for read in self._confirmed:
            if read.index <= self._journal.applied_index:
                self._around.call(read.on_done, None)
        self._confirmed = [r for r in self._confirmed if r.index > self._journal.applied_index]


class _ChangesBeforeOwnEntry(SmallReplica):
    """A new leader changes the members before an entry of its own term is committed."""

    def _settled(self) -> bool:
        return self.commit_index >= self._journal.configuration_index


class _ChangesSeveralAtOnce(SmallReplica):
    """A leader changes the members although the last change is not committed."""

    def _settled(self) -> bool:
        return self.commit_index >= self.first_own_index


class _CountsLearners(SmallReplica):
    """Learners count like voters."""

    def _advance_commit(self) -> None:
        learners = self._configuration.learners
        for name, progress in self._progress.items():
            for voter in self._other_voters() if name in learners else ():
                other = self._progress[voter]
                other.match_index = max(other.match_index, progress.match_index)
        super()._advance_commit()


class _ForgetsWhatFollows(SmallReplica):
    """A snapshot takes the whole log with it, also what follows on it."""

    def _follows_on(self, point: Point) -> bool:
        return False


class SimNode(RaftNode):
    """The node of every simulation."""

    replica_type = SmallReplica


class _SendsBeforeCommit(SimNode):
    """Votes and acknowledgements leave before they are durable."""

    def send_durable(self, peer: str, message: Message) -> None:
        if isinstance(message, Vote | PreVote | AskVote | AskPreVote | Appended):
            self._transport.send(peer, encode(message))


class _AdmitsOldCopies(SimNode):
    """A member never finds out that it runs on an old copy of its disk."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._identity.holds = lambda start: True  # type: ignore[method-assign]


def _node(replica: type[Replica]) -> type[RaftNode]:
    return type(replica.__name__, (RaftNode,), {"replica_type": replica})


GUARDS: dict[str, type[RaftNode]] = {
    "strict-append": _node(_TruncatesAlways),
    "own-term-commit": _node(_CountsOldTerms),
    "answer-term": _node(_CountsOldAnswers),
    "log-comparison": _node(_VotesForAnyLog),
    "one-vote": _node(_VotesTwice),
    "stickiness": _node(_NotSticky),
    "lease-from-send": _node(_LeasesFromReceipt),
    "no-lease-after-transfer": _node(_LeasesAfterTransfer),
    "own-entry-before-changes": _node(_ChangesBeforeOwnEntry),
    "one-change-at-a-time": _node(_ChangesSeveralAtOnce),
    "learners-do-not-count": _node(_CountsLearners),
    "snapshot-keeps-what-follows": _node(_ForgetsWhatFollows),
    "own-entry-before-reads": _node(_ReadsBeforeOwnEntry),
    "reads-after-commit": _node(_ReadsInsideTick),
    "send-after-commit": _SendsBeforeCommit,
    "start-list": _AdmitsOldCopies,
}
