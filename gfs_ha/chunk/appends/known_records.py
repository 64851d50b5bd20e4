"""The records of one open tail by name: under way, or where they lie (C8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from gfs_ha.errors import ProtocolError
from gfs_ha.ids import SessionId
from gfs_ha.limits import TAIL_APPENDERS_MAX, TAIL_RECORDS_MAX, TAIL_RESULTS_MAX
from gfs_ha.protocol.records import RecordEntry, RecordHeader

NOWHERE = -1  # As the offset of a record: see RecordAck.

S = TypeVar("S")


@dataclass(slots=True, eq=False)
class Arrival(Generic[S]):
    """A record that came and is not acknowledged yet, with everybody who waits for it."""

    head: RecordHeader
    data: bytes | bytearray
    asking: list[S]
    taken: bool = False  # Into a batch.
    since_s: float = 0.0  # When it came.


@dataclass(frozen=True, slots=True)
class Landed:
    """Where a record lies that every replica acknowledged."""

    offset: int
    length: int


class KnownRecords(Generic[S]):
    """Used under the lock of its tail.

    Windows count when their record is taken into a batch, in the order of the batches: so what is
    retained up to any batch stays within the limits, whatever the length of the seal will be.
    """

    def __init__(self) -> None:
        self._of: dict[SessionId, dict[int, Arrival[S] | Landed]] = {}
        self._windows: dict[SessionId, int] = {}
        self._retained = 0  # Taken into a batch, and not below the window.
        self._count = 0

    def find(self, head: RecordHeader) -> Arrival[S] | Landed | None:
        """Return what is known of a record, None if it is new.

        One that its appender called done lies at NOWHERE: it was appended, and where is forgotten.
        Raises: ProtocolError for one that came with other bytes.
        """
        if head.sequence < self._windows.get(head.appender, 0):
            return Landed(NOWHERE, head.length)
        known = self._of.get(head.appender, {}).get(head.sequence)
        if known is None:
            return None
        if isinstance(known, Landed):
            same = known.length == head.length
        else:
            same = (known.head.length, known.head.crc) == (head.length, head.crc)
        if not same:
            raise ProtocolError(
                f"record {head.sequence} of appender {head.appender:#x} came with other bytes"
            )
        return known

    def add(self, arrival: Arrival[S]) -> None:
        """Know a new record."""
        self._of.setdefault(arrival.head.appender, {})[arrival.head.sequence] = arrival

    def forget(self, arrival: Arrival[S]) -> None:
        """Know a record no more that was not taken into any batch."""
        self._of[arrival.head.appender].pop(arrival.head.sequence, None)

    def admit(self, arrival: Arrival[S]) -> bool:
        """Count the next record of a batch; False when the tail can hold no more."""
        head = arrival.head
        appender = head.appender
        window = self._windows.get(appender)
        if window is None:
            if len(self._windows) >= TAIL_APPENDERS_MAX:
                return False
            window = 0
        # One that is not taken changes nothing: its window is not in the tail.
        done = self._done_below(appender, window, head.window_start)
        if self._count >= TAIL_RECORDS_MAX or self._retained - len(done) >= TAIL_RESULTS_MAX:
            return False
        for sequence in done:
            del self._of[appender][sequence]
        self._retained -= len(done)
        window = self._windows[appender] = max(window, head.window_start)
        if head.sequence >= window:
            self._retained += 1
        arrival.taken = True
        self._count += 1
        return True

    def _done_below(self, appender: SessionId, old: int, window: int) -> list[int]:
        """Return the records of an appender, taken into a batch, that its next window leaves."""
        if window <= old:
            return []
        known = self._of[appender]
        if window - old <= len(known):
            below = [sequence for sequence in range(old, window) if sequence in known]
        else:
            below = [sequence for sequence in known if sequence < window]
        return [one for one in below if _in_a_batch(known[one])]

    def results(self) -> tuple[RecordEntry, ...]:
        """Return where the records lie that may still be asked about, as a proof tells them (C4).

        All that were taken into batches have to be acknowledged by now.
        """
        return tuple(
            RecordEntry(appender, sequence, window, one.offset, one.length)
            for appender, window in sorted(self._windows.items())
            for sequence, one in sorted(self._of[appender].items())
            if isinstance(one, Landed)
        )

    def land(self, head: RecordHeader, offset: int) -> None:
        """Note where a record lies that every replica acknowledged."""
        known = self._of[head.appender]
        if head.sequence < self._windows[head.appender]:
            known.pop(head.sequence, None)
        elif head.sequence in known:
            known[head.sequence] = Landed(offset, head.length)


def _in_a_batch(one: Arrival[S] | Landed) -> bool:
    return isinstance(one, Landed) or one.taken
