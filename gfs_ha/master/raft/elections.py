"""Overrides of PySyncObj's elections: pre-vote, stickiness, distinct votes, stepping down.

Stock counts every vote message, lets any member that lost its link depose a healthy leader, and
keeps a leader without a quorum for 30 s. Here an election starts only after a majority said that it
would vote, nobody votes while a leader was heard within the shortest election timeout (the read
lease rests on that), and a leader without a confirmed round for one longest timeout steps down.
"""

from __future__ import annotations

import logging

from gfs_ha.master.raft import internals
from gfs_ha.master.raft.internals import CANDIDATE, FOLLOWER, LEADER
from gfs_ha.master.raft.messages import AskPreVote, AskVote, PreVote, Vote

logger = logging.getLogger(__name__)


class _SyncObj(internals._SyncObj):
    """Elections."""

    _quiet_until_s: float  # After a start: no vote and no pre-vote, somebody may hold a lease.
    _election_granted = False  # A majority would vote for this member.
    _pre_vote_term = 0
    _pre_votes: set[str]
    _votes: set[str]

    def _begin_elections(self) -> None:
        now = self._around.now_s()
        # What it had promised before the restart is forgotten: wait until nobody can rely on it.
        self._quiet_until_s = now + self._config.timeout_max_s
        self._leader_contact_s = now
        self._leaderless_since_s = now
        self._pre_votes = set()
        self._votes = set()

    def _watch_elections(self) -> None:
        """Canvass when no leader is heard, step down when no majority is; before the tick."""
        now = self._around.now_s()
        if self.__raftState == LEADER:
            if self._others_needed and now - self._led_round_s > self._config.timeout_max_s:
                logger.warning(
                    "no majority answered for %.2f s; stepping down term=%d",
                    now - self._led_round_s,
                    self.__raftCurrentTerm,
                )
                self._step_down(self.__raftCurrentTerm)
        elif not self._around.introduced():
            # A newer incarnation may live: who needs no votes has no link that would have to wait.
            soon_s = now + self._config.period_s
            self.__raftElectionDeadline = max(self.__raftElectionDeadline, soon_s)
        elif self._told_to_stand():
            self._grant_election()
        elif self.__raftElectionDeadline < now and not self._election_granted:
            self._canvass(now)

    def _canvass(self, now: float) -> None:
        self.__raftElectionDeadline = now + self.__generateRaftTimeout()
        self._forget_leader(now)
        if self._too_far_behind is not None or not self.votes_itself:
            return
        self._pre_votes = set()
        self._pre_vote_term = self.__raftCurrentTerm + 1
        if not self._others_needed:
            self._grant_election()
            return
        journal = self._journal
        last = journal.last_index
        ask = AskPreVote(self._pre_vote_term, last, journal.term_at(last))
        for peer in self._other_voters():
            self._around.send_durable(peer, ask)

    def _grant_election(self) -> None:
        self._election_granted = True
        self.__raftElectionDeadline = float("-inf")  # PySyncObj's next tick starts the election.

    def __connectedToAnyone(self) -> bool:
        """Answer PySyncObj's question whether an overdue election may start."""
        return self._election_granted

    def __generateRaftTimeout(self) -> float:
        return self._around.uniform(self._config.timeout_min_s, self._config.timeout_max_s)

    def _sticky(self) -> bool:
        """Return whether a leader may rely on this member not to vote for another one now."""
        now = self._around.now_s()
        if now < self._quiet_until_s:
            return True
        if self.__raftState == LEADER:
            return now < self._lease_until_s
        return now - self._leader_contact_s < self._config.timeout_min_s

    def _up_to_date(self, last_term: int, last_index: int) -> bool:
        last = self._journal.last_index
        return (last_term, last_index) >= (self._journal.term_at(last), last)

    def _on_ask_pre_vote(self, node: internals.Member, message: AskPreVote) -> None:
        granted = (
            message.term > self.__raftCurrentTerm
            and self._up_to_date(message.last_term, message.last_index)
            and not self._sticky()
        )
        term = message.term if granted else self.__raftCurrentTerm
        self._around.send_durable(node.id, PreVote(term, granted))

    def _on_pre_vote(self, node: internals.Member, message: PreVote) -> None:
        if not message.granted:
            if message.term > self.__raftCurrentTerm and self.__raftState != LEADER:
                self._step_down(message.term)
            return
        if message.term != self._pre_vote_term or self._pre_vote_term != self.__raftCurrentTerm + 1:
            return
        if self.__raftState == LEADER or self._election_granted:
            return
        self._pre_votes.add(node.id)
        if self._configuration.agreed(self._config.member_id, self._pre_votes):
            self._grant_election()

    def _on_ask_vote(self, node: internals.Member, message: AskVote) -> None:
        if message.term < self.__raftCurrentTerm:
            self._around.send_durable(node.id, Vote(self.__raftCurrentTerm, False))
            return
        if self._sticky() and not self._succession(message):
            return
        if message.term > self.__raftCurrentTerm:
            self._step_down(message.term)
        free = self.__votedForNodeId in (None, node.id) and self.__raftState == FOLLOWER
        if free and self._up_to_date(message.last_term, message.last_index):
            if self.__votedForNodeId is None:
                self.__setCurrentTerm(message.term, node.id)
            self.__raftElectionDeadline = self._around.now_s() + self.__generateRaftTimeout()
            self._around.send_durable(node.id, Vote(message.term, True))

    def _succession(self, message: AskVote) -> bool:
        """Return whether the leader whose lease stickiness guards gave it up for this election.

        Leases of older terms were over when that leader was elected; a leader of the asked term
        itself has a majority of it already.
        """
        return message.succeeds > 0 and message.succeeds == message.term - 1

    def _on_vote(self, node: internals.Member, message: Vote) -> None:
        if message.term > self.__raftCurrentTerm:
            self._step_down(message.term)
        elif (
            self.__raftState == CANDIDATE
            and message.term == self.__raftCurrentTerm
            and message.granted
        ):
            self._votes.add(node.id)
            if self._configuration.agreed(self._config.member_id, self._votes):
                self.__onBecomeLeader()

    def _step_down(self, term: int) -> None:
        """Follow whoever leads in `term`, which may be the current one."""
        if term > self.__raftCurrentTerm:
            self.__setCurrentTerm(term, None)
        now = self._around.now_s()
        self.__setState(FOLLOWER)
        self._forget_leader(now)
        self.__raftElectionDeadline = now + self.__generateRaftTimeout()

    def _follow(self, node: internals.Member) -> None:
        """Take a message of the leader of the current term."""
        now = self._around.now_s()
        self.__setState(FOLLOWER)
        self.__raftLeader = node
        self.__raftElectionDeadline = now + self.__generateRaftTimeout()
        self._leader_contact_s = now
        self._leaderless_since_s = None
        self._pre_votes = set()
        self._pre_vote_term = 0

    def _forget_leader(self, now: float) -> None:
        self.__raftLeader = None
        if self._leaderless_since_s is None:
            self._leaderless_since_s = now

    def __setState(self, state: int) -> None:
        """Change the role; everything that a former leader promised its callers ends here."""
        old = self.__raftState
        super().__setState(state)
        self._election_granted = False
        if state == CANDIDATE:
            self._votes = set()
        if old == LEADER and state != LEADER:
            logger.info("no longer leading term=%d", self.__raftCurrentTerm)
            self._lease_until_s = float("-inf")
            self._give_up_leading()

    def __setCurrentTerm(self, term: int, vote: str | None) -> None:
        assert term >= self.__raftCurrentTerm
        if term != self.__raftCurrentTerm:
            self._votes = set()
        super().__setCurrentTerm(term, vote)

    def _excuse(self, seconds: float) -> None:
        """Do not count the time of an own commit: nothing could be heard while it lasted."""
        self.__raftElectionDeadline += seconds
        # Only a stall: a leader that commits all the time must still notice that it is alone.
        self._led_round_s += max(0.0, seconds - self._config.period_s)
