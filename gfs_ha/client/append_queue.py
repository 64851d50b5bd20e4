"""Records of one appender between its callers and its stream: numbered, sent in order, settled.

Whoever adds records and finds the stream free sends for all, so that a lone writer needs no other
thread to get its record on the way, and many writers share their sends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from gfs_ha.client.append_grants import AppendTarget
from gfs_ha.client.append_records import Appended, PendingRecords, Record, Settled
from gfs_ha.client.data_plane import RecordStream
from gfs_ha.errors import DeadlineExceeded, GfsError, LimitExceeded, UsageError
from gfs_ha.ids import SessionId
from gfs_ha.limits import MIB
from gfs_ha.protocol.append import AppendResult
from gfs_ha.protocol.records import RecordAck
from gfs_ha.runtime import Future, Runtime

SEND_BYTES = 1 * MIB  # Of one send; a longer record is one of its own.
ROOM_SLICE_S = 1.0
_UNKNOWN = 1 << 63


@dataclass(frozen=True, slots=True)
class Standing:
    """What the listener looks at: is anything not settled, in doubt, or due for an answer?"""

    waiting: bool
    due: bool
    doubtful: tuple[int, ...]
    first: int  # The lowest sequence that is not settled.
    progress_s: float


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a file's table knows of the records of earlier runs of the same writer."""

    results: dict[int, AppendResult] = field(default_factory=dict)
    done_below: int = 0


@dataclass(frozen=True, slots=True)
class Attached:
    """A stream under a grant: whose records it takes, and where its chunk begins in the file."""

    stream: RecordStream
    appender: SessionId
    file_offset: int


class AppendQueue:
    """Thread-safe. `on_work` is called, without the lock, when there is something to listen for."""

    def __init__(
        self,
        target: AppendTarget,
        runtime: Runtime,
        first_sequence: int,
        on_work: Callable[[], None],
    ) -> None:
        self._path = target.path
        self._ordered = target.ordered
        self._runtime = runtime
        self._on_work = on_work
        self._state = runtime.condition()
        self._pending = PendingRecords(first_sequence)
        self._attached: Attached | None = None
        self._sending = False
        self._closed = False
        self._earlier = Earlier()
        # Where the file ended when this run came to it; all is of earlier ones until it is known.
        self._earlier_end = _UNKNOWN if target.key else 0
        self._progress_s = runtime.monotonic_s()
        self._first_error: GfsError | None = None  # Since somebody waited.
        self._broken: GfsError | None = None  # Nothing may be appended behind a failed record.

    # Callers ------------------------------------------------------------------------------------

    def add_all(self, records: Sequence[bytes]) -> list[Future[Appended]]:
        """Number records and send them, waiting only while too much is on its way.

        Raises: why nothing is taken any more; if some were, the futures of the others tell it.
        """
        futures: list[Future[Appended]] = []
        while len(futures) < len(records):
            with self._state:
                refusal = self._refusal()
                if refusal is not None:
                    if not futures:
                        raise refusal
                    rest = len(records) - len(futures)
                    return futures + [self._failed(refusal) for _ in range(rest)]
                if not len(self._pending):
                    self._progress_s = self._runtime.monotonic_s()
                while len(futures) < len(records):
                    data = records[len(futures)]
                    if not self._pending.has_room(len(data)):
                        break
                    done: Future[Appended] = self._runtime.future()
                    self._pending.add(data, done)
                    futures.append(done)
                attached = self._claim()
            self._on_work()
            if attached is not None:
                self._pump(attached, alone=False)
            elif len(futures) < len(records):
                with self._state:
                    if not self._pending.has_room(len(records[len(futures)])):
                        self._state.wait(ROOM_SLICE_S)
        return futures

    def _refusal(self) -> GfsError | None:
        if self._closed:
            return UsageError(f"{self._path}: the appender is closed")
        return self._broken

    def _failed(self, error: GfsError) -> Future[Appended]:
        failed: Future[Appended] = self._runtime.future()
        failed.fail(error)
        return failed

    def wait_settled(self, timeout_s: float) -> None:
        """Wait until all that was added is settled. Raises: the first error since the last time."""
        deadline_s = self._runtime.monotonic_s() + timeout_s
        with self._state:
            end = self._pending.next_sequence
            while self._pending.window_start < end:
                left_s = deadline_s - self._runtime.monotonic_s()
                if left_s <= 0:
                    raise DeadlineExceeded(f"{self._path}: records are still on their way")
                self._state.wait(min(left_s, ROOM_SLICE_S))
            error, self._first_error = self._first_error, None
        if error is not None:
            raise error

    def close(self) -> None:
        """Take no more records."""
        with self._state:
            self._closed = True

    @property
    def broken(self) -> GfsError | None:
        """Return why nothing may be appended any more, if the records are to be in order."""
        return self._broken

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def next_sequence(self) -> int:
        return self._pending.next_sequence

    # The listener -------------------------------------------------------------------------------

    def standing(self) -> Standing:
        with self._state:
            return Standing(
                len(self._pending) > 0,
                self._pending.in_flight,
                tuple(self._pending.in_doubt()),
                self._pending.window_start,
                self._progress_s,
            )

    @property
    def waiting(self) -> bool:
        """Return whether any record is not settled."""
        return len(self._pending) > 0

    @property
    def stream(self) -> RecordStream | None:
        attached = self._attached
        return None if attached is None else attached.stream

    def note_earlier(self, file_end: int) -> None:
        """Note where the file ended before this run: what lies before was appended before."""
        self._earlier_end = file_end

    def attach(self, attached: Attached) -> None:
        """Send all that is not settled on a new stream, in order, and what is added later."""
        with self._state:
            assert self._attached is None and not self._sending
            self._attached = attached
            self._pending.begin_again()
            self._sending = True
        self._pump(attached, alone=True)

    def detach(self, unwritten: bool = False) -> None:
        """Hang up, once nobody sends any more; what was sent and not settled is in doubt.

        Args: `unwritten` is what the primary says of all that it was sent on this stream.
        """
        attached = self._attached
        if attached is None:
            return
        attached.stream.abort()
        with self._state:
            self._attached = None
            while self._sending:
                self._state.wait(ROOM_SLICE_S)
            if unwritten:
                self._pending.unwritten()
        attached.stream.close()

    def acknowledged(self, acks: Iterable[RecordAck]) -> None:
        """Settle what the primary says is on every replica."""
        settled: list[Settled | None] = []
        with self._state:
            attached = self._attached
            if attached is None:
                return
            for ack in acks:
                if ack.appender != attached.appender:
                    continue
                offset = ack.offset if ack.offset < 0 else attached.file_offset + ack.offset
                old = offset < self._earlier_end
                settled.append(self._pending.found(ack.sequence, offset, ack.length, old))
            told = self._note(settled)
        _tell(told)

    def learn(
        self, results: Iterable[AppendResult], earlier: Earlier, record_bytes_max: int
    ) -> None:
        """Settle what a grant tells, and refuse what is too long for this cluster."""
        with self._state:
            self._earlier = earlier
            settled: list[Settled | None] = [
                self._pending.found(*place, before=place[1] < self._earlier_end)
                for place in self._known_places(results)
            ]
            for sequence in self._pending.longer_than(record_bytes_max):
                settled.append(self._pending.refuse(sequence, too_long(record_bytes_max)))
            told = self._note(settled)
        _tell(told)

    def learn_elsewhere(
        self, results: Iterable[AppendResult], done: Iterable[int], absent: Iterable[int]
    ) -> None:
        """Settle what a file tells that the path leads to no more; the others go where it leads.

        Args: `done` are in that file, too, but nobody knows where any more.
        """
        with self._state:
            assert self._attached is None and not self._sending
            settled = [
                self._pending.found(one.sequence, one.file_offset, one.length, before=False)
                for one in results
            ]
            settled += [self._pending.found(one, -1, 0, before=True) for one in done]
            self._pending.absent(absent)
            self._earlier = Earlier()
            if self._earlier_end:
                self._earlier_end = _UNKNOWN
            told = self._note(settled)
        _tell(told)

    def _known_places(self, results: Iterable[AppendResult]) -> list[tuple[int, int, int]]:
        """Return (sequence, offset, length) of what a grant tells of records that are here."""
        places = [(one.sequence, one.file_offset, one.length) for one in results]
        told = {sequence for sequence, _, _ in places}
        below = self._pending.below(self._earlier.done_below)
        return places + [(one, -1, 0) for one in below if one not in told]

    def give_up_doubtful(self, error: GfsError) -> None:
        """Give up what was sent and is not settled: it may or may not be appended."""
        with self._state:
            told = self._note(self._pending.give_up_doubtful(error))
        _tell(told)

    def give_up(self, error: GfsError) -> None:
        """Give up everything that is not settled."""
        with self._state:
            told = self._note(self._pending.give_up(error))
        _tell(told)

    # Sending ------------------------------------------------------------------------------------

    def _claim(self) -> Attached | None:
        """Return the stream if the caller, who holds the lock, is to send what waits."""
        if self._attached is None or self._sending or not self._pending.has_unsent:
            return None
        self._sending = True
        return self._attached

    def _pump(self, attached: Attached, alone: bool) -> None:
        """Send until nothing waits; the caller claimed the stream. Errors show when listening."""
        try:
            while True:
                with self._state:
                    current = self._attached is attached
                    taken = self._pending.take_unsent(SEND_BYTES) if current else []
                    records, told = self._split_known(taken)
                    start = self._pending.window_start
                    if not taken:
                        self._sending = False
                        self._state.notify_all()
                        return
                _tell(told)
                if records:
                    attached.stream.send(attached.appender, start, records, alone)
        except BaseException as error:
            # Also a signal in the middle of a record: half of one ends the stream.
            attached.stream.abort()
            with self._state:
                self._sending = False
                self._state.notify_all()
            if not isinstance(error, GfsError):
                raise

    def _split_known(self, taken: list[Record]) -> tuple[list[Record], list[Settled]]:
        """Return what is to be sent, and what an earlier run of the same writer has appended."""
        earlier = self._earlier
        if not earlier.results and not earlier.done_below:
            return taken, []
        records: list[Record] = []
        settled: list[Settled | None] = []
        for record in taken:
            known = earlier.results.get(record.sequence)
            if known is not None:
                place = (known.file_offset, known.length)
            elif record.sequence < earlier.done_below:
                place = (-1, 0)
            else:
                records.append(record)
                continue
            settled.append(self._pending.found(record.sequence, *place, before=True))
        return records, self._note(settled)

    def _note(self, settled: Iterable[Settled | None]) -> list[Settled]:
        """Note progress and the first error; the lock is held. Returns what is to be told."""
        found = [one for one in settled if one is not None]
        if found:
            self._progress_s = self._runtime.monotonic_s()
            self._state.notify_all()
        error = next((one.result for one in found if isinstance(one.result, GfsError)), None)
        if error is None:
            return found
        self._first_error = self._first_error or error
        if self._ordered and self._broken is None:
            self._broken = error
            found += self._pending.give_up(error)
        return found


def too_long(limit: int) -> LimitExceeded:
    """Return the refusal of a record that has more bytes than `limit`."""
    return LimitExceeded(
        f"a record of more than {limit} bytes; put it as a file, or append it in several records"
    )


def _tell(settled: Iterable[Settled]) -> None:
    for one in settled:
        one.tell()
