"""Overrides for changes of the members: what a leader may propose, and what takes effect when (M5).

Stock checks nothing of this. Here a leader proposes a configuration only after an entry of its own
term and the previous configuration are committed, never one without itself, and only one whose
majority answers it: a change that could never be committed would end all writing.
"""

from __future__ import annotations

import logging
from collections import deque

from gfs_ha.errors import Busy, GfsError, NotReady, PreconditionFailed
from gfs_ha.limits import RAFT_ADMISSION_LAG_MAX
from gfs_ha.master.raft import internals
from gfs_ha.master.raft.contract import Outcome
from gfs_ha.master.raft.internals import LEADER
from gfs_ha.master.raft.members import (
    AdmitMember,
    Change,
    Configuration,
    RemoveMember,
    encode_configuration,
)
from gfs_ha.master.raft.progress import Progress
from gfs_ha.master.raft.proposals import ProposalDone, not_leader

logger = logging.getLogger(__name__)


class _SyncObj(internals._SyncObj):
    """Changes of the members."""

    _changes: deque[tuple[Change, float, ProposalDone]]  # Appended to by any thread.
    _leaving: dict[str, tuple[int, Progress]]  # Removed by the entry there, and not told yet.

    def _begin_changes(self) -> None:
        self._changes = deque()
        self._leaving = {}
        self._configuration = self._journal.configuration
        self._others_needed = self._configuration.others_needed(self._config.member_id)
        self._peers = {name: self._node(name) for name in self._other_members()}

    def change(self, change: Change, deadline_s: float, on_done: ProposalDone) -> None:
        """Queue a change for the next tick. Thread-safe."""
        self._changes.append((change, deadline_s, on_done))

    @property
    def changes_waiting(self) -> bool:
        return bool(self._changes)

    @property
    def votes_itself(self) -> bool:
        """Return whether this member is a voter of the configuration in force."""
        return self._config.member_id in self._configuration.voters

    def _other_members(self) -> list[str]:
        own = self._config.member_id
        return [name for name in self._configuration.members if name != own]

    def _other_voters(self) -> list[str]:
        return [name for name in self._other_members() if name in self._configuration.voters]

    # Leading.

    def _watch_changes(self) -> None:
        """Take the changes that were asked for, one after another; once per tick."""
        self._take_leave()
        while self._changes:
            change, deadline_s, on_done = self._changes.popleft()
            try:
                self._check_turn()
                wanted = change.changed(self._configuration)
                self._check_change(change, wanted)
            except GfsError as error:
                self._around.call(on_done, Outcome(None, error))
                continue
            logger.info("changing the members change=%s", change)
            self._log_command(encode_configuration(wanted), deadline_s, on_done)
            if isinstance(change, RemoveMember):
                self._leaving[change.name] = self._journal.last_index, self._progress[change.name]
            self._adopt_configuration()
            self.__sendAppendEntries()

    def _take_leave(self) -> None:
        """Send those who were removed their removal, once it is committed and never before.

        Nobody else sends them anything. Told earlier, one of them might hold the newest log without
        wanting to lead, when the leader that removed it lost that entry in a crash.
        """
        if self.__raftState != LEADER:
            self._leaving.clear()
        for name, (index, progress) in list(self._leaving.items()):
            if self.__raftCommitIndex >= index:
                del self._leaving[name]
                if name not in self._progress:
                    self._progress[name] = progress
                    self._send_to(self._node(name), heartbeat=True)
                    del self._progress[name]

    def _check_turn(self) -> None:
        if self.__raftState != LEADER:
            raise not_leader(self._leader_id())
        if self._holding:
            raise Busy("the leadership is being handed over")
        if not self._settled():
            raise Busy("the last change of the members, or of the leader, is not committed yet")

    def _settled(self) -> bool:
        """Return whether an entry of the own term and the newest configuration are committed."""
        settled = max(self.__noopIDx or 0, self._journal.configuration_index)
        return self.__raftCommitIndex >= settled

    def _check_change(self, change: Change, wanted: Configuration) -> None:
        own = self._config.member_id
        if own not in wanted.voters:
            raise PreconditionFailed(f"{own} leads; hand the leadership over before it is removed")
        if isinstance(change, AdmitMember):
            self._check_caught_up(change.name)
        answering = [name for name in wanted.voters if name != own and self._answers(name)]
        if wanted.voters != self._configuration.voters and not wanted.agreed(own, answering):
            needed = wanted.others_needed(own) + 1
            raise NotReady(
                f"of the {len(wanted.voters)} masters that would vote then, only"
                f" {len(answering) + 1} answer; {needed} are needed to go on"
            )

    def _check_caught_up(self, name: str) -> None:
        progress = self._progress[name]
        # Who holds the log and has yet to apply it is slow to answer, and its answer would count.
        reached = min(progress.match_index, progress.applied_index)
        lag = self._journal.last_index - reached
        if not self._answers(name):
            raise NotReady(f"{name} does not answer")
        if progress.behind or progress.probing or lag > RAFT_ADMISSION_LAG_MAX:
            raise NotReady(f"{name} is not caught up: it is {lag} entries behind")

    def _answers(self, name: str) -> bool:
        progress = self._progress.get(name)
        if progress is None or progress.answered_s is None:
            return False
        return self._around.now_s() - progress.answered_s < self._config.timeout_max_s

    # In force.

    def _adopt_configuration(self) -> None:
        """Go by the newest configuration of the log."""
        if self._journal.configuration is self._configuration:
            return
        own, before = self._config.member_id, self._configuration
        self._configuration = self._journal.configuration
        was_alone = not self._others_needed
        self._others_needed = self._configuration.others_needed(own)
        self._peers = {name: self._node(name) for name in self._other_members()}
        self.__otherNodes = {self._node(name) for name in self._other_voters()}
        logger.info(
            "members voters=%s learners=%s before=%s",
            ",".join(self._configuration.voters),
            ",".join(self._configuration.learners),
            ",".join(before.members),
        )
        if self.__raftState == LEADER:
            self._lead_members(was_alone)
        self._around.members_changed()

    def _lead_members(self, was_alone: bool) -> None:
        now = self._around.now_s()
        if was_alone and self._others_needed:
            # It needed no round and no lease until now.
            self._led_round_s = now
            self._lease_until_s = float("-inf")
        self._around.reads_end()
        for name in set(self._progress) - set(self._peers):
            del self._progress[name]
        for name, node in self._peers.items():
            progress = self._progress.setdefault(name, Progress(self._journal.last_index + 1))
            self.__raftNextIndex[node] = progress.next_index
            self.__raftMatchIndex[node] = min(progress.match_index, self._journal.durable_index)
            self.__lastResponseTime[node] = now

    def _refuse_changes(self) -> None:
        """End what is pending: this member is about to stop."""
        while self._changes:
            _, _, on_done = self._changes.popleft()
            self._around.call(on_done, Outcome(None, not_leader("")))
