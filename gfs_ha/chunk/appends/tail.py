"""One open tail of which this server is the primary: what waits, is under way, and counts.

Records that come while a batch is under way are the next batch: one push down the chain and one
sync on each server serve all of them (group commit). The first failure of any replica is the end:
nothing is acknowledged after it, and the leader seals what there is (C2, C6).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from gfs_ha.chunk.appends.append_room import AppendRoom
from gfs_ha.chunk.appends.append_stream import AppendStream
from gfs_ha.chunk.appends.batch import Batch
from gfs_ha.chunk.appends.known_records import Arrival, KnownRecords, Landed
from gfs_ha.chunk.appends.record_reader import Record
from gfs_ha.chunk.appends.tail_chain import TailChain
from gfs_ha.chunk.appends.tail_end import end_of
from gfs_ha.chunk.appends.waiting_room import cost_of
from gfs_ha.chunk.progress import DiskWatch
from gfs_ha.chunk.slots.format import State
from gfs_ha.chunk.slots.replica import Replica
from gfs_ha.errors import (
    Fenced,
    GfsError,
    Overloaded,
    ProtocolError,
    TailFull,
    error_from_wire,
)
from gfs_ha.limits import (
    BATCH_RECORDS_MAX,
    COMMIT_NOTE_S,
    MIB,
    OPERATION_TIMEOUT_S,
    RECORD_BYTES_MAX,
)
from gfs_ha.protocol.control import LedTail
from gfs_ha.protocol.records import RecordAck, RecordEntry, TailLength

BATCH_BYTES_MAX = RECORD_BYTES_MAX
WAITING_COST_MAX = 2 * BATCH_BYTES_MAX + MIB
WAITING_RECORDS_MAX = 2 * BATCH_RECORDS_MAX
_LOOK_S = 0.5

_Arrival = Arrival[AppendStream]


class Tail:
    """Thread-safe. One worker at a time works on it: who was told that one is needed."""

    def __init__(self, replica: Replica, chain: TailChain, room: AppendRoom) -> None:
        self.replica = replica
        self.chain = chain
        self.disk = DiskWatch(room.runtime)
        self._room = room
        self._lease = room.lease
        self._first_until_s = room.lease.first_grant()
        self._runtime = room.runtime
        self._changed = room.runtime.condition()
        self._known: KnownRecords[AppendStream] = KnownRecords()
        self._waiting: deque[_Arrival] = deque()
        self._held = 0  # Room of what waits or is under way.
        self._readers_held = 0  # Streams that are not read on meanwhile.
        self._streams: dict[AppendStream, None] = {}  # In the order in which they came.
        self._working = False
        self._end = 0  # Of the newest batch.
        self._committed = 0
        self._noted = 0  # What the other replicas were told of that.
        self._full = False
        self._told = False  # Where it ends.
        self._closed: GfsError | None = None
        self._note_armed = False
        self._changed_s = room.runtime.monotonic_s()

    @property
    def name(self) -> str:
        return f"chunk {self.replica.header.chunk_id:#x}"

    @property
    def waiting_count(self) -> int:
        """Return how many records no batch has taken yet."""
        return len(self._waiting)

    # Streams --------------------------------------------------------------------------------------

    def join(self, stream: AppendStream) -> None:
        """Take a stream in. Raises: Fenced, TailFull, or why nothing is taken any more."""
        with self._changed:
            self._check_taking()
            if self._full:
                raise self._tail_full()
            self._streams[stream] = None

    def leave(self, stream: AppendStream) -> None:
        """Let go of a stream; what it brought goes on."""
        with self._changed:
            self._streams.pop(stream, None)

    def _check_taking(self) -> None:
        if self._closed is not None:
            raise self._closed.with_traceback(None)
        self._check_lease()

    def _check_lease(self) -> None:
        if not self._lease.holds(self._first_until_s):
            raise Fenced(f"{self.name}: the lease of this server has run out; ask for a new grant")
        if self.replica.header.birth.incarnation < self._room.newest_epoch().incarnation:
            # The copy that they go on from may never have heard of this tail: what is appended to
            # it would be in no file, and no leader would fence it.
            raise Fenced(f"{self.name}: the masters were recovered since; ask for a new grant")

    def _check_open(self) -> None:
        if self.replica.gate.closed:
            raise Fenced(f"{self.name} is being sealed; ask for a new grant")

    def _tail_full(self) -> TailFull:
        return TailFull(f"{self.name} takes no more records; ask for the next tail")

    def make_room(self, cost: int) -> None:
        """Wait until there is room for records of that cost; `give_room` what they do not keep.

        Raises: Overloaded after 30 s, or why nothing is taken any more.
        """
        until_s = self._runtime.monotonic_s() + OPERATION_TIMEOUT_S
        with self._changed:
            while self._held and self._crowded(cost):
                if self._closed is not None:
                    raise self._closed.with_traceback(None)
                if self._runtime.monotonic_s() >= until_s:
                    raise Overloaded(f"{self.name} takes no more records for now")
                self._readers_held += 1
                self._changed.wait(_LOOK_S)
                self._readers_held -= 1
            self._held += cost
        try:
            self._room.waiting.enter(cost)
        except BaseException:
            with self._changed:
                self._held -= cost
            raise

    def _crowded(self, cost: int) -> bool:
        return len(self._waiting) >= WAITING_RECORDS_MAX or self._held + cost > WAITING_COST_MAX

    def give_room(self, cost: int) -> None:
        """Give back what was taken by `make_room`."""
        if cost:
            with self._changed:
                self._release(cost)

    def _release(self, cost: int) -> None:
        self._held -= cost
        self._room.waiting.leave(cost)
        if self._readers_held:
            self._changed.notify_all()

    def bring(self, stream: AppendStream, records: Sequence[Record]) -> tuple[int, bool]:
        """Take records of a stream; return the room they keep, and whether a worker is needed.

        The first one that cannot be taken ends the stream; those before it count. A stream that was
        told its last brings nothing: its client may have heard that nothing more was written.
        """
        hits: list[RecordAck] = []
        kept = expected = 0
        failure: GfsError | None = None
        now_s = self._runtime.monotonic_s()
        with self._changed:
            if stream.ended:
                return 0, False
            for record in records:
                try:
                    kept += self._bring_one(stream, record, now_s, hits)
                except GfsError as error:
                    failure = error
                    break
                expected += 1
            stream.expect(expected)
            needed = bool(self._waiting) and not self._working
            self._working = self._working or needed
        if hits:
            stream.answer(hits)
        if failure is not None:
            stream.fail(failure)
        return kept, needed

    def _bring_one(
        self,
        stream: AppendStream,
        record: Record,
        now_s: float,
        hits: list[RecordAck],
    ) -> int:
        """Take one record, or find what became of it; return the room that it keeps."""
        head, data = record
        known = self._known.find(head)
        if isinstance(known, Landed):
            self._check_lease()
            hits.append(RecordAck(head.appender, head.sequence, known.offset, known.length))
            return 0
        if known is None:
            self._check_taking()
            # While a worker is there, it answers what is under way first, and then says so.
            if self._full and not self._working:
                raise self._tail_full()
            if head.length > self.replica.header.capacity // 4:
                raise ProtocolError(f"a record of {head.length} bytes is too long for {self.name}")
            arrival = Arrival(head, data, [stream], since_s=now_s)
            self._known.add(arrival)
            self._waiting.append(arrival)
            return cost_of(1, head.length)
        if stream not in known.asking:
            known.asking.append(stream)
        return 0

    # The worker -----------------------------------------------------------------------------------

    def next_batch(self) -> Batch | None:
        """Return the records that wait, as many as one batch takes; a note if none does.

        None when there is nothing to do (any more); a tail that is full says so to its streams.
        """
        with self._changed:
            if self._closed is not None:
                return None
            try:
                if self._waiting:
                    self._check_lease()
                    self._check_open()
                taken = self._take()
                if self._full and not taken:
                    self._end_it()
                    raise self._tail_full()
            except GfsError as error:
                # No batch is under way: what is not acknowledged was never written.
                self._fail_waiting(unwritten(error))
                taken = []
            if not taken and self._noted == self._committed:
                return None
            return self._make_batch(taken)

    def _end_it(self) -> None:
        """Have the leader told where it ends, before appenders ask for the next tail.

        No batch is under way, and none will be: it is full for good.
        """
        if self._told or self._committed != self._end:
            return
        self._told = True
        holders = (self._room.server_id, *(hop.server_id for hop in self.chain.hops))
        end = end_of(self.replica, self._committed, self._known, holders)
        if end is not None:
            self._room.on_end(end)

    def _make_batch(self, taken: list[_Arrival]) -> Batch:
        entries = []
        offset = end = self._end
        for one in taken:
            head = one.head
            entries.append(
                RecordEntry(head.appender, head.sequence, head.window_start, end, head.length)
            )
            end += head.length
        self._end = end
        return Batch(tuple(taken), tuple(entries), offset, end - offset, self._committed)

    def _take(self) -> list[_Arrival]:
        taken: list[_Arrival] = []
        length = 0
        room = self.replica.header.capacity - self._end
        while self._waiting and not self._full and len(taken) < BATCH_RECORDS_MAX:
            arrival = self._waiting[0]
            longer = length + arrival.head.length
            if taken and longer > BATCH_BYTES_MAX:
                break
            if longer > room or not self._known.admit(arrival):
                self._full = True
                break
            taken.append(self._waiting.popleft())
            length = longer
        return taken

    def _fail_waiting(self, error: GfsError) -> None:
        for arrival in self._waiting:
            for stream in arrival.asking:
                stream.fail(error)
            self._known.forget(arrival)
        self._drop_waiting()

    def _drop_waiting(self) -> None:
        self._release(sum([cost_of(1, one.head.length) for one in self._waiting]))
        self._waiting.clear()

    def landed(self, batch: Batch) -> None:
        """Every replica acknowledged a batch: it counts, and its streams are told."""
        told: dict[AppendStream, list[RecordAck]] = {}
        with self._changed:
            self._noted = max(self._noted, batch.committed)
            self._committed = max(self._committed, batch.offset + batch.length)
            for one, entry in zip(batch.arrivals, batch.entries, strict=True):
                self._known.land(one.head, entry.offset)
                ack = RecordAck(entry.appender, entry.sequence, entry.offset, entry.length)
                for stream in one.asking:
                    told.setdefault(stream, []).append(ack)
            self._release(cost_of(len(batch.arrivals), batch.length))
            if batch.arrivals:
                now_s = self._changed_s = self._runtime.monotonic_s()
                if self._room.rates is not None:
                    took_s = now_s - batch.arrivals[0].since_s
                    self._room.rates.note_batch(batch, took_s)
        self.replica.note_committed(batch.offset + batch.length)
        try:
            # Once it has ended a person may have given this server up, and what only it knows of.
            self._check_lease()
        except Fenced as error:
            for stream in told:
                stream.fail(error)
            return
        for stream, acks in told.items():
            stream.answer(acks)

    def fail(self, batch: Batch, error: GfsError) -> None:
        """A replica did not acknowledge a batch: no append is taken any more (C6)."""
        with self._changed:
            self._release(cost_of(len(batch.arrivals), batch.length))
            self._close(error)

    def close(self, error: GfsError) -> None:
        """Take no append any more, and tell every stream why."""
        with self._changed:
            self._close(error)

    def _close(self, error: GfsError) -> None:
        if self._closed is None:
            self._closed = error
            for stream in self._streams:
                stream.fail(error)
        self._drop_waiting()

    def done(self) -> bool:
        """Return whether the worker is to go on; else it is done with the tail for now."""
        with self._changed:
            self._working = bool(self._waiting) and self._closed is None
            return self._working

    # What it is asked -----------------------------------------------------------------------------

    def arm_note(self) -> bool:
        """Return whether the others are still to be told of the last batch, once by a timer."""
        with self._changed:
            due = self._noted < self._committed and self._closed is None and not self._note_armed
            self._note_armed = self._note_armed or due
            return due

    def note_in(self) -> float | None:
        """Return in how many seconds to ask again; 0.0: a worker is to tell them now (C10).

        None when the next batch told them meanwhile.
        """
        with self._changed:
            if self._noted == self._committed or self._closed is not None:
                self._note_armed = False
                return None
            if self._working:
                return COMMIT_NOTE_S
            left_s = self._changed_s + COMMIT_NOTE_S - self._runtime.monotonic_s()
            if left_s > 0:
                return left_s
            self._note_armed = False
            self._working = True
            return 0.0

    def skip_note(self) -> None:
        """Tell the others with the next batch only: they could not be told."""
        with self._changed:
            self._noted = self._committed

    def length(self) -> TailLength:
        """Return how much counts, exactly."""
        return TailLength(self.replica.header.chunk_id, self._committed, True)

    @property
    def over(self) -> bool:
        """Return whether nobody has to ask for it any more: it is sealed here, or gone."""
        return self.replica.gate.deleted or self.replica.header.state is State.SEALED

    def report(self) -> LedTail:
        """Return what the leader hears of it."""
        full = self._full or self._closed is not None or self.replica.gate.closed
        idle_s = self._runtime.monotonic_s() - self._changed_s
        return LedTail(self.replica.header.chunk_id, self._committed, int(idle_s * 1000), full)


def unwritten(error: GfsError) -> GfsError:
    """Return the error for a stream of which nothing that is not acknowledged was written."""
    return error_from_wire(error.code, error.message, {**error.details, "unwritten": 1})
