"""Overrides of PySyncObj's replication: strict AppendEntries, counted answers, bounded pipelines.

Stock truncates entries that match and were acknowledged when an AppendEntries is late or repeated,
counts acknowledgements of any term, and moves its commit index on a snapshot without looking at the
log. Here what matches is skipped, only a real conflict above the commit index is truncated, an
answer carries its term, and only entries of the own term are counted into a commit.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from gfs_ha.errors import CorruptData
from gfs_ha.limits import RAFT_BATCH_BYTES, RAFT_BATCH_ENTRIES
from gfs_ha.master.raft import internals
from gfs_ha.master.raft.internals import LEADER
from gfs_ha.master.raft.messages import Appended, AppendEntries
from gfs_ha.master.raft.progress import Progress

logger = logging.getLogger(__name__)


class _SyncObj(internals._SyncObj):
    """Replication."""

    _batch_entries = RAFT_BATCH_ENTRIES
    _drop_entries_min = 1024  # The log is dropped in steps of at least this many entries …
    _drop_entries_max = 8192  # … and at most this many in one tick.
    _stamp_ns = 0

    def _begin_replication(self) -> None:
        self._progress = {}
        self._too_far_behind = None
        self._drop_to = 0

    # Following.

    def _on_append_entries(self, node: internals.Member, message: AppendEntries) -> None:
        if message.term < self.__raftCurrentTerm:
            self._answer(node, message, matched=False, index=0)  # Its term tells the old leader.
            return
        if message.term > self.__raftCurrentTerm:
            self.__setCurrentTerm(message.term, None)
        elif self.__raftState == LEADER:
            raise CorruptData(
                f"{node.id} leads in term {message.term}, and so does this member: one of them runs"
                " on a copy of a disk"
            )
        self._follow(node)
        self.__leaderCommitIndex = message.commit
        if message.log_first:
            self._fall_behind(node, message)
            return
        self._too_far_behind = None
        self._append(node, message)
        self._drop_to = max(self._drop_to, message.drop_to)

    def _append(self, node: internals.Member, message: AppendEntries) -> None:
        journal = self._journal
        first, last = journal.first_index, journal.last_index
        start = message.prev_index + 1
        match = message.prev_index + len(message.entries)
        if message.prev_index > last:
            self._answer(node, message, matched=False, index=last + 1)
            return
        if message.prev_index >= first:
            if journal.term_at(message.prev_index) != message.prev_term:
                hint = self._conflict_start(message.prev_index)
                self._answer(node, message, matched=False, index=hint)
                return
        elif match < first:
            # All of it was dropped here, so it is committed and the same everywhere.
            self._answer(node, message, matched=True, index=first)
            return
        skipped = max(0, first + 1 - start)
        for offset in range(skipped, len(message.entries)):
            term, command = message.entries[offset]
            index = start + offset
            if index <= last:
                if journal.term_at(index) == term:
                    continue
                self._truncate(index)
                last = index - 1
            journal.add(command, index, term)
        self._adopt_configuration()
        # Only what was compared with this leader's log may be taken for committed.
        commit = min(message.commit, match)
        if commit > self.__raftCommitIndex:
            self.__raftCommitIndex = commit
            journal.setRaftCommitIndex(commit)
        self._answer(node, message, matched=True, index=match)

    def _truncate(self, index: int) -> None:
        if index <= self.__raftCommitIndex:
            raise CorruptData(
                f"the leader's log differs from this member's at entry {index}, which is committed"
                f" (up to {self.__raftCommitIndex}): this member must not go on"
            )
        logger.info("truncating the log from=%d last=%d", index, self._journal.last_index)
        self._journal.truncate_from(index)

    def _conflict_start(self, index: int) -> int:
        """Return where to go back to: over the whole term that differs, never below the commit."""
        journal = self._journal
        term = journal.term_at(index)
        floor = max(journal.first_index, self.__raftCommitIndex) + 1
        while index > floor and journal.term_at(index - 1) == term:
            index -= 1
        return index

    def _fall_behind(self, node: internals.Member, message: AppendEntries) -> None:
        # A snapshot that this very tick installed is stored before the answer leaves.
        applied = max(self._journal.stored_applied_index, self.__raftLastApplied)
        if applied >= message.log_first:
            # Sent before the leader heard of the snapshot that is in force here by now.
            self._too_far_behind = None
            self._answer(node, message, matched=False, index=applied + 1)
            return
        if self._too_far_behind is None:
            last = self._journal.last_index
            self._too_far_behind = (
                "this member is new and waits for a snapshot"
                if last <= 1
                else f"the leader's log begins at entry {message.log_first}, this member's ends at"
                f" {last}: it was away too long and waits for a snapshot"
            )
            logger.warning("too far behind: %s", self._too_far_behind)
        # It still confirms the leadership, but holds nothing more than it did.
        self._answer(node, message, matched=False, index=0, behind=True)

    def _answer(
        self,
        node: internals.Member,
        message: AppendEntries,
        *,
        matched: bool,
        index: int,
        behind: bool = False,
    ) -> None:
        answer = Appended(
            term=self.__raftCurrentTerm,
            asked_term=message.term,
            sent_ns=message.sent_ns,
            matched=matched,
            index=index,
            applied=self._journal.stored_applied_index,
            space_low=self._around.space_low(),
            behind=behind,
        )
        self._around.send_durable(node.id, answer)

    # Leading.

    def __onBecomeLeader(self) -> None:
        now = self._around.now_s()
        logger.info("leading term=%d last=%d", self.__raftCurrentTerm, self._journal.last_index)
        self._leaderless_since_s = None
        self._led_round_s = now
        next_index = self._journal.last_index + 1
        self._progress = {peer: Progress(next_index) for peer in self._peers}
        super().__onBecomeLeader()  # Adds the entry without a command of the new term.

    def __onNodeConnected(self, node: internals.Member) -> None:
        super().__onNodeConnected(node)
        self._break_stream(node)
        progress = self._progress.get(node.id)
        if self.__raftState == LEADER and progress is not None:
            # What was on its way died with the old link.
            known = progress.agreed_index or self._journal.last_index
            progress.restart(known + 1, self._next_stamp_ns())
            self._send_to(node)

    def _advance_commit(self) -> None:
        """Commit what a majority durably holds, if the newest of it is of the own term."""
        index = self._journal.durable_index
        if self._others_needed:
            matches = {name: p.match_index for name, p in self._progress.items()}
            index = min(index, self._configuration.reached(self._config.member_id, matches))
        if index > self.__raftCommitIndex and self._countable(index):
            self._around.commit_advances()
            self.__raftCommitIndex = index
            self._journal.setRaftCommitIndex(index)

    def _countable(self, index: int) -> bool:
        return self._journal.term_at(index) == self.__raftCurrentTerm

    def _on_appended(self, node: internals.Member, message: Appended) -> None:
        if message.term > self.__raftCurrentTerm:
            self._step_down(message.term)
            return
        progress = self._progress.get(node.id)
        if not self._current(message) or progress is None:
            return
        now = self._around.now_s()
        progress.answered_s = now
        self.__lastResponseTime[node] = now
        progress.applied_index = max(progress.applied_index, message.applied)
        progress.space_low = message.space_low
        if message.sent_ns > progress.confirmed_ns:
            progress.confirmed_ns = message.sent_ns
            self._confirm_round()
        if message.behind:
            progress.behind = True
        elif message.matched:
            self._on_match(node, progress, message.index)
        elif progress.rejected(message.index, message.sent_ns, self._stamp_ns):
            self._send_to(node)

    def _current(self, message: Appended) -> bool:
        """Return whether an answer belongs to this leadership, and not to an old term."""
        term = self.__raftCurrentTerm
        return self.__raftState == LEADER and message.term == message.asked_term == term

    def _on_match(self, node: internals.Member, progress: Progress, index: int) -> None:
        index = min(index, self._journal.last_index)
        waited = progress.probing or not progress.room
        progress.matched(index)
        self.__raftMatchIndex[node] = min(progress.match_index, self._journal.durable_index)
        self.__raftNextIndex[node] = progress.next_index
        if waited and progress.next_index <= self._journal.last_index:
            self._send_to(node)

    def _confirm_round(self) -> None:
        round_s = self._confirmed_round_ns() / 1e9
        self._led_round_s = max(self._led_round_s, round_s)
        self._extend_lease(round_s)
        self._confirm_reads()

    def _confirmed_round_ns(self) -> int:
        """Return the newest send time that a majority echoed in this term."""
        if not self._others_needed:
            return self._stamp_ns
        echoed = {name: p.confirmed_ns for name, p in self._progress.items()}
        return self._configuration.reached(self._config.member_id, echoed)

    def _next_stamp_ns(self) -> int:
        """Return the time as a stamp that was never given before."""
        self._stamp_ns = max(int(self._around.now_s() * 1e9), self._stamp_ns + 1)
        return self._stamp_ns

    def __sendAppendEntries(self) -> None:
        self.__newAppendEntriesTime = self._around.now_s() + self._config.period_s
        for node in self._peers.values():
            self._send_to(node, heartbeat=True)

    def _send_to(self, node: internals.Member, heartbeat: bool = False) -> None:
        """Send the member what it lacks, as far as its pipeline has room."""
        if node not in self.__connectedNodes:
            return
        progress = self._progress[node.id]
        journal = self._journal
        while True:
            prev = progress.next_index - 1
            if prev < journal.first_index or self._newcomer(node, prev):
                if heartbeat:
                    first = journal.first_index
                    self._send_batch(node, first, [], log_first=max(first, 2))
                return
            entries: list[tuple[int, bytes]] = []
            size = 0
            asked = progress.probing and progress.probe_sent
            if prev < journal.last_index and progress.room and not asked:
                for command, _, term in journal.entries(
                    prev + 1, self._batch_entries, RAFT_BATCH_BYTES
                ):
                    entries.append((term, command))
                    size += len(command)
            elif not heartbeat:
                return
            sent = self._send_batch(node, prev, entries)
            heartbeat = False
            if progress.probing:
                progress.probe_sent = sent
            if progress.probing or not sent:
                return
            if entries:
                progress.sent(prev + len(entries), size)

    def _newcomer(self, node: internals.Member, prev: int) -> bool:
        """Return whether a learner has nothing yet: it gets a snapshot, even of a whole log.

        The log may hold old configurations in which its name voted. Two newcomers that replay
        those, and are cut off there, would elect one of them.
        """
        return prev <= 1 and node.id in self._configuration.learners

    def _send_batch(
        self,
        node: internals.Member,
        prev: int,
        entries: list[tuple[int, bytes]],
        log_first: int = 0,
    ) -> bool:
        message = AppendEntries(
            term=self.__raftCurrentTerm,
            sent_ns=self._next_stamp_ns(),
            prev_index=prev,
            prev_term=self._journal.term_at(prev),
            commit=self.__raftCommitIndex,
            drop_to=self._drop_to,
            entries=entries,
            log_first=log_first,
        )
        return self._around.send_now(node.id, message)

    # Dropping the prefix (M7).

    def __tryLogCompaction(self) -> None:
        """Drop what all members applied; beyond the limit also what only an absent one lacks."""
        journal = self._journal
        if self.__raftState == LEADER:
            applied = [p.applied_index for p in self._progress.values()]
            self._drop_to = max(self._drop_to, min([*applied, journal.stored_applied_index]))
        target = min(self._drop_to, journal.stored_applied_index)
        if journal.log_bytes > self._config.log_bytes_max:
            # Its last eighth is dropped at once, so that this does not happen in every tick.
            target = max(target, self._excess_end())
        room_bytes = max(2 * self._config.log_bytes_max, self._config.log_room_bytes)
        if journal.log_bytes < room_bytes:
            # Else each snapshot is useless by the time that it has arrived, and so is the next.
            target = min([target, *self._followed()])
        step = min(target - journal.first_index, self._drop_entries_max)
        if step >= self._drop_entries_min or (
            step > 0 and journal.log_bytes > self._config.log_bytes_max
        ):
            journal.drop_before(journal.first_index + step)

    def _followed(self) -> Iterator[int]:
        """Yield what the log keeps for a snapshot on its way, and for who is there and follows."""
        if self.__raftState == LEADER:
            if self._export_floor is not None:
                yield self._export_floor
            for peer, progress in self._progress.items():
                if self._peers[peer] in self.__connectedNodes and not progress.behind:
                    yield progress.applied_index

    def _excess_end(self) -> int:
        journal = self._journal
        share = 1 - 7 * self._config.log_bytes_max / (8 * journal.log_bytes)
        end = journal.first_index + int(len(journal) * share) + 1
        return min(end, journal.stored_applied_index)
