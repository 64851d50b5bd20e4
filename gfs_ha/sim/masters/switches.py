"""The rules of safety, each with a build of the masters or the clients that lacks it.

They exist only here: a simulation that finds nothing proves something only if it finds the damage
once a rule is switched off.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from gfs_ha.client.session import Session
from gfs_ha.errors import GfsError, NoLeader, SessionExpired, UnknownOutcome
from gfs_ha.ids import LogIndex
from gfs_ha.kv.ordered import Reader, Table
from gfs_ha.master.proposals import Proposer
from gfs_ha.master.raft.contract import RaftConfig
from gfs_ha.master.raft.node import RaftNode
from gfs_ha.master.state.commands import Command, Entry
from gfs_ha.master.state.machine import Change, Machine
from gfs_ha.master.state.tables import REPLIES
from gfs_ha.protocol.calls import Asked, Reply, Request
from gfs_ha.protocol.codec import Failure
from gfs_ha.sim.guards import GUARDS, SmallReplica
from gfs_ha.sim.masters.client import WatchedCalls
from gfs_ha.sim.masters.run import PLAIN
from gfs_ha.sim.masters.world import Build


class _StampsAtApply(Machine):
    """Time and choices are stamped where a command is applied, not where it is proposed."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._count = 0

    def plan(self, reader: Reader, index: LogIndex, term: int, entry: Entry) -> Change:
        self._count += 1
        wall_ns = entry.wall_ns + self._count
        return super().plan(reader, index, term, msgspec.structs.replace(entry, wall_ns=wall_ns))


class _Impatient(SmallReplica):
    """The time of an own commit counts as silence of the others."""

    def _excuse(self, seconds: float) -> None:
        pass


class _DeadlineFirst(RaftNode):
    """The election deadline is looked at before the sockets, and own commits are not excused."""

    replica_type = _Impatient

    def __init__(self, *arguments: Any) -> None:
        self._unread: deque[tuple[str, bytes]] = deque()
        super().__init__(*arguments)

    def received(self, peer: str, frame: bytes) -> None:
        self._unread.append((peer, frame))

    def _commit(self) -> None:
        while self._unread:
            super().received(*self._unread.popleft())
        super()._commit()


class _DropsForMajority(SmallReplica):
    """The log's prefix goes once a majority has applied it, so that snapshots are needed often."""

    def _SyncObj__tryLogCompaction(self) -> None:
        applied = sorted(progress.applied_index for progress in self._progress.values())
        if self.role and applied:
            most = min(applied[len(applied) // 2], self._journal.stored_applied_index)
            self._drop_to = max(self._drop_to, most)
        super()._SyncObj__tryLogCompaction()


class _MovesOnlyTheLog(RaftNode):
    """A snapshot says where the log goes on, and brings no tables."""

    replica_type = _DropsForMajority

    def __init__(self, config: RaftConfig, *arguments: Any) -> None:
        super().__init__(msgspec.structs.replace(config, state_databases=()), *arguments)


class _ServesEarly(RaftNode):
    """A new leader serves before its own first entry is applied; two guards stand for this rule."""

    replica_type = GUARDS["own-entry-before-reads"].replica_type

    def _visibly_leading(self) -> bool:
        return self._replica.serving


class _WallClockProposer(Proposer):
    """Cluster time follows the leader's wall clock."""

    def begin_term(self, term: int) -> None:
        super().begin_term(term)
        began_ns = self._runtime.wall_ns() - self._runtime.monotonic_ns()
        self._wall_offset_ns = began_ns

    def propose(self, *arguments: Any, **more: Any) -> None:
        term, began_ns = self._term
        offset_ns = getattr(self, "_wall_offset_ns", None)
        if offset_ns is not None:
            stepped_ns = self._runtime.wall_ns() - self._runtime.monotonic_ns() - offset_ns
            self._term = (term, began_ns - stepped_ns)
        super().propose(*arguments, **more)
        self._term = (term, began_ns)


class _TakesGrowth(Proposer):
    """Nothing is refused while a disk is almost full."""

    def short_of_room(self, command: Command) -> bool:
        return False


class _ForgetsAnswers(Machine):
    """A repeated request is applied again."""

    def plan(self, reader: Reader, index: LogIndex, term: int, entry: Entry) -> Change:
        return super().plan(_WithoutReplies(reader), index, term, entry)


class _WithoutReplies:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def get(self, table: Table, key: bytes) -> bytes | None:
        return None if table is REPLIES.table else self._reader.get(table, key)

    def scan(
        self, table: Table, start: bytes = b"", end: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        return self._reader.scan(table, start, end, reverse)


class _SendsAgain(Session):
    """What an expired session may have done is sent again under the next one."""

    def change_all(
        self,
        requests: Sequence[Request],
        give_up: tuple[type[GfsError], ...] = (),
        timeout_s: float | None = None,
    ) -> list[Reply]:
        replies = super().change_all(requests, give_up, timeout_s)
        expired = SessionExpired.__name__
        for reply in replies:
            if isinstance(reply, Failure) and expired in (reply.error, reply.details.get("cause")):
                return super().change_all(requests, give_up, timeout_s)
        return replies


class _TakesSilenceForNo(WatchedCalls):
    """A change that got no answer is reported as one that was certainly not applied."""

    def settle(
        self,
        asked: Sequence[Asked],
        timeout_s: float | None = None,
        give_up: tuple[type[GfsError], ...] = (),
    ) -> list[Reply]:
        try:
            return super().settle(asked, timeout_s, give_up)
        except UnknownOutcome as error:
            raise NoLeader(error.message) from error


@dataclass(frozen=True, slots=True)
class Switch:
    """A rule that is off: what that means, and the faults among which it shows soonest."""

    rule: str
    text: str
    build: Build
    faults: tuple[str, ...] = ()  # Of the directed search; the usual ones without.
    found_at: int = 1  # The first seed of that search which shows it; 0: none did.


def _node(guard: str) -> Build:
    return replace(PLAIN, node_type=GUARDS[guard])


SWITCHES: dict[str, Switch] = {
    "pure-apply": Switch(
        "M1", "what is chosen is stamped at apply", replace(PLAIN, machine_type=_StampsAtApply)
    ),
    "send-after-commit": Switch(
        "M2",
        "votes and acknowledgements leave before they are durable",
        _node("send-after-commit"),
        ("busy-disks", "busy-disks", "all-down"),
        found_at=1,
    ),
    "sockets-before-deadline": Switch(
        "M3",
        "the election deadline is looked at before the sockets",
        replace(PLAIN, node_type=_DeadlineFirst),
        ("stalling-disks",),
    ),
    "reads-after-commit": Switch(
        "M4",
        "reads are released before the commit that shows them",
        _node("reads-after-commit"),
        found_at=1,
    ),
    "own-entry-before-reads": Switch(
        "M4",
        "a new leader reads before its own entry",
        replace(PLAIN, node_type=_ServesEarly),
        ("kill", "stop", "slow-disk"),
        found_at=1,
    ),
    "lease-from-send": Switch(
        "M4",
        "the lease counts from the answer",
        _node("lease-from-send"),
        ("rival",),
        found_at=8,
    ),
    "stickiness": Switch(
        "M4",
        "votes while a leader was just heard",
        _node("stickiness"),
        ("usurper",),
        found_at=73,
    ),
    "no-lease-after-transfer": Switch(
        "M4",
        "a leader that handed over keeps its lease",
        _node("no-lease-after-transfer"),
        ("hand-over",),
        found_at=7,
    ),
    "start-list": Switch(
        "M5", "an old copy of a disk is admitted", _node("start-list"), ("old-copy", "one-pair")
    ),
    "one-change-at-a-time": Switch(
        "M5",
        "masters change although the last change is not committed",
        _node("one-change-at-a-time"),
        ("members", "kill"),
        found_at=8,
    ),
    "learners-do-not-count": Switch(
        "M5",
        "learners count like voters",
        _node("learners-do-not-count"),
        ("members", "kill", "partition"),
        found_at=5,
    ),
    "own-entry-before-changes": Switch(
        "M5",
        "a new leader changes the masters before its own entry",
        _node("own-entry-before-changes"),
        ("members", "hand-over", "kill"),
        found_at=0,
    ),
    "monotonic-time": Switch(
        "M6",
        "cluster time follows a wall clock",
        replace(PLAIN, proposer_type=_WallClockProposer),
        ("step-clock",),
    ),
    "whole-snapshots": Switch(
        "M7",
        "a member that lacks a part of the log goes on behind it",
        replace(PLAIN, node_type=_MovesOnlyTheLog),
        ("stop", "kill"),
    ),
    "room-for-deletes": Switch(
        "M8",
        "growth is taken on full disks",
        replace(PLAIN, proposer_type=_TakesGrowth),
        ("full-disk",),
        found_at=2,
    ),
    "stored-answers": Switch(
        "S1",
        "a repeated request is applied again",
        replace(PLAIN, machine_type=_ForgetsAnswers),
        ("kill", "client-way"),
        found_at=2,
    ),
    "no-second-session": Switch(
        "S2",
        "an unknown request is sent under another session",
        replace(PLAIN, session_type=_SendsAgain),
        ("client-deaf",),
        found_at=5,
    ),
    "unknown-said": Switch(
        "S3",
        "no answer is taken for not done",
        replace(PLAIN, calls_type=_TakesSilenceForNo),
        ("island", "client-way"),
        found_at=3,
    ),
}
