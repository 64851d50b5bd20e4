"""The newest log lines of masters and chunkservers, asked of each of them without ssh."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import msgspec

from gfs_ha.client.cluster import ClusterCalls
from gfs_ha.client.data_room import DataRoom
from gfs_ha.client.passes import Passes
from gfs_ha.errors import DeadlineExceeded, GfsError, NotFound, ProtocolError, Unreachable
from gfs_ha.ids import ChunkId, Epoch, TraceId
from gfs_ha.net.answers import AnswerReader, Deadline
from gfs_ha.net.asking import ask, showing
from gfs_ha.net.streams import StreamNetwork, TcpStreams
from gfs_ha.protocol.data import DataRequest, Hop, Op
from gfs_ha.protocol.frames import FrameKind
from gfs_ha.protocol.logs import (
    DEBUG,
    LogLine,
    LogPage,
    ReadLog,
    decode_page,
    encode_query,
)
from gfs_ha.protocol.reports import GetServers, ServerReport
from gfs_ha.runtime import Future, Runtime

ASK_S = 3.0  # One page of one process.
ALL_S = 20.0  # All pages of all processes; who is later is named.
SERVERS_S = 5.0  # Until the leader says which servers there are.
AT_ONCE = 16
PAGES_MAX = 400  # More than a process keeps.

MASTER, CHUNKSERVER = "master", "chunkserver"


@dataclass(frozen=True, slots=True)
class LogSource:
    """A process whose log can be read; where it stands is remembered in `after` and `run`."""

    name: str
    role: str  # MASTER or CHUNKSERVER.
    hop: Hop | None = None  # Of a chunkserver.
    after: int = 0
    run: int = 0


@dataclass(frozen=True, slots=True)
class NodeLines:
    """What one process told: its lines, the oldest first, or why there are none."""

    source: LogSource  # Where to go on.
    lines: tuple[LogLine, ...] = ()
    lost: int = 0  # That were not kept any more.
    error: GfsError | None = None


class Logs:
    """Thread-safe. Masters are asked each by itself, chunkservers by their data ports."""

    def __init__(
        self,
        calls: ClusterCalls,
        cluster_id: str,
        runtime: Runtime,
        trace_id: TraceId,
        network: StreamNetwork | None = None,
        passes: Passes | None = None,
    ) -> None:
        """Args: `passes` gets tickets for data ports, where they are shown."""
        self._passes = passes
        self._calls = calls
        self._runtime = runtime
        self._room = DataRoom(
            cluster_id, network or TcpStreams(runtime), runtime, trace_id=trace_id
        )

    def sources(self, names: Sequence[str] = ()) -> tuple[list[LogSource], GfsError | None]:
        """Return the processes of these names (without any, all), and why no servers are known.

        Raises: NotFound for a name that nobody has, once all names are known.
        """
        masters = [LogSource(name, MASTER) for name in self._calls.facts()]
        if names and set(names) <= {one.name for one in masters}:
            return [one for one in masters if one.name in names], None
        servers: list[LogSource] = []
        error: GfsError | None = None
        try:
            report = self._calls.ask(GetServers(), ServerReport, SERVERS_S)
        except GfsError as raised:
            error = raised
        else:
            servers = [
                LogSource(row.name, CHUNKSERVER, Hop(row.server_id, row.host, row.port))
                for row in report.items
            ]
        found = [one for one in masters + servers if not names or one.name in names]
        missing = sorted(set(names) - {one.name for one in found})
        if missing and error is None:
            known = ", ".join(one.name for one in masters + servers)
            raise NotFound(f"no master or chunkserver is called {missing[0]}; there are {known}")
        if missing:
            assert error is not None
            raise error
        return found, error

    def read(self, sources: Iterable[LogSource], wanted: ReadLog) -> list[NodeLines]:
        """Return what each process has that is wanted; who does not answer is told as such.

        A source that was read before goes on where it stood. Takes at most ALL_S.
        """
        deadline = Deadline(self._runtime, ALL_S)
        waiting = list(sources)
        found: list[NodeLines] = []
        while waiting:
            group, waiting = waiting[:AT_ONCE], waiting[AT_ONCE:]
            running = [(one, self._begin(one, wanted, deadline)) for one in group]
            for source, future in running:
                try:
                    found.append(future.result(deadline.left_s()))
                except GfsError as error:
                    found.append(NodeLines(source, error=error))
        return found

    def close(self) -> None:
        """Hang up on data ports."""
        self._room.close()

    def _begin(self, source: LogSource, wanted: ReadLog, deadline: Deadline) -> Future[NodeLines]:
        future: Future[NodeLines] = self._runtime.future()

        def run() -> None:
            try:
                future.set(self._read_one(source, wanted, deadline))
            except GfsError as error:
                future.set(NodeLines(source, error=error))

        self._runtime.spawn(f"log of {source.name}", run)
        return future

    def _read_one(self, source: LogSource, wanted: ReadLog, deadline: Deadline) -> NodeLines:
        ask: Callable[[ReadLog], LogPage] = (
            (lambda asked: self._calls.ask_master(source.name, asked, LogPage, ASK_S))
            if source.hop is None
            else self._asker(source.hop)
        )
        lines: list[LogLine] = []
        lost = 0
        asked = msgspec.structs.replace(wanted, after=source.after, run=source.run)
        for _ in range(PAGES_MAX):
            deadline.check()
            page = ask(asked)
            lines += page.lines
            lost += page.lost if page.run == asked.run else 0
            asked = msgspec.structs.replace(asked, after=page.next, run=page.run, newest=0)
            if not page.more:
                break
        return NodeLines(replace(source, after=asked.after, run=asked.run), tuple(lines), lost)

    def _asker(self, hop: Hop) -> Callable[[ReadLog], LogPage]:
        return lambda wanted: self._ask_server(hop, wanted)

    def _ask_server(self, hop: Hop, wanted: ReadLog) -> LogPage:
        """Return a page of a chunkserver. Raises: Unreachable…, ProtocolError of older ones."""
        room, deadline = self._room, Deadline(self._runtime, ASK_S)
        query = encode_query(wanted)
        request = DataRequest(
            op=Op.LOG,
            cluster=room.cluster,
            target=hop.server_id,
            chunk_id=ChunkId(0),
            birth=Epoch(0, 0),
            offset=0,
            length=len(query),
            deadline_ms=max(1, int(deadline.left_s() * 1000)),
            op_id=room.runtime.random_u64() or 1,
            trace_id=room.trace_id,
        )
        if self._passes is not None:
            given, ticket = self._passes.for_log(hop.server_id)
            request = showing(request, given, ticket, self._runtime)
        address = (hop.host, hop.port)
        stream = room.streams.take(address)
        try:
            reader = AnswerReader(stream, request.op_id, deadline, ASK_S)
            ask(stream, request, [query], reader.stall)
            kind, body = reader.wait()
            if kind is not FrameKind.LOG:
                raise ProtocolError(f"a {kind.name} frame where LOG was expected")
            page = decode_page(body)
        except DeadlineExceeded as error:
            stream.close()
            raise Unreachable(f"no answer within {ASK_S:g} s: is it running, or paused?") from error
        except BaseException:
            stream.close()
            raise
        room.streams.give_back(address, stream)
        return page


def merged(found: Iterable[NodeLines]) -> list[tuple[str, LogLine]]:
    """Return the lines of all processes by time, each with the name of who wrote it.

    Clocks of machines differ: only lines of one process stand in their true order for certain.
    """
    lines = [(one.source.name, line) for one in found for line in one.lines]
    return sorted(lines, key=lambda pair: (pair[1].time_ms, pair[0], pair[1].number))


def of_trace(trace_id: TraceId) -> ReadLog:
    """Return what to ask for the lines of one command."""
    return ReadLog(level=DEBUG, trace_id=trace_id)
