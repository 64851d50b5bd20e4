"""What a master tells those who watch it: of itself, and while it leads, of the whole cluster.

Nothing is counted for it: it looks at what is there when somebody asks. What belongs to the door's
thread is looked at there, briefly and no oftener than for screens (live_board.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gfs_ha.errors import GfsError
from gfs_ha.master.cluster_measures import ClusterSeen, add_cluster, see_cluster
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.raft.commit_times import CommitTimes
from gfs_ha.master.raft.contract import LEADER, VOTER, RaftStatus
from gfs_ha.master.state.view import View
from gfs_ha.metrics.exposition import Samples, counter, gauge, histogram
from gfs_ha.net.doorbook import DoorStats
from gfs_ha.protocol.reports import LedTerm
from gfs_ha.runtime import Future

READY_AGE_S = 3.0  # Of what a ready master's store shows; it is known every half second.
_DOOR_WAIT_S = 0.8
_TERMS_LOOKED_AT = 100  # More than leaders change between two looks.

LEADS = gauge("gfs_master_leads", "1 on the master that leads and serves, else 0.")
LEADER_KNOWN = gauge("gfs_master_leader_known", "1 while this master knows a leader, else 0.")
LEADERLESS = gauge("gfs_master_leaderless_seconds", "For how long no leader is known; 0 with one.")
VOTES = gauge("gfs_master_votes", "1 if this master is a voter of the cluster, else 0.")
TERM = gauge("gfs_master_term", "Raft term.")
INCARNATION = gauge("gfs_master_incarnation", "Life of the cluster; recovering it raises it.")
FAILOVERS = counter(
    "gfs_master_failovers_total", "Changes of the leader that this master saw since it started."
)
COMMITTED = gauge("gfs_master_commit_index", "Newest log index that is committed, as known here.")
APPLIED = gauge("gfs_master_applied_index", "Newest log index that is applied and stored here.")
LAST = gauge("gfs_master_last_index", "Newest log index here.")
FIRST = gauge("gfs_master_first_index", "Oldest log index that is kept here.")
LOG = gauge("gfs_master_log_bytes", "Size of the log that is kept.")
STATE_AGE = gauge(
    "gfs_master_state_age_seconds",
    "How old what this master's store shows may be; absent while nothing is known of it.",
)
COMMIT_TIME = histogram("gfs_master_commit_duration_seconds", "Time of durable commits.")
CALL_TIME = histogram(
    "gfs_master_call_duration_seconds", "Time until calls were answered; heartbeats do not count."
)
CALL_BYTES = counter(
    "gfs_master_call_bytes_total", "Bytes of files that the answered calls were about."
)
STORE_USED = gauge("gfs_master_store_used_bytes", "Size of the metadata store.")
STORE_FREE = gauge("gfs_master_store_free_bytes", "Of that, pages that hold nothing.")
STORE_MAP = gauge("gfs_master_store_map_bytes", "The most that the metadata store can hold.")
STORE_READERS = gauge("gfs_master_store_readers", "Slots that readers of the store hold.")
DISK_FREE = gauge("gfs_master_disk_free_bytes", "Free on the disk of the metadata store.")
DISK_SIZE = gauge("gfs_master_disk_size_bytes", "Size of the disk of the metadata store.")
SPACE_LOW = gauge(
    "gfs_master_space_low", "1 while this master is short of room: growing commands are refused."
)
CONNECTIONS = gauge("gfs_master_door_connections", "Connections to the door.")
IN_FLIGHT = gauge("gfs_master_door_calls_in_flight", "Calls that wait for their answer.")
HELD = gauge("gfs_master_door_held_bytes", "Memory that connections make the door hold.")
ACCEPTED = counter("gfs_master_door_accepted_total", "Connections that were accepted.")
TURNED_AWAY = counter(
    "gfs_master_door_turned_away_total", "Connections for which there was no place or descriptor."
)
BROKE_PROTOCOL = counter(
    "gfs_master_door_protocol_errors_total", "Connections that were dropped for what they sent."
)
REFUSED = counter(
    "gfs_master_door_refused_total",
    "Connections that were refused for their certificate or first words.",
)
OVERDUE = counter(
    "gfs_master_door_overdue_total", "Connections that were dropped for a missed deadline."
)
CALLS = counter("gfs_master_door_calls_total", "Calls that arrived, heartbeats included.")
DENIED = counter("gfs_master_requests_denied_total", "Requests of those who may not ask for it.")
EXPIRED = counter(
    "gfs_master_door_calls_expired_total", "Calls that had no answer within their deadline."
)
HANDSHAKES_REFUSED = counter(
    "gfs_master_handshakes_refused_total",
    "Connections to the port for members that did not become links.",
)
TICKETS = counter("gfs_master_tickets_total", "Tickets for data ports that this master sealed.")
PEER_UP = gauge("gfs_master_peer_connected", "1 while the link to another master is up.", "peer")
PEER_AGE = gauge(
    "gfs_master_peer_answer_age_seconds", "Since another master answered the leader.", "peer"
)
PEER_LAG = gauge(
    "gfs_master_peer_lag_entries", "Log entries that another master does not have yet.", "peer"
)


class LeaderChanges:
    """Counts the terms that led since it first looked. Used by one thread at a time.

    Not all that the tables know: they keep a thousand, and a new master gets them at once.
    """

    def __init__(self) -> None:
        self.count = 0
        self._newest: tuple[int, int] | None = None

    def see(self, terms: Iterable[LedTerm]) -> None:
        """Look at the terms that led, newest first."""
        found = [(one.incarnation, one.term) for one in terms]
        if self._newest is not None:
            self.count += sum(one > self._newest for one in found)
        self._newest = max(found, default=self._newest)


class MasterMeasures:
    """Thread-safe."""

    def __init__(
        self, desk: Desk, door_stats: Callable[[], DoorStats], commits: CommitTimes
    ) -> None:
        self._desk = desk
        self._door_stats = door_stats
        self._commits = commits
        self._changes = LeaderChanges()
        self._stopping = False

    def end(self) -> None:
        """Say from now on that this master stops."""
        self._stopping = True

    def unready(self) -> str:
        """Return why this master does not serve now; nothing when it does. Waits for nothing."""
        if self._stopping:
            return "it stops"
        desk = self._desk
        raft = desk.proposer.status()
        if raft.too_far_behind is not None:
            return raft.too_far_behind
        if raft.standing != VOTER:
            return f"{desk.name} is no voter but {raft.standing}"
        if not raft.leader:
            return "no leader is known"
        if raft.role == LEADER and desk.reign is None:
            return "it is elected and does not serve yet"
        age_ms = desk.proposer.freshness().age_ms(desk.now_s())
        if age_ms < 0:
            return "it has not applied yet what the leader had"
        if age_ms > READY_AGE_S * 1000:
            return f"what it shows may be {age_ms / 1000:.1f} s old"
        return ""

    def collect(self, samples: Samples) -> None:
        """Add what is measured; of the cluster only while this master leads."""
        raft = self._desk.proposer.status()
        self._add_raft(samples, raft)
        self._add_store(samples, raft)
        self._add_door(samples)
        samples.set(LEADS, self._desk.reign is not None)
        seen = self._see_cluster()
        if seen is not None:
            add_cluster(samples, seen)

    def _see_cluster(self) -> ClusterSeen | None:
        """Return what the leader knows; None when it does not lead or its door does not answer."""
        desk = self._desk
        if desk.reign is None:
            return None
        future: Future[ClusterSeen | None] = desk.runtime.future()

        def look() -> None:
            try:
                future.set(see_cluster(desk))
            except GfsError as error:
                future.fail(error)

        try:
            desk.post(look)
            return future.result(_DOOR_WAIT_S)
        except GfsError:
            return None  # It leads no more, or the door is closed or busy: /livez says so.

    def _add_raft(self, samples: Samples, raft: RaftStatus) -> None:
        desk = self._desk
        samples.set(LEADER_KNOWN, bool(raft.leader))
        samples.set(LEADERLESS, (raft.no_leader_since_ms or 0) / 1000)
        samples.set(VOTES, raft.standing == VOTER)
        samples.set(TERM, raft.term)
        samples.set(INCARNATION, desk.proposer.incarnation)
        samples.set(COMMITTED, raft.commit)
        samples.set(APPLIED, raft.applied)
        samples.set(LAST, raft.last)
        samples.set(FIRST, raft.first)
        samples.set(LOG, raft.log_bytes)
        samples.set(SPACE_LOW, raft.space_low)
        samples.set(HANDSHAKES_REFUSED, raft.handshakes_refused)
        age_ms = desk.proposer.freshness().age_ms(desk.now_s())
        if age_ms >= 0:
            samples.set(STATE_AGE, age_ms / 1000)
        samples.times(COMMIT_TIME, tuple(self._commits.counts), self._commits.total_s)
        for peer in raft.peers:
            samples.set(PEER_UP, peer.connected, peer.member_id)
            if raft.role == LEADER and peer.answer_age_ms >= 0:
                samples.set(PEER_AGE, peer.answer_age_ms / 1000, peer.member_id)
                samples.set(PEER_LAG, max(0, raft.last - peer.match), peer.member_id)

    def _add_store(self, samples: Samples, raft: RaftStatus) -> None:
        desk = self._desk
        stats = desk.kv.stats()
        samples.set(STORE_USED, stats.used_bytes)
        samples.set(STORE_FREE, stats.free_bytes)
        samples.set(STORE_MAP, stats.map_bytes)
        samples.set(STORE_READERS, stats.readers)
        free, size = desk.disk_room()
        samples.set(DISK_FREE, free)
        samples.set(DISK_SIZE, size)
        if desk.proposer.freshness().age_ms(desk.now_s()) >= 0:  # It has what the leader had.
            with desk.kv.read() as reader:
                self._changes.see(View(reader).led_terms(_TERMS_LOOKED_AT))
        samples.set(FAILOVERS, self._changes.count)

    def _add_door(self, samples: Samples) -> None:
        calls = self._desk.calls.measured()
        samples.times(CALL_TIME, calls.times, calls.total_s)
        samples.set(CALL_BYTES, calls.length)
        stats = self._door_stats()
        samples.set(CONNECTIONS, stats.connections)
        samples.set(IN_FLIGHT, stats.calls_in_flight)
        samples.set(HELD, stats.held_bytes)
        samples.set(ACCEPTED, stats.accepted)
        samples.set(TURNED_AWAY, stats.turned_away)
        samples.set(BROKE_PROTOCOL, stats.broke_protocol)
        samples.set(REFUSED, stats.refused)
        samples.set(OVERDUE, stats.overdue)
        samples.set(CALLS, stats.calls)
        samples.set(EXPIRED, stats.calls_expired)
        samples.set(DENIED, self._desk.denials.count)
        tickets = self._desk.tickets
        samples.set(TICKETS, 0 if tickets is None else tickets.given)
