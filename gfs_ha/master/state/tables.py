"""The tables of the replicated state, and how their keys are packed.

Keys are big-endian and of fixed width, so that byte order is number order. Small tables share one
database under a one-byte prefix: every named database that a commit touches costs it a page more.
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import Any, Generic, TypeVar

import msgspec

from gfs_ha.errors import DiskFailed, InvalidArgument
from gfs_ha.ids import ChunkId, ContentId, DiskId, InodeId, ServerId
from gfs_ha.kv.ordered import Table
from gfs_ha.master.state import (
    event_records,
    garbage_records,
    job_records,
    policy_records,
    records,
    scrub_records,
    server_mode_records,
    tail_records,
)

Row = TypeVar("Row")

ROW_FORMAT = 1
_FORMAT = bytes([ROW_FORMAT])
_encoder = msgspec.msgpack.Encoder()

_ONE = struct.Struct(">Q")
_TWO = struct.Struct(">QQ")
_THREE = struct.Struct(">QQQ")
_FOUR = struct.Struct(">QQQQ")
_SIZE = struct.Struct(">H")

ONLY = b""  # The key of a table with one row.


class RowTable(Generic[Row]):
    """A table and the kind of its rows: a format byte, then the Struct in MessagePack."""

    __slots__ = ("_decoder", "name", "seed", "table")

    def __init__(self, name: str, database: str, prefix: bytes, row: type[Row]) -> None:
        self.name = name
        self.table = Table(name, database, prefix)
        self.seed = blake2b(database.encode() + b"\0" + prefix, digest_size=16)
        self._decoder = msgspec.msgpack.Decoder(row)

    def encode(self, row: Row) -> bytes:
        """Return the stored bytes of a row."""
        return _FORMAT + _encoder.encode(row)

    def decode(self, data: bytes) -> Row:
        """Return the row. Raises: DiskFailed when these are no bytes of ours; fatal (M1)."""
        if data[:1] != _FORMAT:
            raise DiskFailed(f"a row of {self.name} has the unknown format {data[:1]!r}")
        try:
            return self._decoder.decode(memoryview(data)[1:])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DiskFailed(f"a row of {self.name} does not decode: {error}") from error


def row_hash(table: RowTable[Any], key: bytes, data: bytes) -> int:
    """Return the 128-bit hash of one row of a table, given its stored bytes (0.9 us)."""
    state = table.seed.copy()
    state.update(_SIZE.pack(len(key)) + key + data)
    return int.from_bytes(state.digest(), "little")


class StoredReply(msgspec.Struct, frozen=True, array_like=True):
    """The encoded answer of a session's request; the key is (session, sequence)."""

    data: bytes


_STATE, _DENTRIES, _INODES, _EXTENTS = "state", "dentries", "inodes", "extents"
_CHUNKS, _REFERENCES = "chunks", "references"

STATE_DATABASE = _STATE
# Of the state hash, which lies beside the tables and is none of them: in front, on the page of the
# counters, which every command writes anyway.
DIGEST_PREFIX = b"\x00"

DATABASES = (_STATE, _DENTRIES, _INODES, _EXTENTS, _CHUNKS, _REFERENCES)

SETTINGS = RowTable("settings", _STATE, b"\x01", records.Settings)
COUNTERS = RowTable("counters", _STATE, b"\x02", records.Counters)
INTERNAL_ERRORS = RowTable("internal_errors", _STATE, b"\x03", records.InternalErrors)
LED_TERMS = RowTable("led_terms", _STATE, b"\x04", records.LedTermRow)
SESSIONS = RowTable("sessions", _STATE, b"\x05", records.Session)
REPLIES = RowTable("replies", _STATE, b"\x06", StoredReply)
CLAIMS = RowTable("claims", _STATE, b"\x07", records.Claim)
STAGED = RowTable("staged", _STATE, b"\x08", records.StagedContent)
SERVERS = RowTable("servers", _STATE, b"\x09", records.Server)
SERVER_NAMES = RowTable("server_names", _STATE, b"\x0a", records.ServerName)
DISKS = RowTable("disks", _STATE, b"\x0b", records.DiskOwner)
UNSEALED_CHUNKS = RowTable("unsealed_chunks", _STATE, b"\x0c", records.Mark)
DEAD_CHUNKS = RowTable("dead_chunks", _STATE, b"\x0d", records.Mark)
UNDER_CHUNKS = RowTable("under_chunks", _STATE, b"\x0e", records.Mark)
DETACHED_TREES = RowTable("detached_trees", _STATE, b"\x0f", records.Reapable)
OLD_CONTENTS = RowTable("old_contents", _STATE, b"\x10", records.Reapable)
ENDED_SESSIONS = RowTable("ended_sessions", _STATE, b"\x11", records.Reapable)
REPLICA_COUNTS = RowTable("replica_counts", _STATE, b"\x12", records.ReplicaCount)
STATE_CHECKS = RowTable("state_checks", _STATE, b"\x13", records.StateCheck)
BUSY_CHUNKS = RowTable("busy_chunks", _STATE, b"\x14", records.Mark)
SURPLUS_CHUNKS = RowTable("surplus_chunks", _STATE, b"\x15", records.Mark)
REPAIR_BUDGET = RowTable("repair_budget", _STATE, b"\x16", records.RepairBudget)
TAILS = RowTable("tails", _STATE, b"\x17", tail_records.Tail)
TAILS_BY_SERVER = RowTable("tails_by_server", _STATE, b"\x18", records.Mark)
TAILS_BY_DIRECTORY = RowTable("tails_by_directory", _STATE, b"\x19", records.Mark)
TAIL_CHUNKS = RowTable("tail_chunks", _STATE, b"\x1a", records.Mark)
UNOPENED_TAILS = RowTable("unopened_tails", _STATE, b"\x1b", records.Mark)
LEASES = RowTable("leases", _STATE, b"\x1c", tail_records.Lease)
LEASE_EVENTS = RowTable("lease_events", _STATE, b"\x1d", tail_records.LeaseEventRow)
HOLDS = RowTable("holds", _STATE, b"\x1e", tail_records.Hold)
APPEND_FILES = RowTable("append_files", _STATE, b"\x1f", tail_records.AppendFile)
APPEND_RESULTS = RowTable("append_results", _STATE, b"\x20", tail_records.AppendResults)
OLD_RESULTS = RowTable("old_results", _STATE, b"\x21", records.Reapable)
SESSION_KEYS = RowTable("session_keys", _STATE, b"\x22", tail_records.SessionKey)
PUNCHING_CHUNKS = RowTable("punching_chunks", _STATE, b"\x40", records.Mark)
COMPACTING_CHUNKS = RowTable("compacting_chunks", _STATE, b"\x43", records.Mark)
ORPHANS = RowTable("orphans", _STATE, b"\x41", garbage_records.Orphan)
RECLAIMED = RowTable("reclaimed", _STATE, b"\x42", garbage_records.Reclaimed)
SCRUB_SETTINGS = RowTable("scrub_settings", _STATE, b"\x60", scrub_records.ScrubSettings)
ASKED_SCRUBS = RowTable("asked_scrubs", _STATE, b"\x61", scrub_records.AskedScrub)
POLICIES = RowTable("policies", _STATE, b"\x51", policy_records.Policy)
CONTENT_FITS = RowTable("content_fits", _STATE, b"\x52", policy_records.ContentFit)
CHUNK_FITS = RowTable("chunk_fits", _STATE, b"\x53", policy_records.ChunkFit)
SERVER_MODES = RowTable("server_modes", _STATE, b"\x70", server_mode_records.ServerMode)
DISK_MODES = RowTable("disk_modes", _STATE, b"\x71", server_mode_records.DiskMode)
JOBS = RowTable("jobs", _STATE, b"\x80", job_records.Job)
RUNNING_JOBS = RowTable("running_jobs", _STATE, b"\x81", records.Mark)
JOB_EVENTS = RowTable("job_events", _STATE, b"\x82", job_records.JobEventRow)
LEAVING_CHUNKS = RowTable("leaving_chunks", _STATE, b"\x83", records.Mark)
EVENTS = RowTable("events", _STATE, b"\x90", event_records.Event)
NOTED = RowTable("noted", _STATE, b"\x91", event_records.Noted)
MUTES = RowTable("mutes", _STATE, b"\x92", event_records.Mute)
GONE_FILES = RowTable("gone_files", _STATE, b"\x28", tail_records.GoneFile)

DENTRIES = RowTable("dentries", _DENTRIES, b"", records.Dentry)
INODES = RowTable("inodes", _INODES, b"", records.Inode)
EXTENTS = RowTable("extents", _EXTENTS, b"", records.ExtentRow)
CHUNKS = RowTable("chunks", _CHUNKS, b"\x01", records.Chunk)
REPLICAS_BY_SERVER = RowTable("replicas_by_server", _CHUNKS, b"\x02", records.Mark)
REFERENCES = RowTable("references", _REFERENCES, b"", records.Reference)

TABLES: tuple[RowTable[Any], ...] = (
    SETTINGS,
    COUNTERS,
    INTERNAL_ERRORS,
    LED_TERMS,
    SESSIONS,
    REPLIES,
    CLAIMS,
    STAGED,
    SERVERS,
    SERVER_NAMES,
    DISKS,
    UNSEALED_CHUNKS,
    DEAD_CHUNKS,
    UNDER_CHUNKS,
    DETACHED_TREES,
    OLD_CONTENTS,
    ENDED_SESSIONS,
    REPLICA_COUNTS,
    STATE_CHECKS,
    BUSY_CHUNKS,
    SURPLUS_CHUNKS,
    REPAIR_BUDGET,
    TAILS,
    TAILS_BY_SERVER,
    TAILS_BY_DIRECTORY,
    TAIL_CHUNKS,
    UNOPENED_TAILS,
    LEASES,
    LEASE_EVENTS,
    HOLDS,
    APPEND_FILES,
    APPEND_RESULTS,
    OLD_RESULTS,
    SESSION_KEYS,
    PUNCHING_CHUNKS,
    COMPACTING_CHUNKS,
    ORPHANS,
    RECLAIMED,
    SCRUB_SETTINGS,
    ASKED_SCRUBS,
    POLICIES,
    CONTENT_FITS,
    CHUNK_FITS,
    GONE_FILES,
    SERVER_MODES,
    DISK_MODES,
    JOBS,
    RUNNING_JOBS,
    JOB_EVENTS,
    LEAVING_CHUNKS,
    EVENTS,
    NOTED,
    MUTES,
    DENTRIES,
    INODES,
    EXTENTS,
    CHUNKS,
    REPLICAS_BY_SERVER,
    REFERENCES,
)

# Keys raise InvalidArgument for numbers that are none: peers may take anything for an id.


def _no_key(*numbers: int) -> InvalidArgument:
    told = ", ".join(map(str, numbers))
    return InvalidArgument(f"{told}: ids and offsets are 0 to 2^64-1")


def id_key(number: int) -> bytes:
    """Return the key of one number: an inode, content, chunk, session, server or disk."""
    try:
        return _ONE.pack(number)
    except struct.error as error:
        raise _no_key(number) from error


def read_id(key: bytes) -> int:
    """Return the number that a key begins with."""
    return int(_ONE.unpack_from(key)[0])


def dentry_key(directory: InodeId, name: str) -> bytes:
    return _ONE.pack(directory) + name.encode()


def dentry_name(key: bytes) -> str:
    return key[8:].decode()


def pair_key(first: int, second: int) -> bytes:
    """Return the key of two numbers: (session, sequence), (inode, appender), (epoch)…"""
    try:
        return _TWO.pack(first, second)
    except struct.error as error:
        raise _no_key(first, second) from error


def read_pair(key: bytes) -> tuple[int, int]:
    first, second = _TWO.unpack(key)
    return first, second


def extent_key(content_id: ContentId, file_offset: int) -> bytes:
    return pair_key(content_id, file_offset)


def reference_key(
    chunk_id: ChunkId, chunk_offset: int, content_id: ContentId, file_offset: int
) -> bytes:
    try:
        return _FOUR.pack(chunk_id, chunk_offset, content_id, file_offset)
    except struct.error as error:
        raise _no_key(chunk_id, chunk_offset, content_id, file_offset) from error


def read_reference_key(key: bytes) -> tuple[ChunkId, int, ContentId, int]:
    chunk_id, chunk_offset, content_id, file_offset = _FOUR.unpack(key)
    return ChunkId(chunk_id), chunk_offset, ContentId(content_id), file_offset


def replica_key(server_id: ServerId, disk_id: DiskId, chunk_id: ChunkId) -> bytes:
    try:
        return _THREE.pack(server_id, disk_id, chunk_id)
    except struct.error as error:
        raise _no_key(server_id, disk_id, chunk_id) from error


def read_replica_key(key: bytes) -> tuple[ServerId, DiskId, ChunkId]:
    server_id, disk_id, chunk_id = _THREE.unpack(key)
    return ServerId(server_id), DiskId(disk_id), ChunkId(chunk_id)


def below(prefix: bytes) -> tuple[bytes, bytes | None]:
    """Return the range (start, end) of all keys that begin with an id or a pair of ids."""
    value = int.from_bytes(prefix, "big") + 1
    if value >> (8 * len(prefix)):
        return prefix, None
    return prefix, value.to_bytes(len(prefix), "big")
