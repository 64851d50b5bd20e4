"""What a change of the masters would do: which steps are left, and who votes before and after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from gfs_ha.config import MasterAddress
from gfs_ha.errors import AlreadyExists, InvalidArgument, NotFound, PreconditionFailed
from gfs_ha.protocol.reports import MasterRow

ADD, REPLACE, REMOVE = "add", "replace", "remove"


class MemberPlan(Struct, frozen=True):
    """The steps that are left of one change. `done` says why there are none."""

    voters_before: tuple[str, ...]
    voters_after: tuple[str, ...]
    joins: str = ""  # NAME at HOST:PORT (raft PORT), of who learns or learns already.
    learns: bool = False  # It does not receive the log yet.
    votes: bool = False  # It is to vote.
    leaves: str = ""  # Who is taken out.
    warnings: tuple[str, ...] = ()
    done: str = ""

    def lines(self) -> Iterator[str]:
        """Yield the plan for people."""
        if self.done:
            yield f"nothing to do: {self.done}"
            return
        if self.learns:
            yield f"add {self.joins}: it learns, then it votes"
        elif self.votes:
            yield f"go on with {self.joins}, which learns already: then it votes"
        if self.leaves:
            yield f"take {self.leaves} out for good"
        yield f"votes before: {_votes(self.voters_before)}"
        yield f"votes after:  {_votes(self.voters_after)}"
        for warning in self.warnings:
            yield f"warning: {warning}"


def majority_of(voters: Sequence[str]) -> int:
    """Return how many of them decide."""
    return len(voters) // 2 + 1


def plan_of(
    rows: Sequence[MasterRow], verb: str, old: str = "", master: MasterAddress | None = None
) -> MemberPlan:
    """Return what is left to do of a change, seen from who the masters are now.

    Raises: NotFound, AlreadyExists, InvalidArgument, PreconditionFailed.
    """
    by_name = {row.name: row for row in rows}
    voters = tuple(name for name, row in by_name.items() if row.voter)
    new = "" if master is None else master.name
    if master is not None:
        _check_address(master, by_name.get(new))
    if verb == REPLACE and old == new:
        raise InvalidArgument(f"{old} cannot be replaced by itself")
    if verb != ADD and old not in by_name:
        if new and new in voters:
            return MemberPlan(voters, voters, done=f"{old} is out already, and {new} votes")
        if verb == REMOVE:
            known = ", ".join(by_name)
            return MemberPlan(voters, voters, done=f"{old} is no member already; there are {known}")
        raise NotFound(f"there is no master {old!r}; there are {', '.join(by_name)}")
    if verb == ADD and new in voters:
        raise AlreadyExists(f"{new} is a master already, and votes")
    if verb == REPLACE and new in voters and len(voters) % 2:
        # Between the two halves of a replacement one more votes than before and after.
        raise AlreadyExists(
            f"{new} is a master already; to take {old} out: `gfsctl admin masters remove {old}`"
        )
    after = {*voters, new} - {"", old}
    if not after:
        raise PreconditionFailed(
            f"{old} is the only master that votes: add another one first, or replace it"
        )
    joins = "" if master is None else f"{new} at {master.host}:{master.port}"
    return MemberPlan(
        voters,
        tuple(sorted(after)),
        joins=joins and f"{joins} (raft {master.raft_port if master else 0})",
        learns=bool(new) and new not in by_name,
        votes=bool(new) and new not in voters,
        leaves="" if verb == ADD else old,
        warnings=tuple(_warnings(rows, verb, old, new, after)),
    )


def _check_address(master: MasterAddress, row: MasterRow | None) -> None:
    if master.port == master.raft_port:
        raise InvalidArgument(f"{master.name} needs two different ports, not {master.port} twice")
    if row is None or row.voter or (row.host, row.port) == (master.host, master.port):
        return
    raise AlreadyExists(
        f"{master.name} is to be at {row.host}:{row.port}; to give another address, first"
        f" `gfsctl admin masters remove {master.name}`"
    )


def _warnings(
    rows: Sequence[MasterRow], verb: str, old: str, new: str, after: set[str]
) -> Iterator[str]:
    voting = {row.name for row in rows if row.voter}
    if verb == REPLACE and new in voting:
        yield f"{new} votes already, as after a replacement that was broken off"
    silent = [row.name for row in rows if row.name in after and not row.reachable]
    if silent:
        yield f"{', '.join(sorted(silent))} does not answer the leader now"
    if after == voting:
        return
    if len(after) == 1:
        yield f"{min(after)} holds the only copy of all names then: if it is lost, all is lost"
    elif len(after) % 2 == 0:
        yield (f"an even number: no more of {len(after)} masters may fail than of {len(after) - 1}")


def _votes(voters: Sequence[str]) -> str:
    may_fail = len(voters) - majority_of(voters)
    return (
        f"{', '.join(voters)}; {majority_of(voters)} of {len(voters)} decide, {may_fail} may fail"
    )
