"""The log, the term and the vote of one member, kept in the key-value transaction of the tick.

The object speaks PySyncObj's journal interface, but mirrors only the newest entries in memory; the
rest is read from the store. Changes are collected and written by `write`, into the same
transaction as the applied state: what is not committed is forgotten together.
"""

from __future__ import annotations

import struct

import msgspec

from gfs_ha.errors import CorruptData, WrongDirectory
from gfs_ha.kv.ordered import OrderedKV, Reader, Writer
from gfs_ha.limits import RAFT_LOG_IN_MEMORY_BYTES
from gfs_ha.master.raft.identity import FORMAT, LOG, META
from gfs_ha.master.raft.members import (
    MEMBERSHIP,
    NOBODY,
    Configuration,
    Point,
    decode_configuration,
)

LogEntry = tuple[bytes, int, int]  # Command, index, term: the order that PySyncObj uses.

NO_OP = b"\x01"  # PySyncObj's command type of an entry without a command.
REGULAR = b"\x00"

_KEY = struct.Struct(">Q")
_ROW = struct.Struct(">cQ")  # Format, term; the command follows.
_APPLIED = struct.Struct(">cQQ")  # Format, index, term.
_ENTRY_OVERHEAD_BYTES = 48  # Key, row header and LMDB's node header and pointer, about.
_DROP_BYTES_MAX = 16 << 20  # Of entries that must be read back to be dropped, per tick.
_HEAD_KEY = b"head"
_APPLIED_KEY = b"applied"
_MEMBERS_KEY = b"members"

Members = list[tuple[int, Configuration]]  # By the index of their entries; 0 = from the start.


class _Head(msgspec.Struct, array_like=True):
    term: int = 0
    vote: str | None = None
    commit: int = 1
    log_bytes: int = 0


def stored_applied(reader: Reader) -> int:
    """Return the index of the last command whose effects are in this moment of the store."""
    return stored_entry(reader)[0]


def stored_members(reader: Reader, initial: Configuration) -> Members:
    """Return the configurations of this moment, the newest last."""
    row = reader.get(META, _MEMBERS_KEY)
    return [(0, initial)] if row is None else msgspec.msgpack.decode(_checked(row), type=Members)


def stored_entry(reader: Reader) -> tuple[int, int]:
    """Return index and term of the last entry whose effects are in this moment of the store."""
    row = reader.get(META, _APPLIED_KEY)
    if row is None:
        return 1, 0
    _, index, term = _APPLIED.unpack(_checked(row, whole=True))
    return index, term


class Journal:
    """One member's log. Index 1 is an entry without a command that every member begins with."""

    def __init__(
        self,
        kv: OrderedKV,
        memory_bytes_max: int = RAFT_LOG_IN_MEMORY_BYTES,
        initial: Configuration = NOBODY,
    ) -> None:
        self._kv = kv
        self._memory_bytes_max = memory_bytes_max
        self._tail: list[LogEntry] = []
        self._tail_first = 1
        self._tail_bytes = 0
        self._head = _Head()
        self._head_dirty = False
        self.initial = initial
        self._wiped = False  # Nothing of the stored log is to stay.
        self._members: Members = [(0, initial)]  # The newest that is applied, and all after it.
        self._members_dirty = False
        self._first = 0
        self._last = 0
        self._stored_first = 1  # What the last commit holds: nothing while last < first.
        self._stored_last = 0
        self._dirty_from = 1  # Entries from here on differ from the store.
        self._applied = self._stored_applied = (1, 0)
        with kv.read() as reader:
            self._load(reader)

    # What a replica asks for.

    @property
    def first_index(self) -> int:
        return self._first

    @property
    def last_index(self) -> int:
        return self._last

    @property
    def durable_index(self) -> int:
        """Return the last index that a commit made durable as it is now."""
        return min(self._stored_last, self._dirty_from - 1)

    @property
    def log_bytes(self) -> int:
        return self._head.log_bytes

    @property
    def applied_index(self) -> int:
        """Return the last applied index, of which the newest may not be committed yet."""
        return self._applied[0]

    @property
    def stored_applied_index(self) -> int:
        """Return the last applied index that a commit made visible to readers."""
        return self._stored_applied[0]

    @property
    def configuration(self) -> Configuration:
        """Return the newest configuration of the log, committed or not."""
        return self._members[-1][1]

    @property
    def configuration_index(self) -> int:
        return self._members[-1][0]

    def note_applied(self, index: int, term: int) -> None:
        assert index == self._applied[0] + 1, f"applied {index} after {self._applied[0]}"
        self._applied = (index, term)

    def term_at(self, index: int) -> int:
        """Return the term of an entry between first and last."""
        if index >= self._tail_first:
            return self._tail[index - self._tail_first][2]
        return self._read(index, index + 1)[0][2]

    def entries(self, start: int, count_max: int, bytes_max: int) -> list[LogEntry]:
        """Return entries from `start` on: at least one, at most what both limits allow.

        It may be fewer, where those in memory begin.
        """
        assert self._first <= start <= self._last, f"{start} of {self._first}..{self._last}"
        end = min(self._last + 1, start + count_max)
        if start >= self._tail_first:
            found = self._tail[start - self._tail_first : end - self._tail_first]
            return _cut(found, bytes_max)
        return self._read(start, min(end, self._tail_first), bytes_max)

    def truncate_from(self, index: int) -> None:
        """Forget the entries from `index` on; the first entry always stays."""
        assert index > self._first
        if index < self._tail_first:
            removed = sum(_size(entry) for entry in self._read(index, self._tail_first))
            self._head.log_bytes -= removed
            self._tail_first = index
        for entry in self._tail[index - self._tail_first :]:
            self._head.log_bytes -= _size(entry)
            self._tail_bytes -= _size(entry)
        del self._tail[index - self._tail_first :]
        self._last = index - 1
        self._dirty_from = min(self._dirty_from, index)
        self._head_dirty = True
        while self._members[-1][0] >= index:
            self._members.pop()
            self._members_dirty = True

    def drop_before(self, index: int) -> None:
        """Forget entries below `index`, which stays as the first one; fewer, if they are big."""
        assert self._first <= index <= self._stored_applied[0] <= self._stored_last
        dropped = self._read(self._first, min(index, self._tail_first), _DROP_BYTES_MAX)
        self._head.log_bytes -= sum(_size(entry) for entry in dropped)
        if dropped and dropped[-1][1] < min(index, self._tail_first) - 1:
            index = dropped[-1][1] + 1
        if index > self._tail_first:
            for entry in self._tail[: index - self._tail_first]:
                self._head.log_bytes -= _size(entry)
                self._tail_bytes -= _size(entry)
            del self._tail[: index - self._tail_first]
            self._tail_first = index
        self._first = index
        self._head_dirty = True

    def begin_at(self, point: Point, keep: bool) -> None:
        """Take the state for that of a place in the log; with `keep` the log goes through it.

        Without, the log is forgotten, and begins there with an entry without a command.
        """
        later = [each for each in self._members if keep and each[0] > point.index]
        self._members = [(point.index, point.configuration), *later]
        self._members_dirty = self._head_dirty = True
        self._applied = (point.index, point.term)
        if not keep:
            self._wiped = True
            entry = (NO_OP, point.index, point.term)
            self._tail, self._tail_first = [entry], point.index
            self._tail_bytes = self._head.log_bytes = _size(entry)
            self._first = self._last = self._dirty_from = point.index

    def appoint(self, point: Point) -> None:
        """Put a configuration in force by hand, from a place of the log on."""
        self._members, self._members_dirty = [(point.index, point.configuration)], True

    def row(self, key: bytes) -> bytes | None:
        """Return a stored row of the consensus beside the journal's own."""
        with self._kv.read() as reader:
            return reader.get(META, key)

    # The tick.

    @property
    def dirty(self) -> bool:
        return self.log_dirty or self._applied != self._stored_applied

    @property
    def log_dirty(self) -> bool:
        """Return whether log, term or vote changed, and not only what is applied."""
        return (
            self._head_dirty
            or self._dirty_from <= self._last
            or self._dirty_from <= self._stored_last
        )

    def write(self, writer: Writer) -> None:
        """Put everything that changed since the last commit into the transaction."""
        if self._wiped:
            for index in range(self._stored_first, self._stored_last + 1):
                writer.delete(LOG, _KEY.pack(index))
            self._stored_first, self._stored_last = self._first, self._first - 1
        for index in range(max(self._dirty_from, self._stored_first), self._stored_last + 1):
            writer.delete(LOG, _KEY.pack(index))
        start = self._dirty_from - self._tail_first
        assert start >= 0, "an entry left memory before it was stored"
        for command, index, term in self._tail[start:]:
            writer.put(LOG, _KEY.pack(index), _ROW.pack(FORMAT, term) + command)
        for index in range(self._stored_first, self._first):
            writer.delete(LOG, _KEY.pack(index))
        if self._head_dirty or self._dirty_from <= self._last:
            writer.put(META, _HEAD_KEY, FORMAT + msgspec.msgpack.encode(self._head))
        if self._members_dirty:
            self._forget_old_members()
            writer.put(META, _MEMBERS_KEY, FORMAT + msgspec.msgpack.encode(self._members))
        if self._applied != self._stored_applied:
            writer.put(META, _APPLIED_KEY, _APPLIED.pack(FORMAT, *self._applied))

    def committed(self) -> None:
        """Note that what `write` put is durable and visible."""
        self._head_dirty = self._members_dirty = self._wiped = False
        self._stored_first, self._stored_last = self._first, self._last
        self._dirty_from = self._last + 1
        self._stored_applied = self._applied
        self._evict()

    # PySyncObj's journal interface; positions count from the first entry.

    def add(self, command: bytes, index: int, term: int) -> None:
        assert index == self._last + 1, f"entry {index} after {self._last}"
        entry = (command, index, term)
        self._tail.append(entry)
        self._tail_bytes += _size(entry)
        self._head.log_bytes += _size(entry)
        self._last = index
        if command[:1] == MEMBERSHIP:
            self._members.append((index, decode_configuration(command)))
            self._members_dirty = True

    def __len__(self) -> int:
        return self._last - self._first + 1

    def __getitem__(self, position: int | slice) -> LogEntry | list[LogEntry]:
        if isinstance(position, slice):
            start, stop, step = position.indices(len(self))
            assert step == 1
            found: list[LogEntry] = []
            while start + len(found) < stop:
                index = self._first + start + len(found)
                found += self.entries(index, stop - start - len(found), 1 << 62)
            return found
        index = self._first + position if position >= 0 else self._last + 1 + position
        if not self._first <= index <= self._last:
            raise IndexError(f"entry {index} of {self._first}..{self._last}")
        return self.entries(index, 1, 0)[0]

    def setRaftCommitIndex(self, index: int) -> None:
        """Note the commit index. It is stored with the next change: losing it loses nothing."""
        self._head.commit = index

    def getRaftCommitIndex(self) -> int:
        return self._head.commit

    def setCurrentTerm(self, term: int, vote: str | None) -> None:
        self._head.term, self._head.vote = term, vote
        self._head_dirty = True

    def getCurrentTerm(self) -> int:
        return self._head.term

    def getVotedForNodeId(self) -> str | None:
        return self._head.vote

    def onOneSecondTimer(self) -> None:
        """PySyncObj stores its commit index here; ours goes with the next change."""

    # The store.

    def _load(self, reader: Reader) -> None:
        row = reader.get(META, _HEAD_KEY)
        if row is not None:
            self._head = msgspec.msgpack.decode(_checked(row), type=_Head)
        self._members = stored_members(reader, self.initial)
        self._applied = self._stored_applied = stored_entry(reader)
        first = next(iter(reader.scan(LOG)), None)
        if first is None:
            self._first = self._tail_first = 1
            self.add(NO_OP, 1, 0)
            return
        self._first = self._stored_first = _KEY.unpack(first[0])[0]
        tail: list[LogEntry] = []
        for key, value in reader.scan(LOG, reverse=True):
            entry = _entry(key, value)
            if tail and entry[1] != tail[-1][1] - 1:
                raise CorruptData(f"the log has a hole below entry {tail[-1][1]}")
            tail.append(entry)
            self._tail_bytes += _size(entry)
            if self._tail_bytes > self._memory_bytes_max:
                break
        tail.reverse()
        self._tail, self._tail_first = tail, tail[0][1]
        self._last = self._stored_last = tail[-1][1]
        self._dirty_from = self._last + 1
        if not self._first <= self._applied[0] <= self._last:
            raise CorruptData(
                f"entry {self._applied[0]} is applied, the log holds {self._first}..{self._last}"
            )

    def _read(self, start: int, end: int, bytes_max: int = 1 << 62) -> list[LogEntry]:
        """Return stored entries start <= index < end: at least one, up to `bytes_max`."""
        found: list[LogEntry] = []
        if start >= end:
            return found
        with self._kv.read() as reader:
            for key, value in reader.scan(LOG, _KEY.pack(start), _KEY.pack(end)):
                entry = _entry(key, value)
                found.append(entry)
                bytes_max -= len(entry[0])
                if bytes_max <= 0:
                    break
        if not found or found[0][1] != start or found[-1][1] != start + len(found) - 1:
            raise CorruptData(f"entries {start}..{end - 1} of the log are not all there")
        return found

    def _forget_old_members(self) -> None:
        """Keep the newest configuration that can never be truncated, and what came after it."""
        while len(self._members) > 1 and self._members[1][0] <= self._applied[0]:
            del self._members[0]

    def _evict(self) -> None:
        if self._tail_bytes <= self._memory_bytes_max:
            return
        keep_bytes = self._memory_bytes_max * 3 // 4  # In steps: a list is cut at its front.
        count = 0
        while self._tail_bytes > keep_bytes and count < len(self._tail) - 1:
            self._tail_bytes -= _size(self._tail[count])
            count += 1
        del self._tail[:count]
        self._tail_first += count


def _size(entry: LogEntry) -> int:
    return len(entry[0]) + _ENTRY_OVERHEAD_BYTES


def _cut(entries: list[LogEntry], bytes_max: int) -> list[LogEntry]:
    for count, entry in enumerate(entries, 1):
        bytes_max -= len(entry[0])
        if bytes_max <= 0:
            return entries[:count]
    return entries


def _entry(key: bytes, value: bytes) -> LogEntry:
    form, term = _ROW.unpack_from(value)
    if form != FORMAT:
        raise WrongDirectory(f"the log has entries of format {form[0]}; this release knows 1")
    return bytes(value[_ROW.size :]), _KEY.unpack(key)[0], term


def _checked(row: bytes, whole: bool = False) -> bytes:
    if row[:1] != FORMAT:
        raise WrongDirectory(f"the store has rows of format {row[0]}; this release knows 1")
    return row if whole else row[1:]
