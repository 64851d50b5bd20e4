"""What chunkservers and the leading master say to each other: heartbeats and orders (G1).

Masters never dial chunkservers: the heartbeat is a parked call, orders ride in its answer, and
results come with the next heartbeat. Orders are idempotent and run per chunk in order of their
log index.
"""

from __future__ import annotations

from gfs_ha.ids import ANY_DISK, Birth, ChunkId, DiskId, Epoch, LogIndex, ServerId, StartId
from gfs_ha.protocol.codec import Failure, Word
from gfs_ha.protocol.rates import LoadFacts
from gfs_ha.protocol.records import RecordEntry
from gfs_ha.protocol.repair import RepairAllowance, RepairFacts
from gfs_ha.protocol.scrub import ScrubFacts, ScrubWanted
from gfs_ha.protocol.tickets import OperationPass, TicketKey
from gfs_ha.protocol.usage import UsageFacts


class DiskFacts(Word, frozen=True):
    """One data directory: its identity and how full it is, in bytes."""

    disk_id: DiskId
    total_bytes: int
    free_bytes: int
    chunk_count: int
    failed: str = ""  # Why it is out of service, else empty.
    journal_bytes: int = 0  # Of the file of its journal; 0 = it has none yet.
    journal_used_bytes: int = 0  # That cannot be used again yet.
    journal_trouble: str = ""  # Why its journal takes nothing any more, else empty.
    directory: str = ""  # Where it is on its machine, for people.
    ailing: str = ""  # What it refuses just now; it may be out of service in a moment.


class RegisterServer(Word, frozen=True, tag="register_server"):
    """-> ServerRegistered. `server_id` 0 asks for one; the name is the identity for people (D6).

    Raises: WrongDirectory when id and name do not fit what the cluster knows.
    """

    name: str
    server_id: ServerId
    host: str  # Address of the data port.
    port: int
    rack: str
    machine: str
    start_id: StartId
    boot_id: int
    disks: tuple[DiskFacts, ...]
    ticket_key: TicketKey | None = None  # Of a closed cluster.


class ServerRegistered(Word, frozen=True, tag="server_registered"):
    server_id: ServerId
    epoch: Epoch
    lost_disks: int = 0  # Of the server, with places of chunks, that it did not name.


class OpenReplica(Word, frozen=True):
    """A replica that is not sealed (or still has an order to be confirmed), listed in full."""

    chunk_id: ChunkId
    birth: Birth
    disk_id: DiskId
    end: int
    state: str  # "open", "fenced", "damaged", "quarantined", "tombstone".
    order_index: LogIndex = LogIndex(0)  # Of the newest order that it obeyed.


# Orders -----------------------------------------------------------------------------------------


class FenceReplica(Word, frozen=True, tag="fence"):
    """Refuse further appends durably, then tell what is there (C2, C3). Answered by FenceAnswer.

    `disk_id` is where it should be: a disk that is out of service leaves open what is there.
    """

    chunk_id: ChunkId
    birth: Birth
    order_index: LogIndex
    published_end: int
    disk_id: DiskId = ANY_DISK


class ProveReplica(Word, frozen=True, tag="prove"):
    """Tell the digest of the first `length` bytes (C4). Answered by ProofAnswer."""

    chunk_id: ChunkId
    birth: Birth
    order_index: LogIndex
    length: int
    disk_id: DiskId = ANY_DISK


class FinishReplica(Word, frozen=True, tag="finish_seal"):
    """Cut to the sealed length, sync, stamp as sealed (C7). Answered by OrderDone."""

    chunk_id: ChunkId
    birth: Birth
    order_index: LogIndex
    length: int
    digest: int


class CompareReplica(Word, frozen=True, tag="compare"):
    """Quarantine a replica that is no holder if its first `length` bytes are others (C4).

    One with the same bytes stays as it is: it counts only when the masters say so. Answered by
    OrderDone.
    """

    chunk_id: ChunkId
    birth: Birth
    order_index: LogIndex
    length: int
    digest: int


class ForgetTombstone(Word, frozen=True, tag="forget_tombstone"):
    """Refuse no longer a chunk that nobody can write any more; it destroys no replica (C2)."""

    chunk_id: ChunkId
    order_index: LogIndex


class DeleteReplica(Word, frozen=True, tag="delete"):
    """Destroy the replica. `order_index` is the committed command that made it right (G2)."""

    chunk_id: ChunkId
    order_index: LogIndex
    reason: str


class CopySource(Word, frozen=True):
    """A server that holds a good copy, and its data port."""

    server_id: ServerId
    host: str
    port: int
    ticket: bytes = b""


class CopyReplica(Word, frozen=True, tag="copy"):
    """Get a copy of a sealed chunk from another server (C7, D3). Answered by OrderDone.

    Done means: all of it is here, verified against `digest`, synced and stamped as sealed under
    `order_index`; so is a valid sealed replica that was here before. A replica of the same birth
    that is short, damaged or quarantined is replaced, once the good one is durable.
    """

    chunk_id: ChunkId
    birth: Birth
    order_index: LogIndex
    length: int
    digest: int
    disk_id: DiskId  # Where it is to lie; 0 = any.
    kind: str
    durability: str
    capacity: int
    sources: tuple[CopySource, ...]  # 1 to 8, in the order in which they are to be tried.
    bytes_per_s: int = 0  # Of this copy alone; 0: no limit. RepairAllowance is for all together.
    gone: bytes = b""  # Blocks that were given back: the copy is without them (G8).
    pass_: OperationPass | None = None  # Of the sources' tickets.


class StopCopy(Word, frozen=True, tag="stop_copy"):
    """End a copy that runs or waits under this or an older order, and remove what it left.

    A replica that counts or was here before stays. Answered by OrderDone.
    """

    chunk_id: ChunkId
    order_index: LogIndex


class KeepReplica(Word, frozen=True, tag="keep"):
    """The replica is not to be deleted: a delete with this index or an older one is refused as
    StaleOrder from now on, durably (G3). Answered by OrderDone; UnknownReplica when it is gone.
    """

    chunk_id: ChunkId
    order_index: LogIndex


class PunchReplica(Word, frozen=True, tag="punch"):
    """Mark blocks of a sealed replica as gone, durably, then give their room back (G8).

    `gone` is the whole set by now, see protocol/gone.py. Answered by OrderDone, with what the disk
    got back by this order.
    """

    chunk_id: ChunkId
    birth: Birth
    order_index: LogIndex
    gone: bytes


class CompactChunk(Word, frozen=True, tag="compact"):
    """Copy what lives of a sealed chunk into a fresh one, and have files refer to that (G8).

    The server does so as any writer of a put would, in a session of its own. Answered by
    OrderDone once no reference to these ranges is left, else by OrderFailed; again as often as it
    is ordered.
    """

    chunk_id: ChunkId
    birth: Birth
    order_index: LogIndex
    length: int
    digest: int
    goal: int
    capacity: int
    ranges: tuple[tuple[int, int], ...]  # (offset, length), sorted, apart from each other.
    bytes_per_s: int = 0  # 0: no limit.
    rule: str = ""  # Of placement.


class CreateReplica(Word, frozen=True, tag="create"):
    """Make an empty replica of a tail, durably (C10). Answered by OrderDone.

    `chain` are the servers below this one; who gets `primary_start` is the primary, if that is its
    own start id, and takes appends from now on. `order_index` is that of the chunk's birth.
    """

    chunk_id: ChunkId
    birth: Birth
    order_index: LogIndex
    disk_id: DiskId
    durability: str
    capacity: int
    chain: tuple[CopySource, ...] = ()
    primary_start: StartId = StartId(0)
    pass_: OperationPass | None = None  # Of the tickets of the chain.


Order = (
    FenceReplica
    | ProveReplica
    | FinishReplica
    | CompareReplica
    | ForgetTombstone
    | DeleteReplica
    | CopyReplica
    | StopCopy
    | KeepReplica
    | CreateReplica
    | PunchReplica
    | CompactChunk
)


# Answers to orders --------------------------------------------------------------------------------


class FenceAnswer(Word, frozen=True, tag="fence_answer"):
    """What one replica has (C3). `proof` is False, with a reason, when it must not decide."""

    chunk_id: ChunkId
    order_index: LogIndex
    end: int  # End of the last whole append that verifies.
    promised_end: int  # Highest end that the header ever promised.
    boot_id: int
    first_boot_id: int  # Boot id at the first append; 0 when nothing was appended.
    proof: bool
    why_not: str = ""


class ProofAnswer(Word, frozen=True, tag="proof_answer"):
    """The digest of the first `length` bytes; of a tail also their CRC-32C and their records.

    The records are those that may still be asked about: none below the newest window start of its
    appender, sorted by appender and sequence.
    """

    chunk_id: ChunkId
    order_index: LogIndex
    length: int
    digest: int
    crc: int | None = None
    records: tuple[RecordEntry, ...] = ()


class OrderDone(Word, frozen=True, tag="order_done"):
    """An order without an answer of its own is done, maybe long ago, or had nothing to do."""

    chunk_id: ChunkId
    order_index: LogIndex
    kind: str  # Tag of the order.
    freed: int = 0  # Bytes that the disk got back by it now.


class OrderFailed(Word, frozen=True, tag="order_failed"):
    chunk_id: ChunkId
    order_index: LogIndex
    kind: str
    failure: Failure


OrderAnswer = FenceAnswer | ProofAnswer | OrderDone | OrderFailed


class DamageFound(Word, frozen=True):
    """A block that failed its CRC, found by a read or a check (D3)."""

    chunk_id: ChunkId
    disk_id: DiskId
    block_index: int


class CopyProgress(Word, frozen=True):
    """A copy that runs on this server, the target."""

    chunk_id: ChunkId
    order_index: LogIndex
    bytes_done: int
    bytes_total: int


class DiskTally(Word, frozen=True):
    """What is sealed on a disk, for comparison (G7): see protocol/tally.py."""

    disk_id: DiskId
    buckets: bytes  # 256 times 8 bytes, big-endian.


class BucketListing(Word, frozen=True):
    """The sealed replicas of one bucket of a disk: (chunk, length, damaged)."""

    disk_id: DiskId
    bucket: int
    replicas: tuple[tuple[ChunkId, int, bool], ...]


class LedTail(Word, frozen=True):
    """A tail to which this server orders the appends, as it stands."""

    chunk_id: ChunkId
    length: int  # That every replica acknowledged.
    idle_ms: int  # Since the last record.
    full: bool = False  # It takes no more records.


class FinishedTail(Word, frozen=True):
    """A tail that is full, as its primary ended it: nothing comes after `length` (C5).

    Each server of `holders`, its whole chain, has acknowledged all of it. The records are those
    that may still be asked about, as in a proof.
    """

    chunk_id: ChunkId
    length: int
    digest: int
    crc: int
    holders: tuple[ServerId, ...]
    records: tuple[RecordEntry, ...] = ()


class Heartbeat(Word, frozen=True, tag="heartbeat"):
    """-> HeartbeatReply, at once when there are orders, else after a second (parked call)."""

    server_id: ServerId
    start_id: StartId
    beat: int  # Counts from 1 in each run of the server.
    epoch: Epoch  # The newest that a leader told this server.
    disk_usage: float  # Used share of its disks, 0.0-1.0.
    chunk_count: int
    timestamp: int  # Wall time, int64 milliseconds.
    disks: tuple[DiskFacts, ...]
    open_replicas: tuple[OpenReplica, ...] = ()
    answers: tuple[OrderAnswer, ...] = ()
    damage: tuple[DamageFound, ...] = ()
    streams: int = 0  # Bulk streams that it serves now.
    copies: tuple[CopyProgress, ...] = ()
    tallies: tuple[DiskTally, ...] = ()  # When they changed, and with every tenth beat.
    listed: tuple[BucketListing, ...] = ()  # What the last reply asked for.
    led: tuple[LedTail, ...] = ()
    scrub: tuple[ScrubFacts, ...] = ()  # Of each disk.
    finished: tuple[FinishedTail, ...] = ()  # Told once; else the leader finds out by itself.
    repair: RepairFacts | None = None
    load: LoadFacts | None = None  # None: by an older release.
    usage: UsageFacts | None = None  # Every few seconds.
    certificate_until_ms: int = 0  # Wall time; 0: it shows none.
    ticket_key: TicketKey | None = None  # The newest, of a closed cluster.
    listening: str = ""  # Where its data port is, in numbers; empty: by an older release.


class HeartbeatReply(Word, frozen=True, tag="heartbeat_reply"):
    """Orders of the leader of `epoch`; a server obeys none of an older epoch than it knows."""

    epoch: Epoch
    orders: tuple[Order, ...] = ()
    register_again: bool = False  # The leader does not know this start of the server.
    list_buckets: tuple[tuple[DiskId, int], ...] = ()  # At most 8, for the next heartbeat.
    lease_ms: int = 0  # How long the server may order appends, from when its heartbeat left.
    scrub: ScrubWanted | None = None  # How to scrub, when that is news for the server.
    repair: RepairAllowance | None = None  # Without one the last one goes on, until it lapses.
