"""Adding, replacing and removing masters, step by step: each step is replicated by itself, so that
who is interrupted begins again and goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gfs_ha.client.cluster import ClusterCalls, expect
from gfs_ha.client.member_plan import ADD, REPLACE, MemberPlan, plan_of
from gfs_ha.client.newcomer import check_newcomer
from gfs_ha.config import MasterAddress
from gfs_ha.errors import (
    AlreadyExists,
    Busy,
    DeadlineExceeded,
    GfsError,
    NotFound,
    NotReady,
    Unreachable,
)
from gfs_ha.protocol.calls import Asked, Request
from gfs_ha.protocol.reports import (
    AddMaster,
    AdmitMaster,
    GetMasters,
    GetStatus,
    LeadershipReport,
    MasterReport,
    MasterRow,
    MembersReport,
    RemoveMaster,
    StatusReport,
    TransferLeadership,
)
from gfs_ha.runtime import Runtime

_LOOK_S = 0.2
_STEP_TRIES = 50  # A leader that is new, or a change that is not committed yet, is waited for.
MIB = 1 << 20


class MasterMembers:
    """Changes who the masters are. Every change yields what it does, one line a step.

    Args: `timeout_s` is the longest time without progress of a master that catches up;
    `on_progress` hears how far it is, also between the steps.
    """

    def __init__(
        self,
        calls: ClusterCalls,
        runtime: Runtime,
        timeout_s: float,
        on_progress: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._calls = calls
        self._runtime = runtime
        self._timeout_s = timeout_s
        self._on_progress = on_progress

    def where_is(self, name: str) -> MasterAddress | None:
        """Return where a member is by the leader's log; a repetition needs no address then."""
        facts = next((row.facts for row in self._rows() if row.facts is not None), None)
        for one in () if facts is None else facts.members:
            if one.name == name:
                return MasterAddress(name, one.host, one.port, one.raft_port)
        return None

    def plan_add(self, master: MasterAddress) -> MemberPlan:
        """Return what `add` would do now. Raises: AlreadyExists, InvalidArgument, Unreachable…"""
        return self._checked(plan_of(self._rows(), ADD, master=master), master)

    def plan_replace(self, old: str, master: MasterAddress) -> MemberPlan:
        """Return what `replace` would do now; nothing when all of it is done. Raises: NotFound…"""
        return self._checked(plan_of(self._rows(), REPLACE, old, master), master)

    def plan_remove(self, name: str) -> MemberPlan:
        """Return what `remove` would do now; nothing for no member. Raises: PreconditionFailed."""
        return plan_of(self._rows(), "remove", name)

    def add(self, master: MasterAddress) -> Iterator[str]:
        """Add a master that runs on an empty directory, and let it vote once it is caught up.

        Raises: AlreadyExists (it votes already), InvalidArgument (it says that it is another one,
        or elsewhere), Unreachable, WrongCluster, PreconditionFailed (its directory is not empty),
        NotReady, DeadlineExceeded (no progress; it stays a learner, and the same again goes on).
        """
        yield from self._carry_out(self.plan_add(master), master)

    def replace(self, old: str, master: MasterAddress) -> Iterator[str]:
        """Put a new master into the place of an old one, which may be dead.

        Raises: as `add`; NotFound, AlreadyExists when the new one votes and nothing was broken off.
        """
        plan = self.plan_replace(old, master)
        if plan.done:
            yield plan.done
            return
        yield from self._carry_out(plan, master)

    def remove(self, name: str) -> Iterator[str]:
        """Take a master out for good; if it leads, another one leads first.

        Raises: PreconditionFailed (the only one that votes), NotReady.
        """
        plan = self.plan_remove(name)
        if plan.done:
            yield plan.done
            return
        yield from self._carry_out(plan, None)

    def _checked(self, plan: MemberPlan, master: MasterAddress) -> MemberPlan:
        if plan.learns:
            try:
                said = self._calls.facts_at(master)
            except (Unreachable, DeadlineExceeded) as error:
                raise Unreachable(
                    f"{master.name} does not answer at {master.host}:{master.port}, nothing was"
                    f" changed: start it first, on an empty directory ({error.message})"
                ) from None
            check_newcomer(master, said)
        return plan

    def _carry_out(self, plan: MemberPlan, master: MasterAddress | None) -> Iterator[str]:
        if master is not None and plan.learns:
            word = AddMaster(master.name, master.host, master.port, master.raft_port)
            self._step(word, done=AlreadyExists)
            yield f"{master.name} receives the log"
        if master is not None and plan.votes:
            yield from self._let_vote(master.name)
            yield f"{master.name} votes"
        if plan.leaves:
            yield from self._take_out(plan.leaves)

    def _let_vote(self, name: str) -> Iterator[str]:
        """Admit a master once it is caught up; it may fall silent or behind again before."""
        end_s = self._runtime.monotonic_s() + self._timeout_s
        while True:
            yield from self._catch_up(name)
            try:
                self._step(AdmitMaster(name), done=AlreadyExists)
                return
            except NotReady:
                if self._runtime.monotonic_s() >= end_s:
                    raise

    def _take_out(self, name: str) -> Iterator[str]:
        status = self._calls.ask(GetStatus(), StatusReport)
        if status.leader == name:
            asked = Asked(TransferLeadership("", status.leader, status.term))
            replies = self._calls.settle((asked,), give_up=(NotReady,))
            yield f"{expect(replies[0], LeadershipReport).leader} leads now"
        self._step(RemoveMaster(name), done=NotFound)
        yield f"{name} is out"

    def _rows(self) -> tuple[MasterRow, ...]:
        return self._calls.ask(GetMasters(), MasterReport).items

    def _catch_up(self, name: str) -> Iterator[str]:
        best: tuple[bool, int, int] | None = None
        end_s = self._runtime.monotonic_s() + self._timeout_s
        told: tuple[bool, bool] | None = None
        while True:
            row = next((row for row in self._rows() if row.name == name), None)
            if row is None:
                raise NotFound(f"{name} was removed meanwhile, by somebody else")
            if row.reachable and row.ready:
                return
            text = _lacking(row)
            self._on_progress(text)
            kind = row.reachable, row.snapshot_bytes > 0
            if kind != told:
                told = kind
                yield text
            now_s = self._runtime.monotonic_s()
            state = (row.reachable, row.snapshot_bytes, -row.lag_entries)
            if best is None or state > best:
                best = state
                end_s = now_s + self._timeout_s
            if now_s >= end_s:
                raise DeadlineExceeded(
                    f"{text} (no progress for {self._timeout_s:g} s); the same command again"
                    f" goes on; or `gfsctl admin masters remove {name}` gives up"
                )
            self._runtime.sleep(_LOOK_S)

    def _step(self, request: Request, done: type[GfsError]) -> None:
        """Have one change made. `done` is what a repetition is answered after it was made."""
        for attempt in range(_STEP_TRIES):
            try:
                asked = (Asked(request),)
                replies = self._calls.settle(asked, give_up=(NotReady, Busy))
                expect(replies[0], MembersReport)
                return
            except done:
                return  # By us, when the answer was lost; what was there before was looked at.
            except (Busy, NotReady):
                if attempt == _STEP_TRIES - 1:
                    raise
                self._runtime.sleep(_LOOK_S)


def _lacking(row: MasterRow) -> str:
    if not row.reachable:
        return f"{row.name} does not answer the leader yet: is it started?"
    if row.snapshot_bytes:
        return f"{row.name} has {row.snapshot_bytes / MIB:.0f} MiB of a snapshot"
    return f"{row.name} lacks {row.lag_entries:,} entries"
