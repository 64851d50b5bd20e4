"""A store that takes time to commit, and that the power may be cut from in the middle of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

from gfs_ha.kv.ordered import Frozen, KvStats, MemoryKV, Reader, Table, WriteTransaction


class PowerCut(BaseException):
    """The process is gone; nothing after this point of it happens."""


class SimStore:
    """An OrderedKV over MemoryKV. `on_commit(half)` is called before and after every commit takes
    effect (half 0 and 1); it lets time pass or raises PowerCut.
    """

    def __init__(self, on_commit: Callable[[int], None], held: MemoryKV | None = None) -> None:
        self.held = held or MemoryKV()
        self._on_commit = on_commit

    def read(self) -> AbstractContextManager[Reader]:
        return self.held.read()

    def begin(self) -> WriteTransaction:
        return _Transaction(self.held.begin(), self._on_commit)

    def freeze(self) -> Frozen:
        return self.held.freeze()

    def stats(self) -> KvStats:
        return self.held.stats()

    def close(self) -> None:
        pass

    def survivor(self) -> MemoryKV:
        """Return what a restart finds: everything committed, nothing else."""
        return self.held.crash()


class _Transaction:
    def __init__(self, inner: WriteTransaction, on_commit: Callable[[int], None]) -> None:
        self._inner = inner
        self._on_commit = on_commit

    def get(self, table: Table, key: bytes) -> bytes | None:
        return self._inner.get(table, key)

    def scan(
        self, table: Table, start: bytes = b"", end: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        return self._inner.scan(table, start, end, reverse)

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        self._inner.put(table, key, value)

    def delete(self, table: Table, key: bytes) -> bool:
        return self._inner.delete(table, key)

    def clear(self, database: str) -> None:
        self._inner.clear(database)

    def switch(self, databases: Sequence[str]) -> None:
        self._inner.switch(databases)

    def commit(self) -> None:
        self._on_commit(0)
        self._inner.commit()
        self._on_commit(1)

    def abort(self) -> None:
        self._inner.abort()
