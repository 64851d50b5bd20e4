"""Replicated state and chunkservers whose every step a test decides."""

from __future__ import annotations

import random
from typing import Any

from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.chunk.slots.identity import Identity
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.ids import NO_SESSION, ChunkId, DiskId, ServerId, SessionId
from gfs_ha.kv.ordered import MemoryKV
from gfs_ha.limits import MIB
from gfs_ha.master.state.commands import (
    EnrolledDisk,
    EnrollServer,
    Entry,
    InitCluster,
    encode_entry,
)
from gfs_ha.master.state.machine import Machine
from gfs_ha.master.state.records import Chunk
from gfs_ha.master.state.view import View
from gfs_ha.protocol.calls import Reply
from gfs_ha.protocol.codec import Failure, decode
from gfs_ha.protocol.metadata import (
    OpenSession,
    SessionOpened,
)
from gfs_ha.runtime import ThreadedRuntime

RUNTIME = ThreadedRuntime()
SERVERS = (ServerId(1), ServerId(2), ServerId(3))
CLUSTER = "adversary"


class Masters:
    """The replicated state, one command after another."""

    def __init__(self) -> None:
        self.kv = MemoryKV()
        self.machine = Machine()
        self.index = 0
        self.sequence = 0
        self.session = NO_SESSION
        self.apply(InitCluster(CLUSTER, "c", 1, MIB))
        for number in SERVERS:
            disks = (EnrolledDisk(100 + number, 1 << 40),)
            self.apply(
                EnrollServer(f"cs{number}", ServerId(0), "h", 7000 + number, "r", "m", 1, 1, disks)
            )
        opened = self.apply(OpenSession("c"))
        assert isinstance(opened, SessionOpened)
        self.session = opened.session_id

    def apply(self, command: Any, session: SessionId = NO_SESSION) -> Reply:
        self.index += 1
        self.sequence += 1
        entry = Entry(1, 1, command, session, self.sequence if session else 0, 0)
        transaction = self.kv.begin()
        answer = self.machine.apply(transaction, self.index, 1, encode_entry(entry))
        transaction.commit()
        reply = decode(Reply, answer)
        assert not (isinstance(reply, Failure) and reply.error == "InternalError"), reply
        return reply

    def ask(self, command: Any) -> Reply:
        return self.apply(command, self.session)

    def chunk(self, chunk_id: ChunkId) -> Chunk | None:
        with self.kv.read() as reader:
            return View(reader).chunk(chunk_id)


class Server:
    """A chunkserver's disk and the process on it; `life` counts processes."""

    def __init__(self, number: ServerId) -> None:
        self.number = number
        self.disk = MemoryDisk(RUNTIME)
        self.boot = 1
        self.life = 0
        self.up = False
        self.start()

    def start(self) -> None:
        self.life += 1
        self.up = True
        identity = Identity(CLUSTER, self.number, DiskId(100 + self.number))
        self.store = ChunkStore.on(self.disk, identity, RUNTIME, self.boot)

    def kill(self) -> None:
        self.up = False

    def cut_power(self, rng: random.Random) -> None:
        self.up = False
        share = rng.choice((0.0, 0.3, 0.7, 1.0))
        self.disk.power_cycle(lambda write, sector: rng.random() < share)
        self.boot += 1
