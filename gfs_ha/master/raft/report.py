"""The status of a member, put together in the loop's thread for everybody to read."""

from __future__ import annotations

from gfs_ha.master.raft.commit_times import CommitTimes
from gfs_ha.master.raft.contract import (
    CANDIDATE,
    FOLLOWER,
    LEADER,
    MemberStatus,
    PeerStatus,
    RaftConfig,
    RaftStatus,
)
from gfs_ha.master.raft.gaps import Gaps
from gfs_ha.master.raft.internals import FOLLOWER as FOLLOWING
from gfs_ha.master.raft.journal import Journal
from gfs_ha.master.raft.syncobj import Replica
from gfs_ha.master.raft.transport import RaftTransport

_PERCENTILES_PERIOD_S = 0.25


class Reporter:
    """Builds snapshots of one member."""

    def __init__(
        self, config: RaftConfig, replica: Replica, journal: Journal, transport: RaftTransport
    ) -> None:
        self._config = config
        self._replica = replica
        self._journal = journal
        self._transport = transport
        self._gaps = Gaps()
        self._percentiles_ms = (0.0, 0.0)
        self._next_percentiles_s = 0.0

    def describe(
        self, now_s: float, visibly_leading: bool, space_low: bool, times: CommitTimes
    ) -> RaftStatus:
        """Return a snapshot of this moment."""
        if now_s >= self._next_percentiles_s:
            self._next_percentiles_s = now_s + _PERCENTILES_PERIOD_S
            self._percentiles_ms = times.percentiles_ms()
        replica, journal = self._replica, self._journal
        if visibly_leading:
            self._gaps.lead(replica.term, now_s)
        elif replica.leader_id not in ("", self._config.member_id):
            self._gaps.follow(replica.leader_contact_s)
        peers = tuple(self._peer(peer, now_s) for peer in replica.peers)
        role = FOLLOWER if replica.role == FOLLOWING else CANDIDATE
        since = replica.leaderless_since_s
        return RaftStatus(
            member_id=self._config.member_id,
            role=LEADER if visibly_leading else role,
            term=replica.term,
            leader=replica.leader_id or None,
            commit=replica.commit_index,
            applied=journal.stored_applied_index,
            last=journal.last_index,
            first=journal.first_index,
            log_bytes=journal.log_bytes,
            peers=peers,
            space_low=space_low,
            any_voter_low=space_low or any(peer.space_low and peer.voter for peer in peers),
            last_commit_ms=times.last_ms,
            commit_p50_ms=self._percentiles_ms[0],
            commit_p99_ms=self._percentiles_ms[1],
            too_far_behind=replica.too_far_behind,
            no_leader_since_ms=None if since is None else int((now_s - since) * 1000),
            members=self._members(),
            changing=replica.commit_index < journal.configuration_index,
            longest_gap_ms=self._gaps.longest_ms(now_s),
            handshakes_refused=self._transport.refused_count(),
        )

    def _members(self) -> tuple[MemberStatus, ...]:
        configuration = self._replica.configuration
        return tuple(
            MemberStatus(name, name in configuration.voters, self._config.addresses(name, where))
            for name, where in configuration.members.items()
        )

    def _peer(self, peer: str, now_s: float) -> PeerStatus:
        connected = self._replica.is_connected(peer)
        refusal = self._transport.refusal(peer)
        ended = self._transport.ended(peer)
        progress = self._replica.progress_of(peer)
        voter = peer in self._replica.configuration.voters
        if progress is None:
            return PeerStatus(peer, connected, refusal=refusal, voter=voter, ended=ended)
        age_ms = -1
        if progress.answered_s is not None:
            age_ms = int((now_s - progress.answered_s) * 1000)
        return PeerStatus(
            member_id=peer,
            connected=connected,
            match=progress.match_index,
            applied=progress.applied_index,
            answer_age_ms=age_ms,
            space_low=progress.space_low,
            behind=progress.behind,
            refusal=refusal,
            voter=voter,
            snapshot_bytes=self._replica.snapshot_bytes_at(peer),
            ended=ended,
        )
