"""The records of one appender that are not settled yet, in their order (no I/O, no waiting).

A record is *waiting* until it is sent, *in doubt* from then on, and settled once it is known where
it lies or that it is given up. Records below `window_start` are settled; none is sent again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gfs_ha.checksum import crc32c
from gfs_ha.errors import GfsError, PreconditionFailed, UnknownOutcome
from gfs_ha.limits import APPEND_WINDOW, MIB
from gfs_ha.runtime import Future

APPEND_BYTES_MAX = 32 * MIB  # Of one appender, kept until they are acknowledged.


@dataclass(frozen=True, slots=True)
class Appended:
    """A record that is in the file. `before`: another run of the same writer had put it there.

    `offset` is where it begins in the file; -1 for one of an earlier run that is known to be there
    but not where.
    """

    sequence: int
    offset: int
    length: int
    before: bool = False


class Record:
    """One record on its way, and the future that tells what became of it."""

    __slots__ = ("crc", "data", "done", "send_count", "sequence")

    def __init__(self, sequence: int, data: bytes | memoryview, done: Future[Appended]) -> None:
        self.sequence = sequence
        self.data = data
        self.crc = crc32c(data)
        self.done = done
        self.send_count = 0

    @property
    def sent(self) -> bool:
        """Return whether it was ever handed to a stream: then its outcome is in doubt."""
        return self.send_count > 0


@dataclass(frozen=True, slots=True)
class Settled:
    """A record and what became of it, to be told once no lock is held."""

    record: Record
    result: Appended | GfsError

    def tell(self) -> None:
        if isinstance(self.result, Appended):
            self.record.done.set(self.result)
        else:
            self.record.done.fail(self.result)


class PendingRecords:
    """Records from `first` on, numbered as they are added. Not thread-safe: the appender locks."""

    def __init__(self, first: int = 1) -> None:
        self._records: dict[int, Record] = {}  # In the order of their sequences.
        self._next = first
        self._unsent = first  # Records below it were taken for the stream at hand.
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._records)

    @property
    def next_sequence(self) -> int:
        """Return the sequence of the record that is added next."""
        return self._next

    @property
    def window_start(self) -> int:
        """Return the lowest sequence that is not settled, or the next one."""
        return next(iter(self._records), self._next)

    @property
    def in_flight(self) -> bool:
        """Return whether an answer is due for any record."""
        first = next(iter(self._records.values()), None)
        return first is not None and first.sequence < self._unsent

    @property
    def has_unsent(self) -> bool:
        """Return whether there is anything to be taken for the stream at hand."""
        return self._unsent < self._next and bool(self._records)

    def has_room(self, size: int) -> bool:
        """Return whether a record of that size may be added now; the first one always may."""
        if not self._records:
            return True
        within = self._next < self.window_start + APPEND_WINDOW
        return within and self._bytes + size <= APPEND_BYTES_MAX

    def add(self, data: bytes | memoryview, done: Future[Appended]) -> Record:
        """Take a record in, as the last one."""
        record = Record(self._next, data, done)
        self._records[self._next] = record
        self._next += 1
        self._bytes += len(data)
        return record

    def take_unsent(self, bytes_max: int) -> list[Record]:
        """Return the next records for the stream at hand, about so many bytes, as sent."""
        taken: list[Record] = []
        size = 0
        while self._unsent < self._next and size < bytes_max:
            record = self._records.get(self._unsent)
            self._unsent += 1
            if record is not None:
                record.send_count += 1
                taken.append(record)
                size += len(record.data)
        return taken

    def begin_again(self) -> None:
        """Have all that is not settled taken again, in order, for another stream."""
        self._unsent = self.window_start

    def unwritten(self) -> None:
        """Note that nothing unsettled of the stream at hand was written: as if it was not sent."""
        for record in self._records.values():
            if record.sequence < self._unsent:
                record.send_count -= 1
        self.begin_again()

    def absent(self, sequences: Iterable[int]) -> None:
        """Note that records are certainly not where they were sent: as if they never were."""
        for sequence in sequences:
            record = self._records.get(sequence)
            if record is not None:
                record.send_count = 0
        self.begin_again()

    def in_doubt(self) -> list[int]:
        """Return the sequences whose outcome is not known."""
        return [record.sequence for record in self._records.values() if record.sent]

    def found(self, sequence: int, offset: int, length: int, before: bool) -> Settled | None:
        """Settle a record that is in the file; None when it is settled already.

        Its length must be that of ours: another one was put there by a writer with other input.
        """
        record = self._pop(sequence)
        if record is None:
            return None
        if offset >= 0 and length != len(record.data):
            return Settled(
                record,
                PreconditionFailed(
                    f"record {sequence} was appended before with {length} bytes and has "
                    f"{len(record.data)} now: this is not the same input; use another id"
                ),
            )
        return Settled(record, Appended(sequence, offset, len(record.data), before))

    def below(self, sequence: int) -> list[int]:
        """Return the sequences of unsettled records below one."""
        return [one for one in self._records if one < sequence]

    def refuse(self, sequence: int, error: GfsError) -> Settled | None:
        """Give a record up that certainly is not in the file."""
        record = self._pop(sequence)
        return None if record is None else Settled(record, error)

    def longer_than(self, size: int) -> list[int]:
        """Return the sequences of records that have more bytes, and were not sent."""
        return [
            one.sequence for one in self._records.values() if len(one.data) > size and not one.sent
        ]

    def give_up_doubtful(self, why: GfsError) -> list[Settled]:
        """Give up the records in doubt: each may or may not be in the file, now or later."""
        return [self._given_up(one, why) for one in list(self._records.values()) if one.sent]

    def give_up(self, why: GfsError) -> list[Settled]:
        """Give up everything: what was never sent is certainly not in the file."""
        return [self._given_up(one, why) for one in list(self._records.values())]

    def _given_up(self, record: Record, why: GfsError) -> Settled:
        self._pop(record.sequence)
        if not record.sent:
            return Settled(record, why)
        text = f"record {record.sequence} may or may not have been appended: {why.message}"
        return Settled(record, UnknownOutcome(text, cause=why.code))

    def _pop(self, sequence: int) -> Record | None:
        record = self._records.pop(sequence, None)
        if record is not None:
            self._bytes -= len(record.data)
        return record
