"""The private attributes of pysyncobj.SyncObj that the overrides use, declared in one place.

The class is named `_SyncObj` on purpose, like every mixin of this room: Python mangles a private
name `__x` in it to `_SyncObj__x`, which is the very attribute or method of PySyncObj's SyncObj.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from gfs_ha.kv.ordered import Writer
from gfs_ha.master.raft.contract import Outcome, RaftConfig, StateMachine
from gfs_ha.master.raft.freezer import Freezer
from gfs_ha.master.raft.journal import Journal
from gfs_ha.master.raft.members import Configuration
from gfs_ha.master.raft.messages import Message
from gfs_ha.master.raft.progress import Progress

FOLLOWER, CANDIDATE, LEADER = 0, 1, 2  # PySyncObj's _RAFT_STATE; compared at import of the door.


class Member(Protocol):
    """PySyncObj's Node."""

    id: str


class Surroundings(Protocol):
    """What a replica needs from the loop around it."""

    freezer: Freezer

    def now_s(self) -> float: ...

    def uniform(self, low: float, high: float) -> float: ...

    def send_now(self, peer: str, message: Message) -> bool:
        """Give a message to the link at once; return False when there is none."""
        ...

    def send_durable(self, peer: str, message: Message) -> None:
        """Send a message after the commit of this tick, which it depends on."""
        ...

    def writer(self) -> Writer:
        """Return the open transaction of this tick."""
        ...

    def call(self, callback: Callable[..., None], *arguments: object) -> None:
        """Call a callback of a user; an exception is logged and goes no further."""
        ...

    def space_low(self) -> bool: ...

    def introduced(self) -> bool:
        """Return whether this member has heard, or not reached, whom it knew when it started."""
        ...

    def reads_end(self) -> None:
        """Hear that the read lease is over: nothing may be read without a round from here on."""
        ...

    def members_changed(self) -> None:
        """Hear that another configuration is in force."""
        ...

    def commit_advances(self) -> None:
        """Hear that commands will be acknowledged that the store does not show yet."""
        ...


class _SyncObj:
    """The declarations, shared by all mixins."""

    __raftState: int
    __raftCurrentTerm: int
    __votedForNodeId: str | None
    __votesCount: int
    __raftLeader: Member | None
    __raftElectionDeadline: float
    __raftLog: Journal
    __raftCommitIndex: int
    __raftLastApplied: int
    __raftNextIndex: dict[Member, int]
    __raftMatchIndex: dict[Member, int]
    __lastResponseTime: dict[Member, float]
    __leaderCommitIndex: int | None
    __noopIDx: int | None
    __newAppendEntriesTime: float
    __otherNodes: set[Member]
    __connectedNodes: set[Member]

    _config: RaftConfig
    _around: Surroundings
    _machine: StateMachine
    _journal: Journal
    _configuration: Configuration  # In force: the newest of the log.
    _peers: dict[str, Member]  # The other members of it, in the order of their ids.
    _progress: dict[str, Progress]
    _others_needed: int  # Answers of others that make a majority together with this member.
    _leader_contact_s: float  # When a leader of the current term was last heard.
    _leaderless_since_s: float | None
    _led_round_s: float  # When the last round that a majority confirmed to this leader began.
    _lease_until_s: float
    _too_far_behind: str | None
    _renounced_term: int
    _succeeds: int
    _drop_to: int  # Every member holds and has applied the log up to here.

    if TYPE_CHECKING:

        def __setState(self, state: int) -> None: ...
        def __onBecomeLeader(self) -> None: ...
        def __onNodeConnected(self, node: Member) -> None: ...
        def __onNodeDisconnected(self, node: Member) -> None: ...
        def __setCurrentTerm(self, term: int, vote: str | None) -> None: ...
        def __sendAppendEntries(self) -> None: ...

        def _step_down(self, term: int) -> None: ...
        def _give_up_leading(self) -> None: ...
        def _follow(self, node: Member) -> None: ...
        def _next_stamp_ns(self) -> int: ...
        def _confirmed_round_ns(self) -> int: ...
        def _extend_lease(self, round_s: float) -> None: ...
        def _confirm_reads(self) -> None: ...
        def _leader_id(self) -> str: ...
        @property
        def _export_floor(self) -> int | None: ...
        def _break_stream(self, node: Member) -> None: ...
        def _node(self, name: str) -> Member: ...
        def _send_to(self, node: Member, heartbeat: bool = False) -> None: ...
        def _other_voters(self) -> list[str]: ...
        def _adopt_configuration(self) -> None: ...
        def _drop_overtaken(self) -> None: ...
        def _log_command(
            self, command: bytes, deadline_s: float, on_done: Callable[[Outcome], None]
        ) -> None: ...
        @property
        def reads_held(self) -> bool: ...
        @property
        def votes_itself(self) -> bool: ...
        def _told_to_stand(self) -> bool: ...
        @property
        def _holding(self) -> bool: ...
