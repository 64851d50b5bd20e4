"""Ordered bytes: the contract of the key-value store below the masters, and a twin in memory.

One writer at a time, readers see one moment. Keys are compared as bytes; tables are ranges of
their own.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import msgspec

from gfs_ha.kv.places import staged


class Table(msgspec.Struct, frozen=True):
    """A named range of keys. Small tables share one database under a one-byte prefix."""

    name: str
    database: str
    prefix: bytes = b""


class Reader(Protocol):
    """One moment of the store."""

    def get(self, table: Table, key: bytes) -> bytes | None: ...

    def scan(
        self, table: Table, start: bytes = b"", end: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) with start <= key < end in order (or from the end backwards).

        The store must not be changed through the same transaction while this is being read.
        """
        ...


class Writer(Reader, Protocol):
    """The one open write transaction; it sees its own writes."""

    def put(self, table: Table, key: bytes, value: bytes) -> None: ...

    def delete(self, table: Table, key: bytes) -> bool:
        """Remove a key; return whether it was there."""
        ...

    def clear(self, database: str) -> None:
        """Remove all rows of a database, of all tables in it, however many there are."""
        ...

    def switch(self, databases: Sequence[str]) -> None:
        """Have each of these databases and its staged place (`places.staged`) change places."""
        ...


class WriteTransaction(Writer, Protocol):
    """A write transaction that its owner ends by hand (one per tick of the consensus loop)."""

    def commit(self) -> None:
        """Make everything durable. Raises: DiskFull, DiskFailed: fatal, the process must stop."""
        ...

    def abort(self) -> None: ...


class KvStats(msgspec.Struct, frozen=True):
    """How full the store is, in bytes; `map_bytes` is the most that it can hold."""

    used_bytes: int
    map_bytes: int
    entries: int
    free_bytes: int = 0  # Of what is used: pages that hold nothing and are taken first.
    readers: int = 0  # Slots that readers hold, in all processes.


class Frozen(Protocol):
    """One moment of a store, kept aside until `close`; the store itself is not held up by it."""

    def read(self) -> AbstractContextManager[Reader]: ...

    def close(self) -> None: ...


class OrderedKV(Protocol):
    """The store. `begin` is for one owner thread; `read` is for any thread."""

    def read(self) -> AbstractContextManager[Reader]:
        """Return one moment: the last commit, unchanged while the context is open."""
        ...

    def begin(self) -> WriteTransaction: ...

    def freeze(self) -> Frozen:
        """Return a copy of the last commit; it may take long and may run on any thread.

        One at a time: the one before must be closed. Raises: DiskFull, DiskFailed.
        """
        ...

    def stats(self) -> KvStats: ...

    def close(self) -> None: ...


class _Sorted:
    """A dict with its keys in order."""

    def __init__(self, items: dict[bytes, bytes] | None = None) -> None:
        self.values: dict[bytes, bytes] = dict(items or {})
        self.keys: list[bytes] = sorted(self.values)

    def put(self, key: bytes, value: bytes) -> None:
        if key not in self.values:
            insort(self.keys, key)
        self.values[key] = value

    def delete(self, key: bytes) -> bool:
        if self.values.pop(key, None) is None:
            return False
        del self.keys[bisect_left(self.keys, key)]
        return True

    def copy(self) -> _Sorted:
        twin = _Sorted()
        twin.values = dict(self.values)
        twin.keys = list(self.keys)
        return twin


class _MemoryReader:
    def __init__(self, databases: dict[str, _Sorted]) -> None:
        self._databases = databases

    def get(self, table: Table, key: bytes) -> bytes | None:
        database = self._databases.get(table.database)
        return None if database is None else database.values.get(table.prefix + key)

    def scan(
        self, table: Table, start: bytes = b"", end: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        database = self._databases.get(table.database)
        if database is None:
            return
        low = bisect_left(database.keys, table.prefix + start)
        if end is not None:
            high = bisect_left(database.keys, table.prefix + end)
        elif table.prefix:
            high = bisect_left(database.keys, next_prefix(table.prefix))
        else:
            high = len(database.keys)
        keys = database.keys[low:high]
        cut = len(table.prefix)
        for key in reversed(keys) if reverse else keys:
            yield key[cut:], database.values[key]


class _MemoryWriter(_MemoryReader):
    def __init__(self, store: MemoryKV) -> None:
        self._store = store
        self._touched: set[str] = set()
        super().__init__(dict(store.databases))

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        assert key or table.prefix, "an empty key"
        self._own(table).put(table.prefix + key, bytes(value))

    def delete(self, table: Table, key: bytes) -> bool:
        return self._own(table).delete(table.prefix + key)

    def clear(self, database: str) -> None:
        self._touched.add(database)
        self._databases[database] = _Sorted()

    def switch(self, databases: Sequence[str]) -> None:
        for name in databases:
            other = staged(name)
            for place in (name, other):
                if place not in self._databases:
                    self.clear(place)
            pair = self._databases[name], self._databases[other]
            self._databases[other], self._databases[name] = pair
            if (name in self._touched) != (other in self._touched):
                self._touched ^= {name, other}

    def commit(self) -> None:
        self._store.databases = self._databases
        self._store.commits += 1
        self._store.writing = False

    def abort(self) -> None:
        self._store.writing = False

    def _own(self, table: Table) -> _Sorted:
        if table.database not in self._touched:
            self._touched.add(table.database)
            held = self._databases.get(table.database)
            self._databases[table.database] = _Sorted() if held is None else held.copy()
        return self._databases[table.database]


class MemoryKV:
    """The twin in memory: what was not committed is forgotten, as by a power cut."""

    def __init__(self, map_bytes: int = 1 << 30) -> None:
        self.databases: dict[str, _Sorted] = {}
        self.commits = 0
        self.writing = False
        self._map_bytes = map_bytes

    @contextmanager
    def read(self) -> Iterator[Reader]:
        yield _MemoryReader(self.databases)

    def begin(self) -> WriteTransaction:
        assert not self.writing, "a second writer"
        self.writing = True
        return _MemoryWriter(self)

    def freeze(self) -> Frozen:
        return self.crash()

    def crash(self) -> MemoryKV:
        """Return the store as it is found after a power cut."""
        twin = MemoryKV(self._map_bytes)
        twin.databases = dict(self.databases)
        return twin

    def stats(self) -> KvStats:
        entries = sum(len(database.keys) for database in self.databases.values())
        used = sum(
            len(key) + len(value)
            for database in self.databases.values()
            for key, value in database.values.items()
        )
        return KvStats(used_bytes=used, map_bytes=self._map_bytes, entries=entries)

    def close(self) -> None:
        self.databases = {}


def next_prefix(prefix: bytes) -> bytes:
    """Return the smallest key above every key that begins with `prefix` (not all 0xff)."""
    kept = prefix.rstrip(b"\xff")
    assert kept, "no key lies above 0xff…"
    return kept[:-1] + bytes([kept[-1] + 1])
