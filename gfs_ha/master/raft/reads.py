"""Overrides for linearizable reads: read index, read lease, release after the commit (M4).

A read is released once a commit made the applied state visible up to its read index: the commit
index of a leader, noted after the read arrived and after the own term's first entry was applied,
with the leadership confirmed at or after that moment by a majority's round or by the lease.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from gfs_ha.errors import DeadlineExceeded, GfsError, NotLeader, Overloaded
from gfs_ha.limits import RAFT_PROPOSALS_MAX, READ_LEASE_SHARE
from gfs_ha.master.raft import internals
from gfs_ha.master.raft.internals import LEADER

ReadDone = Callable[[GfsError | None], None]


class _Read:
    __slots__ = ("deadline_s", "index", "noted_ns", "on_done")

    def __init__(self, on_done: ReadDone, deadline_s: float) -> None:
        self.on_done = on_done
        self.deadline_s = deadline_s
        self.index = 0
        self.noted_ns = 0


class _SyncObj(internals._SyncObj):
    """Reads."""

    _reads: deque[_Read]  # Arrived; appended to by any thread.
    _unconfirmed: deque[_Read]  # Have a read index; wait for a round that began later.
    _confirmed: list[_Read]  # Wait for the applied state to be visible.
    _next_read_check_s = 0.0

    def _begin_reads(self) -> None:
        self._reads = deque()
        self._unconfirmed = deque()
        self._confirmed = []
        self._lease_until_s = float("-inf")

    def read(self, on_done: ReadDone, deadline_s: float) -> bool:
        """Queue a read for the next tick; False when too many wait. Thread-safe."""
        if len(self._reads) + len(self._unconfirmed) >= RAFT_PROPOSALS_MAX:
            return False
        self._reads.append(_Read(on_done, deadline_s))
        return True

    @property
    def reads_waiting(self) -> bool:
        """Return whether a tick can do something about a read that arrived. Thread-safe."""
        return bool(self._reads) and (self.__raftState != LEADER or self._serving())

    @property
    def reads_held(self) -> bool:
        """Return whether a read waits for nothing but a commit."""
        return bool(self._confirmed)

    def _serving(self) -> bool:
        """Return whether everything that earlier leaders committed is applied here."""
        return (
            self.__raftState == LEADER
            and self.__noopIDx is not None
            and self.__raftLastApplied >= self.__noopIDx
        )

    def _note_reads(self) -> None:
        """Give the reads that arrived their read index. Once per tick, after applying."""
        if self.__raftState != LEADER:
            self._refuse_reads()
            return
        if self._reads and self._serving():
            index = self.__raftCommitIndex
            leased = self._leased()
            noted_ns = 0 if leased else self._next_stamp_ns()
            while self._reads:
                read = self._reads.popleft()
                read.index, read.noted_ns = index, noted_ns
                (self._confirmed if leased else self._unconfirmed).append(read)
            if not leased:
                self.__sendAppendEntries()
                self._confirm_reads()
        self._expire_reads()

    def _leased(self) -> bool:
        return not self._others_needed or self._around.now_s() < self._lease_until_s

    def _extend_lease(self, round_s: float) -> None:
        if self._renounced_term == self.__raftCurrentTerm:
            return  # Another member may have been elected with this leader's consent.
        # From the send time: nobody who answered votes within the shortest timeout after it.
        until = round_s + READ_LEASE_SHARE * self._config.timeout_min_s
        self._lease_until_s = max(self._lease_until_s, until)

    def _confirm_reads(self) -> None:
        round_ns = self._confirmed_round_ns()
        while self._unconfirmed and self._unconfirmed[0].noted_ns < round_ns:
            self._confirmed.append(self._unconfirmed.popleft())

    def _release_reads(self) -> None:
        """Release reads whose state is visible in the store: after the commit, never inside it."""
        if not self._confirmed:
            return
        visible = self._journal.stored_applied_index
        waiting = []
        for read in self._confirmed:
            if read.index <= visible:
                self._around.call(read.on_done, None)
            else:
                waiting.append(read)
        self._confirmed = waiting

    def _refuse_reads(self) -> None:
        pending = [*self._confirmed, *self._unconfirmed]
        self._confirmed = []
        self._unconfirmed.clear()
        while self._reads:
            pending.append(self._reads.popleft())
        if pending:
            leader = self._leader_id()
            for read in pending:
                error = NotLeader("this master does not lead; ask the leader", leader=leader)
                self._around.call(read.on_done, error)

    def _expire_reads(self) -> None:
        now = self._around.now_s()
        if now < self._next_read_check_s:
            return
        self._next_read_check_s = now + 0.01
        for queue in (self._reads, self._unconfirmed, self._confirmed):
            late = [read for read in list(queue) if read.deadline_s <= now]
            for read in late:
                queue.remove(read)
                error = DeadlineExceeded("no majority confirmed the leadership in time")
                self._around.call(read.on_done, error)


def too_many_reads() -> Overloaded:
    return Overloaded(f"{RAFT_PROPOSALS_MAX} reads wait for the leader; try again later")
