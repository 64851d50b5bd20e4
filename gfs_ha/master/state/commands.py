"""The replicated commands that only the leader makes, and the entry in which every one travels.

What a client may ask and the leader adds nothing to is a command itself (protocol/metadata.py).
Commands of the leader carry no session; they compare before they write, so that one that comes
late or twice does no harm (C11).
"""

from __future__ import annotations

import msgspec

from gfs_ha.errors import ProtocolError
from gfs_ha.ids import NO_SESSION, ChunkId, DiskId, LogIndex, ServerId, SessionId, StartId
from gfs_ha.limits import (
    GOAL_DEFAULT,
    MIN_COPIES_DEFAULT,
    PLACEMENT_RULE_DEFAULT,
    SCHEMA_VERSION,
)
from gfs_ha.master.state.event_commands import EventCommand
from gfs_ha.master.state.garbage_commands import GarbageCommand
from gfs_ha.master.state.job_commands import JobCommand
from gfs_ha.master.state.scrub_commands import ScrubCommand
from gfs_ha.master.state.server_mode_commands import ServerModeCommand
from gfs_ha.master.state.tail_commands import OpenTail, PlaceTail, TailCommand
from gfs_ha.protocol.codec import Word
from gfs_ha.protocol.extents import ExtentMutation, StageCopy
from gfs_ha.protocol.metadata import (
    DISK,
    PUT,
    Mkdir,
    Publish,
    PureMutation,
    StageExtents,
)
from gfs_ha.protocol.policy import PolicyMutation
from gfs_ha.protocol.records import RecordEntry

ENTRY_FORMAT = 1


class InitCluster(Word, frozen=True, tag="init_cluster"):
    """-> Done. The first command of a cluster: its settings and its root directory.

    Every other command before it is NotInitialized; a second one is AlreadyInitialized.
    """

    cluster_id: str
    cluster_name: str
    incarnation: int
    chunk_bytes: int
    goal: int = GOAL_DEFAULT
    min_copies: int = MIN_COPIES_DEFAULT
    rule: str = PLACEMENT_RULE_DEFAULT


class LeaderElected(Word, frozen=True, tag="leader_elected"):
    """-> Done. A new leader writes down that it leads this term; a second one changes nothing."""

    member: str
    incarnation: int


class PlaceChunk(Word, frozen=True, tag="place_chunk"):
    """-> ChunkAllocated. An AllocateChunk of a session, with the replicas that the leader chose.

    Raises: TooFewCopies, UnknownServer (the choice was made on older news), LimitExceeded.
    """

    replicas: tuple[tuple[ServerId, DiskId], ...]  # The first is the head of the chain.
    kind: str = PUT
    durability: str = DISK
    goal: int = 0  # 0: the cluster's setting.
    remarks: tuple[str, ...] = ()
    rule: str = ""  # Empty: the cluster's setting.
    capacity: int = 0  # 0: the cluster's chunk size.


class BeginSeal(Word, frozen=True, tag="begin_seal"):
    """-> Done. The chunk is sealing; the index of this command numbers fence and prove (C2).

    Raises: StaleCommand unless the chunk is open, UnknownChunk.
    """

    chunk_id: ChunkId
    reason: str


class CommitSeal(Word, frozen=True, tag="commit_seal"):
    """-> ChunkSealed; of the earlier seal if there is one, for the first committed end wins (C2).

    Raises: StaleCommand unless sealing under `begin_index`, or when the published end grew above
    `length` meanwhile (ask the replicas again, C5); UnknownChunk, InvalidArgument.
    Of a tail it becomes the end of the file, and `records` its results (C8).
    """

    chunk_id: ChunkId
    begin_index: LogIndex
    length: int
    digest: int
    holders: tuple[ServerId, ...]
    crc: int | None = None  # Of a tail: CRC-32C of its bytes.
    records: tuple[RecordEntry, ...] = ()  # By appender and sequence; offsets in the chunk.


class SealWithLoss(Word, frozen=True, tag="seal_with_loss"):
    """-> ChunkSealed. The same by a person's word, without servers that may have had more (C3).

    The chunk's row says so from then on. Raises: as CommitSeal; StaleCommand while one that is
    given up may still answer appenders by its lease; InvalidArgument unless those are replicas of
    the chunk and no holders.
    """

    seal: CommitSeal
    given_up: tuple[ServerId, ...]


class EndClaims(Word, frozen=True, tag="end_claims"):
    """-> Done. These claims end; one that does not stand any more is passed over (C11)."""

    claims: tuple[tuple[SessionId, ChunkId], ...]


class ExpireSessions(Word, frozen=True, tag="expire_sessions"):
    """-> Done. Ends those that claim nothing, have lived their time and were not heard since.

    Each comes with the `last_ms` that the leader saw.
    """

    sessions: tuple[tuple[SessionId, int], ...]


class ReapStep(Word, frozen=True, tag="reap_step"):
    """-> Done. Deletes a bounded number of rows that nobody can reach any more."""

    rows_max: int


class EnrolledDisk(Word, frozen=True):
    disk_id: DiskId
    total_bytes: int
    directory: str = ""


class EnrollServer(Word, frozen=True, tag="enroll_server"):
    """-> ServerRegistered. A RegisterServer as it is written down (D6).

    Raises: WrongDirectory when id, name and disks do not fit what the cluster knows.
    """

    name: str
    server_id: ServerId  # 0 asks for one.
    host: str
    port: int
    rack: str
    machine: str
    start_id: StartId
    boot_id: int
    disks: tuple[EnrolledDisk, ...]


class ReplicasDeleted(Word, frozen=True, tag="replicas_deleted"):
    """-> Done. Replicas of dead chunks are gone, or lie on a disk that is lost.

    One whose chunk is not dead is passed over. A dead chunk without replicas leaves the table.
    `dropped` are those of living chunks, with the index of the DropReplica that was obeyed; one
    that is not being deleted under it (any more) is passed over.
    """

    replicas: tuple[tuple[ChunkId, ServerId, DiskId], ...]
    dropped: tuple[tuple[ChunkId, ServerId, LogIndex], ...] = ()
    freed: tuple[int, ...] = ()  # Of each replica, what its disk got back.
    dropped_freed: tuple[int, ...] = ()


class PlaceCopy(Word, frozen=True, tag="place_copy"):
    """-> Done. A server is to get a copy of a sealed chunk; this command's index numbers the order.

    A move of a job says which holder `leaves` once the copy counts. Raises, beside what follows,
    StaleCommand unless that job runs and that is a holder.

    Raises: StaleCommand unless sealed under `sealed_index`, with as many holders and copies under
    way as the leader saw, and the server has neither a copy that counts nor an order;
    UnknownServer, LimitExceeded (too many places), UnknownChunk.
    """

    chunk_id: ChunkId
    sealed_index: LogIndex
    server_id: ServerId
    disk_id: DiskId
    seen: int  # Holders and copies under way together: none is placed twice on old news.
    job: int = 0
    leaves: ServerId = ServerId(0)


class ConfirmCopy(Word, frozen=True, tag="confirm_copy"):
    """-> Done. A place of a sealed chunk was proved to hold its bytes: it counts from now on.

    `order_index` is that of the copy or deletion that the server has done or takes back; 0 for a
    place without an order. Raises: StaleCommand unless all of it fits the row; UnknownChunk.
    """

    chunk_id: ChunkId
    sealed_index: LogIndex
    server_id: ServerId
    disk_id: DiskId
    length: int
    digest: int
    order_index: LogIndex = LogIndex(0)


class EndCopy(Word, frozen=True, tag="end_copy"):
    """-> Done. A copy is given up; a place that came with it goes with it.

    Also the deletion of a place that did not count before it: that stays, and does not count.
    Raises: StaleCommand unless it is under way with this index, UnknownChunk.
    """

    chunk_id: ChunkId
    server_id: ServerId
    order_index: LogIndex
    reason: str


class LoseHolder(Word, frozen=True, tag="lose_holder"):
    """-> Done. A copy does not count any more; it stays where it is.

    Raises: StaleCommand unless sealed under `sealed_index` with this holder and another one;
    UnknownChunk.
    """

    chunk_id: ChunkId
    sealed_index: LogIndex
    server_id: ServerId
    reason: str


class DropReplica(Word, frozen=True, tag="drop_replica"):
    """-> Done. A copy beyond the goal is to be deleted; this command's index numbers the order.

    It only marks (G3). `evidence` are other holders that were heard just now. Raises: StaleCommand
    unless sealed under `sealed_index` and the evidence, as many as the goal, are holders;
    UnknownChunk, UnknownServer, LimitExceeded.
    """

    chunk_id: ChunkId
    sealed_index: LogIndex
    server_id: ServerId
    disk_id: DiskId
    evidence: tuple[ServerId, ...]


class SetRepairBudget(Word, frozen=True, tag="set_repair_budget"):
    """-> RepairBudgetReport, of all numbers. See records.RepairBudget; -1 leaves one as it is.

    Raises: InvalidArgument. Who asks for two changes in a row must not lose the first: apply knows
    what stands, and a leader that looked before it proposed may have seen an older row.
    """

    cluster_bytes_per_s: int = -1
    server_bytes_per_s: int = -1
    copies_per_server: int = -1
    copies: int = -1


class FitGoals(Word, frozen=True, tag="fit_goals"):
    """-> Done. Goes on with chunks whose goals are to fit what contents want, so many at most.

    Of the noted chunks it begins with `start`: those before may all wait to be sealed.
    """

    chunks_max: int
    start: ChunkId = ChunkId(0)


class VerifyState(Word, frozen=True, tag="verify_state"):
    """-> Done. Every master writes down the hash of its state as this command leaves it.

    `deep`: each also begins to count all of its rows, beside its other work.
    """

    deep: bool = False


class AttestState(Word, frozen=True, tag="attest_state"):
    """-> Done. The hash that a majority of all members had at the check at `index`.

    A master whose own note of that check says another one stops for good. With an empty `value`
    there was no majority, and nobody does. Raises: StaleCommand when a newer check is known.
    """

    index: LogIndex
    value: bytes
    agreed: tuple[str, ...]
    differing: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


LeaderCommand = (
    InitCluster
    | LeaderElected
    | BeginSeal
    | CommitSeal
    | SealWithLoss
    | EndClaims
    | ExpireSessions
    | ReapStep
    | EnrollServer
    | ReplicasDeleted
    | PlaceCopy
    | ConfirmCopy
    | EndCopy
    | LoseHolder
    | DropReplica
    | SetRepairBudget
    | VerifyState
    | AttestState
    | TailCommand
    | GarbageCommand
    | ScrubCommand
    | ServerModeCommand
    | JobCommand
    | EventCommand
    | FitGoals
)
Command = PureMutation | ExtentMutation | PolicyMutation | PlaceChunk | LeaderCommand


class Entry(Word, frozen=True):
    """A command in the log, with what the leader stamps: whose it is, and when.

    `elapsed_ms` counts on the leader's CLOCK_BOOTTIME from its first stamp of `stamp_term` (M6).
    A leader that stood still, lost and won again may send on what it stamped in an earlier term:
    that time has been counted, so it counts for nothing (0 = the term of the log).
    """

    elapsed_ms: int
    wall_ns: int
    command: Command
    session_id: SessionId = NO_SESSION
    sequence: int = 0
    window_start: int = 0
    schema: int = SCHEMA_VERSION
    stamp_term: int = 0


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)


def encode_entry(entry: Entry) -> bytes:
    """Return the bytes that are proposed: a format byte, then MessagePack."""
    return bytes([ENTRY_FORMAT]) + _encoder.encode(entry)


def decode_entry(payload: bytes) -> Entry:
    """Return the entry. Raises: ProtocolError when a newer release wrote it, or it is damaged."""
    if payload[:1] != bytes([ENTRY_FORMAT]):
        raise ProtocolError(f"an entry of the log has the unknown format {payload[:1]!r}")
    try:
        return _decoder.decode(memoryview(payload)[1:])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProtocolError(f"an entry of the log does not decode: {error}") from error


def grows(command: Command) -> bool:
    """Return whether a command adds state, so that it is refused when disks are short (M8).

    A Publish of staged contents goes on: their rows are there already.
    """
    if isinstance(command, Publish):
        return any(not file.content_id for file in command.files)
    return isinstance(command, Mkdir | StageExtents | StageCopy | PlaceChunk | PlaceTail | OpenTail)
