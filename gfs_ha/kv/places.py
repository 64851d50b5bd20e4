"""Which of its two places holds the rows of a database: the one in use, the other is staged.

What is to replace a whole database is written to the staged place over many transactions; one row
then makes the two change places.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from gfs_ha.errors import WrongDirectory

Handle = TypeVar("Handle")

_FORMAT = b"\x01"
_STAGED = "~"


def staged(database: str) -> str:
    """Return the name of the place beside a database that is not in use."""
    return database + _STAGED


def is_staged(database: str) -> bool:
    return database.endswith(_STAGED)


def switched(row: bytes | None, databases: Iterable[str]) -> bytes:
    """Return the row after these databases and their staged places changed places."""
    return _FORMAT + b",".join(
        name.encode() for name in sorted(_names(row).symmetric_difference(databases))
    )


def _names(row: bytes | None) -> set[str]:
    if row is None:
        return set()
    if row[:1] != _FORMAT:
        raise WrongDirectory(f"the store has places of format {row[0]}; this release knows 1")
    return set(row[1:].decode().split(",")) - {""}


class Places(Generic[Handle]):
    """The handles of both places of every database. Thread-safe."""

    def __init__(self, databases: Sequence[str], handles: Mapping[str, Handle]) -> None:
        self._databases = databases
        self._handles = handles
        self._by_row: dict[bytes | None, dict[str, Handle]] = {}

    def under(self, row: bytes | None) -> dict[str, Handle]:
        """Return the handle of every database, and of its staged place, under this row."""
        found = self._by_row.get(row)
        if found is None:
            found = {}
            exchanged = _names(row)
            for name in self._databases:
                pair = self._handles[name], self._handles[staged(name)]
                found[name], found[staged(name)] = reversed(pair) if name in exchanged else pair
            self._by_row[row] = found
        return found
