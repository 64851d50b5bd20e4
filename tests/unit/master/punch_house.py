"""A cluster whose files change while blocks are given back: tables, planner, and model disks."""

from __future__ import annotations

from dataclasses import dataclass, field

from master_tables import Tables

from gfs_ha.ids import NO_SESSION, ChunkId, LogIndex, ServerId, SessionId
from gfs_ha.limits import BLOCK_BYTES
from gfs_ha.master.planners.garbage import plan_reaping
from gfs_ha.master.planners.garbage_seen import GarbageSeen
from gfs_ha.master.planners.plan import Cursors, Plan, PlanLimits, Planner, Seen
from gfs_ha.master.planners.punching import plan_punching
from gfs_ha.master.planners.seen import Answered, RepairSeen
from gfs_ha.master.state.commands import (
    Command,
    ConfirmCopy,
    Entry,
    LoseHolder,
    PlaceCopy,
    ReplicasDeleted,
    encode_entry,
)
from gfs_ha.master.state.invariants import check_all
from gfs_ha.master.state.records import SEALED, Chunk
from gfs_ha.protocol.calls import Reply
from gfs_ha.protocol.codec import Failure, decode
from gfs_ha.protocol.control import PunchReplica
from gfs_ha.protocol.extents import ReplaceContent, StageCopy
from gfs_ha.protocol.gone import blocks_of, unpack_blocks
from gfs_ha.protocol.metadata import (
    Extent,
    FinishChunk,
    Publish,
    PublishFile,
    ReleaseChunks,
    Remove,
)

ALL = 1 << 40
SERVERS = (1, 2, 3, 4)


@dataclass
class ModelReplica:
    """What a slot holds: which blocks have their bytes, and the newest order that it obeyed."""

    present: int
    order_index: int = 0


@dataclass
class PunchHouse:
    """Chunks of 16 blocks on servers 1 to 4; plans are applied whenever a test likes."""

    tables: Tables = field(default_factory=Tables)
    cursors: Cursors = field(default_factory=Cursors)
    limits: PlanLimits = field(default_factory=lambda: PlanLimits(rows=3, references=5))
    disks: dict[tuple[int, int], ModelReplica] = field(default_factory=dict)
    punched: dict[Answered, int] = field(default_factory=dict)
    listed: dict[ServerId, dict[ChunkId, object]] = field(default_factory=dict)
    doubted: set[tuple[ChunkId, ServerId]] = field(default_factory=set)
    now_s: float = 1000.0
    names: int = 0

    def __post_init__(self) -> None:
        self.session: SessionId = self.tables.session()

    # Files ------------------------------------------------------------------------------------

    def put(self, path: str, length: int, keep_claim: bool = False) -> ChunkId:
        """Make a file of a fresh chunk, on three servers."""
        places = SERVERS[self.names % 2 :][:3]
        self.names += 1
        chunk_id: ChunkId = self.tables.chunk(self.session, places).chunk_id
        self.tables.do(FinishChunk(chunk_id, length, 5, places), self.session)
        for server in places:
            self.disks[server, chunk_id] = ModelReplica(blocks_of(0, length))
        self.publish(path, (Extent(0, chunk_id, 0, length, 7),), length)
        if not keep_claim:
            self.tables.do(ReleaseChunks((chunk_id,)), self.session)
        return chunk_id

    def publish(self, path: str, extents: tuple[Extent, ...], size: int, content: int = 0) -> None:
        file = PublishFile(path, size, 0o644, 1, content_id=content, extents=extents)
        reply = self.tables.do(Publish((file,)), self.session)
        assert not reply.files[0].error, reply

    def cut(self, path: str, start: int, end: int) -> None:
        """Let a file hold only a part of its bytes from now on."""
        staged = self.ask(StageCopy(path, start, end - start), self.session)
        if isinstance(staged, Failure):
            return
        status = staged.status
        if not staged.copied:
            return
        change = ReplaceContent(
            *(path, staged.content_id, staged.copied, 5, status.content_id, status.generation)
        )
        assert not isinstance(self.ask(change, self.session), Failure)

    def copy(self, path: str, start: int, end: int, target: str) -> bool:
        """Make a file that refers to a part of another one's bytes."""
        staged = self.ask(StageCopy(path, start, end - start), self.session)
        if isinstance(staged, Failure) or not staged.copied:
            return False
        self.publish(target, (), staged.copied, staged.content_id)
        return True

    def remove(self, path: str) -> None:
        self.ask(Remove(path), self.session)

    def reap(self, bury: bool = False) -> None:
        """Take apart what is replaced; with `bury` also delete all replicas of dead chunks."""
        self.apply(self.plan(plan_reaping))
        if not bury:
            return
        with self.tables.view() as view:
            dead = view.dead_chunks(ChunkId(0), 100)
        places = [(one, place) for one, chunk in dead for place in chunk.replicas]
        deleted = tuple((one, place.server_id, place.disk_id) for one, place in places[:200])
        if deleted:
            self.tables.do(ReplicasDeleted(deleted))
        for chunk_id, server_id, _ in deleted:
            self.disks.pop((server_id, chunk_id), None)

    # Plans ------------------------------------------------------------------------------------

    def ask(self, command: Command, session: int = NO_SESSION) -> object:
        """Apply a command that may be refused."""
        tables = self.tables
        tables.index += 1
        sequence = tables._sequences[session] = tables._sequences.get(session, 0) + 1
        entry = Entry(0, 1, command)
        if session != NO_SESSION:
            entry = Entry(0, 1, command, SessionId(session), sequence, sequence)
        transaction = tables.kv.begin()
        answer = tables._machine.apply(transaction, tables.index, 1, encode_entry(entry))
        transaction.commit()
        return decode(Reply, answer)

    def seen(self, wanted: bool = False) -> Seen:
        garbage = GarbageSeen(punched=dict(self.punched), wanted=wanted)
        repair = RepairSeen(listed=dict(self.listed), doubted=frozenset(self.doubted))
        return Seen(self.now_s, 900.0, {}, garbage=garbage, repair=repair)

    def plan(self, planner: Planner = plan_punching, wanted: bool = False) -> Plan:
        self.now_s += 10.0
        with self.tables.view() as view:
            return planner(view, self.seen(wanted), self.limits, self.cursors)

    def apply(self, made: Plan) -> list[object]:
        """Commit what a plan proposes, which may be refused by now."""
        return [self.ask(command) for command in made.proposals]

    def obey(self, server_id: int, order: PunchReplica) -> None:
        """Do what a server does; the same order again is no harm, an older one is refused."""
        replica = self.disks.get((server_id, order.chunk_id))
        if replica is None or order.order_index < replica.order_index:
            return
        replica.order_index = order.order_index
        gone = unpack_blocks(order.gone)
        freed = (replica.present & gone).bit_count() * BLOCK_BYTES
        replica.present &= ~gone
        answered = (order.chunk_id, ServerId(server_id), order.order_index)
        self.punched[answered] = max(freed, self.punched.get(answered, 0))

    def orders(self, made: Plan) -> list[tuple[int, PunchReplica]]:
        return [(one, order) for one, order in made.orders if isinstance(order, PunchReplica)]

    def rest(self, ticks: int = 200) -> None:
        """Plan, apply and obey until nothing is left to do and a whole round found nothing."""
        walk = self.cursors.dead_blocks
        for _ in range(ticks):
            self.reap()
            made = self.plan()
            self.apply(made)
            for server_id, order in self.orders(made):
                self.obey(server_id, order)
            with self.tables.view() as view:
                told = walk.loosened == view.counters().loosened and not walk.again
            # Each tick is as long as two pauses between rounds: one may begin and end in it.
            if made.empty and told and not walk.walking:
                return
        raise AssertionError("the planner does not come to rest")

    # Copies -----------------------------------------------------------------------------------

    def lose(self, chunk_id: int, server: int) -> None:
        self.ask(LoseHolder(ChunkId(chunk_id), self.row(chunk_id).sealed_index, server, "rot"))

    def place(self, chunk_id: int, server: int) -> LogIndex | None:
        """Order a copy; return its number, None when it is refused."""
        chunk = self.row(chunk_id)
        seen = len(chunk.holders) + len(chunk.copying)
        command = PlaceCopy(ChunkId(chunk_id), chunk.sealed_index, server, 100 + server, seen)
        if isinstance(self.ask(command), Failure):
            return None
        return LogIndex(self.tables.index)

    def copied(self, chunk_id: int, server: int) -> None:
        """Have a copy done as it was ordered: without what was given back, from a holder."""
        chunk = self.row(chunk_id)
        order = next(one for one in chunk.copying if one.server_id == server)
        wanted = blocks_of(0, chunk.length) & ~unpack_blocks(chunk.gone)
        known = self.disks.get((server, chunk_id))
        if known is None:
            sources = [self.disks[one, chunk_id].present for one in chunk.holders]
            assert any(not wanted & ~source for source in sources), "no source has all of it"
            self.disks[server, chunk_id] = ModelReplica(wanted, order.order_index)
        elif wanted & ~known.present:
            return
        else:
            known.order_index = max(known.order_index, order.order_index)
        end = (chunk.length, chunk.digest, order.order_index)
        confirm = ConfirmCopy(ChunkId(chunk_id), chunk.sealed_index, server, 100 + server, *end)
        assert not isinstance(self.ask(confirm), Failure)

    # Checks -----------------------------------------------------------------------------------

    def row(self, chunk_id: int) -> Chunk:
        with self.tables.view() as view:
            chunk = view.chunk(ChunkId(chunk_id))
        assert chunk is not None
        return chunk

    def sealed(self) -> list[tuple[ChunkId, Chunk]]:
        with self.tables.view() as view:
            return [one for one in view.chunks_after(ChunkId(0), 500) if one[1].state == SEALED]

    def check(self) -> None:
        """No live byte is missing on any holder, and the tables are in order."""
        with self.tables.view() as view:
            assert check_all(view) == []
            for path in (name for name, _ in view.entries(1)):  # type: ignore[arg-type]
                for extent in view.extents(view.status("/" + path).content_id):
                    chunk = view.chunk(extent.chunk_id)
                    assert chunk is not None
                    needed = blocks_of(extent.chunk_offset, extent.length)
                    for holder in chunk.holders:
                        missing = needed & ~self.disks[holder, extent.chunk_id].present
                        assert not missing, (path, holder, bin(missing))

    def another_leader(self) -> None:
        """Begin anew with the tables alone: what was heard is forgotten."""
        self.cursors = Cursors()
        self.punched = {}
