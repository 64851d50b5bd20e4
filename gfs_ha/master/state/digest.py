"""The state hash: one number over every row of the replicated tables, kept with every change.

It is the sum modulo 2^128 of a 128-bit BLAKE2b of each (table, key, row), so it does not depend on
the order in which rows came, and a change costs only the rows that it touches: minus what stood
there, plus what stands there now. A sum and not an exclusive or, in which whatever is counted twice
vanishes: a sum that is once wrong stays wrong by the same amount, until somebody counts all rows
and puts the difference right. It guards against disks that lie and against our own mistakes. It is
no defence against a person who chooses rows to collide; for that 128 bits of a sum are too few.

It lies beside the replicated tables and not in them: no command reads it, so a store that was
written before there was one counts its rows once and differs from no other. What it does not
cover: log, term, vote and identity (each member's own) and what leaders only know.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

from gfs_ha.errors import DiskFailed
from gfs_ha.ids import LogIndex
from gfs_ha.kv.ordered import Reader, Table, Writer
from gfs_ha.master.state.tables import DIGEST_PREFIX, STATE_DATABASE, TABLES, row_hash

HASH_BYTES = 16
NOTES_MAX = 8  # Checks that a master remembers: one is attested within seconds.

_TABLE = Table("digest", STATE_DATABASE, DIGEST_PREFIX)
_KEPT_KEY, _NOTES_KEY = b"kept", b"notes"
_FORMAT = b"\x01"
_KEPT = struct.Struct(">cQ16s")  # Format, index, hash.
_MODULUS = 1 << (8 * HASH_BYTES)
_ROWS_OF_A_STEP = 256


class StateHash(msgspec.Struct, frozen=True, array_like=True):
    """The hash of the tables as command `index` left them; 16 bytes."""

    index: LogIndex
    value: bytes


_notes_encoder = msgspec.msgpack.Encoder()
_notes_decoder = msgspec.msgpack.Decoder(tuple[StateHash, ...])


class Count:
    """The hash of one moment, counted from all of its rows: a part with every `step`."""

    def __init__(self, reader: Reader) -> None:
        self.row_count = 0
        self._sum = 0
        self._hashes = _row_hashes(reader)

    def step(self, rows: int = _ROWS_OF_A_STEP) -> bool:
        """Count some rows; return whether there may be more."""
        for _ in range(rows):
            value = next(self._hashes, None)
            if value is None:
                return False
            self._sum += value
            self.row_count += 1
        return True

    @property
    def value(self) -> bytes:
        """Return the hash of the rows that were counted so far."""
        return _bytes(self._sum)


def count_all(reader: Reader) -> bytes:
    """Return the hash of all rows of this moment, from scratch."""
    count = Count(reader)
    while count.step():
        pass
    return count.value


def kept(reader: Reader) -> StateHash | None:
    """Return the hash that is kept with the rows of this moment; None in a store without one.

    Raises: DiskFailed when these are no bytes of ours.
    """
    row = reader.get(_TABLE, _KEPT_KEY)
    if row is None:
        return None
    if len(row) != _KEPT.size or row[:1] != _FORMAT:
        raise DiskFailed(f"the state hash has the unknown form {row[:1]!r}, {len(row)} bytes")
    _, index, value = _KEPT.unpack(row)
    return StateHash(LogIndex(index), value)


def keep(writer: Writer, index: LogIndex, change: int) -> StateHash:
    """Add what a command changed; `writer` shows its rows already. Returns the hash after it."""
    before = kept(writer)
    value = count_all(writer) if before is None else shifted(before.value, change)
    after = StateHash(index, value)
    writer.put(_TABLE, _KEPT_KEY, _KEPT.pack(_FORMAT, index, value))
    return after


def ensure(writer: Writer, index: LogIndex) -> bool:
    """Count the rows of a store that has no hash yet; return whether that was needed."""
    if kept(writer) is not None:
        return False
    keep(writer, index, 0)
    return True


def note(writer: Writer, taken: StateHash) -> None:
    """Write down the hash at a check, so that what is attested later can be compared with it."""
    others = [one for one in notes(writer) if one.index != taken.index]
    newest = (taken, *others)[:NOTES_MAX]
    writer.put(_TABLE, _NOTES_KEY, _FORMAT + _notes_encoder.encode(newest))


def notes(reader: Reader) -> tuple[StateHash, ...]:
    """Return the checks that this master remembers, newest first. Raises: DiskFailed."""
    row = reader.get(_TABLE, _NOTES_KEY)
    if row is None:
        return ()
    if row[:1] != _FORMAT:
        raise DiskFailed(f"the notes of state checks have the unknown format {row[:1]!r}")
    try:
        return _notes_decoder.decode(memoryview(row)[1:])
    except msgspec.DecodeError as error:
        raise DiskFailed(f"the notes of state checks do not decode: {error}") from error


def noted(reader: Reader, index: LogIndex) -> bytes | None:
    """Return the hash that this master had at a check, None when it does not remember."""
    return next((one.value for one in notes(reader) if one.index == index), None)


def difference(counted: bytes, kept_value: bytes) -> int:
    """Return what a kept hash lacks. It may be added at any later time: a sum remembers."""
    return int.from_bytes(counted, "little") - int.from_bytes(kept_value, "little")


def shifted(value: bytes, change: int) -> bytes:
    """Return a hash after a change."""
    return _bytes(int.from_bytes(value, "little") + change)


def _bytes(value: int) -> bytes:
    return (value % _MODULUS).to_bytes(HASH_BYTES, "little")


def _row_hashes(reader: Reader) -> Iterator[int]:
    for table in TABLES:
        for key, data in reader.scan(table.table):
            yield row_hash(table, key, data)
