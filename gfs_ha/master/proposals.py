"""How the leader proposes: stamped with time, under a deadline, watched while it is under way.

Every proposal ends applied, certainly not applied, or with an unknown outcome (S3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from gfs_ha.config import MasterAddress
from gfs_ha.errors import GfsError, NotLeader
from gfs_ha.ids import NO_SESSION, SessionId
from gfs_ha.limits import REQUEST_DEADLINE_S
from gfs_ha.master.raft.contract import Outcome, RaftStatus
from gfs_ha.master.raft.freshness import Freshness
from gfs_ha.master.raft.members import Change
from gfs_ha.master.raft.node import RaftNode
from gfs_ha.master.state.commands import Command, Entry, encode_entry, grows
from gfs_ha.protocol.calls import Reply
from gfs_ha.protocol.codec import decode
from gfs_ha.runtime import Runtime

# Kept back of a call's time, so that the outcome still reaches the caller.
MARGIN_S = 0.05
_DEADLINE_MIN_S = 0.01


OnDone = Callable[[Outcome], None]


@dataclass(frozen=True, slots=True)
class Sender:
    """Whose command it is; the leader's own carry no session (C11)."""

    session_id: SessionId = NO_SESSION
    sequence: int = 0
    window_start: int = 0


LEADER_ITSELF = Sender()


def reply_of(outcome: Outcome) -> Reply:
    """Return what apply answered to a proposal that ended well."""
    assert outcome.result is not None, "an outcome without a result"
    return cast(Reply, decode(cast(Any, Reply), outcome.result))


class Proposer:
    """Proposes commands to the consensus loop. Thread-safe."""

    def __init__(
        self, raft: RaftNode, runtime: Runtime, masters: Mapping[str, MasterAddress]
    ) -> None:
        self._raft = raft
        self._runtime = runtime
        self._masters = masters
        self._lock = runtime.lock()
        self._under_way: dict[tuple[SessionId, int], int] = {}
        self._term = (0, runtime.monotonic_ns())

    @property
    def incarnation(self) -> int:
        """Return the incarnation of this member; a new one takes that of whom it joins."""
        return self._raft.identity.incarnation

    def begin_term(self, term: int) -> None:
        """Count elapsed time from now; called when this master becomes the leader (M6)."""
        self._term = (term, self._runtime.monotonic_ns())

    def propose(
        self,
        command: Command,
        deadline_s: float,
        on_done: OnDone,
        sender: Sender = LEADER_ITSELF,
    ) -> None:
        """Propose a command; `on_done` is called once, in the consensus loop's thread or here.

        Args: `deadline_s` is a duration; a proposal that is pending past it ends UnknownOutcome.
        """
        if sender.session_id != NO_SESSION and grows(command):
            on_done = self._watched(sender, on_done)
        term, began_ns = self._term
        entry = Entry(
            elapsed_ms=(self._runtime.monotonic_ns() - began_ns) // 1_000_000,
            wall_ns=self._runtime.wall_ns(),
            command=command,
            session_id=sender.session_id,
            sequence=sender.sequence,
            window_start=sender.window_start,
            stamp_term=term,
        )
        self._raft.propose(encode_entry(entry), max(_DEADLINE_MIN_S, deadline_s), on_done)

    def short_of_room(self, command: Command) -> bool:
        """Return whether a command adds state while a master is short of room for it (M8)."""
        return self._raft.status().any_voter_low and grows(command)

    def under_way(self, sender: Sender) -> bool:
        """Return whether a growing command of this sender is proposed and not decided yet."""
        return (sender.session_id, sender.sequence) in self._under_way

    def _watched(self, sender: Sender, on_done: OnDone) -> OnDone:
        key = (sender.session_id, sender.sequence)
        with self._lock:
            self._under_way[key] = self._under_way.get(key, 0) + 1

        def done(outcome: Outcome) -> None:
            with self._lock:
                self._under_way[key] -= 1
                if not self._under_way[key]:
                    del self._under_way[key]
            on_done(outcome)

        return done

    def read_index(
        self,
        deadline_s: float,
        on_done: Callable[[GfsError | None], None],
        anywhere: bool = False,
    ) -> None:
        """Call `on_done(None)` once a read transaction opened then is linearizable (M4).

        Under the read lease, with all that is committed in the store, that is here and now. With
        `anywhere` a follower asks its leader; without, it hears NotLeader.
        """
        if self._raft.reads_now():
            on_done(None)
            return
        self._raft.read_index(max(_DEADLINE_MIN_S, deadline_s), on_done, anywhere)

    def reads_now(self) -> bool:
        """Return whether a read transaction opened after this is linearizable at once."""
        return self._raft.reads_now()

    def freshness(self) -> Freshness:
        """Return how old what the store shows may be."""
        return self._raft.freshness

    def change_members(self, change: Change, on_done: OnDone) -> None:
        """Change the members of the masters; `on_done` hears when that is committed."""
        self._raft.change_members(change, REQUEST_DEADLINE_S - MARGIN_S, on_done)

    def masters(self) -> tuple[MasterAddress, ...]:
        """Return the members and where they are; before it is one, what the file says."""
        members = self._raft.status().members
        known = {member.member_id: member.addresses for member in members}
        return tuple(
            MasterAddress(name, *(where.rpc), where.raft[1]) for name, where in known.items()
        ) or tuple(self._masters.values())

    def transfer(self, to: str, on_done: Callable[[GfsError | None, str], None]) -> None:
        """Hand the leadership over to a member, or to the best one for ""."""
        self._raft.transfer(to, on_done)

    def status(self) -> RaftStatus:
        """Return what the consensus loop says of itself."""
        return self._raft.status()

    def not_leader(self) -> NotLeader:
        """Return the error that sends a caller to the leader, if it is known."""
        return self._addressed(self._raft.status().leader or "")

    def for_client(self, error: GfsError) -> GfsError:
        """Return the error as a client understands it: a leader has a name and an address."""
        if isinstance(error, NotLeader):
            return self._addressed(str(error.details.get("leader", "")))
        return error

    def _addressed(self, leader: str) -> NotLeader:
        address = next((master for master in self.masters() if master.name == leader), None)
        if address is None:
            return NotLeader("this master does not lead, and no leader is known", leader="")
        return NotLeader(
            f"this master does not lead, {leader} does",
            leader=leader,
            host=address.host,
            port=address.port,
        )
