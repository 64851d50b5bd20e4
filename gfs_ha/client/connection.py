"""Everything that one connection to a cluster is made of, put together from its configuration."""

from __future__ import annotations

from collections.abc import Sequence

from gfs_ha.client.account import own_name
from gfs_ha.client.append_grants import AppendGrants
from gfs_ha.client.append_rights import AppenderParts
from gfs_ha.client.appenders import Appenders
from gfs_ha.client.chunk_supply import ChunkSupply
from gfs_ha.client.cluster import ClusterCalls
from gfs_ha.client.complaints import Complaints
from gfs_ha.client.consistency import DEFAULT, Consistency
from gfs_ha.client.content_store import ContentStore
from gfs_ha.client.contents import PinnedContent
from gfs_ha.client.data_plane import DataPlane
from gfs_ha.client.data_ports import DataPorts
from gfs_ha.client.follower import Follower
from gfs_ha.client.locations import Here, Locations
from gfs_ha.client.memory import MemoryPool
from gfs_ha.client.namespace import Namespace
from gfs_ha.client.openings import Openings
from gfs_ha.client.passes import Passes
from gfs_ha.client.piece_stream import ReaderParts
from gfs_ha.client.policies import Policies
from gfs_ha.client.reader import PIECE_MEMORY_BYTES, PieceReader
from gfs_ha.client.session import Session
from gfs_ha.client.shipment import WriterParts
from gfs_ha.config import Config
from gfs_ha.errors import GfsError
from gfs_ha.ids import NO_TRACE
from gfs_ha.limits import CHUNK_BYTES_MAX, PROTOCOL_VERSION
from gfs_ha.logs.trace import new_trace
from gfs_ha.net.entry import enter_as_person
from gfs_ha.net.leader import LeaderLink
from gfs_ha.net.network import Network
from gfs_ha.net.streams import StreamNetwork, TcpStreams
from gfs_ha.protocol.codec import Hello
from gfs_ha.protocol.usage import clean_label
from gfs_ha.runtime import Runtime, ThreadedRuntime


class ClusterConnection:
    """The parts of a client, wired. Nothing is dialled before the first request. Thread-safe."""

    def __init__(
        self,
        config: Config,
        timeout_s: float | None = None,
        runtime: Runtime | None = None,
        network: Network | None = None,
        plane: DataPlane | None = None,
        consistency: Consistency = DEFAULT,
        name: str = "",
    ) -> None:
        """Args: `name` is how this client calls itself; without it that of the configuration."""
        # Who brings a time and chance of its own (a simulation) has an id for each call instead.
        self.trace_id = NO_TRACE if runtime is not None else new_trace(ThreadedRuntime())
        self.runtime = runtime = runtime or ThreadedRuntime()
        self.config = config
        timeout_s = config.client.timeout_s if timeout_s is None else timeout_s
        name = name or config.client.name or own_name(config.client.machine)
        hello = Hello(config.cluster.id, PROTOCOL_VERSION, "client", name)
        streams: StreamNetwork = TcpStreams(runtime)
        tickets = False
        if network is None:
            entry = enter_as_person(config, name, runtime)
            network, hello, name = entry.network, entry.hello, entry.hello.name
            streams, tickets = entry.streams, entry.credentials is not None
        link = LeaderLink(
            *(config.cluster.masters, network, hello, runtime), trace_id=self.trace_id
        )
        link.keep_learning()
        here = Here(config.client.machine, config.client.rack)

        self.calls = calls = ClusterCalls(link, runtime, timeout_s, consistency)
        self.session = session = Session(calls, runtime, name)
        self.streams = streams  # To data ports.
        self.passes = Passes(session, runtime) if tickets else None
        self.namespace = Namespace(calls, session)
        self.led_namespace = Namespace(calls, session, led=True)
        self.locations = locations = Locations(calls, here, runtime, tickets=tickets)
        if plane is None:
            plane = DataPorts(
                *(config.cluster.id, streams, runtime),
                label=clean_label(name),
                trace_id=self.trace_id,
                passes=self.passes,
            )
        self._plane = plane
        supply = ChunkSupply(session, here, runtime, timeout_s)
        writer_parts = WriterParts(supply, plane, runtime, timeout_s)
        self.policies = policies = Policies(calls, session, self.namespace, runtime)
        memory = MemoryPool(CHUNK_BYTES_MAX, runtime)
        self.store = ContentStore(session, writer_parts, memory, policies)
        grants = AppendGrants(calls, session, supply, here, runtime)
        appender_parts = AppenderParts(grants, plane, supply, runtime, timeout_s)
        self.appenders = Appenders(appender_parts, calls)
        complaints = Complaints(calls, runtime)
        self._complaints = complaints
        self.openings = Openings(calls, plane, locations, complaints, runtime)
        pieces = PieceReader(plane, locations, complaints, runtime, timeout_s)
        self.reader_parts = ReaderParts(pieces, MemoryPool(PIECE_MEMORY_BYTES, runtime), runtime)

    def open_content(self, path: str) -> PinnedContent:
        """Return the file's content as it is now."""
        return self.openings.open(path)

    def open_contents(self, paths: Sequence[str]) -> list[PinnedContent | GfsError]:
        """Return the contents of several files, or why not; one request for all."""
        return self.openings.open_all(paths)

    def follower(self, path: str) -> Follower:
        """Return what reads a file as it grows, from its beginning unless told otherwise."""
        return Follower(
            *(self.calls, self._plane, self.locations, self._complaints, self.reader_parts), path
        )

    def close(self) -> None:
        """Finish open chunks, end the session, hang up. Takes a bounded time, never raises."""
        try:
            self.appenders.close()
            self.store.close()
            self.session.close()
        finally:
            self.calls.close()
            self._plane.close()
