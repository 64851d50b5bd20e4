"""Overrides for commands: from the queue into the log, from the log into the state, and back.

Stock retries an apply that raises for ever, applies twice when a callback raises, and has callbacks
that never fire. Here apply is total (an exception stops the process), every proposal has its own
deadline, and it ends applied, certainly not applied, or unknown.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable

from gfs_ha.errors import GfsError, NotLeader, Overloaded, UnknownOutcome
from gfs_ha.limits import (
    RAFT_APPLY_BYTES,
    RAFT_APPLY_DELAY_S,
    RAFT_APPLY_ENTRIES,
    RAFT_APPLY_PER_TICK_S,
    RAFT_BATCH_BYTES,
    RAFT_BATCH_ENTRIES,
    RAFT_PROPOSAL_BYTES_MAX,
    RAFT_PROPOSALS_MAX,
    RAFT_TICK_BYTES,
)
from gfs_ha.master.raft import internals
from gfs_ha.master.raft.contract import Outcome
from gfs_ha.master.raft.internals import LEADER
from gfs_ha.master.raft.journal import REGULAR
from gfs_ha.runtime import Lock

ProposalDone = Callable[[Outcome], None]


class _Proposal:
    __slots__ = ("command", "deadline_s", "done", "index", "on_done", "term")

    def __init__(self, payload: bytes, deadline_s: float, on_done: ProposalDone) -> None:
        self.command = REGULAR + payload
        self.deadline_s = deadline_s
        self.on_done = on_done
        self.index = 0  # 0 = not in the log yet.
        self.term = 0
        self.done = False


class _SyncObj(internals._SyncObj):
    """Commands."""

    _proposals: deque[_Proposal]  # Arrived; appended to by any thread under the lock.
    _proposal_count: int  # Of all that are not done, likewise.
    _proposal_bytes: int
    _proposal_lock: Lock
    _in_log: dict[int, _Proposal]
    _by_deadline: list[tuple[float, int, _Proposal]]
    _arrivals = 0
    _apply_at_s = float("inf")  # When a follower applies what is committed, at the latest.
    _held: list[tuple[_Proposal, Outcome]]  # Outcomes that wait for the own commit.

    def _begin_proposals(self, lock: Lock) -> None:
        self._proposals = deque()
        self._proposal_count = 0
        self._proposal_bytes = 0
        self._proposal_lock = lock
        self._in_log = {}
        self._by_deadline = []
        self._held = []

    def propose(self, payload: bytes, deadline_s: float, on_done: ProposalDone) -> bool:
        """Queue a command for the next tick; False when too many wait. Thread-safe."""
        proposal = _Proposal(payload, deadline_s, on_done)
        with self._proposal_lock:
            if (
                self._proposal_count >= RAFT_PROPOSALS_MAX
                or self._proposal_bytes + len(payload) > RAFT_PROPOSAL_BYTES_MAX
            ):
                return False
            self._proposal_count += 1
            self._proposal_bytes += len(proposal.command)
            self._proposals.append(proposal)
        return True

    @property
    def proposals_waiting(self) -> bool:
        """Return whether a tick has a proposal to take. Thread-safe."""
        return bool(self._proposals) and not self._holding

    def _checkCommandsToApply(self) -> None:
        """Take proposals into the log and send them on; PySyncObj's tick calls this."""
        if self.__raftState != LEADER:
            self._refuse_proposals()
            return
        size = count = 0
        term = self.__raftCurrentTerm
        now = self._around.now_s()
        if self._holding:
            self._expire_proposals(now)
            return
        while self._proposals and count < RAFT_BATCH_ENTRIES and size < RAFT_TICK_BYTES:
            proposal = self._proposals.popleft()
            if proposal.deadline_s <= now:
                error = Overloaded("the command waited too long for its turn and was not tried")
                self._finish(proposal, Outcome(None, error))
                continue
            self._log_proposal(proposal, term)
            size += len(proposal.command)
            count += 1
        if count:
            # Before the own commit, so that all disks sync at the same time.
            self.__sendAppendEntries()
        self._expire_proposals(now)

    def _log_proposal(self, proposal: _Proposal, term: int) -> None:
        proposal.index, proposal.term = self._journal.last_index + 1, term
        self._journal.add(proposal.command, proposal.index, term)
        self._in_log[proposal.index] = proposal
        self._arrivals += 1
        heapq.heappush(self._by_deadline, (proposal.deadline_s, self._arrivals, proposal))

    def _log_command(self, command: bytes, deadline_s: float, on_done: ProposalDone) -> None:
        """Append a command that is not one of the machine; only a leader may."""
        proposal = _Proposal(b"", deadline_s, on_done)
        proposal.command = command
        with self._proposal_lock:
            self._proposal_count += 1
            self._proposal_bytes += len(command)
        self._log_proposal(proposal, self.__raftCurrentTerm)

    def __applyLogEntries(self) -> bool:
        """Apply committed entries; PySyncObj's tick calls this.

        A follower has time for it, unless a read waits. What its leader waits for is that it stores
        the log: so it applies after the commit of a tick, several entries together, and most
        commits hold nothing but the log.
        """
        if self.__raftState == LEADER or self.reads_held:
            self._apply_committed()
        return False

    def apply_rest(self) -> None:
        """Apply what a follower's tick left, if it is much or has waited; after its commit."""
        if self.__raftState == LEADER or self.__raftLastApplied >= self.__raftCommitIndex:
            self._apply_at_s = float("inf")
            return
        now = self._around.now_s()
        self._apply_at_s = min(self._apply_at_s, now + RAFT_APPLY_DELAY_S)
        if now < self._apply_at_s and not self._much_to_apply():
            return
        self._apply_committed()
        done = self.__raftLastApplied >= self.__raftCommitIndex
        self._apply_at_s = float("inf") if done else now

    def _much_to_apply(self) -> bool:
        start = self.__raftLastApplied + 1
        count = self.__raftCommitIndex + 1 - start
        if count >= RAFT_APPLY_ENTRIES or self.reads_held:
            return True
        entries = self._journal.entries(start, count, RAFT_APPLY_BYTES)
        return sum(len(entry[0]) for entry in entries) >= RAFT_APPLY_BYTES

    def _apply_committed(self) -> None:
        """Apply committed entries, for at most 20 ms."""
        end_s = self._around.now_s() + RAFT_APPLY_PER_TICK_S
        while self.__raftLastApplied < self.__raftCommitIndex:
            start = self.__raftLastApplied + 1
            count = min(RAFT_BATCH_ENTRIES, self.__raftCommitIndex - start + 1)
            for command, index, term in self._journal.entries(start, count, RAFT_BATCH_BYTES):
                self._apply(command, index, term)
                if self._around.now_s() >= end_s:
                    return
        self._drop_overtaken()

    def _apply(self, command: bytes, index: int, term: int) -> None:
        result = b""
        if command[:1] == REGULAR:
            writer = self._around.writer()
            result = self._machine.apply(writer, index, term, command[1:])
        self._journal.note_applied(index, term)
        self.__raftLastApplied = index
        proposal = self._in_log.pop(index, None)
        if proposal is None:
            return
        assert proposal.term == term, "a proposal of this leadership was overwritten"
        outcome = Outcome(result, None, index, term)
        if self._others_needed:
            self._finish(
                proposal, outcome
            )  # Durable on a majority: the own commit may take longer.
        else:
            self._held.append((proposal, outcome))

    def _release_outcomes(self) -> None:
        """Release what waited for the own commit: all of it, in a cluster of one."""
        held, self._held = self._held, []
        for proposal, outcome in held:
            self._finish(proposal, outcome)

    def _give_up_leading(self) -> None:
        """End everything that a former leader promised; its commands may still be committed."""
        in_log, self._in_log = self._in_log, {}
        for index in sorted(in_log):
            proposal = in_log[index]
            error = UnknownOutcome(
                "the leader changed while the command was on its way; send the same request again"
            )
            self._finish(proposal, Outcome(None, error, index, proposal.term))
        self._by_deadline.clear()
        self._refuse_proposals()

    def _refuse_proposals(self) -> None:
        if not self._proposals:
            return
        leader = self._leader_id()
        while self._proposals:
            proposal = self._proposals.popleft()
            self._finish(proposal, Outcome(None, not_leader(leader)))

    def _expire_proposals(self, now: float) -> None:
        while self._by_deadline and (
            self._by_deadline[0][0] <= now or self._by_deadline[0][2].done
        ):
            proposal = heapq.heappop(self._by_deadline)[2]
            if proposal.done or self._in_log.pop(proposal.index, None) is None:
                continue  # Applied: its outcome is told, or waits for the own commit.
            error = UnknownOutcome(
                "no majority stored the command in time; it may still be applied"
            )
            self._finish(proposal, Outcome(None, error, proposal.index, proposal.term))

    def _finish(self, proposal: _Proposal, outcome: Outcome) -> None:
        proposal.done = True
        with self._proposal_lock:
            self._proposal_count -= 1
            self._proposal_bytes -= len(proposal.command)
        self._around.call(proposal.on_done, outcome)


def not_leader(leader: str) -> GfsError:
    """Return the error of a member that does not lead; `leader` is "" when nobody is known to."""
    hint = f"ask {leader}" if leader else "no leader is known"
    return NotLeader(f"this master does not lead; {hint}", leader=leader)
