"""One moment of the replicated tables, cut into chunks of rows that another member can install.

Only what the machine wrote goes in: never a member's identity, its votes or its starts. A chunk is
the same whenever it is cut, so that a transfer goes on where it was broken off.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gfs_ha.errors import CorruptData
from gfs_ha.kv.ordered import Frozen, Reader, Table, Writer
from gfs_ha.kv.places import staged
from gfs_ha.master.raft.journal import stored_entry, stored_members
from gfs_ha.master.raft.members import Configuration, Point

_Rows = list[tuple[int, list[tuple[bytes, bytes]]]]  # By the number of the database.

_decoder = msgspec.msgpack.Decoder(_Rows)


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
        scanned = iter(reader.scan(self._tables[table], start))
        limit = self._chunk_bytes
        for row in scanned:
            rows.append(row)
            size += len(row[0]) + len(row[1])
            if size >= limit:
                break
        following = next(scanned, None)
        return rows, b"" if following is None else following[0], size


def stage_rows(writer: Writer, databases: Sequence[str], chunk: bytes) -> None:
    """Put the rows of a chunk into the staged places of the databases. Raises: CorruptData."""
    try:
        found = _decoder.decode(chunk)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptData(f"a chunk of a snapshot does not decode: {error}") from error
    for number, rows in found:
        if not 0 <= number < len(databases):
            raise CorruptData(f"a chunk of a snapshot names database {number}, which is unknown")
        table = Table(databases[number], staged(databases[number]))
        for key, value in rows:
            writer.put(table, key, value)


def install_staged(writer: Writer, databases: Sequence[str]) -> None:
    """Have what was staged take the place of all rows of the databases."""
    writer.switch(databases)
    clear_staged(writer, databases)


def clear_staged(writer: Writer, databases: Sequence[str]) -> None:
    for name in databases:
        writer.clear(staged(name))
