"""The guards of reads on followers, each with a replica that lacks it, and one that has them."""

from __future__ import annotations

from gfs_ha.master.raft.freshness import Freshness
from gfs_ha.master.raft.internals import LEADER, Member
from gfs_ha.master.raft.messages import AppendEntries, AskReadIndex, ReadIndex
from gfs_ha.master.raft.node import RaftNode
from gfs_ha.sim.guards import SmallReplica


class ReadingReplica(SmallReplica):
    """The replica of simulations that read on followers: it asks for its age like a real one."""

    _refresh_s = 0.1


class _NeverAsks(ReadingReplica):
    """A follower takes what it knows to be committed for all that is."""

    def _ask_leader(self, leader: Member) -> None:
        while self._reads:
            read = self._reads.popleft()
            read.index = self.commit_index
            self._confirmed.append(read)


class _AnswersUnconfirmed(ReadingReplica):
    """A leader answers followers without knowing that it still leads."""

    def _on_ask_read_index(self, node: Member, message: AskReadIndex) -> None:
        if self.role == LEADER and message.term == self.term:
            answer = ReadIndex(self.term, message.asked_ns, self.commit_index)
            self._around.send_now(node.id, answer)


class _ReleasesOnAnswer(ReadingReplica):
    """A follower releases reads as soon as the answer comes, whatever its store shows."""

    def _on_read_index(self, node: Member, message: ReadIndex) -> None:
        super()._on_read_index(node, message)
        for read in self._confirmed:
            read.index = 0


class _SharesOldAnswers(ReadingReplica):
    """An answer counts for all reads that wait, also for those that came after its question."""

    def _on_read_index(self, node: Member, message: ReadIndex) -> None:
        while self._reads:
            read = self._reads.popleft()
            read.noted_ns = 0
            self._asked.append(read)
        for read in self._asked:
            read.noted_ns = min(read.noted_ns, message.asked_ns)
        super()._on_read_index(node, message)


class _DatesByReceipt(ReadingReplica):
    """The age counts from when the leader's last words came in."""

    def _on_append_entries(self, node: Member, message: AppendEntries) -> None:
        super()._on_append_entries(node, message)
        if message.term == self.term:
            self._dated.append((message.commit, self._around.now_s()))


class _DatesUnshown(ReadingReplica):
    """The age counts from the newest question that was answered, shown or not."""

    def _on_read_index(self, node: Member, message: ReadIndex) -> None:
        super()._on_read_index(node, message)
        led_s = self._freshness.led_s
        self._freshness = Freshness(max(led_s, self._freshness.as_of_s), led_s)


def _node(replica: type[SmallReplica]) -> type[RaftNode]:
    return type(replica.__name__, (RaftNode,), {"replica_type": replica})


READING = _node(ReadingReplica)
READ_GUARDS: dict[str, type[RaftNode]] = {
    "follower-asks": _node(_NeverAsks),
    "answer-confirmed": _node(_AnswersUnconfirmed),
    "release-when-shown": _node(_ReleasesOnAnswer),
    "question-after-arrival": _node(_SharesOldAnswers),
    "age-from-question": _node(_DatesByReceipt),
    "age-of-what-is-shown": _node(_DatesUnshown),
}
