"""One push along a chain, which any step on any server may follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from small_cluster import Server

from gfs_ha.chunk.slots.appending import OpenPush
from gfs_ha.chunk.slots.replica import Replica
from gfs_ha.chunk.slots.store import ChunkStore, ReplicaSpec
from gfs_ha.errors import AlreadyExists, GfsError
from gfs_ha.ids import ServerId
from gfs_ha.protocol.data import ChunkKind, Durability
from gfs_ha.protocol.grid import part_crcs
from gfs_ha.protocol.metadata import (
    ChunkAllocated,
)

PACKET = 40_000


class Writer(Protocol):
    """Whose push it is."""

    servers: dict[ServerId, Server]
    chain: tuple[ServerId, ...]
    chunk: ChunkAllocated
    durability: Durability


class Hop:
    """One server's part in one push."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.life = server.life
        self.push: OpenPush | None = None
        self.replica: Replica | None = None
        self.got = 0  # Steps: begin, packets, commit.
        self.failed = False
        self.acked: list[ServerId] | None = None  # Who has it, as told upstream.

    @property
    def alive(self) -> bool:
        return self.server.up and self.server.life == self.life


class PushRun:
    """One push along the chain, a step at a time."""

    def __init__(self, run: Writer, offset: int, data: bytes) -> None:
        self.run = run
        self.offset = offset
        self.data = data
        self.hops = [Hop(run.servers[number]) for number in run.chain]
        self.packets = [data[at : at + PACKET] for at in range(0, len(data), PACKET)]
        self.steps = len(self.packets) + 2

    def ready(self) -> list[Callable[[], None]]:
        """Return what may happen next."""
        found: list[Callable[[], None]] = []
        for position, hop in enumerate(self.hops):
            above = self.hops[position - 1] if position else None
            below = self.hops[position + 1] if position + 1 < len(self.hops) else None
            if not hop.alive:
                continue
            fed = above is None or (above.alive and above.got > hop.got) or above.got == self.steps
            if above is not None and not above.alive and hop.got < self.steps - 1:
                # Hung up above: what had not come yet never comes. (Some may be in the buffers.)
                found.append(lambda hop=hop: self._break(hop))
                continue
            if hop.got < self.steps and (fed or hop.got == self.steps - 1):
                found.append(lambda hop=hop: self._advance(hop))
            elif hop.got == self.steps and hop.acked is None:
                settled = below is None or below.acked is not None or not below.alive
                if settled:
                    found.append(lambda hop=hop, below=below: self._ack(hop, below))
        return found

    def outcome(self) -> list[ServerId] | None:
        """Return who has it, as the client hears; None while it is on its way."""
        head = self.hops[0]
        if not head.alive and head.acked is None:
            return []
        return head.acked

    def hang_up(self) -> None:
        """Let the client go."""
        for hop in self.hops:
            if hop.alive and hop.got < self.steps:
                self._break(hop)

    def _break(self, hop: Hop) -> None:
        if hop.push is not None:
            hop.push.close()
            hop.push = None
        hop.failed = True
        hop.got = self.steps
        hop.acked = []

    def _advance(self, hop: Hop) -> None:
        step, hop.got = hop.got, hop.got + 1
        if hop.failed:
            return
        try:
            if step == 0:
                hop.replica = self._find(hop.server.store)
                hop.push = hop.replica.begin_push(self.offset, len(self.data))
            elif step == self.steps - 1:
                assert hop.push is not None
                hop.push.commit()
            else:
                assert hop.push is not None
                packet = memoryview(self.packets[step - 1])
                at = self.offset + (step - 1) * PACKET
                hop.push.append(packet, part_crcs(at, packet))
        except GfsError:
            hop.failed = True
            if hop.push is not None:
                hop.push.close()
                hop.push = None

    def _find(self, store: ChunkStore) -> Replica:
        chunk = self.run.chunk
        if self.offset == 0:
            spec = ReplicaSpec(
                chunk.chunk_id, chunk.birth, ChunkKind.PUT, chunk.capacity, self.run.durability
            )
            try:
                return store.create_replica(spec)
            except AlreadyExists:
                pass
        return store.get(chunk.chunk_id, chunk.birth)

    def _ack(self, hop: Hop, below: Hop | None) -> None:
        told = list(below.acked or []) if below is not None and below.alive else []
        if not hop.failed:
            assert hop.push is not None and hop.replica is not None
            hop.push.close()
            hop.push = None
            try:
                hop.replica.look_before_ack()
                told.insert(0, hop.server.number)
            except GfsError:
                pass
        hop.acked = told
