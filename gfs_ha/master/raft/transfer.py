"""Overrides for handing the leadership over to another member without an election's wait.

The leader stops taking proposals, waits until everything it took is applied and the target holds
all of it, gives up its read lease for the rest of its term, and tells the target to stand at once.
Voters may rely on that: the target's request names the term, and needs neither a pre-vote nor a
leader that went silent. A target that does not take over in time changes nothing but the lease.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from gfs_ha.errors import Busy, GfsError, NoLeader, NotFound, NotReady, PreconditionFailed
from gfs_ha.limits import RAFT_TRANSFER_LAG_MAX
from gfs_ha.master.raft import internals
from gfs_ha.master.raft.internals import FOLLOWER, LEADER
from gfs_ha.master.raft.messages import AskVote, TimeoutNow
from gfs_ha.master.raft.proposals import not_leader

logger = logging.getLogger(__name__)

TransferDone = Callable[[GfsError | None, str], None]


class _Transfer:
    __slots__ = ("deadline_s", "on_done", "sent", "target", "term")

    def __init__(self, target: str, on_done: TransferDone) -> None:
        self.target = target
        self.on_done = on_done
        self.term = 0
        self.deadline_s = 0.0
        self.sent = False


class _SyncObj(internals._SyncObj):
    """Leadership transfer."""

    _transfers: deque[_Transfer]  # Asked for; appended to by any thread.
    _transfer: _Transfer | None = None
    _renounced_term = 0  # The term in which this leader takes no read lease any more.
    _stand_for = 0  # The term whose leader told this member to stand, until the next tick.
    _succeeds = 0  # The term whose leader this candidate was told to succeed.

    def _begin_transfers(self) -> None:
        self._transfers = deque()

    def transfer(self, target: str, on_done: TransferDone) -> None:
        """Queue a transfer to a member, or to the best one for "". Thread-safe."""
        self._transfers.append(_Transfer(target, on_done))

    @property
    def transfers_waiting(self) -> bool:
        return bool(self._transfers)

    @property
    def _holding(self) -> bool:
        """Return whether proposals wait for the end of a transfer."""
        transfer = self._transfer
        return (
            transfer is not None
            and self.__raftState == LEADER
            and transfer.term == self.__raftCurrentTerm
        )

    # Leading.

    def _watch_transfer(self) -> None:
        """Begin, carry on or end transfers; once per tick, after what it sends by itself."""
        while self._transfers:
            self._begin_transfer(self._transfers.popleft())
        transfer = self._transfer
        if transfer is None:
            return
        overdue = self._around.now_s() >= transfer.deadline_s
        if self.__raftState != LEADER or self.__raftCurrentTerm != transfer.term:
            leader = self._leader_id()
            if leader:
                self._end_transfer(None, leader)
            elif overdue:
                self._end_transfer(NoLeader("the leadership was given up, and nobody leads yet"))
        elif self._node(transfer.target) not in self.__connectedNodes:
            self._end_transfer(NotReady(f"the connection to {transfer.target} was lost"))
        elif overdue:
            why = "did not take over" if transfer.sent else "did not catch up"
            limit_ms = int(self._config.timeout_max_s * 1000)
            self._end_transfer(NotReady(f"{transfer.target} {why} within {limit_ms} ms"))
        elif not transfer.sent and self._at_rest_with(transfer.target):
            self._send_off(transfer)

    def _begin_transfer(self, transfer: _Transfer) -> None:
        error = self._objection(transfer)
        if error is not None:
            self._around.call(transfer.on_done, error, "")
            return
        transfer.target = transfer.target or self._best_successor()
        transfer.term = self.__raftCurrentTerm
        transfer.deadline_s = self._around.now_s() + self._config.timeout_max_s
        self._transfer = transfer
        logger.info("handing over term=%d target=%s", transfer.term, transfer.target)

    def _objection(self, transfer: _Transfer) -> GfsError | None:
        target = transfer.target
        if self.__raftState != LEADER:
            return not_leader(self._leader_id())
        if self._transfer is not None:
            return Busy(f"the leadership is being handed over to {self._transfer.target}")
        if target == self._config.member_id:
            return PreconditionFailed(f"{target} leads already")
        if target and target not in self._peers:
            known = ", ".join(self._peers)
            return NotFound(f"there is no other master {target!r}; there are {known or 'none'}")
        if not target:
            return None if self._best_successor() else NotReady("no other master could lead now")
        return None if self._could_lead(target) else NotReady(self._why_not(target))

    def _could_lead(self, peer: str) -> bool:
        progress = self._progress[peer]
        lag = self._journal.last_index - progress.match_index
        followed = not (progress.behind or progress.probing)
        connected = self._peers[peer] in self.__connectedNodes
        voter = peer in self._configuration.voters
        return voter and connected and followed and lag <= RAFT_TRANSFER_LAG_MAX

    def _why_not(self, peer: str) -> str:
        progress = self._progress[peer]
        if peer not in self._configuration.voters:
            return f"{peer} is a learner: it does not vote yet"
        if self._peers[peer] not in self.__connectedNodes:
            return f"{peer} is not connected to the leader: start it or mend its network"
        lag = self._journal.last_index - progress.match_index
        return f"{peer} is not caught up: it lacks {lag} entries of the log"

    def _best_successor(self) -> str:
        fit = [peer for peer in self._peers if self._could_lead(peer)]
        progress = self._progress
        roomy = [peer for peer in fit if not progress[peer].space_low]
        return max(roomy or fit, key=lambda peer: progress[peer].match_index, default="")

    def _at_rest_with(self, peer: str) -> bool:
        """Return whether all that was taken is applied here and stored by the target."""
        last = self._journal.last_index
        return self.__raftLastApplied == last == self._progress[peer].match_index

    def _send_off(self, transfer: _Transfer) -> None:
        # Before it leaves: from here on another member may lead at any moment.
        self._renounce_lease()
        transfer.sent = True
        transfer.deadline_s = self._around.now_s() + self._config.timeout_max_s
        self._around.send_now(transfer.target, TimeoutNow(transfer.term))

    def _renounce_lease(self) -> None:
        self._renounced_term = self.__raftCurrentTerm
        self._lease_until_s = float("-inf")
        self._around.reads_end()

    def _end_transfer(self, error: GfsError | None, leader: str = "") -> None:
        transfer, self._transfer = self._transfer, None
        if transfer is not None:
            logger.info("handed over to=%s error=%s", leader or "nobody", error)
            self._around.call(transfer.on_done, error, leader)

    def _refuse_transfers(self) -> None:
        """End what is pending: this member is about to stop."""
        self._end_transfer(not_leader(self._leader_id()))
        while self._transfers:
            self._around.call(self._transfers.popleft().on_done, not_leader(self._leader_id()), "")

    # Taking over.

    def _on_timeout_now(self, node: internals.Member, message: TimeoutNow) -> None:
        follows = self.__raftState == FOLLOWER and self.__raftLeader is node
        if follows and message.term == self.__raftCurrentTerm and self._too_far_behind is None:
            # Until the tick: what comes behind it in the socket is the same leader's.
            self._stand_for = message.term

    def _told_to_stand(self) -> bool:
        """Return whether the leader of this very term wants to be succeeded; says it once."""
        term, self._stand_for = self._stand_for, 0
        if not term or term != self.__raftCurrentTerm or self.__raftState != FOLLOWER:
            return False
        if not self.votes_itself:
            return False
        self._succeeds = term
        return True

    def ask_vote(self, term: int, last_index: int, last_term: int) -> AskVote:
        """Return the request for votes of an election that begins now."""
        successor = self._succeeds == term - 1
        return AskVote(term, last_index, last_term, succeeds=term - 1 if successor else 0)
