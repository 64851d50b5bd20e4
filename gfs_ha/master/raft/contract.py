"""What the consensus room and its users agree on: configuration, outcomes, status, machine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import msgspec

from gfs_ha.errors import ConfigError, GfsError
from gfs_ha.kv.ordered import Writer
from gfs_ha.limits import (
    RAFT_LOG_BYTES_MAX,
    RAFT_PERIOD_S,
    RAFT_TIMEOUT_MAX_S,
    RAFT_TIMEOUT_MIN_S,
)
from gfs_ha.master.raft.members import NOWHERE, Address, Addresses, Configuration

FOLLOWER, CANDIDATE, LEADER = "follower", "candidate", "leader"
VOTER, LEARNER, OUTSIDER = "voter", "learner", "outsider"


class RaftConfig(msgspec.Struct, frozen=True):
    """One member and its cluster.

    `members` is who votes when the cluster begins, and where the file says that members are, this
    one included. Who belongs to it later stands in the log; the file's addresses win over those.
    """

    cluster_id: str
    incarnation: int
    member_id: str
    members: dict[str, Address]
    period_s: float = RAFT_PERIOD_S
    timeout_min_s: float = RAFT_TIMEOUT_MIN_S
    timeout_max_s: float = RAFT_TIMEOUT_MAX_S
    log_bytes_max: int = RAFT_LOG_BYTES_MAX  # A quarter of the map, if that is smaller (M7).
    # While a snapshot is on its way or a member catches up; twice log_bytes_max, if that is more.
    log_room_bytes: int = 0
    state_databases: tuple[str, ...] = ()  # The machine's: what a snapshot holds.
    doors: dict[str, Address] = {}  # Where everybody else reaches the members.

    def addresses(self, name: str, known: Addresses) -> Addresses:
        """Return where a member is, by this member's file if that names it."""
        raft = self.members.get(name, known.raft)
        return Addresses(raft, self.doors.get(name, known.rpc))

    def peers(self, configuration: Configuration) -> dict[str, Address]:
        """Return where the other members are; who is none itself also looks where the file says."""
        members = configuration.members
        peers = {name: self.addresses(name, where).raft for name, where in members.items()}
        if self.member_id not in members:
            peers = {**self.members, **peers}
        peers.pop(self.member_id, None)
        return peers

    def initial(self, names: Iterable[str]) -> dict[str, Addresses]:
        """Return the addresses of members that the file may name."""
        unknown = Addresses(NOWHERE)
        return {name: self.addresses(name, unknown) for name in names}

    def check(self) -> None:
        """Raises: ConfigError when the values cannot work together."""
        if self.member_id not in self.members:
            raise ConfigError(f"member {self.member_id!r} is not in the list of members")
        if not self.cluster_id:
            raise ConfigError("the cluster id is empty")
        if not 0 < self.incarnation < 1 << 16:
            raise ConfigError(f"incarnation {self.incarnation} is not within 1..65535")
        if not 3 * self.period_s < self.timeout_min_s < self.timeout_max_s:
            raise ConfigError(
                f"election timeouts {self.timeout_min_s}-{self.timeout_max_s} s do not fit a"
                f" heartbeat every {self.period_s} s: the shortest must be above three periods"
            )


class Outcome(msgspec.Struct, frozen=True):
    """How a proposal ended: applied with a result, certainly not applied, or unknown.

    `error` is NotLeader or Overloaded (certainly not applied; NotLeader's details["leader"] is a
    member id or ""), LimitExceeded (too big, certainly not applied) or UnknownOutcome.
    """

    result: bytes | None
    error: GfsError | None
    index: int = 0
    term: int = 0


class StateMachine(Protocol):
    """The replicated machine: its state lives in the same transaction as the log."""

    def apply(self, writer: Writer, index: int, term: int, payload: bytes) -> bytes:
        """Apply one committed command, return its result. Total: an exception is fatal."""
        ...


class PeerStatus(msgspec.Struct, frozen=True):
    """What this member knows of another one. Positions and age are only known to a leader."""

    member_id: str
    connected: bool
    match: int = 0
    applied: int = 0
    answer_age_ms: int = -1  # Since its newest answer in this leader's term; -1 = none yet.
    space_low: bool = False
    behind: bool = False  # It needs entries that the leader's log does not hold any more.
    refusal: str = ""  # Why the last handshake with it failed.
    voter: bool = True
    snapshot_bytes: int = 0  # Durable there of the snapshot that it is being sent, about.
    ended: bool = False  # It stopped for good: its directory never serves again.


class MemberStatus(msgspec.Struct, frozen=True):
    """A member of the configuration in force, and where it is."""

    member_id: str
    voter: bool
    addresses: Addresses


class RaftStatus(msgspec.Struct, frozen=True):
    """A snapshot of one member, at most about 50 ms old."""

    member_id: str
    role: str  # follower, candidate, leader; leader only once its own no-op is applied and stored
    term: int
    leader: str | None
    commit: int
    applied: int
    last: int
    first: int
    log_bytes: int
    peers: tuple[PeerStatus, ...]
    space_low: bool  # Of this member's own disk.
    any_voter_low: bool  # Of any member that this leader heard of, itself included (M8).
    last_commit_ms: float  # The newest durable commit of the store.
    commit_p50_ms: float
    commit_p99_ms: float
    too_far_behind: str | None  # Why this member cannot serve, until it gets a snapshot.
    no_leader_since_ms: int | None  # How long there has been no leader; None = there is one.
    members: tuple[MemberStatus, ...] = ()  # Itself included, if it is one.
    changing: bool = False  # The newest change of the members is not committed yet.
    longest_gap_ms: int = -1  # Without a leader before own terms of 7 d; -1: there are none.
    handshakes_refused: int = 0  # On the port for members, since the start.

    @property
    def standing(self) -> str:
        """Return what this member is in the configuration: voter, learner or outsider."""
        for member in self.members:
            if member.member_id == self.member_id:
                return VOTER if member.voter else LEARNER
        return OUTSIDER
