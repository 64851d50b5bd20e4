"""One moment of the replicated tables, cut into chunks of rows that another member can install.

Only what the machine wrote goes in: never a member's identity, its votes or its starts. A chunk is
the same whenever it is cut, so that a transfer goes on where it was broken off.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from gfs_ha.errors import CorruptData
from gfs_ha.kv.ordered import Frozen, Reader, Table, Writer
from gfs_ha.master.raft.journal import stored_entry, stored_members
from gfs_ha.master.raft.members import Configuration, Point

_Rows = list[tuple[int, list[tuple[bytes, bytes]]]]  # By the number of the database.

_decoder = msgspec.msgpack.Decoder(_Rows)
_CLEARED_PER_SCAN = 4096


class Export:
    """A frozen store, its point in the log, and its chunks by number."""

    def __init__(
        self,
        frozen: Frozen,
        number: int,
        databases: Sequence[str],
        initial: Configuration,
        chunk_bytes: int,
    ) -> None:
        self.number = number  # Random: says whether a broken transfer may go on.
        with frozen.read() as reader:
            index, term = stored_entry(reader)
            members = stored_members(reader, initial)
        applied = [configuration for at, configuration in members if at <= index]
        self.point = Point(index, term, applied[-1])
        self._frozen = frozen
        self._tables = [Table(name, name) for name in databases]
        self._chunk_bytes = chunk_bytes
        self._begins: list[tuple[int, bytes]] = [(0, b"")]  # Of each chunk: table, key.

    def chunk(self, number: int) -> tuple[bytes, bool]:
        """Return the rows of a chunk, at most one beyond those given before, and if it is last."""
        table, start = self._begins[number]
        found: _Rows = []
        size = 0
        with self._frozen.read() as reader:
            while table < len(self._tables) and size < self._chunk_bytes:
                rows, start, size = self._take(reader, table, start, size)
                if rows:
                    found.append((table, rows))
                if not start:
                    table += 1
        if number + 1 == len(self._begins):
            self._begins.append((table, start))
        return msgspec.msgpack.encode(found), table == len(self._tables)

    @property
    def chunk_count(self) -> int:
        """Return how many chunks have been cut: a transfer may go on at any of those."""
        return len(self._begins) - 1

    def close(self) -> None:
        self._frozen.close()

    def _take(
        self, reader: Reader, table: int, start: bytes, size: int
    ) -> tuple[list[tuple[bytes, bytes]], bytes, int]:
        """Return rows, where to go on in this table (empty: it ends here), and the new size."""
        rows: list[tuple[bytes, bytes]] = []
        for key, value in reader.scan(self._tables[table], start):
            if size >= self._chunk_bytes:
                return rows, key, size
            rows.append((key, value))
            size += len(key) + len(value)
        return rows, b"", size


def install_rows(writer: Writer, databases: Sequence[str], chunks: Iterator[bytes]) -> None:
    """Replace all rows of the databases by those of the chunks. Raises: CorruptData."""
    tables = [Table(name, name) for name in databases]
    for table in tables:
        _clear(writer, table)
    for chunk in chunks:
        try:
            found = _decoder.decode(chunk)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise CorruptData(f"a chunk of a snapshot does not decode: {error}") from error
        for number, rows in found:
            for key, value in rows:
                writer.put(tables[number], key, value)


def _clear(writer: Writer, table: Table) -> None:
    while True:
        keys: list[bytes] = []
        for key, _ in writer.scan(table):
            keys.append(key)
            if len(keys) == _CLEARED_PER_SCAN:
                break
        for key in keys:
            writer.delete(table, key)
        if len(keys) < _CLEARED_PER_SCAN:
            return
