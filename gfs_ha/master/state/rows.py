"""Typed rows over one moment of the store, with the writes of one command laid over them.

A step never writes to the store: its rows wait here until it has succeeded, so it cannot half-write
and sees what it wrote itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from gfs_ha.kv.ordered import Reader, Writer
from gfs_ha.master.state.tables import RowTable, row_hash

Row = TypeVar("Row")


class Rows:
    """One moment of the state, and on top of it rows that are not written yet (None = deleted).

    Args: `for_writing` remembers what was read of single rows: most of them are written next, and
    the state hash wants to know what they replace.
    """

    __slots__ = ("_pending", "_reader", "_stored")

    def __init__(self, reader: Reader, for_writing: bool = False) -> None:
        self._reader = reader
        self._pending: dict[RowTable[Any], dict[bytes, Any]] = {}
        self._stored: dict[tuple[RowTable[Any], bytes], bytes | None] | None = (
            {} if for_writing else None
        )

    def get(self, table: RowTable[Row], key: bytes) -> Row | None:
        """Return the row of a key, or None."""
        pending = self._pending.get(table)
        if pending is not None and key in pending:
            row: Row | None = pending[key]
            return row
        data = self._reader.get(table.table, key)
        if self._stored is not None:
            self._stored[table, key] = data
        return None if data is None else table.decode(data)

    def scan(
        self,
        table: RowTable[Row],
        start: bytes = b"",
        end: bytes | None = None,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, Row]]:
        """Yield (key, row) with start <= key < end in order, or from the end backwards.

        Nothing may be put or deleted in this table while the iterator is used.
        """
        stored = self._reader.scan(table.table, start, end, reverse)
        pending = self._pending.get(table)
        if not pending:
            for key, data in stored:
                yield key, table.decode(data)
            return
        fresh = sorted(
            (key for key in pending if start <= key and (end is None or key < end)),
            reverse=not reverse,
        )
        for key, data in stored:
            while fresh and (fresh[-1] > key if reverse else fresh[-1] < key):
                yield from _present(fresh[-1], pending[fresh.pop()])
            if fresh and fresh[-1] == key:
                yield from _present(key, pending[fresh.pop()])
            else:
                yield key, table.decode(data)
        while fresh:
            yield from _present(fresh[-1], pending[fresh.pop()])

    def put(self, table: RowTable[Row], key: bytes, row: Row) -> None:
        self._pending.setdefault(table, {})[key] = row

    def delete(self, table: RowTable[Any], key: bytes) -> None:
        self._pending.setdefault(table, {})[key] = None

    def change_count(self) -> int:
        """Return how many rows the command would write or delete by now."""
        return sum(len(pending) for pending in self._pending.values())

    def write_to(self, writer: Writer) -> int:
        """Hand everything that is pending to the store, which shows the moment that was read.

        Returns what that adds to the state hash.
        """
        change = 0
        for table, pending in self._pending.items():
            for key, row in pending.items():
                old = self._before(writer, table, key)
                if row is None:
                    writer.delete(table.table, key)
                else:
                    new = table.encode(row)
                    if new == old:
                        continue
                    writer.put(table.table, key, new)
                    change += row_hash(table, key, new)
                if old is not None:
                    change -= row_hash(table, key, old)
        return change

    def _before(self, writer: Writer, table: RowTable[Any], key: bytes) -> bytes | None:
        stored = self._stored
        if stored is not None and (table, key) in stored:
            return stored[table, key]
        return writer.get(table.table, key)


def _present(key: bytes, row: Row | None) -> Iterator[tuple[bytes, Row]]:
    if row is not None:
        yield key, row
