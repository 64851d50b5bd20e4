"""Data ports that ask for tickets, on real sockets, and what a leader would give for them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from chunk_house import BIRTH, BOOT_ID, CHUNK, CLUSTER, House, house_of, identity

from gfs_ha.chunk.dataport import ServerRun
from gfs_ha.chunk.disk import PosixDisk
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.client.data_room import DataRoom
from gfs_ha.client.fetch import Fetch, Fetched, FetchTarget
from gfs_ha.client.push import Push, PushResult, PushTarget
from gfs_ha.ids import ChunkId, ServerId, StartId
from gfs_ha.limits import MIB, TICKET_LIFE_S
from gfs_ha.logs.requests import RequestLog
from gfs_ha.net.asking import showing
from gfs_ha.net.sealed_streams import Refusals, SealedStreams
from gfs_ha.net.streams import TcpStreams
from gfs_ha.net.ticket_guard import TicketGuard
from gfs_ha.net.ticket_keys import TicketKeys
from gfs_ha.net.tickets import seal_ticket
from gfs_ha.pki.seals import Seal
from gfs_ha.protocol.data import DataRequest, Durability, Hop, Op, cluster_hash
from gfs_ha.protocol.tickets import Level, OperationPass, Right, TicketFacts
from gfs_ha.runtime import ThreadedRuntime

RUNTIME = ThreadedRuntime()
PLACES = 64  # For streams, on each port.


@dataclass
class Guarded:
    """One data port that asks for tickets, and the keys that it told."""

    house: House
    keys: TicketKeys
    refusals: Refusals

    @property
    def server_id(self) -> ServerId:
        return self.house.store.server_id

    @property
    def refused(self) -> dict[str, int]:
        """Return what it refused so far, by reason."""
        return {reason: count for reason, count in self.refusals.counts().items() if count}


@dataclass
class Leader:
    """Gives tickets, as the leader does whom all servers told their keys."""

    guarded: Sequence[Guarded]
    level: Level = Level.ENCRYPT
    rights: Right = Right.READ | Right.PUSH | Right.APPEND | Right.RECORDS
    secret: bytes = field(default_factory=lambda: os.urandom(32))

    @property
    def given(self) -> OperationPass:
        return OperationPass(self.secret, self.level, int(TICKET_LIFE_S * 1000))

    def facts(self, to: ServerId, **changed: object) -> TicketFacts:
        ends_ms = RUNTIME.monotonic_ns() // 1_000_000 + int(TICKET_LIFE_S * 1000)
        facts = TicketFacts(
            to, CHUNK, BIRTH, self.rights, 64 * MIB, ends_ms, self.level, "ann", self.secret
        )
        return msgspec.structs.replace(facts, **changed)

    def ticket(self, guarded: Guarded, **changed: object) -> bytes:
        key = guarded.keys.newest()
        facts = self.facts(guarded.server_id, **changed)
        return seal_ticket(key.key_id, Seal(key.key), facts, os.urandom(12))

    def hop(self, guarded: Guarded, **changed: object) -> Hop:
        hop = guarded.house.hop
        return msgspec.structs.replace(hop, ticket=self.ticket(guarded, **changed))

    def target(self, chunk_id: ChunkId = CHUNK) -> PushTarget:
        chain = tuple(self.hop(one, chunk_id=chunk_id) for one in self.guarded)
        return PushTarget(chunk_id, BIRTH, 4 * MIB, Durability.DISK, chain, given=self.given)


def sealed_network() -> SealedStreams:
    return SealedStreams(TcpStreams(RUNTIME), RUNTIME)


@contextmanager
def sealed_street(
    directory: Path,
    count: int = 3,
    floor: Level = Level.NONE,
    requests: RequestLog | None = None,
) -> Iterator[list[Guarded]]:
    """Run some servers that ask for tickets, each with a directory of its own."""
    guarded: list[Guarded] = []
    disks: list[PosixDisk] = []
    try:
        for number in range(1, count + 1):
            disks.append(PosixDisk(directory / f"cs{number}"))
            store = ChunkStore.on(disks[-1], identity(number), RUNTIME, BOOT_ID)
            network = sealed_network()
            keys = TicketKeys(RUNTIME)
            guard = TicketGuard(store.server_id, keys, RUNTIME, network.refusals, floor)
            start_id = StartId(number * 100)
            run = ServerRun(start_id, lambda: BIRTH, requests=requests, guard=guard)
            house = house_of(store, RUNTIME, network, PLACES, run)
            guarded.append(Guarded(house, keys, network.refusals))
        yield guarded
    finally:
        for one in guarded:
            one.house.stop()
        for disk in disks:
            disk.close()


@contextmanager
def sealed_room() -> Iterator[DataRoom]:
    room = DataRoom(CLUSTER, sealed_network(), RUNTIME, label="ann@there:1")
    try:
        yield room
    finally:
        room.close()


def push_sealed(room: DataRoom, where: PushTarget, data: bytes, offset: int = 0) -> PushResult:
    with Push(room, where, offset, len(data), 20.0) as one:
        one.write(data)
        return one.finish()


def fetch_sealed(
    room: DataRoom, leader: Leader, guarded: Guarded, offset: int, length: int, **changed: object
) -> tuple[bytes, Fetched]:
    into = memoryview(bytearray(length))
    hop = leader.hop(guarded, **changed)
    target = FetchTarget(hop, CHUNK, BIRTH, leader.given)
    found = Fetch(room, target, 20.0).read(offset, into)
    return bytes(into), found


def request_of(guarded: Guarded, leader: Leader, ticket: bytes, **changed: object) -> DataRequest:
    """Return a request for the first bytes of the chunk, with what a ticket asks for beside it."""
    request = DataRequest(
        op=Op.FETCH,
        cluster=cluster_hash(CLUSTER),
        target=guarded.server_id,
        chunk_id=CHUNK,
        birth=BIRTH,
        offset=0,
        length=100,
        deadline_ms=20_000,
        op_id=7,
    )
    request = showing(request, leader.given, ticket, RUNTIME)
    return msgspec.structs.replace(request, **changed)


def patient(idle_s: float) -> None:
    assert idle_s < 30.0, "nobody answers"
