"""What operators read: reports, as they are sent, shown and printed as JSON."""

from __future__ import annotations

from gfs_ha.ids import ChunkId, DiskId, ServerId
from gfs_ha.protocol.codec import Failure, Word
from gfs_ha.protocol.disk_counts import DiskCounts
from gfs_ha.protocol.events import MuteRow
from gfs_ha.protocol.overview import Overview
from gfs_ha.protocol.rates import CallFacts
from gfs_ha.protocol.scrub import ScrubSummary
from gfs_ha.protocol.server_modes import IN_SERVICE
from gfs_ha.protocol.state_checks import (
    CheckStates,
    CountStates,
    StateFacts,
    StateReport,
    StatesCounting,
)


class MemberPlace(Word, frozen=True):
    """A member of the masters and where it is, as one master's own log says."""

    name: str
    host: str
    port: int
    raft_port: int
    voter: bool = True


class MasterFacts(Word, frozen=True, tag="master_facts"):
    """What one master says of itself (every master answers, also without a leader)."""

    name: str
    role: str  # "leader", "follower", "candidate", "outdated", "learner", "outsider", "removed".
    term: int
    leader: str  # Member id, or empty.
    leader_age_ms: int  # Since when this leader (or no leader) is known.
    commit_index: int
    applied_index: int
    last_index: int
    first_index: int
    log_bytes: int
    state_bytes: int
    map_bytes: int
    disk_free_bytes: int
    commit_p50_us: int
    commit_p99_us: int
    rss_bytes: int
    incarnation: int
    version: str
    trouble: str = ""  # Why it does not serve, else empty.
    state: StateFacts | None = None
    leader_host: str = ""  # Where the leader's door is, if it is known.
    leader_port: int = 0
    free_bytes: int = 0  # Of the state: pages that hold nothing.
    readers: int = 0  # Slots that readers of the store hold.
    last_commit_us: int = 0
    members: tuple[MemberPlace, ...] = ()  # By its log; of one that has none yet, by its file.
    calls: CallFacts | None = None
    wall_ns: int = 0  # Its clock when it said this.
    certificate_until_ms: int = 0  # Wall time; 0: it shows none.
    longest_gap_ms: int = (
        -1
    )  # Without a leader before it led, of 7 d and since it started; -1: none.


class LedTerm(Word, frozen=True):
    """A term that was led; a replicated row."""

    term: int
    incarnation: int
    member: str
    since_ms: int  # Wall time.
    index: int


class MasterRow(Word, frozen=True):
    """A member as the leader sees it."""

    name: str
    host: str
    port: int
    reachable: bool
    facts: MasterFacts | None = None
    lag_entries: int = 0
    answer_age_ms: int = 0
    voter: bool = True
    ready: bool = True  # Caught up: a learner may be admitted.
    snapshot_bytes: int = 0  # Of the snapshot that it is being sent: durable there.
    trouble: str = ""  # Why it stopped for good, and never starts again from its directory.


class MasterReport(Word, frozen=True, tag="master_report"):
    """-> kind MasterList: members and every term that led."""

    items: tuple[MasterRow, ...]
    terms: tuple[LedTerm, ...]
    check: StateReport | None = None  # The newest comparison of their states.


class DiskRow(Word, frozen=True):
    disk_id: DiskId
    total_bytes: int
    free_bytes: int
    chunk_count: int
    failed: str
    journal_bytes: int = 0  # See DiskFacts in protocol/control.py.
    journal_used_bytes: int = 0
    journal_trouble: str = ""
    directory: str = ""
    mode: str = IN_SERVICE  # See protocol/server_modes.py.


class ServerRow(Word, frozen=True):
    """A chunkserver. `heartbeat_age_ms` counts from the leader's election at most; -1 = never.

    `disk_usage`, `free_bytes` and `total_bytes` are those of its disks in service,
    and 0 while it is not in service itself.
    """

    server_id: ServerId
    name: str
    host: str
    port: int
    rack: str
    machine: str
    state: str  # "live", "suspect", "dead".
    disk_usage: float
    chunk_count: int  # As it says itself.
    replica_count: int  # As the chunk table says.
    free_bytes: int
    total_bytes: int
    heartbeat_age_ms: int
    timestamp: int  # Its wall time at the last heartbeat, ms.
    disks: tuple[DiskRow, ...]
    reason: str = ""  # Why it is suspect, dead or avoided, and what follows; else empty.
    mode: str = IN_SERVICE  # How it stands: protocol/server_modes.py.
    job: str = ""  # That empties it, or did.
    job_share: float = -1.0  # Of its places that left; -1: no job runs.
    maintenance_left_ms: int = 0  # 0: it is not in maintenance.
    labels: tuple[tuple[str, str], ...] = ()
    disk_counts: DiskCounts = DiskCounts()


class ServerReport(Word, frozen=True, tag="server_report"):
    """-> kind ChunkserverList."""

    items: tuple[ServerRow, ...]


class ReplicaRow(Word, frozen=True):
    server_id: ServerId
    name: str
    rack: str
    health: str  # "live", "suspect", "dead", "copying", "deleting", "damaged"…
    disk_id: DiskId = DiskId(0)
    why: str = ""  # What is to be said about that.


class ChunkRow(Word, frozen=True):
    """A chunk as operators see it; lengths in bytes."""

    chunk_id: ChunkId
    state: str  # "open", "sealing", "sealed", "dead".
    length: int
    goal: int
    copies: int  # On live servers.
    durability: str
    kind: str
    claimed_by: int
    replicas: tuple[ReplicaRow, ...]
    blocked: str = ""  # Why it cannot be sealed now, else empty.
    troubles: tuple[str, ...] = ()  # See protocol/damage.py.
    rule: str = ""  # Of its placement.


class ChunkReport(Word, frozen=True, tag="chunk_report"):
    """-> kind ChunkList, one page; `more` asks for the chunks above `after`."""

    items: tuple[ChunkRow, ...]
    more: bool
    after: ChunkId = ChunkId(0)  # How far it was looked, maybe beyond the last item.


class PlacedExtent(Word, frozen=True):
    file_offset: int
    length: int
    chunk_offset: int
    chunk: ChunkRow


class PlacementReport(Word, frozen=True, tag="placement_report"):
    """-> kind Placement: where the bytes of one file lie."""

    path: str
    size: int
    rule: str
    items: tuple[PlacedExtent, ...]
    more: bool
    goal: int = 0  # Copies that the file wants.
    fitting: bool = False  # The goals of its chunks are still being changed to that.


class Finding(Word, frozen=True):
    """Something that is not as it should be: a code, one line, the next step."""

    code: str
    severity: str  # "error" or "warning".
    message: str
    advice: str
    subject: str = ""  # The server or master that it is about; empty: the cluster.
    facts: tuple[tuple[str, str], ...] = ()  # What it was concluded from, by name.
    since_ns: int = 0  # Wall time; 0: not written down (yet).
    muted_ms: int = 0  # For how long it does not count; 0: it counts.
    mute_reason: str = ""


class HealthReport(Word, frozen=True, tag="health_report"):
    """-> kind Health."""

    healthy: bool  # No finding that counts is an error.
    items: tuple[Finding, ...]
    mutes: tuple[MuteRow, ...] = ()  # All codes that are muted now, also without a finding.


class StatusReport(Word, frozen=True, tag="status_report"):
    """-> kind Status: the cluster on one screen."""

    cluster_id: str
    cluster_name: str
    leader: str
    term: int
    incarnation: int
    leader_age_ms: int
    applied_index: int
    masters: tuple[MasterRow, ...]
    servers: tuple[ServerRow, ...]
    chunks_by_copies: dict[str, int]  # "0", "1", "2", "3+" -> sealed or open chunks with a goal.
    chunk_count: int
    under_count: int
    open_count: int
    sealing_count: int
    dead_count: int
    file_count: int
    directory_count: int
    session_count: int
    goal: int
    chunk_bytes: int
    health: HealthReport
    failovers: tuple[LedTerm, ...]  # The newest terms that led, newest first.
    failover_count: int = -1  # That are recorded, 999 at most; -1: by an older release.
    scrub: ScrubSummary | None = None
    overview: Overview | None = None
    week_failovers: int = -1  # Of the last 7 d, by the clock of who answers; -1: older release.


class GetMasterFacts(Word, frozen=True, tag="get_master_facts"):
    """-> MasterFacts, from any master."""


class GetMasters(Word, frozen=True, tag="get_masters"):
    """-> MasterReport."""


class GetServers(Word, frozen=True, tag="get_servers"):
    """-> ServerReport."""


class GetChunks(Word, frozen=True, tag="get_chunks"):
    """-> ChunkReport. With `kinds` of trouble, only the chunks with any of them.

    `under` is that kind alone, as earlier releases ask.
    """

    under: bool = False
    after: ChunkId = ChunkId(0)
    limit: int = 200
    kinds: tuple[str, ...] = ()


class GetPlacement(Word, frozen=True, tag="get_placement"):
    """-> PlacementReport."""

    path: str
    offset: int = 0
    limit: int = 200


class GetHealth(Word, frozen=True, tag="get_health"):
    """-> HealthReport."""


class GetStatus(Word, frozen=True, tag="get_status"):
    """-> StatusReport."""


class TransferLeadership(Word, frozen=True, tag="transfer_leadership"):
    """-> LeadershipReport, once another master leads. `to` is a member, or "" for the best one.

    `leader` and `term` are the leadership that is meant: sent again, it is not done twice.
    """

    to: str
    leader: str
    term: int


class LeadershipReport(Word, frozen=True, tag="leadership_report"):
    """-> kind Leadership: who led, who leads now, and how long that took."""

    former: str
    leader: str
    took_ms: int


class AddMaster(Word, frozen=True, tag="add_master"):
    """-> MembersReport. A new master begins to receive the log; it does not vote yet."""

    name: str
    host: str
    port: int
    raft_port: int


class AdmitMaster(Word, frozen=True, tag="admit_master"):
    """-> MembersReport. A master that is caught up begins to vote."""

    name: str


class RemoveMaster(Word, frozen=True, tag="remove_master"):
    """-> MembersReport. A master leaves for good; its name is not used again."""

    name: str


class MembersReport(Word, frozen=True, tag="members_report"):
    """-> kind Members: who belongs to the masters now."""

    voters: tuple[str, ...]
    learners: tuple[str, ...]


ReportRequest = (
    GetMasterFacts
    | GetMasters
    | GetServers
    | GetChunks
    | GetPlacement
    | GetHealth
    | GetStatus
    | TransferLeadership
    | AddMaster
    | AdmitMaster
    | RemoveMaster
    | CheckStates
    | CountStates
)
ReportReply = (
    Failure
    | MasterFacts
    | MasterReport
    | ServerReport
    | ChunkReport
    | PlacementReport
    | HealthReport
    | StatusReport
    | LeadershipReport
    | MembersReport
    | StateReport
    | StatesCounting
)
