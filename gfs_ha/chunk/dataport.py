"""The data port of a chunkserver: one thread per stream, each request in turn, all bounded."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from gfs_ha.chunk.epochs import NO_EPOCH
from gfs_ha.chunk.journal.keeper import JournalKeeper
from gfs_ha.chunk.primary import Primary
from gfs_ha.chunk.progress import ProgressTicker
from gfs_ha.chunk.push import PushRoom, serve_push
from gfs_ha.chunk.rates import Rates
from gfs_ha.chunk.read import OnDamage, ReadRoom, serve_blocks, serve_fetch
from gfs_ha.chunk.repair_pace import RepairPace
from gfs_ha.chunk.request_lines import DataLines
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.chunk.turned_away import BAD_REQUEST, FULL, LATE, SILENT, TURNED_OUT, TurnedAway
from gfs_ha.errors import (
    GfsError,
    Overloaded,
    ProtocolError,
    UnknownReplica,
    Unreachable,
    WrongCluster,
)
from gfs_ha.ids import DiskId, Epoch, StartId
from gfs_ha.limits import FRAME_DEADLINE_S, STREAMS_MAX
from gfs_ha.logs.requests import RequestLog
from gfs_ha.logs.trace import traced
from gfs_ha.net.answers import Deadline
from gfs_ha.net.asking import answered
from gfs_ha.net.log_pages import own_page
from gfs_ha.net.network import Address
from gfs_ha.net.sealed_stream import SealedStream
from gfs_ha.net.stream_pool import StreamPool
from gfs_ha.net.streams import Stream, StreamNetwork
from gfs_ha.net.ticket_guard import TicketGuard
from gfs_ha.protocol.control import FinishedTail
from gfs_ha.protocol.data import (
    PREFIX_BYTES,
    DataRequest,
    Op,
    RequestFlag,
    cluster_hash,
    decode_request,
    request_length,
)
from gfs_ha.protocol.frames import FrameKind, encode_error, encode_frame
from gfs_ha.protocol.logs import QUERY_BYTES_MAX, decode_query, encode_page
from gfs_ha.protocol.rates import LoadFacts
from gfs_ha.protocol.records import encode_tail_length
from gfs_ha.protocol.usage import UsageFacts
from gfs_ha.runtime import Runtime, Task

logger = logging.getLogger(__name__)

STREAM_IDLE_S = 60.0
_STOP_S = 5.0
_HANG_UP_S = 1.0


@dataclass(frozen=True, slots=True)
class ServerRun:
    """This run of the server, as its tails know it: what grants name, what leaders told it, and
    who tells them of tails that are full.
    """

    start_id: StartId
    newest_epoch: Callable[[], Epoch] = lambda: NO_EPOCH
    on_end: Callable[[FinishedTail], None] = lambda tail: None
    pace: RepairPace | None = None  # Is told how clients fare, says when others may copy from here.
    requests: RequestLog | None = None  # Is told what is served; nobody is in simulations.
    guard: TicketGuard | None = None  # Looks at the tickets of all requests; else none show any.


NOBODY = ServerRun(StartId(0))


class DataPort:
    """Listens, and serves pushes and reads of one store. `run` in a thread of its own."""

    def __init__(
        self,
        listen: Address,
        store: ChunkStore,
        network: StreamNetwork,
        runtime: Runtime,
        on_damage: OnDamage,
        streams_max: int = STREAMS_MAX,
        server_run: ServerRun = NOBODY,
    ) -> None:
        """Take the port; its cluster and server are those of the store's identity.

        Args: `server_run` is that of this process; without one it is the primary of no tail.

        Raises: PortTaken, ConfigError.
        """
        self._listener = network.listen(listen)
        self._runtime = runtime
        self._cluster = cluster_hash(store.cluster_id)
        self._store, self._server_id = store, store.server_id
        self._pool = StreamPool(network, runtime)
        self._ticker = ProgressTicker(runtime)
        self.rates = Rates(runtime)
        self._requests = server_run.requests
        self._lines = DataLines(self._requests, runtime) if self._requests else None
        self._pushes = PushRoom(
            *(store, self._pool, self._ticker, runtime),
            *(server_run.pace, self.rates, self._lines),
        )
        self.primary = Primary(
            self._pushes, server_run.start_id, server_run.newest_epoch, server_run.on_end
        )
        self._keepers = [JournalKeeper(one.journal, runtime) for one in store.shelves]
        self._pace, self._guard = server_run.pace, server_run.guard
        self._reads = ReadRoom(store, runtime, on_damage, self._pace)
        self._streams_max = streams_max
        self.turned_away = TurnedAway(runtime)
        self._lock = runtime.lock()
        self._streams: dict[Stream, Task | None] = {}
        self._serving: dict[Stream, frozenset[DiskId]] = {}  # Those at work, and what they touch.
        # They asked for nothing yet, where tickets are shown with a good one; the oldest first.
        self._strangers: dict[Stream, None] = {}
        # They take no place: they hang, or did, on a disk that is out of service; they gave way.
        self._left: set[Stream] = set()
        self._ending: set[Stream] = set()
        self._stopped = False
        self.turned_s = runtime.monotonic_s()  # When it last looked for new streams.

    @property
    def port(self) -> int:
        """Return the port that it listens on."""
        return self._listener.port

    def refused(self) -> dict[str, int]:
        """Return how often tickets were refused, by reason; nothing where none are shown."""
        return {} if self._guard is None else self._guard.refused()

    @property
    def stream_count(self) -> int:
        """Return how many streams are open now."""
        return len(self._streams)

    @property
    def serving_count(self) -> int:
        """Return how many streams are at work now; one that waits for a request is not."""
        return len(self._serving)

    def load(self) -> LoadFacts:
        """Return what it served to clients, and what is under way."""
        return self.rates.facts(self.primary.waiting_count())

    def usage(self) -> UsageFacts | None:
        """Return whom it served, when that is to be told again."""
        return self.rates.usage.news()

    def run(self) -> None:
        """Serve until `stop`."""
        ticking = self._runtime.spawn("data progress", self._ticker.run)
        if self._requests is not None:
            self._requests.start()
        for keeper in self._keepers:
            keeper.start()
        self.primary.start()
        try:
            while not self._stopped:
                self.turned_s = self._runtime.monotonic_s()
                try:
                    stream = self._listener.accept()
                except Unreachable:
                    break
                if stream is not None:
                    self._admit(stream)
        finally:
            self.primary.stop(0.0)
            self._end_all()
            self.primary.stop(_STOP_S)
            for keeper in self._keepers:
                keeper.stop(_STOP_S)
            self._ticker.stop()
            ticking.join(_STOP_S)
            if self._requests is not None:
                self._requests.stop()

    def stop(self) -> None:
        """End `run` and break off what is under way. Thread-safe."""
        self._stopped = True
        self._listener.close()

    def give_up(self, disk_id: DiskId) -> None:
        """Count no more on the streams that are at work on a disk which is out of service.

        Who hangs there is left alone, and takes no place from others; who does not still answers.
        """
        with self._lock:
            for stream, disks in list(self._serving.items()):
                if disk_id in disks:
                    del self._serving[stream]
                    self._streams.pop(stream, None)
                    self._left.add(stream)
        self.primary.give_up(disk_id)

    def _admit(self, stream: Stream) -> None:
        with self._lock:
            full = len(self._streams) >= self._streams_max and not self._turn_out()
            if not full:
                self._streams[stream] = self._strangers[stream] = None
        if full:
            why = f"server {self._server_id} serves {self._streams_max} streams already"
            self.turned_away.note(stream.peer, FULL, why)
            stream.send_now(encode_frame(FrameKind.FAILED, 0, encode_error(Overloaded(why))))
            stream.close()
            return
        task = self._runtime.spawn("data stream", lambda: self._serve(stream))
        with self._lock:
            if stream in self._streams:
                self._streams[stream] = task

    def _turn_out(self) -> bool:
        """Have the oldest stream give way that asked for nothing yet; return whether there is one.

        Else silent connections would shut out everybody. Its task ends soon; they are bounded too.
        """
        if not self._strangers or len(self._ending) >= self._streams_max:
            return False
        oldest = next(iter(self._strangers))
        del self._strangers[oldest], self._streams[oldest]
        self._ending.add(oldest)
        self.turned_away.note(oldest.peer, TURNED_OUT, "it asked for nothing, and others came")
        oldest.abort()
        return True

    def _end_all(self) -> None:
        with self._lock:
            running, left = list(self._streams.items()), list(self._left)
        for stream in (*(one for one, _ in running), *left):
            stream.abort()
        deadline = Deadline(self._runtime, _STOP_S)
        for _, task in running:
            if task is not None:
                task.join(deadline.left_s())
        self._pool.close()

    def _serve(self, stream: Stream) -> None:
        try:
            while not self._stopped and stream.wait(STREAM_IDLE_S):
                if not self._serve_counted(stream) or stream in self._left:
                    stream.hang_up(_HANG_UP_S)
                    return
            if stream in self._strangers and not self._stopped:
                why = f"it asked for nothing for {STREAM_IDLE_S:g} s"
                self.turned_away.note(stream.peer, SILENT, why)
        except Unreachable:
            pass  # The usual end: the peer is done.
        except GfsError as error:
            logger.info("stream ended peer=%s error=%s: %s", stream.peer, error.code, error)
        except Exception:
            logger.exception("stream failed peer=%s", stream.peer)
        finally:
            with self._lock:
                self._streams.pop(stream, None)
                self._strangers.pop(stream, None)
                self._left.discard(stream)
                self._ending.discard(stream)
            stream.close()

    def _serve_counted(self, stream: Stream) -> bool:
        with self._lock:
            self._serving[stream] = frozenset()
        try:
            return self._serve_one(stream)
        finally:
            with self._lock:
                self._serving.pop(stream, None)

    def _note_disks(self, stream: Stream, request: DataRequest) -> None:
        disks = self._store.disks_of(request.chunk_id, request.disk_id)
        with self._lock:
            if stream in self._serving:
                self._serving[stream] = disks

    def _serve_one(self, stream: Stream) -> bool:
        """Serve one request; return whether the stream can take another."""
        request: DataRequest | None = None
        begun_s = 0.0
        try:
            request, header = self._receive_request(stream)
            begun_s = self._runtime.monotonic_s()
            request = self._check(request, header, stream)
            self._note_disks(stream, request)
            with traced(request.trace_id):
                return self._serve_request(request, stream, begun_s) and answered(stream)
        except GfsError as error:
            gone = isinstance(error, Unreachable)
            # The usual end of an append, which was told of, is that its peer is done.
            told = gone and request is not None and request.op is Op.APPEND
            known = request is not None and (self._guard is None or request.given is not None)
            # What strangers ask has no lines of its own: they decide how often it happens.
            if request is not None and known and self._lines is not None and not told:
                self._lines.failed(request, error, begun_s)
            if gone:
                raise
            # Once an answer has begun, what goes wrong is an Unreachable: nothing can be added.
            op_id = 0 if request is None else request.op_id
            stream.send_now(encode_frame(FrameKind.FAILED, op_id, encode_error(error)))
            if isinstance(error, ProtocolError | WrongCluster):
                self.turned_away.note(stream.peer, BAD_REQUEST, error.message)
            elif request is None:
                self.turned_away.note(stream.peer, LATE, "the rest of a request did not come")
            return False

    def _serve_request(self, request: DataRequest, stream: Stream, begun_s: float) -> bool:
        """Serve what was asked; return whether the stream can take another request."""
        op_id = request.op_id
        if request.op is Op.PUSH:
            return self._serve_push(request, stream)
        if request.op is Op.APPEND:
            self.primary.serve_append(request, stream)
            return False
        if request.op is Op.TAIL_LENGTH:
            told = encode_tail_length(self.primary.tail_length(request))
            stream.send_now(encode_frame(FrameKind.TAIL, op_id, told))
            return True
        if request.op is Op.LOG:
            self._serve_log(request, stream)
            return True
        if request.flags & RequestFlag.REPAIR and self._pace is not None:
            deadline = Deadline(self._runtime, request.deadline_ms / 1000)
            with self._ticker.working(stream, op_id):
                self._pace.wait_to_serve(request.length, deadline)
        if request.op is Op.FETCH:
            self._serve_fetch(request, stream)
        else:
            serve_blocks(self._reads, request, stream)
        if self._lines is not None:
            self._lines.read(request, begun_s)
        return True

    def _serve_log(self, request: DataRequest, stream: Stream) -> None:
        """Answer with a page of log lines, which is small and comes from memory."""
        if request.length > QUERY_BYTES_MAX:
            raise ProtocolError(f"a question about a log of {request.length} bytes")
        deadline = Deadline(self._runtime, min(FRAME_DEADLINE_S, request.deadline_ms / 1000))
        query = memoryview(bytearray(request.length))
        stream.receive(query, deadline.stall)
        page = own_page(f"server {self._server_id}", decode_query(bytes(query)))
        frame = encode_frame(FrameKind.LOG, request.op_id, encode_page(page))
        stream.send([frame], deadline.hang_up)

    def _serve_push(self, request: DataRequest, stream: Stream) -> bool:
        if request.brings_records:
            return serve_push(self._pushes, request, stream)
        self.rates.write.begin()
        try:
            return serve_push(self._pushes, request, stream)
        finally:
            self.rates.write.end()

    def _serve_fetch(self, request: DataRequest, stream: Stream) -> None:
        if request.flags & RequestFlag.REPAIR:
            serve_fetch(self._reads, request, stream)
            return
        self.rates.read.begin()
        begun_s = self._runtime.monotonic_s()
        try:
            serve_fetch(self._reads, request, stream)
        finally:
            self.rates.read.end()
        self.rates.note_read(request, self._runtime.monotonic_s() - begun_s)

    def _receive_request(self, stream: Stream) -> tuple[DataRequest, memoryview]:
        deadline = Deadline(self._runtime, FRAME_DEADLINE_S)
        prefix = memoryview(bytearray(PREFIX_BYTES))
        stream.receive(prefix, deadline.stall)
        header = memoryview(bytearray(request_length(prefix)))
        header[:PREFIX_BYTES] = prefix
        stream.receive(header[PREFIX_BYTES:], deadline.stall)
        return decode_request(header), header

    def _check(self, request: DataRequest, header: memoryview, stream: Stream) -> DataRequest:
        """Return a request that is for this server, with the secret of its ticket.

        Raises: WrongCluster, TicketRefused, UnknownReplica.
        """
        if request.cluster != self._cluster:
            raise WrongCluster("this data port belongs to another cluster")
        if self._guard is not None:
            # Who asks for tickets serves nobody whom it cannot ask for them.
            assert isinstance(stream, SealedStream), "a stream that shows no tickets"
            request = self._guard.admit(request, header, stream)
        elif request.target != self._server_id:
            raise UnknownReplica(
                f"this is server {self._server_id}, not {request.target}; look up where it is now"
            )
        if stream in self._strangers:
            with self._lock:
                self._strangers.pop(stream, None)
        return request
