"""The tails of this server: their replicas, made on order, and those that it is the primary of.

Nothing of a tail outlives the process: after a restart its primary is unknown here, and the leader
seals it (C10).
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable

from gfs_ha.chunk.appends.append_room import AppendRoom
from gfs_ha.chunk.appends.append_stream import AppendStream
from gfs_ha.chunk.appends.intake import Intake
from gfs_ha.chunk.appends.lease import LeaseClock
from gfs_ha.chunk.appends.tail import Tail, unwritten
from gfs_ha.chunk.appends.tail_chain import TailChain
from gfs_ha.chunk.appends.waiting_room import SERVER_BYTES_MAX, WaitingRoom
from gfs_ha.chunk.appends.workers import BatchWorkers, workers_of_each
from gfs_ha.chunk.epochs import NO_EPOCH
from gfs_ha.chunk.push import PushRoom
from gfs_ha.chunk.slots.format import State
from gfs_ha.chunk.slots.spec import ReplicaSpec
from gfs_ha.chunk.turns import Turns
from gfs_ha.errors import (
    Fenced,
    GfsError,
    Overloaded,
    ProtocolError,
    UnknownReplica,
    Unreachable,
    WrongBirth,
)
from gfs_ha.ids import Birth, ChunkId, DiskId, Epoch, ServerId, StartId
from gfs_ha.limits import CHUNK_BYTES_MAX, TAILS_PER_SERVER_MAX
from gfs_ha.net.streams import Stream
from gfs_ha.protocol.control import CreateReplica, FinishedTail, LedTail
from gfs_ha.protocol.data import HOPS_MAX, ChunkKind, DataRequest, Durability, Hop
from gfs_ha.protocol.records import TailLength
from gfs_ha.protocol.tickets import TicketsGiven

IDLE_S = 60.0  # Then a stream without records is hung up on.
LOST_TOLD_MS = 60_000  # How long a tail is told to be full whose replica went with a disk.
LED_ONCE_MAX = 16 * TAILS_PER_SERVER_MAX  # Chunks that are remembered; an order lives for seconds.

logger = logging.getLogger(__name__)


class Primary:
    """Thread-safe. `start_id` is that of this process: grants and orders that name another one
    are not for it.
    """

    def __init__(
        self,
        room: PushRoom,
        start_id: StartId,
        newest_epoch: Callable[[], Epoch] = lambda: NO_EPOCH,
        on_end: Callable[[FinishedTail], None] = lambda tail: None,
    ) -> None:
        """Args: `newest_epoch` is the newest one that a leader told this server; `on_end` is told
        of tails that are full, for the leader.
        """
        self.lease = LeaseClock(room.runtime)
        self.turns = Turns(room.runtime)
        self._room = room
        self._store = room.store
        self._runtime = room.runtime
        self._start_id = start_id
        share = SERVER_BYTES_MAX // len(room.store.shelves)
        # What hangs on one disk takes neither room nor workers from the tails of the others.
        self._append_rooms = {
            shelf.disk_id: AppendRoom(
                self.lease,
                WaitingRoom(room.runtime, share),
                room.runtime,
                newest_epoch,
                room.store.server_id,
                on_end,
                room.rates,
            )
            for shelf in room.store.shelves
        }
        count = workers_of_each(len(room.store.shelves))
        self._workers = {shelf.disk_id: BatchWorkers(room, count) for shelf in room.store.shelves}
        self._lock = room.runtime.lock()
        self._tails: dict[ChunkId, Tail] = {}
        self._led_once: OrderedDict[ChunkId, None] = OrderedDict()
        self._places: dict[AppendStream, DiskId] = {}  # Who has one, and whose disk it needs.

    def start(self) -> None:
        """Start the workers."""
        for one in self._workers.values():
            one.start()

    def stop(self, timeout_s: float) -> bool:
        """Take no records any more and end the workers; False when one still runs."""
        for tail in self._all():
            tail.close(Unreachable("the server stops"))
        until_s = self._runtime.monotonic_s() + timeout_s
        out = {one.disk_id for one in self._store.shelves if one.failed}
        ended = True
        for one in self._workers.values():
            one.stop(0.0)  # All are told before any is waited for.
        for disk_id, one in self._workers.items():
            # Those that hang on a disk out of service may never end.
            hang = disk_id in out and one.busy
            left_s = 0.0 if hang else max(0.0, until_s - self._runtime.monotonic_s())
            ended = one.stop(left_s) and ended
        return ended

    def give_up(self, disk_id: DiskId) -> None:
        """Take no records for a disk that is out of service, and count on none that wait there.

        A thread that hangs there is left alone, and takes no place from appends to other disks.
        """
        for tail in self._all():
            if tail.replica.disk_id == disk_id:
                tail.close(Fenced(f"{tail.name}: its disk is out of service; ask for a new grant"))
        with self._lock:
            stuck = [stream for stream, needed in self._places.items() if needed == disk_id]
        for stream in stuck:
            self._leave(stream)

    # Orders and heartbeats ------------------------------------------------------------------------

    def create(self, order: CreateReplica) -> None:
        """Make the replica of a tail, durably, and lead it if this start is meant. Idempotent.

        Raises: ProtocolError, AlreadyExists, Fenced, Overloaded, DiskFull, DiskFailed.
        """
        spec = self._spec(order)
        leads = order.primary_start != 0 and order.primary_start == self._start_id
        with self._lock:
            if order.chunk_id in self._led_once:
                # The order comes again, perhaps behind the deletion: then its chunk is dead.
                leads = False
            if leads and len(self._tails) >= TAILS_PER_SERVER_MAX:
                raise Overloaded(f"this server leads {TAILS_PER_SERVER_MAX} tails already")
        replica = self._store.create_tail(spec, order.order_index, order.disk_id)
        if leads and not replica.header.end:
            hops = tuple(
                Hop(one.server_id, one.host, one.port, ticket=one.ticket) for one in order.chain
            )
            chain = TailChain(hops, order.pass_, self._runtime.monotonic_s())
            with self._lock:
                if order.chunk_id in self._led_once:
                    return
                room = self._append_rooms[replica.disk_id]
                self._tails[order.chunk_id] = Tail(replica, chain, room)
                self._led_once[order.chunk_id] = None
                if len(self._led_once) > LED_ONCE_MAX:
                    self._led_once.popitem(last=False)
            logger.info("leads chunk=%#x chain=%d", order.chunk_id, len(hops) + 1)

    def _spec(self, order: CreateReplica) -> ReplicaSpec:
        if not 0 < order.capacity <= CHUNK_BYTES_MAX:
            raise ProtocolError(f"a chunk of {order.capacity} bytes")
        if len(order.chain) > HOPS_MAX:
            raise ProtocolError(f"a chain of {len(order.chain) + 1} servers")
        try:
            durability = Durability[order.durability.upper()]
        except KeyError:
            raise ProtocolError(f"no durability is called {order.durability!r}") from None
        return ReplicaSpec(order.chunk_id, order.birth, ChunkKind.TAIL, order.capacity, durability)

    def led(self) -> tuple[LedTail, ...]:
        """Return the tails that it is the primary of, and forget those that are over."""
        tails = self._all()
        over = [tail for tail in tails if tail.over or self._went_with_its_disk(tail)]
        if over:
            with self._lock:
                for tail in over:
                    self._tails.pop(tail.replica.header.chunk_id, None)
            for tail in over:
                tail.close(Fenced(f"{tail.name} is sealed; ask for a new grant"))
        return tuple(tail.report() for tail in tails if tail not in over)

    def _went_with_its_disk(self, tail: Tail) -> bool:
        """Return whether a tail lost its replica here so long ago that the masters know (D6).

        If they do not, the next one who appends tells them.
        """
        told = tail.report()
        if not told.full or told.idle_ms < LOST_TOLD_MS:
            return False
        try:
            return self._store.get(told.chunk_id) is not tail.replica
        except UnknownReplica:
            return True

    def stale_chains(self) -> list[tuple[ChunkId, tuple[ServerId, ...]]]:
        """Return the tails that need new tickets soon, and of which servers."""
        now_s = self._runtime.monotonic_s()
        return [
            (tail.replica.header.chunk_id, tuple(hop.server_id for hop in tail.chain.hops))
            for tail in self._all()
            if tail.chain.stale(now_s)
        ]

    def renew_chain(self, chunk_id: ChunkId, given: TicketsGiven) -> None:
        """Push the records of a tail with new tickets from the next batch on."""
        with self._lock:
            tail = self._tails.get(chunk_id)
        if tail is not None:
            now_s = self._runtime.monotonic_s()
            tail.chain = tail.chain.renewed(given.pass_, given.by_server, now_s) or tail.chain

    @property
    def tail_count(self) -> int:
        """Return how many tails it is the primary of."""
        return len(self._tails)

    def waiting_count(self) -> int:
        """Return how many records wait to be written."""
        return sum(tail.waiting_count for tail in self._all())

    def _all(self) -> list[Tail]:
        with self._lock:
            return list(self._tails.values())

    # Streams --------------------------------------------------------------------------------------

    def serve_append(self, request: DataRequest, upstream: Stream) -> None:
        """Take the records of one stream until it ends; the stream is of no use then.

        Raises: why it takes none; Unreachable when the peer is done.
        """
        tail = self._led(request.chunk_id, request.birth, request.start_id)
        stream = AppendStream(
            *(upstream, request.op_id, tail.disk, self._runtime), request.label, request.trace_id
        )
        begun_s = self._runtime.monotonic_s()
        try:
            self.turns.enter()
        except Overloaded as error:
            raise unwritten(error) from None
        with self._lock:
            self._places[stream] = tail.replica.disk_id
        try:
            tail.join(stream)
        except BaseException:
            self._leave(stream)
            raise
        try:
            with self._room.ticker.telling(stream):
                workers = self._workers[tail.replica.disk_id]
                intake = Intake(tail, stream, upstream, (self._runtime, self.turns), workers)
                ticket_s = None if request.given is None else request.given.life_ms / 1000
                intake.run(min(IDLE_S, request.deadline_ms / 1000), ticket_s)
        except Unreachable:
            raise
        except GfsError as error:
            stream.fail(error)
            if isinstance(error, ProtocolError):
                logger.info("bad records peer=%s: %s", upstream.peer, error)
        finally:
            tail.leave(stream)
            self._leave(stream)
            if self._room.lines is not None:
                self._room.lines.appended(request, stream.record_count, stream.error, begun_s)

    def _leave(self, stream: AppendStream) -> None:
        """Give the place of a stream back, unless that was done for it."""
        with self._lock:
            placed = self._places.pop(stream, None) is not None
        if placed:
            self.turns.leave()

    def tail_length(self, request: DataRequest) -> TailLength:
        """Return how much of a tail counts, exactly if it is led here.

        Raises: Fenced when another start of this server led it, UnknownReplica, WrongBirth.
        """
        replica = self._store.get(request.chunk_id, request.birth)
        with self._lock:
            tail = self._tails.get(request.chunk_id)
        if tail is not None and request.start_id in (0, self._start_id):
            return tail.length()
        header = replica.header
        if header.state is State.SEALED:
            return TailLength(request.chunk_id, header.end, False)
        if tail is not None or not replica.made_here:
            raise Fenced(f"chunk {request.chunk_id:#x}: this server started again since; open anew")
        return TailLength(request.chunk_id, replica.committed, False)

    def _led(self, chunk_id: ChunkId, birth: Birth, start_id: StartId) -> Tail:
        with self._lock:
            tail = self._tails.get(chunk_id)
        if tail is None or not start_id or start_id != self._start_id:
            why = f"chunk {chunk_id:#x}: this start of the server is not its primary; "
            raise unwritten(Fenced(why + "ask for a new grant"))
        if tail.replica.header.birth != birth:
            raise WrongBirth(f"{tail.name} was born in {tail.replica.header.birth}, not in {birth}")
        return tail
