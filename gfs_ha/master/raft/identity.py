"""Who this member durably is: cluster, incarnation, members, the list of its own starts, and what
it saw of the others' starts.

A start is (number, random nonce). A peer that saw one admits this member only if the member's own
list holds it: a wiped or restored disk does not, and such a member has forgotten votes and entries
that it once acknowledged (M5).
"""

from __future__ import annotations

import struct
from itertools import islice

import msgspec

from gfs_ha.errors import ConfigError, GfsError, OldCopy, WrongDirectory, error_from_wire
from gfs_ha.kv.ordered import OrderedKV, Reader, Table, Writer
from gfs_ha.limits import RAFT_NAMES_MAX, RAFT_STARTS_MAX
from gfs_ha.master.raft.contract import RaftConfig
from gfs_ha.master.raft.members import Address
from gfs_ha.runtime import Runtime

LOG = Table("raft_log", "log")
META = Table("raft_meta", "meta", b"R")
STARTS = Table("raft_starts", "meta", b"S")
SEEN = Table("raft_seen", "meta", b"P")
DATABASES = ("log", "meta")

FORMAT = b"\x01"  # Of every row of this room.

_IDENTITY = b"identity"
_STOPPED = b"stopped"
_NUMBER = struct.Struct(">Q")


class Start(msgspec.Struct, frozen=True, array_like=True):
    """One run of a member. Number 0 means none."""

    number: int
    nonce: int


NEVER = Start(0, 0)


class IdentityRecord(msgspec.Struct, array_like=True):
    """The stored form; no members: it waits to be let in."""

    cluster_id: str
    incarnation: int
    member_id: str
    members: dict[str, Address]


class _Stopped(msgspec.Struct, array_like=True):
    code: str
    message: str


def bootstrap(kv: OrderedKV, config: RaftConfig) -> None:
    """Make an empty store a member of a new cluster; used once per member.

    Raises: WrongDirectory when the store is not empty; ConfigError.
    """
    _establish(kv, config, config.members)


def join(kv: OrderedKV, config: RaftConfig) -> bool:
    """Make an empty store one that waits to become a member of a cluster that is there already.

    Returns False, and does nothing, when the store is not empty. Raises: ConfigError.
    """
    with kv.read() as reader:
        if not _empty(reader):
            return False
    _establish(kv, config, {})
    return True


def _establish(kv: OrderedKV, config: RaftConfig, members: dict[str, Address]) -> None:
    config.check()
    with kv.read() as reader:
        if not _empty(reader):
            raise WrongDirectory(
                "the metadata store is not empty: only an empty directory is bootstrapped"
            )
    record = IdentityRecord(config.cluster_id, config.incarnation, config.member_id, members)
    writer = kv.begin()
    try:
        store_record(writer, record)
    except BaseException:
        writer.abort()
        raise
    writer.commit()


def load_record(reader: Reader) -> IdentityRecord | None:
    """Return who a store is. Raises: OldCopy, NewerIncarnation when it was stopped for good."""
    row = reader.get(META, _IDENTITY)
    _check_stopped(reader)
    return None if row is None else msgspec.msgpack.decode(_checked(row), type=IdentityRecord)


def store_record(writer: Writer, record: IdentityRecord) -> None:
    writer.put(META, _IDENTITY, FORMAT + msgspec.msgpack.encode(record))


def _empty(reader: Reader) -> bool:
    whole = [Table(name, name) for name in DATABASES]
    return all(next(iter(reader.scan(table)), None) is None for table in whole)


def _blank(reader: Reader) -> bool:
    """Return whether the log never began: a snapshot leaves one entry, too, but a later one."""
    keys = [key for key, _ in islice(reader.scan(LOG), 2)]
    return keys in ([], [_NUMBER.pack(1)])


class Identity:
    """The stored identity of one running member; opening it begins a new start, durably.

    Raises: ConfigError (never bootstrapped), WrongDirectory (another member's or cluster's store),
    OldCopy and NewerIncarnation (stopped for good earlier).
    """

    def __init__(self, kv: OrderedKV, config: RaftConfig, runtime: Runtime) -> None:
        config.check()
        with kv.read() as reader:
            record = _load(reader, config)
            _check_stopped(reader)
            self._starts = {
                _NUMBER.unpack(key)[0]: _NUMBER.unpack_from(value, 1)[0]
                for key, value in reader.scan(STARTS)
            }
            # Nobody has told it anything yet: it may join whatever incarnation it finds.
            self._fresh = not record.members and _blank(reader)
            self._seen = {
                key.decode(): Start(*struct.unpack_from(">QQ", value, 1))
                for key, value in reader.scan(SEEN)
            }
        self.cluster_id = record.cluster_id
        self.initial_members = tuple(record.members)  # Who voted when the cluster began.
        self.incarnation = record.incarnation
        self.member_id = record.member_id
        self.start = Start(max(self._starts, default=0) + 1, runtime.random_u64())
        self._record = record
        self._unwritten: dict[str, Start] = {}
        self._record_dirty = False
        self._open(kv)

    def holds(self, start: Start) -> bool:
        """Return whether `start` is one of this member's own; `NEVER` always is."""
        return start == NEVER or self._starts.get(start.number) == start.nonce

    def last_seen(self, peer: str) -> Start:
        """Return the newest start of a peer that was ever admitted here."""
        return self._seen.get(peer, NEVER)

    def has_room_for(self, peer: str) -> bool:
        """Return whether the start of this peer can be noted: names are few and for ever."""
        return peer in self._seen or len(self._seen) < RAFT_NAMES_MAX

    def note_seen(self, peer: str, start: Start) -> bool:
        """Record a proved start of a peer; return True if it waits for the next commit."""
        if self._seen.get(peer) != start:
            self._seen[peer] = start
            self._unwritten[peer] = start
        return peer in self._unwritten

    @property
    def fresh(self) -> bool:
        """Return whether this member never held anything of a cluster. Thread-safe."""
        return self._fresh

    def adopt(self, incarnation: int) -> bool:
        """Take the incarnation of the cluster that this new member is to join; False if it may not.

        Only who has never held anything of a cluster may: what it holds belongs to its incarnation.
        """
        if not self._fresh:
            return False
        self.incarnation = self._record.incarnation = incarnation
        self._record_dirty = True
        return True

    def note_held(self) -> None:
        """Hear that this member holds something of its cluster: it is of that incarnation now."""
        self._fresh = False

    @property
    def dirty(self) -> bool:
        return bool(self._unwritten) or self._record_dirty

    def write(self, writer: Writer) -> None:
        """Put what was noted into the transaction of this tick."""
        if self._record_dirty:
            store_record(writer, self._record)
        for peer, start in self._unwritten.items():
            row = FORMAT + struct.pack(">QQ", start.number, start.nonce)
            writer.put(SEEN, peer.encode(), row)

    def committed(self) -> None:
        self._unwritten.clear()
        self._record_dirty = False

    def _open(self, kv: OrderedKV) -> None:
        writer = kv.begin()
        try:
            row = FORMAT + _NUMBER.pack(self.start.nonce)
            writer.put(STARTS, _NUMBER.pack(self.start.number), row)
            self._starts[self.start.number] = self.start.nonce
            for number in sorted(self._starts)[: len(self._starts) - RAFT_STARTS_MAX]:
                writer.delete(STARTS, _NUMBER.pack(number))
                del self._starts[number]
        except BaseException:
            writer.abort()
            raise
        writer.commit()


def stop_for_good(writer: Writer, error: GfsError) -> None:
    """Mark the store durably so that this member never runs from it again."""
    record = _Stopped(error.code, error.message)
    writer.put(META, _STOPPED, FORMAT + msgspec.msgpack.encode(record))


def _load(reader: Reader, config: RaftConfig) -> IdentityRecord:
    row = reader.get(META, _IDENTITY)
    if row is None:
        raise ConfigError(
            f"the metadata store of {config.member_id} was never bootstrapped; start the masters"
            " of a new cluster once with --bootstrap"
        )
    record = msgspec.msgpack.decode(_checked(row), type=IdentityRecord)
    check_owner(record, config)
    if record.incarnation != config.incarnation:
        raise _wrong("incarnation", record.incarnation, config.incarnation)
    return record


def check_owner(record: IdentityRecord, config: RaftConfig) -> None:
    """Raises: WrongDirectory for the store of another member, or of another cluster."""
    if record.cluster_id != config.cluster_id:
        raise _wrong("cluster", record.cluster_id, config.cluster_id)
    if record.member_id != config.member_id:
        raise _wrong("member", record.member_id, config.member_id)


def _wrong(name: str, stored: object, given: object) -> WrongDirectory:
    return WrongDirectory(
        f"the metadata store belongs to {name} {stored}, the configuration says {given}"
    )


def _check_stopped(reader: Reader) -> None:
    row = reader.get(META, _STOPPED)
    if row is not None:
        record = msgspec.msgpack.decode(_checked(row), type=_Stopped)
        error = error_from_wire(record.code, record.message, {})
        raise error if isinstance(error, GfsError) else OldCopy(record.message)


def _checked(row: bytes) -> bytes:
    if row[:1] != FORMAT:
        raise WrongDirectory(
            f"the metadata store has rows of format {row[0]}; this release knows format {FORMAT[0]}"
        )
    return row[1:]
