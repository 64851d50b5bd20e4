"""One chunk's life under random faults: real replicas, real seal decisions, the real state machine.

Pushes advance packet by packet on each server by itself, servers lose their process or their power
between any two steps (or inside one), leaders change, orders and answers come late and twice. What
was acknowledged must lie within the seal, and every holder must have it.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable
from typing import Any

from push_run import PushRun
from seal_answers import answer_of
from small_cluster import SERVERS, Masters, Server

from gfs_ha.checksum import block_crcs, chunk_digest, crc32c
from gfs_ha.chunk.disk import opened
from gfs_ha.chunk.disk_memory import PowerCut
from gfs_ha.chunk.slots.format import DATA_OFFSET
from gfs_ha.errors import GfsError
from gfs_ha.ids import DiskId, LogIndex, ServerId
from gfs_ha.limits import MIB
from gfs_ha.master.planners.listed import order_for
from gfs_ha.master.sealing import Commit, Fence, SealingChunk, decide
from gfs_ha.master.state.commands import (
    BeginSeal,
    CommitSeal,
    EndClaims,
    PlaceChunk,
)
from gfs_ha.master.state.records import DEAD, OPEN, SEALED, SEALING, Chunk
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.control import CompareReplica
from gfs_ha.protocol.data import Durability
from gfs_ha.protocol.metadata import (
    ChunkAllocated,
    ChunkSealed,
    Extent,
    FinishChunk,
    Staged,
    StageExtents,
)


class SealRun:
    """One chunk, its writer, its servers and their leader."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.masters = Masters()
        self.servers = {number: Server(number) for number in SERVERS}
        self.durability = self.rng.choice((Durability.DISK, Durability.DISK, Durability.MEMORY))
        places = tuple((n, DiskId(100 + n)) for n in self.rng.sample(SERVERS, 3))
        kind = "disk" if self.durability is Durability.DISK else "memory"
        chunk = self.masters.ask(PlaceChunk(places, "put", kind, 3))
        assert isinstance(chunk, ChunkAllocated), chunk
        self.chunk = chunk
        self.chain = tuple(one.server_id for one in chunk.replicas)
        self.data = self.rng.randbytes(MIB)
        self.pushes: list[PushRun] = []
        self.current: PushRun | None = None
        self.end = 0  # Up to which all replicas acknowledged.
        self.published = 0
        self.promised = 0  # What no fault may take away.
        self.writing = True
        self.fences: dict[ServerId, Any] = {}
        self.proofs: dict[ServerId, Any] = {}
        self.late: list[Callable[[], None]] = []
        self.power_cuts = 0
        self.content = 0

    # What happens ---------------------------------------------------------------------------------

    def play(self, steps: int) -> None:
        for _ in range(steps):
            self._one()

    def _one(self) -> None:
        choices: list[tuple[float, Callable[[], None]]] = [
            (6.0, self._push_step),
            (3.0, self._write),
            (0.6, self._stage),
            (0.15, self._leader_seals),
            (0.03, self._end_claim),
            (4.0, self._lead),
            (0.1, self._new_leader),
            (0.5, self._deliver_late),
            (0.12, self._kill),
            (0.08, self._cut_power),
            (0.8, self._start),
            (0.1, self._repeat_push),
            (0.6, self._finish_order),
        ]
        weights = [weight for weight, _ in choices]
        [(_, action)] = self.rng.choices(choices, weights)
        action()

    def _at(self, server: Server, action: Callable[[], None]) -> None:
        """Do something on a server, which may lose its power amid it."""
        if self.rng.random() < 0.02:
            server.disk.cut_after = self.rng.randrange(6)
        try:
            action()
        except PowerCut:
            self.power_cuts += 1
            server.cut_power(self.rng)
        finally:
            server.disk.cut_after = None

    def _push_step(self) -> None:
        ready = [
            (hop, step)
            for push in self.pushes
            for step in push.ready()
            for hop in [step.__defaults__[0]]  # type: ignore[attr-defined]
        ]
        if ready:
            hop, step = self.rng.choice(ready)
            self._at(hop.server, step)

    def _write(self) -> None:
        if self.current is not None:
            told = self.current.outcome()
            if told is not None:
                push, self.current = self.current, None
                self._heard(push, told)
            elif self.rng.random() < 0.02:
                self.current.hang_up()
                self.current, self.writing = None, False
                self._finish_before()
            return
        if self.writing and self.end < len(self.data):
            length = min(
                self.rng.choice((1, 5000, 30_000, 70_000, 150_000)), len(self.data) - self.end
            )
            self.current = PushRun(self, self.end, self.data[self.end : self.end + length])
            self.pushes.append(self.current)

    def _heard(self, push: PushRun, told: list[ServerId]) -> None:
        end = push.offset + len(push.data)
        if len(told) == len(self.chain):
            self.end = end
            self._promise(end)
            if self.rng.random() < 0.15:
                self.writing = False
                self._finish(end, self.chain)
            return
        self.writing = False
        if len(told) >= self.chunk.min_copies:
            self._finish(end, tuple(told))
        else:
            self._finish_before()

    def _promise(self, end: int) -> None:
        self.promised = max(self.promised, end)

    def _finish_before(self) -> None:
        if self.rng.random() < 0.5 and self.end:
            self._finish(self.end, tuple(self.rng.sample(self.chain, self.rng.choice((2, 3)))))
        else:
            self._begin_seal()

    def _finish(self, end: int, holders: tuple[ServerId, ...]) -> None:
        digest = chunk_digest(block_crcs(self.data[:end]))
        reply = self.masters.ask(FinishChunk(self.chunk.chunk_id, end, digest, holders))
        if isinstance(reply, ChunkSealed):
            self._promise(min(end, reply.length))

    def _stage(self) -> None:
        if self.end <= self.published:
            return
        start, end = self.published, self.end
        crc = crc32c(self.data[start:end])
        extent = Extent(start, self.chunk.chunk_id, start, end - start, crc)
        reply = self.masters.ask(StageExtents(self.content, (extent,)))
        if isinstance(reply, Staged):
            self.content, self.published = reply.content_id, end
            return
        assert isinstance(reply, Failure)
        assert self.lossy or reply.error in ("NotClaimed", "WrongState", "UnknownChunk"), (
            f"acknowledged up to {end}, and refused: {reply}"
        )

    def _leader_seals(self) -> None:
        """Let the seal begin whenever it likes: the writer asked, and its pushes come late."""
        self._begin_seal()

    def _begin_seal(self) -> None:
        self.masters.apply(BeginSeal(self.chunk.chunk_id, "broken"))

    def _end_claim(self) -> None:
        self.masters.apply(EndClaims(((self.masters.session, self.chunk.chunk_id),)))

    # Servers and leader ---------------------------------------------------------------------------

    def _kill(self) -> None:
        self.rng.choice(list(self.servers.values())).kill()

    def _cut_power(self) -> None:
        self.power_cuts += 1
        count = self.rng.choice((1, 1, 2, 3))
        for server in self.rng.sample(list(self.servers.values()), count):
            server.cut_power(self.rng)

    def _start(self) -> None:
        down = [server for server in self.servers.values() if not server.up]
        if down:
            self.rng.choice(down).start()

    def _repeat_push(self) -> None:
        """Let the network deliver an old push once more; nobody hears of its end."""
        if self.pushes:
            old = self.rng.choice(self.pushes)
            self.pushes.append(PushRun(self, old.offset, old.data))

    def _new_leader(self) -> None:
        self.fences.clear()
        self.proofs.clear()

    def _deliver_late(self) -> None:
        if self.late:
            self.late.pop(self.rng.randrange(len(self.late)))()

    def _lead(self) -> None:
        row = self.masters.chunk(self.chunk.chunk_id)
        if row is None or row.state != SEALING:
            return
        facts = SealingChunk(
            self.chunk.chunk_id,
            row.birth,
            row.begin_index,
            row.published_end,
            frozenset(replica.server_id for replica in row.replicas),
        )
        up = frozenset(n for n, server in self.servers.items() if server.up)
        reachable = up if self.rng.random() < 0.9 else frozenset(self.rng.sample(SERVERS, 1))
        decision = decide(facts, self.fences, self.proofs, reachable)
        if isinstance(decision, Commit):
            command = CommitSeal(
                facts.chunk_id,
                facts.begin_index,
                decision.length,
                decision.digest,
                decision.holders,
            )
            self._sooner_or_later(lambda: self.masters.apply(command))
            return
        if decision.blocked and self.rng.random() < 0.3:
            self._new_leader()  # Asks all of them anew, as a leader does after a while.
            return
        for number in decision.servers:
            self._sooner_or_later(lambda n=number, d=decision: self._order(n, facts, d))

    def _sooner_or_later(self, action: Callable[[], None]) -> None:
        if self.rng.random() < 0.8:
            action()
        elif len(self.late) < 20:
            self.late.append(action)

    def _order(self, number: ServerId, facts: SealingChunk, decision: Any) -> None:
        server = self.servers[number]
        if server.up:
            self._at(server, lambda: self._obey(server, facts, decision))

    def _obey(self, server: Server, facts: SealingChunk, decision: Any) -> None:
        book = self.fences if isinstance(decision, Fence) else self.proofs
        answer = answer_of(server.store, facts, decision)

        def told() -> None:
            book[server.number] = answer

        self._sooner_or_later(told)

    def _finish_order(self) -> None:
        row = self.masters.chunk(self.chunk.chunk_id)
        if row is None or row.state != SEALED:
            return
        for number in self.chain:
            server = self.servers[number]
            if server.up and self.rng.random() < 0.7:
                act = self._seal_on if number in row.holders else self._tell
                self._at(server, lambda s=server, act=act: act(s, row))

    def _tell(self, server: Server, row: Chunk) -> None:
        """Order what a server that is no holder is told about what it lists."""
        for listed in server.store.list_open():
            order = order_for(server.number, listed, row)
            if isinstance(order, CompareReplica):
                store, index = server.store, LogIndex(order.order_index)
                store.compare(order.chunk_id, index, order.length, order.digest)
                condition = store.get(order.chunk_id).condition
                assert condition != "quarantined" or self.lossy, "a prefix was taken for odd"

    def _seal_on(self, server: Server, row: Chunk) -> None:
        listed = [one for one in server.store.list_open() if one.chunk_id == self.chunk.chunk_id]
        if not listed or listed[0].state == "quarantined":
            return
        if listed[0].state == "tombstone":
            assert not row.length, "a holder never had the chunk"
            return
        try:
            server.store.finish_seal(
                self.chunk.chunk_id, LogIndex(row.sealed_index), row.length, row.digest
            )
        except GfsError:
            assert self.lossy, "a holder cannot seal what it acknowledged"

    # The end --------------------------------------------------------------------------------------

    @property
    def lossy(self) -> bool:
        """Return whether the cluster may have lost what was acknowledged: memory without power."""
        return self.durability is Durability.MEMORY and self.power_cuts > 0

    def quiesce(self) -> Chunk | None:
        """Let everything come back and the seal come to its end; return the chunk's row."""
        self.late.clear()
        for server in self.servers.values():
            server.disk.cut_after = None
            if not server.up:
                server.start()
        row = self.masters.chunk(self.chunk.chunk_id)
        if row is not None and row.state == OPEN:
            self._begin_seal()
        for round_index in range(400):
            row = self.masters.chunk(self.chunk.chunk_id)
            if row is None or row.state in (SEALED, DEAD):
                break
            if round_index % 50 == 0:
                self._new_leader()
            self.rng.random = lambda: 0.5  # type: ignore[method-assign]
            self._lead()
        return row

    def check(self) -> None:
        """Verify what the run must not have lost."""
        row = self.quiesce()
        if row is None or row.state == DEAD:
            assert not self.published, "a chunk with references died"
            return
        if self.lossy:
            return
        assert row.state == SEALED, f"blocked for ever: {row.state} {self.fences}"
        assert row.length >= max(self.promised, self.published), (
            f"sealed at {row.length}, acknowledged up to {self.promised}"
        )
        if not row.length:
            return
        for number in row.holders:
            server = self.servers[number]
            self._seal_on(server, row)
            server.cut_power(random.Random(1))
            server.start()
            replica = server.store.get(self.chunk.chunk_id, self.chunk.birth)
            assert replica.condition == "sealed", replica.condition
            plan = replica.plan_read(0, row.length)
            into = memoryview(bytearray(row.length))
            with opened(server.disk, replica.name) as file:
                file.read(DATA_OFFSET, into)
            assert bytes(into) == self.data[: row.length], f"other bytes on {number}"
            assert plan.crcs == array("I", block_crcs(self.data[: row.length]))
