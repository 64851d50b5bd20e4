"""A chunkserver by script: it speaks the real protocol and keeps lengths instead of bytes."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from msgspec import structs
from trio import CALL_S, Trio

from gfs_ha.errors import DiskFull, GfsError, ReplicaDamaged, UnknownReplica
from gfs_ha.ids import Birth, ChunkId, DiskId, Epoch, ServerId, StartId
from gfs_ha.limits import GIB
from gfs_ha.master.orders import kind_of
from gfs_ha.protocol.calls import Asked
from gfs_ha.protocol.codec import Failure, failure
from gfs_ha.protocol.control import (
    CompareReplica,
    CopyReplica,
    CreateReplica,
    DamageFound,
    DeleteReplica,
    DiskFacts,
    FenceAnswer,
    FenceReplica,
    FinishedTail,
    ForgetTombstone,
    Heartbeat,
    HeartbeatReply,
    KeepReplica,
    LedTail,
    OpenReplica,
    Order,
    OrderAnswer,
    OrderDone,
    OrderFailed,
    ProofAnswer,
    ProveReplica,
    RegisterServer,
    ServerRegistered,
    StopCopy,
)
from gfs_ha.protocol.records import RecordEntry
from gfs_ha.protocol.scrub import ScrubFacts, ScrubWanted
from gfs_ha.protocol.usage import UsageFacts

BOOT = 77


def digest_of(length: int) -> int:
    """Return the digest that every honest replica of this length has."""
    return length * 7 % (1 << 32)


@dataclass
class Held:
    """One replica: `end` bytes, of which `lost` do not verify any more; `odd` ones are others."""

    birth: Birth
    end: int
    state: str = "open"
    lost: int = 0
    odd: bool = False
    order_index: int = 0
    primary: bool = False  # It orders the appends to a tail, and names it in its heartbeats.
    idle_ms: int = 0
    full: bool = False
    records: list[RecordEntry] = field(default_factory=list)

    def digest(self, length: int) -> int:
        return digest_of(length) + int(self.odd)


class ScriptedServer:
    """One chunkserver; `run` beats in a thread of its own until `stop`."""

    host = "127.0.0.1"

    def __init__(self, trio: Trio, name: str, rack: str, start_id: int = 1) -> None:
        self.name = name
        self.rack = rack
        self.disk_id = DiskId(1000 + int(name[2:]))
        self.server_id = ServerId(0)
        self.start_id = StartId(start_id)
        self.replicas: dict[ChunkId, Held] = {}
        self.orders: list[Order] = []
        self.deaf = False  # Takes orders and never answers them.
        self.failing: GfsError | None = None  # What it answers to fences and proofs.
        self.creates = True  # Makes empty replicas of tails; else its disk is full.
        self.lease_ms = 0  # As it was told last.
        self.ailing = ""  # What its disk refuses just now.
        self.copies = False  # Makes copies when it is ordered to; else its disk is full.
        self.epoch = Epoch(0, 0)
        self.beats = 0  # Begun.
        self.heard = 0  # Answered by whoever led.
        self.registrations = 0
        self.refusals = 0
        self.damage: tuple[DamageFound, ...] = ()  # Told with every heartbeat.
        self.scrub: ScrubFacts | None = (
            None  # Told with every heartbeat; an older release has none.
        )
        self.scrubs_told: list[ScrubWanted] = []
        self.finished: tuple[FinishedTail, ...] = ()  # Told with every heartbeat.
        self.usage: UsageFacts | None = None  # Told with every heartbeat.
        self._answers: list[OrderAnswer] = []
        self._link = trio.link("chunkserver", name)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        trio.at_close(self.stop)

    def start(self, register: bool = True) -> ScriptedServer:
        """Register and begin to beat."""
        if register:
            self._register()
        self._thread.start()
        return self

    def stop(self) -> None:
        """Fall silent, as a killed process does."""
        self._stopping.set()
        self._link.close()
        if self._thread.is_alive():
            self._thread.join(20)

    def disks(self) -> tuple[DiskFacts, ...]:
        count = len(self.replicas)
        return (DiskFacts(self.disk_id, 100 * GIB, 90 * GIB, count, ailing=self.ailing),)

    def enrolled(self) -> tuple[DiskFacts, ...]:
        """Return the disks that it registers with."""
        return self.disks()

    def _register(self) -> None:
        request = RegisterServer(
            self.name,
            self.server_id,
            self.host,
            7000 + self.disk_id,
            self.rack,
            self.name,
            self.start_id,
            BOOT,
            self.enrolled(),
        )
        while not self._stopping.is_set():
            try:
                reply = self._link.call((Asked(request),), CALL_S)[0]
            except GfsError:
                time.sleep(0.02)
                continue
            if isinstance(reply, ServerRegistered):
                self.registrations += 1
                self.server_id = reply.server_id
                self.epoch = max(self.epoch, reply.epoch)
                return
            assert isinstance(reply, Failure) and reply.raised().retryable, reply
            time.sleep(0.02)

    def _run(self) -> None:
        while not self._stopping.is_set():
            answers, self._answers = self._answers, []
            self.beats += 1
            try:
                reply = self._link.call((Asked(self._beat(answers)),), CALL_S)[0]
            except GfsError:
                self._answers = answers + self._answers
                time.sleep(0.02)
                continue
            if isinstance(reply, Failure):
                self.refusals += 1
                self._answers = answers + self._answers
                time.sleep(0.02)
                continue
            assert isinstance(reply, HeartbeatReply), reply
            if reply.register_again:
                self._register()
                continue
            assert reply.epoch >= self.epoch, "an older leader was heard after a newer one"
            self.epoch = reply.epoch
            self.heard += 1
            self.lease_ms = reply.lease_ms
            if reply.scrub is not None:
                self.scrubs_told.append(reply.scrub)
                if self.scrub is not None:
                    self.scrub = structs.replace(self.scrub, wanted=reply.scrub)
            for order in reply.orders:
                self.orders.append(order)
                if not self.deaf:
                    self._answers.append(self._obey(order))

    def _beat(self, answers: list[OrderAnswer]) -> Heartbeat:
        listed = tuple(
            OpenReplica(chunk_id, held.birth, self.disk_id, held.end, held.state, held.order_index)
            for chunk_id, held in list(self.replicas.items())
            if held.state != "sealed"
        )
        return Heartbeat(
            self.server_id,
            self.start_id,
            self.beats,
            self.epoch,
            0.1,
            len(self.replicas),
            time.time_ns() // 1_000_000,
            self.disks(),
            listed,
            tuple(answers),
            self.damage,
            scrub=(self.scrub,) if self.scrub is not None else (),
            finished=self.finished,
            usage=self.usage,
            led=tuple(
                LedTail(chunk_id, held.end, held.idle_ms, held.full)
                for chunk_id, held in list(self.replicas.items())
                if held.primary and held.state == "open"
            ),
        )

    def _obey(self, order: Order) -> OrderAnswer:
        held = self.replicas.get(order.chunk_id)
        chunk_id, index = order.chunk_id, order.order_index
        if isinstance(order, DeleteReplica | ForgetTombstone):
            if isinstance(order, DeleteReplica) or (held and held.state == "tombstone"):
                self.replicas.pop(chunk_id, None)
            return OrderDone(chunk_id, index, kind_of(order))
        if isinstance(order, StopCopy):
            return OrderDone(chunk_id, index, kind_of(order))
        if isinstance(order, CopyReplica):
            if not self.copies:
                full = failure(DiskFull("no room for a copy here"))
                return OrderFailed(chunk_id, index, kind_of(order), full)
            assert order.digest == digest_of(order.length) and order.sources
            made = Held(order.birth, order.length, "sealed", order_index=index)
            self.replicas[chunk_id] = made
            return OrderDone(chunk_id, index, kind_of(order))
        if isinstance(order, CreateReplica):
            return self._create(order)
        if self.failing is not None and isinstance(order, FenceReplica | ProveReplica):
            return OrderFailed(chunk_id, index, kind_of(order), failure(self.failing))
        if held is None and isinstance(order, FenceReplica):
            held = self.replicas[chunk_id] = Held(order.birth, 0, "tombstone", order_index=index)
        if held is None or held.state == "tombstone":
            unknown = failure(UnknownReplica("no such chunk here"))
            return OrderFailed(chunk_id, index, kind_of(order), unknown)
        if isinstance(order, KeepReplica):
            return OrderDone(chunk_id, index, kind_of(order))
        held.order_index = index
        if isinstance(order, FenceReplica):
            held.state = "fenced"
            end = held.end - held.lost
            proof = held.lost == 0 and end >= order.published_end
            return FenceAnswer(chunk_id, index, end, held.end, BOOT, BOOT, proof)
        if isinstance(order, ProveReplica):
            digest = held.digest(order.length)
            records = tuple(one for one in held.records if one.offset + one.length <= order.length)
            return ProofAnswer(chunk_id, index, order.length, digest, digest, records)
        if isinstance(order, CompareReplica):
            odd = held.end >= order.length and held.digest(order.length) != order.digest
            held.state = "quarantined" if odd else "fenced"
            return OrderDone(chunk_id, index, kind_of(order))
        if held.end - held.lost < order.length:
            short = failure(ReplicaDamaged("fewer bytes verify here"))
            return OrderFailed(chunk_id, index, kind_of(order), short)
        held.state, held.end = "sealed", order.length
        return OrderDone(chunk_id, index, kind_of(order))

    def _create(self, order: CreateReplica) -> OrderAnswer:
        chunk_id, index = order.chunk_id, order.order_index
        if not self.creates:
            full = failure(DiskFull("no room for a tail here"))
            return OrderFailed(chunk_id, index, kind_of(order), full)
        primary = order.primary_start == self.start_id
        assert primary == bool(order.chain) or not order.chain
        made = Held(order.birth, 0, order_index=index, primary=primary)
        self.replicas.setdefault(chunk_id, made)
        return OrderDone(chunk_id, index, kind_of(order))
