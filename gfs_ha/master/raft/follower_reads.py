"""Overrides for reads on followers: the read index is the leader's, the clock is one's own (M4).

A follower asks its leader once per tick for all reads that arrived, and releases them when its own
store shows the index of the answer. Whoever asked at a moment t and then shows that index misses
nothing that was acknowledged before t: so the same answers date the store, whatever time they and
the log took on the way. The age of what a leader sent by itself would be a guess: it may have
waited in a socket, and who sent it may have been deposed before.
"""

from __future__ import annotations

from collections import deque

from gfs_ha.limits import RAFT_PROPOSALS_MAX, READ_REFRESH_S
from gfs_ha.master.raft import internals, reads
from gfs_ha.master.raft.freshness import Freshness
from gfs_ha.master.raft.internals import LEADER
from gfs_ha.master.raft.messages import AskReadIndex, ReadIndex
from gfs_ha.master.raft.reads import Read

_DATED_MAX = 64


class _SyncObj(reads._SyncObj):
    """Reads on followers."""

    _refresh_s = READ_REFRESH_S  # It asks so often although nobody reads, to know its own age.
    _asked: deque[Read]  # Wait for the answer to a question that left after they arrived.
    _dated: deque[tuple[int, float]]  # Answers that the store does not show yet: index, asked at.
    _asked_ns = 0
    _asked_s = float("-inf")
    _asked_term = 0

    def _begin_reads(self) -> None:
        super()._begin_reads()
        self._asked = deque()
        self._dated = deque()

    def _waiting_count(self) -> int:
        return super()._waiting_count() + len(self._asked)

    def _note_reads(self) -> None:
        """Give the reads that arrived their read index, or ask for it. Once per tick."""
        if self.__raftState == LEADER:
            # Elected meanwhile: they arrived before now, so an index of now is theirs, too.
            while self._asked:
                self._reads.append(self._asked.popleft())
            super()._note_reads()
            return
        self._send_on()
        if self.__raftLeader is None or self._too_far_behind is not None:
            self._refuse_reads()
        else:
            self._ask_leader(self.__raftLeader)
        self._expire_reads()

    def _send_on(self) -> None:
        """Refuse what only a leader may answer; what waited for a round of ours is asked again."""
        waiting = [read for read in self._unconfirmed if read.asker is None]
        self._unconfirmed.clear()
        while self._reads:
            waiting.append(self._reads.popleft())
        led = [read for read in [*self._confirmed, *waiting] if not read.anywhere]
        self._confirmed = [read for read in self._confirmed if read.anywhere]
        self._reads.extend(read for read in waiting if read.anywhere)
        self._refuse(led)

    def _ask_leader(self, leader: internals.Member) -> None:
        now = self._around.now_s()
        again_s = self._asked_s + self._config.period_s
        lost = self._asked and (self._asked_term != self.__raftCurrentTerm or now >= again_s)
        if not (self._reads or lost or now >= self._asked_s + self._refresh_s):
            return
        # The moment is noted before the question leaves, so that the age is never too low.
        self._asked_ns = self._next_stamp_ns()
        self._asked_s, self._asked_term = now, self.__raftCurrentTerm
        while self._reads:
            read = self._reads.popleft()
            read.noted_ns = self._asked_ns
            self._asked.append(read)
        self._around.send_now(leader.id, AskReadIndex(self._asked_term, self._asked_ns))

    def _on_read_index(self, node: internals.Member, message: ReadIndex) -> None:
        """Take the answer to a question of this term. It stays true, whoever leads now."""
        if message.term != self.__raftCurrentTerm or message.asked_ns > self._asked_ns:
            return
        asked_s = message.asked_ns / 1e9
        known = self._freshness
        self._freshness = Freshness(known.as_of_s, max(known.led_s, asked_s))
        if len(self._dated) >= _DATED_MAX:
            self._dated.pop()  # The oldest comes true first, the newest counts most.
        self._dated.append((message.index, asked_s))
        while self._asked and self._asked[0].noted_ns <= message.asked_ns:
            read = self._asked.popleft()
            read.index = message.index
            self._confirmed.append(read)

    def _grow_older(self, visible: int) -> None:
        super()._grow_older(visible)
        while self._dated and self._dated[0][0] <= visible:
            asked_s = self._dated.popleft()[1]
            known = self._freshness
            self._freshness = Freshness(max(known.as_of_s, asked_s), known.led_s)

    def _refuse_reads(self) -> None:
        asked = list(self._asked)
        self._asked.clear()
        super()._refuse_reads()
        self._refuse(asked)

    def _expire(self, now: float, *queues: deque[Read] | list[Read]) -> None:
        super()._expire(now, *queues, self._asked)


assert _DATED_MAX < RAFT_PROPOSALS_MAX
