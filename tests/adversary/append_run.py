"""Appends to one file under random faults: real primaries, replicas, journals, state machine.

Batches advance step by step on each server by itself; servers lose their process or their power
amid any step, leaders change, tails are kept ready ahead, streams break and what was sent on them
arrives all the same, clients are started again beside their old selves. In the end each record that
was acknowledged is in the file at the place that was told, and none is there twice.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

from append_client import Client, Found, Grant, parse
from append_cluster import Leaders, Placed, Primaries
from append_push import BatchRun
from seal_answers import answer_of

from gfs_ha.checksum import crc32c
from gfs_ha.chunk.disk import opened
from gfs_ha.chunk.disk_memory import PowerCut
from gfs_ha.chunk.slots.format import DATA_OFFSET
from gfs_ha.errors import GfsError
from gfs_ha.ids import ChunkId, DiskId, LogIndex, ServerId, SessionId, StartId
from gfs_ha.master.planners.listed import order_for
from gfs_ha.master.sealing import Commit, Fence, SealingChunk, decide, records_of
from gfs_ha.master.state.commands import BeginSeal, CommitSeal, EnrolledDisk, EnrollServer
from gfs_ha.master.state.records import OPEN, SEALED, SEALING, Chunk
from gfs_ha.master.state.tail_commands import AbandonTails, FinishTail, OpenTail, PlaceTail
from gfs_ha.master.state.tail_reads import records_known, tail_of
from gfs_ha.master.state.tail_records import Tail as TailRow
from gfs_ha.master.state.view import View
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.control import (
    CompareReplica,
    CopySource,
    CreateReplica,
)
from gfs_ha.protocol.metadata import (
    ChunkAllocated,
    ChunkSealed,
    OpenSession,
    Publish,
    PublishFile,
    SessionOpened,
)

PATH = "/log"
SERVERS = tuple(ServerId(number) for number in (1, 2, 3, 4))


class AppendRun:
    """One file, who appends to it, its servers and their leader."""

    def __init__(self, seed: int, durability: str = "disk") -> None:
        """Args: in `memory` no power is cut: only processes die."""
        self.rng = random.Random(seed)
        self.durability = durability
        self.masters = Leaders()
        self.servers = {number: Primaries(number) for number in SERVERS}
        for server in self.servers.values():
            self._enroll(server)
        session = self.masters.apply(OpenSession("maker"))
        assert isinstance(session, SessionOpened)
        file = PublishFile(PATH, 0, 0o644, 0)
        self.masters.apply(Publish((file,)), session.session_id)
        with self.masters.kv.read() as reader:
            self.inode_id = View(reader).resolve(PATH).inode_id
        self.clients: list[Client] = []
        for number in range(3):
            opened_session = self.masters.apply(OpenSession(f"c{number}", f"key{number}"))
            assert isinstance(opened_session, SessionOpened)
            self.clients.append(Client(self, opened_session.session_id, keyed=number == 0))
        self.batches: list[BatchRun] = []
        self.placed: list[Placed] = []
        self.fences: dict[ServerId, Any] = {}
        self.proofs: dict[ServerId, Any] = {}
        self.asked: tuple[ChunkId, int] = (ChunkId(0), 0)
        self.late: list[Callable[[], None]] = []
        self.wanted = False
        self.length = 0  # Up to where something was acknowledged.
        self.cuts = self.seals = self.finished = 0

    # What happens ---------------------------------------------------------------------------------

    def play(self, steps: int) -> None:
        for _ in range(steps):
            self._one()

    def _one(self) -> None:
        choices: list[tuple[float, Callable[[], None]]] = [
            (30.0, self._batch_step),
            (14.0, self._client_step),
            (6.0, self._serve),
            (5.0, self._lead),
            (0.6, self._spare),
            (0.5, self._deliver_late),
            (0.02, self._begin_seal),
            (0.04, self._new_leader),
            (0.05, self._kill),
            (0.02, self._cut_power),
            (0.8, self._start),
            (0.5, self._settle),
            (3.0, self._finish_tail),
            (0.05, self._restart_client),
            (0.5, self._finish_order),
        ]
        [(_, action)] = self.rng.choices(choices, [weight for weight, _ in choices])
        action()

    def at(self, server: Primaries, action: Callable[[], None]) -> None:
        """Do something on a server, which may lose its power amid it."""
        if self.rng.random() < 0.002 and self.durability == "disk":
            server.disk.cut_after = self.rng.randrange(6)
        try:
            action()
        except PowerCut:
            self.cuts += 1
            server.cut_power(self.rng)
        finally:
            server.disk.cut_after = None

    def _batch_step(self) -> None:
        self.batches = [one for one in self.batches if not one.over]
        ready = [(one, hop) for one in self.batches for hop in one.ready()]
        if ready:
            batch, hop = self.rng.choice(ready)
            self.at(batch.server_of(hop), lambda: batch.advance(hop))

    def _client_step(self) -> None:
        self.rng.choice(self.clients).step()

    def _restart_client(self) -> None:
        """A writer with a key is started again, while its old self may still be there."""
        old = self.rng.choice([one for one in self.clients if one.keyed])
        fresh = Client(self, old.appender, keyed=True)
        fresh.told = old.told
        if self.rng.random() < 0.6 or len(self.clients) > 4:
            old.hang_up()
            self.clients.remove(old)
        self.clients.append(fresh)

    def _serve(self) -> None:
        """A primary takes what came on a stream, or a worker takes the next batch."""
        server = self.rng.choice(list(self.servers.values()))
        if server.up:
            self.at(server, lambda: self._serve_on(server))

    def _serve_on(self, server: Primaries) -> None:
        tails = list(server.primary._tails.values())
        if not tails:
            return
        tail = self.rng.choice(tails)
        busy = any(one.tail is tail and not one.over for one in self.batches)
        if busy:
            return
        batch = tail.next_batch()
        if batch is not None:
            self.batches.append(BatchRun(self, server, tail, batch))
        else:
            tail.done()

    def _finish_tail(self) -> None:
        """A leader hears that a primary ended a full tail, now or late, perhaps twice."""
        server = self.rng.choice(list(self.servers.values()))
        if not server.ended:
            return
        start_id, end = self.rng.choice(server.ended)
        if self.rng.random() < 0.8:
            server.ended.remove((start_id, end))
        command = FinishTail(
            *(end.chunk_id, server.number, start_id, end.length, end.digest, end.crc),
            *(end.holders, end.records),
        )
        reply = self.masters.apply(command)
        if isinstance(reply, ChunkSealed):
            assert (reply.length, reply.digest) == (end.length, end.digest), "another end"
            self.finished += 1
        else:
            known = isinstance(reply, Failure) and reply.error in ("StaleCommand", "UnknownChunk")
            assert known, reply

    def _settle(self) -> None:
        server = self.rng.choice(list(self.servers.values()))
        if server.up:
            self.at(server, lambda: _quietly(server.store.shelves[0].journal.keep))

    def _finish_order(self) -> None:
        server = self.rng.choice(list(self.servers.values()))
        if server.up:
            self.at(server, lambda: self._obey_listed(server))

    def _obey_listed(self, server: Primaries) -> None:
        store = server.store
        for listed in store.list_open():
            chunk_id, row = listed.chunk_id, self.masters.chunk(listed.chunk_id)
            order = None if row is None else order_for(server.number, listed, row)
            if row is None or order is None or self.rng.random() < 0.5:
                continue
            index = LogIndex(order.order_index)
            end = (index, row.length, row.digest)
            if row.state != SEALED:
                _quietly(partial(store.delete, chunk_id, index))
            elif isinstance(order, CompareReplica):
                _quietly(partial(store.compare, chunk_id, *end))
            elif listed.state != "tombstone":
                _quietly(partial(store.finish_seal, chunk_id, *end))
        server.primary.led()

    # Servers and leader ---------------------------------------------------------------------------

    def _enroll(self, server: Primaries) -> None:
        disks = (EnrolledDisk(DiskId(100 + server.number), 1 << 40),)
        start, boot = server.start_id, server.boot
        name = f"cs{server.number}"
        known = ServerId(server.number) if server.number <= 3 or server.life > 1 else ServerId(0)
        command = EnrollServer(name, known, "h", 7000 + server.number, "r", "m", start, boot, disks)
        self.masters.apply(command)
        server.enrolled = True

    def _kill(self) -> None:
        self.rng.choice(list(self.servers.values())).kill()

    def _cut_power(self) -> None:
        if self.durability != "disk":
            return
        self.cuts += 1
        count = self.rng.choice((1, 1, 1, 2, 4))
        for server in self.rng.sample(list(self.servers.values()), count):
            server.cut_power(self.rng)

    def _start(self) -> None:
        for server in self.servers.values():
            if not server.up and self.rng.random() < 0.5:
                server.start()
            elif server.up and not server.enrolled and self.rng.random() < 0.7:
                self._enroll(server)

    def _new_leader(self) -> None:
        self.masters.term += 1
        self.fences.clear()
        self.proofs.clear()
        if self.rng.random() < 0.5:
            self.placed.clear()

    def _deliver_late(self) -> None:
        if self.late:
            self.late.pop(self.rng.randrange(len(self.late)))()

    def sooner_or_later(self, action: Callable[[], None]) -> None:
        if self.rng.random() < 0.8:
            action()
        elif len(self.late) < 20:
            self.late.append(action)

    def tail(self) -> tuple[TailRow, Chunk] | None:
        with self.masters.kv.read() as reader:
            view = View(reader)
            row = tail_of(view, self.inode_id)
            chunk = None if row is None else view.chunk(row.chunk_id)
        return None if row is None or chunk is None else (row, chunk)

    def _begin_seal(self) -> None:
        found = self.tail()
        if found is not None:
            self.masters.apply(BeginSeal(found[0].chunk_id, "broken"))

    def grant(self, appender: SessionId, sequences: tuple[int, ...], refused: ChunkId) -> Any:
        """Answer as the leader does, from one moment; None while there is no tail to grant."""
        found = self.tail()
        self.wanted = True
        if found is None or found[1].state != OPEN:
            return None
        row, _ = found
        primary = self.servers[row.server_id]
        if row.chunk_id == refused or (primary.enrolled and primary.start_id != row.start_id):
            ending = any(end.chunk_id == row.chunk_id for _, end in primary.ended)
            if not ending or self.rng.random() < 0.2:
                self._begin_seal()
            return None
        with self.masters.kv.read() as reader:
            known = records_known(View(reader), self.inode_id, appender, sequences)
        return Grant(row.chunk_id, row.server_id, row.start_id, row.file_offset, known)

    def _lead(self) -> None:
        found = self.tail()
        if found is None:
            if self.wanted:
                self._open_or_place()
        elif found[1].state == SEALING:
            self._seal_on(*found)
        for placed in self.placed:
            self._create(placed)

    def _spare(self) -> None:
        if self.tail() is not None and not self.placed:
            self._place(ahead=True)

    def _open_or_place(self) -> None:
        ready = [one for one in self.placed if not one.missing]
        if ready:
            placed = ready[0]
            self.placed.remove(placed)
            head = placed.chunk.replicas[0].server_id
            command = OpenTail(
                *(self.inode_id, placed.chunk.chunk_id, PATH, head, placed.starts[head])
            )
            reply = self.masters.apply(command)
            if isinstance(reply, Failure):
                given_up = AbandonTails((placed.chunk.chunk_id,), given_up=True)
                self.masters.apply(given_up)
        elif not self.placed:
            self._place(ahead=False)

    def _place(self, ahead: bool) -> None:
        up = [one for one in self.servers.values() if one.up and one.enrolled]
        if len(up) < 3:
            return
        chosen = self.rng.sample(up, 3)
        places = tuple((one.number, DiskId(100 + one.number)) for one in chosen)
        reply = self.masters.apply(PlaceTail(self.inode_id, places, self.durability, ahead=ahead))
        if isinstance(reply, ChunkAllocated):
            starts = {one.number: one.start_id for one in chosen}
            index = LogIndex(self.masters.index)
            placed = Placed(reply, index, starts, set(starts), self.masters.term)
            self.placed.append(placed)

    def _create(self, placed: Placed) -> None:
        """Order the replicas; an order may come twice, also after its answer."""
        chunk = placed.chunk
        for number in [one.server_id for one in chunk.replicas]:
            server = self.servers[number]
            again = number not in placed.missing and self.rng.random() < 0.05
            if not server.up or (number not in placed.missing and not again):
                continue
            chain = tuple(CopySource(one.server_id, "h", 1) for one in chunk.replicas[1:])
            head = number == chunk.replicas[0].server_id
            order = CreateReplica(
                *(chunk.chunk_id, chunk.birth, placed.index, DiskId(0)),
                *(self.durability, chunk.capacity),
                chain=chain if head else (),
                primary_start=placed.starts[number] if head else StartId(0),
            )

            def create(server: Primaries = server, order: CreateReplica = order) -> None:
                try:
                    server.primary.create(order)
                except GfsError:
                    if placed in self.placed:
                        self.placed.remove(placed)
                else:
                    placed.missing.discard(server.number)

            self.at(server, create)

    def _seal_on(self, row: TailRow, chunk: Chunk) -> None:
        facts = SealingChunk(
            row.chunk_id,
            chunk.birth,
            chunk.begin_index,
            chunk.published_end,
            frozenset(one.server_id for one in chunk.replicas),
        )
        if self.asked != (row.chunk_id, chunk.begin_index):
            self.asked = (row.chunk_id, chunk.begin_index)
            self.fences, self.proofs = {}, {}
        up = frozenset(number for number, server in self.servers.items() if server.up)
        reachable = up if self.rng.random() < 0.9 else frozenset(self.rng.sample(SERVERS, 2))
        decision = decide(facts, self.fences, self.proofs, reachable)
        if isinstance(decision, Commit):
            chain = tuple(one.server_id for one in chunk.replicas)
            crc, records, odd = records_of(chain, decision, self.proofs)
            assert not odd, odd
            command = CommitSeal(
                *(facts.chunk_id, facts.begin_index, decision.length, decision.digest),
                *(decision.holders, crc, records),
            )
            self.seals += 1
            self.sooner_or_later(lambda: self._commit(command))
        elif decision.blocked and self.rng.random() < 0.3:
            self.fences, self.proofs = {}, {}
        else:
            fences, proofs = self.fences, self.proofs
            for number in decision.servers:
                book = fences if isinstance(decision, Fence) else proofs
                self.sooner_or_later(partial(self._order, number, facts, decision, book))

    def _commit(self, command: CommitSeal) -> None:
        reply = self.masters.apply(command)
        known = not isinstance(reply, Failure) or reply.error in ("StaleCommand", "UnknownChunk")
        assert known, reply

    def _order(self, number: ServerId, facts: SealingChunk, decision: Any, book: Any) -> None:
        server = self.servers[number]
        if server.up:
            self.at(server, lambda: self._obey(server, facts, decision, book))

    def _obey(self, server: Primaries, facts: SealingChunk, decision: Any, book: Any) -> None:
        answer = answer_of(server.store, facts, decision)

        def told() -> None:
            book[server.number] = answer

        self.sooner_or_later(told)

    # The end --------------------------------------------------------------------------------------

    def quiesce(self) -> None:
        """Let everything come back, and the last tail be sealed."""
        self.late.clear()
        self.rng.random = lambda: 0.5  # type: ignore[method-assign]
        for server in self.servers.values():
            server.disk.cut_after = None
            if not server.up:
                server.start()
            self._enroll(server)
        for round_index in range(400):
            found = self.tail()
            if found is None:
                return
            if found[1].state == OPEN:
                self._begin_seal()
            elif round_index % 50 == 0:
                self.fences, self.proofs = {}, {}
            else:
                self._seal_on(*found)
        raise AssertionError(f"blocked for ever: {self.fences} {self.proofs}")

    def check(self) -> None:
        """Verify what the run must not have lost or doubled."""
        self.quiesce()
        data = self._file()
        found: Found = parse(data)
        for client in self.clients:
            client.check(found)
        assert len({name for _, name, _ in found}) == len(found), "a record is there twice"

    def _file(self) -> bytes:
        whole = b""
        with self.masters.kv.read() as reader:
            view = View(reader)
            inode = view.inode(self.inode_id)
            assert inode is not None
            extents = list(view.extents(inode.content_id)) if inode.content_id else []
            chunks = {one.chunk_id: view.chunk(one.chunk_id) for one in extents}
        for extent in extents:
            row = chunks[extent.chunk_id]
            assert row is not None and row.state == SEALED and row.holders, row
            assert extent.file_offset == len(whole) and extent.length == row.length
            pieces = {self._read(self.servers[one], extent.chunk_id, row) for one in row.holders}
            assert len(pieces) == 1, f"holders of {extent.chunk_id:#x} differ"
            [piece] = pieces
            assert crc32c(piece) == extent.crc
            whole += piece
        return whole

    def _read(self, server: Primaries, chunk_id: ChunkId, row: Chunk) -> bytes:
        server.store.finish_seal(chunk_id, LogIndex(row.sealed_index), row.length, row.digest)
        replica = server.store.get(chunk_id, row.birth)
        assert replica.condition == "sealed", replica.condition
        replica.plan_read(0, row.length)
        into = memoryview(bytearray(row.length))
        with opened(server.disk, replica.name) as file:
            file.read(DATA_OFFSET, into)
        return bytes(into)


def _quietly(action: Callable[[], object]) -> None:
    try:
        action()
    except GfsError:
        pass
