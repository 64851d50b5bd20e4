"""What a client sees of a cluster from where it is: addresses, answers, clocks; it changes nothing.

Everything is asked at once and within a few seconds, whatever hangs.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from gfs_ha.client.append_stream import ask_tail_length
from gfs_ha.client.cluster import expect
from gfs_ha.client.data_room import DataRoom
from gfs_ha.config import Config, MasterAddress
from gfs_ha.errors import DeadlineExceeded, GfsError, ProtocolError, Unreachable, WrongCluster
from gfs_ha.ids import Birth, ChunkId, LogIndex, StartId
from gfs_ha.limits import PROTOCOL_VERSION
from gfs_ha.net import sockets
from gfs_ha.net.entry import enter_as_person
from gfs_ha.net.masters import MasterConnections, ask_facts, call_context, read_answer
from gfs_ha.net.network import Network
from gfs_ha.net.streams import StreamNetwork, TcpStreams
from gfs_ha.protocol.calls import SERVE_METHOD, Asked
from gfs_ha.protocol.codec import Hello, encode
from gfs_ha.protocol.data import Hop
from gfs_ha.protocol.metadata import FileTail
from gfs_ha.protocol.reports import GetServers, MasterFacts, ServerReport, ServerRow
from gfs_ha.runtime import Runtime

MASTERS_S = 1.5  # For everything that is asked of masters, at once.
LEADER_S = 1.2
SERVERS_S = 1.5
WORKERS_MAX = 64

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class MasterSeen:
    """What there is at a master's address. Times in nanoseconds; `offset_ns` is its clock's lead.

    The true lead is within `error_ns` of that: half the time between question and answer.
    """

    master: MasterAddress
    addresses: tuple[str, ...] = ()
    connect_ns: int = -1
    answer_ns: int = -1
    facts: MasterFacts | None = None
    offset_ns: int | None = None
    error_ns: int = 0
    error: GfsError | None = None


@dataclass(frozen=True, slots=True)
class ServerSeen:
    """What there is at a chunkserver's data port; `answer_ns` is -1 when it did not answer."""

    row: ServerRow
    answer_ns: int = -1
    error: GfsError | None = None


@dataclass(slots=True)
class Seen:
    """All that was found; `servers` is None when nobody could say which there are."""

    masters: list[MasterSeen] = field(default_factory=list)
    servers: list[ServerSeen] | None = None
    why_no_servers: str = ""

    @property
    def leader(self) -> MasterSeen | None:
        """Return the master that leads, by its own word."""
        led = [one for one in self.masters if one.facts and one.facts.role == "leader"]
        return max(led, key=lambda one: one.facts.term if one.facts else 0, default=None)


class Doctor:
    """Looks once. Args: `network` is for tests."""

    def __init__(self, config: Config, runtime: Runtime, network: Network | None = None) -> None:
        self._cluster = config.cluster
        self._runtime = runtime
        name = f"{config.client.machine}:doctor"
        self._hello = Hello(config.cluster.id, PROTOCOL_VERSION, "client", name)
        self._streams: StreamNetwork = TcpStreams(runtime)
        if network is None:
            entry = enter_as_person(config, name, runtime)
            network, self._hello = entry.network, entry.hello
            self._streams = entry.streams
        self._network: Network = network

    def look(self) -> Seen:
        """Return what is there. Takes at most some four seconds; never raises for what it finds."""
        seen = Seen()
        found = self._at_once(self._cluster.masters, self._look_at_master, MASTERS_S)
        late = Unreachable(f"no answer within {MASTERS_S:g} s: is it running, or paused?")
        seen.masters = [
            found.get(master) or MasterSeen(master, error=late) for master in self._cluster.masters
        ]
        leader = seen.leader
        if leader is None:
            seen.why_no_servers = "no master leads, so nobody says which there are"
            return seen
        rows = self._at_once((leader.master,), self._servers_of, LEADER_S).get(leader.master)
        if not isinstance(rows, tuple):
            told = f": {rows.message}" if isinstance(rows, GfsError) else ""
            seen.why_no_servers = f"{leader.master.name} did not say which there are{told}"
            return seen
        room = DataRoom(self._cluster.id, self._streams, self._runtime)
        try:
            by_id = {row.server_id: row for row in rows}
            looked = self._at_once(
                by_id, lambda server_id: self._look_at_server(room, by_id[server_id]), SERVERS_S
            )
        finally:
            room.close()
        silent = Unreachable(f"no answer within {SERVERS_S:g} s: is it running, or paused?")
        seen.servers = [looked.get(row.server_id) or ServerSeen(row, -1, silent) for row in rows]
        return seen

    def _look_at_master(self, master: MasterAddress) -> MasterSeen:
        address, runtime = (master.host, master.port), self._runtime
        addresses: tuple[str, ...] = ()
        connect_ns = -1
        connections = MasterConnections((master,), self._network, self._hello, runtime)
        try:
            addresses = sockets.look_up(address, runtime, MASTERS_S)
            began_ns = runtime.monotonic_ns()
            sockets.connect(address, runtime, MASTERS_S).close()
            connect_ns = runtime.monotonic_ns() - began_ns
            ask_facts(connections, master.name)  # It dials and says hello.
            wall_ns, began_ns = runtime.wall_ns(), runtime.monotonic_ns()
            facts = ask_facts(connections, master.name)
            took_ns = runtime.monotonic_ns() - began_ns
        except GfsError as error:
            return MasterSeen(master, addresses, connect_ns, error=error)
        finally:
            connections.close()
        offset_ns = facts.wall_ns - wall_ns - took_ns // 2 if facts.wall_ns else None
        half_ns = took_ns // 2
        return MasterSeen(
            *(master, addresses, connect_ns, took_ns, facts), offset_ns=offset_ns, error_ns=half_ns
        )

    def _servers_of(self, leader: MasterAddress) -> tuple[ServerRow, ...] | GfsError:
        connections = MasterConnections((leader,), self._network, self._hello, self._runtime)
        try:
            return _ask_servers(connections, leader.name, self._runtime)
        except GfsError as error:
            return error
        finally:
            connections.close()

    def _look_at_server(self, room: DataRoom, row: ServerRow) -> ServerSeen:
        """Ask for a tail that does not exist: a server that refuses it is well."""
        nothing = FileTail(
            *(ChunkId(1), Birth(0, 0), 0, 0, row.server_id, StartId(0), LogIndex(0), ())
        )
        hop = Hop(row.server_id, row.host, row.port)
        began_ns = self._runtime.monotonic_ns()
        try:
            ask_tail_length(room, nothing, hop, SERVERS_S)
        except (Unreachable, DeadlineExceeded, ProtocolError, WrongCluster) as error:
            return ServerSeen(row, -1, error)
        except GfsError:
            pass
        return ServerSeen(row, self._runtime.monotonic_ns() - began_ns)

    def _at_once(self, keys: Iterable[K], look: Callable[[K], R], limit_s: float) -> dict[K, R]:
        """Return what was found in time, by key; what takes longer is left to itself."""
        waiting = list(keys)
        wanted = len(waiting)
        waiting.reverse()
        found: dict[K, R] = {}
        state = self._runtime.condition()
        deadline_s = self._runtime.monotonic_s() + limit_s

        def work() -> None:
            while True:
                with state:
                    if not waiting:
                        return
                    key = waiting.pop()
                result = look(key)
                with state:
                    found[key] = result
                    state.notify_all()

        for _ in range(min(wanted, WORKERS_MAX)):
            self._runtime.spawn("doctor", work)
        with state:
            while len(found) < wanted:
                left_s = deadline_s - self._runtime.monotonic_s()
                if left_s <= 0:
                    waiting.clear()
                    break
                state.wait(left_s)
            return dict(found)


def _ask_servers(
    connections: MasterConnections, name: str, runtime: Runtime
) -> tuple[ServerRow, ...]:
    """Return the chunkservers that a leader knows. Raises: NotLeader, Unreachable…"""
    context = call_context(runtime, runtime.monotonic_s() + LEADER_S)
    body = encode((Asked(GetServers()),))
    answer = connections.caller(name).call(SERVE_METHOD, context, body, LEADER_S)
    return expect(read_answer(answer, 1).replies[0], ServerReport).items
