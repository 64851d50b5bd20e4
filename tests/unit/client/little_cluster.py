"""A cluster in memory behind the client's two seams: the real state machine, with faults on demand.

`LittleMasters` is a Network: it answers calls with the real replicated machine over a MemoryKV,
and loses, delays or misdirects them as a test says. `LittlePlane` is a DataPlane: chunkservers as
byte arrays that can be dead, full, damaged or slow to appear.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

from gfs_ha.checksum import chunk_digest
from gfs_ha.client.connection import ClusterConnection
from gfs_ha.client.data_plane import ChunkBlocks, PushStream, ReadRange
from gfs_ha.client.filesystem import Cluster
from gfs_ha.config import Config, parse
from gfs_ha.errors import (
    CorruptData,
    GfsError,
    NoServers,
    NotInitialized,
    RangeGone,
    UnknownOutcome,
    UnknownReplica,
    Unreachable,
    WrongOffset,
)
from gfs_ha.ids import ChunkId, ServerId
from gfs_ha.kv.ordered import MemoryKV
from gfs_ha.limits import MIB, PROTOCOL_VERSION
from gfs_ha.master.state.commands import (
    BeginSeal,
    CommitSeal,
    EnrolledDisk,
    EnrollServer,
    Entry,
    InitCluster,
    PlaceChunk,
    encode_entry,
)
from gfs_ha.master.state.machine import Machine
from gfs_ha.master.state.policy_reads import policy_report
from gfs_ha.master.state.view import View
from gfs_ha.net.network import Address, Hello
from gfs_ha.protocol.calls import Asked, CallBody, Reply
from gfs_ha.protocol.codec import Failure, HelloReply, decode, encode, failure
from gfs_ha.protocol.frames import ReplicaAck
from gfs_ha.protocol.grid import part_crcs
from gfs_ha.protocol.metadata import (
    AllocateChunk,
    ChunkAllocated,
    ChunkLocations,
    Done,
    ListDirectory,
    Locate,
    Located,
    Location,
    OpenFile,
    ReadExtents,
    Renew,
    ReportReplica,
    SealChunk,
    Stat,
)
from gfs_ha.protocol.policy import GetPolicy
from gfs_ha.protocol.reports import GetMasterFacts, MasterFacts
from gfs_ha.protocol.servers import ListServers, ServersListed
from gfs_ha.runtime import Future, ThreadedRuntime

CONFIG = """
[cluster]
id = "little"
[[cluster.masters]]
name = "m1"
host = "127.0.0.1"
port = 1
raft_port = 11
[[cluster.masters]]
name = "m2"
host = "127.0.0.1"
port = 2
raft_port = 12
[[cluster.masters]]
name = "m3"
host = "127.0.0.1"
port = 3
raft_port = 13
[client]
machine = "h0"
rack = "r1"
"""

# What happens to a call: (master, asked) -> an error to raise, or None to answer it.
Fault = Callable[[str, CallBody], GfsError | None]


def config() -> Config:
    return parse(CONFIG, Path("gfs.toml"))


class LittleMasters:
    """Three masters with one state; `leader` may be moved, masters may be down. Thread-safe."""

    def __init__(self, server_count: int = 4, chunk_bytes: int = MIB) -> None:
        self.lock = threading.RLock()
        self.kv = MemoryKV()
        self.machine = Machine()
        self.leader = "m1"
        self.term = 1
        self.down: set[str] = set()
        self.index = 0
        self.asked: list[tuple[str, Asked]] = []
        self.before: deque[Fault] = deque()  # Each is used for one call: it never arrives.
        self.after: deque[Fault] = deque()  # Each is used for one call: its answer is lost.
        self.reports: list[ReportReplica] = []
        self.plane: LittlePlane | None = None
        self._apply(Entry(0, 1, InitCluster("little", "little", 1, chunk_bytes)))
        for number in range(1, server_count + 1):
            rack = "r1" if number % 2 else "r2"
            self._apply(Entry(0, 1, _enrolment(number, rack)))

    # Network --------------------------------------------------------------------------------

    def listen(self, address: Address, hello: object, handler: object) -> object:
        raise AssertionError("clients do not listen")

    def dial(self, address: Address, hello: Hello, timeout_s: float) -> LittleCaller:
        name = f"m{address[1]}"
        if name in self.down:
            raise Unreachable(f"{name} is down", sent=0)
        hello.accept(encode(HelloReply(name, PROTOCOL_VERSION)))
        return LittleCaller(self, name)

    # Answers --------------------------------------------------------------------------------

    def requests(self, kind: type) -> list[Asked]:
        """Return what was asked of that kind and reached a leader, in order."""
        return [asked for _, asked in self.asked if isinstance(asked.request, kind)]

    def view(self) -> View:
        with self.kv.read() as reader:
            return View(reader)

    def answer(self, name: str, asked: Asked) -> Reply:
        if isinstance(asked.request, GetMasterFacts):
            return _facts(name, "leader" if name == self.leader else "follower", self.term)
        if name != self.leader:
            return Failure("NotLeader", f"{name} does not lead", {"leader": self.leader})
        self.asked.append((name, asked))
        try:
            return self._serve(asked)
        except GfsError as error:
            return failure(error)

    def _serve(self, asked: Asked) -> Reply:
        request = asked.request
        match request:
            case Stat():
                return self.view().status(request.path)
            case ListDirectory():
                return self.view().list_page(request.path, request.after, request.limit)
            case OpenFile():
                return self.view().open_file(request.path, request.offset, request.limit)
            case ReadExtents():
                pinned = (request.content_id, request.generation)
                view = self.view()
                return view.read_extents(request.inode_id, pinned, request.offset, request.limit)
            case Locate():
                return Located(tuple(self.view().locate(request.chunk_ids)))
            case ListServers():
                return ServersListed(tuple(self.locations()))
            case ReportReplica():
                self.reports.append(request)
                return Done()
            case Renew():
                return Done()
            case GetPolicy():
                settings = self.view().settings()
                assert settings is not None, "no settings"
                return policy_report(self.view(), settings, request.path, request.nearest)
            case AllocateChunk():
                return self._allocate(asked, request)
            case SealChunk():
                return self._seal(request)
        return self._apply(
            Entry(0, 1, request, asked.session_id, asked.sequence, asked.window_start)
        )

    def _allocate(self, asked: Asked, request: AllocateChunk) -> Reply:
        free = [one for one in self.locations() if one.server_id not in request.failed]
        free = [one for one in free if one.server_id + 100 not in request.failed_disks]
        if len(free) < 2:
            raise NoServers("too few servers")
        start = self.index % len(free)
        chosen = (free[start:] + free[:start])[: request.goal or 3]
        places = tuple((one.server_id, one.server_id + 100) for one in chosen)
        command = PlaceChunk(
            *(places, request.kind, request.durability, request.goal, ()),
            rule=request.rule,
            capacity=request.chunk_bytes,
        )
        return self._apply(
            Entry(0, 1, command, asked.session_id, asked.sequence, asked.window_start)
        )

    def _seal(self, request: SealChunk) -> Reply:
        chunk = self.view().chunk(request.chunk_id)
        assert chunk is not None and self.plane is not None
        begun = self._apply(Entry(0, 1, BeginSeal(request.chunk_id, "asked")))
        index = self.index
        held = {
            one.server_id: data
            for one in chunk.replicas
            if one.server_id not in self.plane.dead
            and (data := self.plane.chunks.get((one.server_id, request.chunk_id))) is not None
        }
        if isinstance(begun, Failure) or not held:
            return Failure("Busy", "not sealed yet", {"retry_ms": 50})
        length = min(len(data) for data in held.values())
        digest = chunk_digest(part_crcs(0, memoryview(next(iter(held.values())))[:length]))
        command = CommitSeal(request.chunk_id, index, length, digest, tuple(held))
        return self._apply(Entry(0, 1, command))

    def locations(self) -> list[Location]:
        view = self.view()
        return [found for key, _ in view.servers() if (found := view.location(key)) is not None]

    def _apply(self, entry: Entry) -> Reply:
        self.index += 1
        transaction = self.kv.begin()
        answer = self.machine.apply(transaction, self.index, self.term, encode_entry(entry))
        transaction.commit()
        reply = decode(Reply, answer)
        assert not (isinstance(reply, Failure) and reply.error == "InternalError"), reply
        return reply


class LittleCaller:
    """One connection to one master."""

    def __init__(self, masters: LittleMasters, name: str) -> None:
        self._masters = masters
        self._name = name
        self.closed = False

    def call(self, method: int, context: bytes, body: bytes, timeout_s: float) -> bytes:
        masters = self._masters
        asked = decode(CallBody, body)
        with masters.lock:
            probe = isinstance(asked[0].request, GetMasterFacts)
            if self.closed or self._name in masters.down:
                self.closed = True
                raise Unreachable(f"{self._name} is gone", sent=0)
            if not probe and masters.before:
                error = masters.before.popleft()(self._name, asked)
                if error is not None:
                    raise error
            replies = tuple(masters.answer(self._name, one) for one in asked)
            if not probe and masters.after:
                error = masters.after.popleft()(self._name, asked)
                if error is not None:
                    raise error
            return encode(replies)

    def call_async(
        self, method: int, context: bytes, body: bytes, timeout_s: float
    ) -> Future[bytes]:
        future: Future[bytes] = ThreadedRuntime().future()
        try:
            future.set(self.call(method, context, body, timeout_s))
        except GfsError as error:
            future.fail(error)
        return future

    def close(self) -> None:
        self.closed = True


class LittlePlane:
    """Chunkservers in memory. Names of faults by server id. Thread-safe enough for tests."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.chunks: dict[tuple[ServerId, ChunkId], bytearray] = {}
        self.dead: set[ServerId] = set()
        self.flipping: set[ServerId] = set()  # Serves a flipped bit, with CRCs that fit it.
        self.gone: set[ServerId] = set()  # Gave back the blocks that are asked for.
        self.lying: set[ServerId] = set()  # Holds other bytes, with a block array that fits them.
        self.dies_in_push: dict[ServerId, int] = {}  # After so many bytes of its next push.
        self.stale_after: int | None = None  # Bytes of a push, which is to be settled then.
        self.lapses: set[int] = set()  # Pushes, counted from 1, whose tickets end before.
        self.withheld: GfsError | None = None  # Why there are no tickets for a push.
        self.push_count = 0
        self.read_from: list[ServerId] = []

    def push(self, chunk: ChunkAllocated, offset: int, length_max: int) -> PushStream:
        with self.lock:
            if self.withheld is not None:
                raise self.withheld
            self.push_count += 1
            return _LittlePush(self, chunk, offset)

    def read(
        self, location: Location, chunk: ChunkLocations, offset: int, into: memoryview
    ) -> ReadRange:
        data = self._stored(location, chunk)
        if location.server_id in self.gone:
            raise RangeGone(f"{location.name} gave it back")
        if offset + len(into) > len(data):
            raise CorruptData(f"{location.name} is short")
        into[:] = data[offset : offset + len(into)]
        if location.server_id in self.flipping:
            into[len(into) // 2] ^= 1
        self.read_from.append(location.server_id)
        return ReadRange(part_crcs(offset, into), chunk.sealed)

    def blocks(self, location: Location, chunk: ChunkLocations) -> ChunkBlocks:
        data = self._stored(location, chunk)
        crcs = part_crcs(0, memoryview(data)[: chunk.length])
        assert chunk_digest(crcs) == chunk.digest or location.server_id in self.lying
        return ChunkBlocks(chunk.length, crcs)

    def close(self) -> None:
        pass

    def _stored(self, location: Location, chunk: ChunkLocations) -> bytearray:
        with self.lock:
            if location.server_id in self.dead:
                raise Unreachable(f"{location.name} is dead")
            data = self.chunks.get((location.server_id, chunk.chunk_id))
            if data is None:
                raise UnknownReplica(f"{location.name} has no chunk {chunk.chunk_id:#x}")
            if location.server_id in self.lying:
                data = bytearray(byte ^ 1 for byte in data)
            return data


class _LittlePush:
    """The chain stores what it got only at the end, each server for itself."""

    def __init__(self, plane: LittlePlane, chunk: ChunkAllocated, offset: int) -> None:
        self._plane = plane
        self._chunk = chunk
        self._offset = offset
        self._data = bytearray()
        self._number = plane.push_count
        self.crcs: list[int] = []

    @property
    def stale(self) -> bool:
        limit = self._plane.stale_after
        return self.lapsed or (limit is not None and len(self._data) >= limit)

    @property
    def lapsed(self) -> bool:
        return self._number in self._plane.lapses

    def send(self, data: memoryview) -> None:
        head = self._chunk.replicas[0].server_id
        self._data += data
        self._kill_on_the_way()
        if head in self._plane.dead:
            raise Unreachable(f"server {head} hung up")
        if self.lapsed and len(self._data) > len(data):
            raise Unreachable("its tickets ended")

    def _kill_on_the_way(self) -> None:
        for replica in self._chunk.replicas:
            limit = self._plane.dies_in_push.get(replica.server_id)
            if limit is not None and len(self._data) >= limit:
                self._plane.dead.add(replica.server_id)

    def finish(self) -> tuple[ReplicaAck, ...]:
        self.crcs = list(part_crcs(self._offset, memoryview(self._data)))
        acks: list[ReplicaAck] = []
        lost = False
        head = self._chunk.replicas[0].server_id
        if self.lapsed:
            raise Unreachable("its tickets ended")
        with self._plane.lock:
            self._kill_on_the_way()
            if head in self._plane.dead:
                raise Unreachable(f"server {head} hung up")
            for replica in self._chunk.replicas:
                server_id = replica.server_id
                if lost:
                    code = UnknownOutcome.__name__
                    acks.append(ReplicaAck(server_id, code, 0, "a server above it was lost"))
                elif server_id in self._plane.dead:
                    lost = True
                    acks.append(ReplicaAck(server_id, "Unreachable", 0, "it is gone"))
                else:
                    acks.append(self._store(server_id))
        return tuple(acks)

    def _store(self, server_id: ServerId) -> ReplicaAck:
        key = (server_id, self._chunk.chunk_id)
        if not self._offset:
            self._plane.chunks.setdefault(key, bytearray())
        stored = self._plane.chunks.get(key)
        if stored is None:
            return ReplicaAck(server_id, UnknownReplica.__name__, 0, "unknown")
        if len(stored) != self._offset:
            return ReplicaAck(server_id, WrongOffset.__name__, len(stored), "another end")
        stored += self._data
        return ReplicaAck(server_id, "", len(stored))

    def abandon(self) -> None:
        pass


class LittleCluster:
    """Masters, servers and a client of them."""

    def __init__(self, server_count: int = 4, timeout_s: float = 5.0) -> None:
        self.masters = LittleMasters(server_count)
        self.plane = LittlePlane()
        self.masters.plane = self.plane
        self.timeout_s = timeout_s
        self.connection = self.connect()
        self.client = Cluster(config(), connection=self.connection)

    def connect(self) -> ClusterConnection:
        return ClusterConnection(
            config(), self.timeout_s, ThreadedRuntime(), self.masters, self.plane
        )

    def close(self) -> None:
        self.client.close()


def lost(name: str, asked: CallBody) -> GfsError:
    """A fault: the connection breaks, and whether the call arrived is not known."""
    return Unreachable("the connection broke", sent=1)


def not_initialized(name: str, asked: CallBody) -> GfsError:
    return NotInitialized("not yet")


def _enrolment(number: int, rack: str) -> EnrollServer:
    return EnrollServer(
        name=f"cs{number}",
        server_id=ServerId(0),
        host="127.0.0.1",
        port=7300 + number,
        rack=rack,
        machine=f"h{number}",
        start_id=1,
        boot_id=1,
        disks=(EnrolledDisk(100 + number, 1 << 40),),
    )


def _facts(name: str, role: str, term: int) -> MasterFacts:
    return MasterFacts(
        name=name,
        role=role,
        term=term,
        leader="",
        leader_age_ms=0,
        commit_index=0,
        applied_index=0,
        last_index=0,
        first_index=0,
        log_bytes=0,
        state_bytes=0,
        map_bytes=0,
        disk_free_bytes=0,
        commit_p50_us=0,
        commit_p99_us=0,
        rss_bytes=0,
        incarnation=1,
        version="",
    )
