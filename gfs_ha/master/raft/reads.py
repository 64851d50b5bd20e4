"""Overrides for linearizable reads: read index, read lease, release after the commit (M4).

A read is released once a commit made the applied state visible up to its read index: the commit
index of a leader, noted after the read arrived and after the own term's first entry was applied,
with the leadership confirmed at or after that moment by a majority's round or by the lease. Here is
the leader's part, also for the followers that ask it; theirs is in follower_reads.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from gfs_ha.errors import DeadlineExceeded, GfsError, NotLeader, Overloaded
from gfs_ha.limits import RAFT_PROPOSALS_MAX, READ_LEASE_SHARE
from gfs_ha.master.raft import internals
from gfs_ha.master.raft.freshness import NEVER_S, Freshness
from gfs_ha.master.raft.internals import LEADER
from gfs_ha.master.raft.messages import AskReadIndex, ReadIndex

ReadDone = Callable[[GfsError | None], None]


class Read:
    """One that waits. `anywhere`: a follower may release it, too, with the leader's read index."""

    __slots__ = ("anywhere", "asker", "deadline_s", "index", "noted_ns", "on_done")

    def __init__(
        self,
        on_done: ReadDone,
        deadline_s: float,
        anywhere: bool = False,
        asker: tuple[internals.Member, int] | None = None,
    ) -> None:
        self.on_done = on_done
        self.deadline_s = deadline_s
        self.anywhere = anywhere
        self.asker = asker  # The follower that asked for its read index, and its stamp.
        self.index = 0
        self.noted_ns = 0


class _SyncObj(internals._SyncObj):
    """Reads."""

    _reads: deque[Read]  # Arrived; appended to by any thread.
    _unconfirmed: deque[Read]  # Have a read index; wait for a round that began later.
    _confirmed: list[Read]  # Wait for the applied state to be visible.
    _told: dict[str, int]  # The newest commit index that a follower was sent with an answer.
    _next_read_check_s = 0.0
    _freshness = Freshness()

    def _begin_reads(self) -> None:
        self._reads = deque()
        self._unconfirmed = deque()
        self._confirmed = []
        self._told = {}
        self._lease_until_s = NEVER_S

    def read(self, on_done: ReadDone, deadline_s: float, anywhere: bool = False) -> bool:
        """Queue a read for the next tick; False when too many wait. Thread-safe."""
        if self._waiting_count() >= RAFT_PROPOSALS_MAX:
            return False
        self._reads.append(Read(on_done, deadline_s, anywhere))
        return True

    @property
    def freshness(self) -> Freshness:
        """Return how old the store may be. Thread-safe."""
        return self._freshness

    @property
    def reads_waiting(self) -> bool:
        """Return whether a tick can do something about a read that arrived. Thread-safe."""
        return bool(self._reads) and (self.__raftState != LEADER or self._serving())

    @property
    def reads_held(self) -> bool:
        """Return whether a read waits for nothing but a commit."""
        return bool(self._confirmed)

    def _waiting_count(self) -> int:
        return len(self._reads) + len(self._unconfirmed)

    def _serving(self) -> bool:
        """Return whether everything that earlier leaders committed is applied here."""
        return (
            self.__raftState == LEADER
            and self.__noopIDx is not None
            and self.__raftLastApplied >= self.__noopIDx
        )

    def _on_ask_read_index(self, node: internals.Member, message: AskReadIndex) -> None:
        """Queue a follower's question like a read; it gets no answer but from its own leader."""
        if self.__raftState != LEADER or message.term != self.__raftCurrentTerm:
            return  # It asks again, whom it then takes for the leader.
        if self._waiting_count() < RAFT_PROPOSALS_MAX:
            deadline_s = self._around.now_s() + self._config.timeout_max_s
            asker = (node, message.asked_ns)
            self._reads.append(Read(_unheard, deadline_s, asker=asker))

    def _note_reads(self) -> None:
        """Give the reads that arrived their read index. Once per tick, after applying."""
        if self._reads and self._serving():
            index = self.__raftCommitIndex
            leased = self._leased()
            noted_ns = 0 if leased else self._next_stamp_ns()
            while self._reads:
                read = self._reads.popleft()
                read.index, read.noted_ns = index, noted_ns
                if leased:
                    self._confirm(read)
                else:
                    self._unconfirmed.append(read)
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
            self._confirm(self._unconfirmed.popleft())

    def _confirm(self, read: Read) -> None:
        """Take the leadership for confirmed after the read got its index."""
        if read.asker is None:
            self._confirmed.append(read)
            return
        follower, asked_ns = read.asker
        if follower.id in self._progress and read.index > self._told.get(follower.id, 0):
            # It shows that index only once it knows that it is committed: do not let it wait.
            self._told[follower.id] = read.index
            self._send_to(follower, heartbeat=True)
        # What is committed is durable on a majority: the answer waits for no commit of ours.
        answer = ReadIndex(self.__raftCurrentTerm, asked_ns, read.index)
        self._around.send_now(follower.id, answer)

    def _release_reads(self) -> None:
        """Release reads whose state is visible in the store: after the commit, never inside it."""
        visible = self._journal.stored_applied_index
        self._grow_older(visible)
        if not self._confirmed:
            return
        waiting = []
        for read in self._confirmed:
            if read.index <= visible:
                self._around.call(read.on_done, None)
            else:
                waiting.append(read)
        self._confirmed = waiting

    def _grow_older(self, visible: int) -> None:
        """Note that a leader under its lease shows everything that anybody acknowledged."""
        if self._serving() and visible >= self.__raftCommitIndex and self._leased():
            now = self._around.now_s()
            self._freshness = Freshness(now, now)

    def _refuse_reads(self) -> None:
        """Refuse all that wait."""
        pending = [*self._confirmed, *self._unconfirmed]
        self._confirmed = []
        self._unconfirmed.clear()
        while self._reads:
            pending.append(self._reads.popleft())
        self._refuse(pending)

    def _refuse(self, reads: list[Read]) -> None:
        leader = self._leader_id() if reads else ""
        for read in reads:
            error = NotLeader("this master does not lead; ask the leader", leader=leader)
            self._around.call(read.on_done, error)

    def _expire_reads(self) -> None:
        now = self._around.now_s()
        if now < self._next_read_check_s:
            return
        self._next_read_check_s = now + 0.01
        self._expire(now, self._reads, self._unconfirmed, self._confirmed)

    def _expire(self, now: float, *queues: deque[Read] | list[Read]) -> None:
        for queue in queues:
            late = [read for read in list(queue) if read.deadline_s <= now]
            for read in late:
                queue.remove(read)
                error = DeadlineExceeded("no majority confirmed the leadership in time")
                self._around.call(read.on_done, error)


def _unheard(error: GfsError | None) -> None:
    """Tell nobody that a follower's question ended without an answer: it asks again."""


def too_many_reads() -> Overloaded:
    return Overloaded(f"{RAFT_PROPOSALS_MAX} reads wait for the leader; try again later")
