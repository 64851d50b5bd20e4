"""Seeded random commands, mostly sensible, sometimes late, doubled or foreign."""

from __future__ import annotations

import random
from collections.abc import Callable

from event_workload import event_change
from extent_workload import KINDS, extent_change
from garbage_workload import garbage_change
from job_workload import job_change
from mode_workload import mode_change
from policy_workload import policy_change
from state_driver import WALL_NS, Driver, empty_file, server
from tail_workload import TailWorkload

from gfs_ha.ids import ChunkId, ContentId, SessionId
from gfs_ha.limits import MIB, SESSION_LIFE_MS
from gfs_ha.master.state.commands import (
    AttestState,
    BeginSeal,
    Command,
    CommitSeal,
    ConfirmCopy,
    DropReplica,
    EndClaims,
    EndCopy,
    EnrolledDisk,
    Entry,
    ExpireSessions,
    LeaderElected,
    LoseHolder,
    PlaceChunk,
    PlaceCopy,
    ReapStep,
    ReplicasDeleted,
    SealWithLoss,
    SetRepairBudget,
    VerifyState,
    decode_entry,
    encode_entry,
)
from gfs_ha.master.state.digest import notes
from gfs_ha.master.state.scrub_commands import AskScrub, SetScrub
from gfs_ha.master.state.tables import STAGED, below, id_key, read_pair
from gfs_ha.protocol.calls import Reply
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.metadata import (
    CloseSession,
    Extent,
    FinishChunk,
    Mkdir,
    OpenSession,
    Publish,
    ReleaseChunks,
    Remove,
    Rename,
    SetAttributes,
    StageExtents,
)
from gfs_ha.protocol.policy import SetPolicy, SetReplication, UnsetPolicy

SERVERS = 5


class Workload:
    """Makes commands against a driver, looking at its state to hit what is there."""

    def __init__(self, seed: int, driver: Driver) -> None:
        self.random = random.Random(seed)
        self.driver = driver
        self.tails = TailWorkload(self.random, driver, SERVERS)
        self.sent: list[bytes] = []
        self.answers: dict[bytes, Reply] = {}
        self.current = SessionId(1)
        self.makers: list[tuple[int, Callable[[], Command]]] = [
            (6, self.mkdir),
            (6, self.rename),
            (4, self.remove),
            (2, self.attributes),
            (6, self.place),
            (8, self.finish),
            (12, self.stage),
            (16, self.publish),
            (2, self.release),
            (6, self.extent_change),
            (3, self.begin_seal),
            (5, self.commit_seal),
            (1, self.end_claims),
            (2, self.expire),
            (5, self.reap),
            (2, self.deleted),
            (8, self.repair),
            (9, self.garbage),
            (6, self.policy),
            (1, self.scrub),
            (3, self.mode),
            (4, self.job),
            (3, self.events),
            (16, self.tails.change),
            (1, self.enroll),
            (1, self.elected),
            (1, self.verify),
            (1, self.attest),
            (2, self.open),
            (1, CloseSession),
        ]

    def step(self) -> None:
        """Apply one command; now and then one that was sent before, or a jump in time."""
        chance = self.random.random()
        if chance < 0.08 and self.sent:
            self.send_again(self.random.choice(self.sent[-40:]))
            return
        if chance < 0.084:
            self.driver.elapsed_ms += self.random.choice((1000, SESSION_LIFE_MS))
        if chance > 0.99:
            self.driver.term += 1
            self.driver.elapsed_ms = 0
        self.current = self.session()
        weights = [weight for weight, _ in self.makers]
        (maker,) = self.random.choices([maker for _, maker in self.makers], weights)
        self.send(maker())

    def send(self, command: Command) -> None:
        driver = self.driver
        driver.elapsed_ms += 1
        entry = Entry(driver.elapsed_ms, WALL_NS + driver.index, command)
        if type(command) in SESSION_KINDS:
            session = self.current
            sequence = driver.sequences[session] = driver.sequences.get(session, 0) + 1
            window = max(1, sequence - self.random.choice((0, 1, 5, 50)))
            entry = Entry(entry.elapsed_ms, entry.wall_ns, command, session, sequence, window)
        payload = encode_entry(entry)
        self.sent.append(payload)
        self.answers[payload] = driver.apply_payload(payload)

    def send_again(self, payload: bytes) -> None:
        """Apply a doubled entry; a session's gets its first answer, or none any more (S1, S2).

        One that was held was not applied, and is not answered yet (C9).
        """
        first, again = self.answers[payload], self.driver.apply_payload(payload)
        if isinstance(first, Failure) and first.error == "Held":
            self.answers[payload] = again
            return
        if decode_entry(payload).session_id and again != first:
            assert isinstance(again, Failure) and again.error == "SessionExpired", (first, again)

    def session(self) -> SessionId:
        with self.driver.view() as view:
            known = [session_id for session_id, _ in view.sessions_after(0, 3)]
        return self.random.choice(known) if known else SessionId(1)

    def path(self) -> str:
        depth = self.random.choice((1, 1, 2, 2, 3))
        names = [self.random.choice("abc") for _ in range(depth)]
        if self.random.random() < 0.6:
            names[-1] = self.random.choice("uvwxyz")
        return "/" + "/".join(names)

    def chunk_id(self) -> ChunkId:
        with self.driver.view() as view:
            chance = self.random.random()
            known = view.claims_of(self.current)[-4:] if chance < 0.8 else []
            if not known:
                page = view.open_or_sealing(0, 50) if chance < 0.9 else view.chunks_after(0, 200)
                known = [chunk_id for chunk_id, _ in page]
        return self.random.choice(known) if known else ChunkId(5)

    def extent(self, offset: int) -> Extent:
        length = self.random.choice((1, 100, 5000))
        start = self.random.choice((0, 10, 1000, MIB - 5000))
        return Extent(offset, self.chunk_id(), start, length, self.random.getrandbits(32))

    def extents(self) -> tuple[Extent, ...]:
        made: list[Extent] = []
        end = self.random.choice((0, 0, 0, 100))
        for _ in range(self.random.choice((1, 1, 2, 4))):
            made.append(self.extent(end))
            end += made[-1].length + self.random.choice((0, 0, 0, 0, 7))
        return tuple(made)

    def mkdir(self) -> Command:
        return Mkdir(self.path(), parents=self.random.random() < 0.5)

    def rename(self) -> Command:
        return Rename(self.path(), self.path(), replace=self.random.random() < 0.8)

    def remove(self) -> Command:
        return Remove(self.path(), recursive=self.random.random() < 0.5)

    def attributes(self) -> Command:
        return SetAttributes(self.path(), mode=self.random.choice((0o600, None)), mtime_ns=5)

    def place(self) -> Command:
        count = self.random.choice((2, 3, 3))
        chosen = self.random.sample(range(1, SERVERS + 1), count)
        replicas = tuple((number, 100 + number) for number in chosen)
        return PlaceChunk(replicas, goal=self.random.choice((0, 0, count)))

    def finish(self) -> Command:
        chunk_id = self.chunk_id()
        return FinishChunk(chunk_id, self.length(), 1, self.holders(chunk_id))

    def holders(self, chunk_id: ChunkId) -> tuple[int, ...]:
        with self.driver.view() as view:
            chunk = view.chunk(chunk_id)
        if chunk is None:
            return (1, 2)
        members = [replica.server_id for replica in chunk.replicas]
        return tuple(members[: self.random.randint(1, len(members))])

    def length(self) -> int:
        return self.random.choice((0, 6000, MIB, MIB, MIB))

    def stage(self) -> Command:
        return StageExtents(self.random.choice((0, 0, self.staged())), self.extents())

    def staged(self) -> ContentId:
        """Return a content of this session, or one that was staged or published before."""
        with self.driver.view() as view:
            found = view.rows.scan(STAGED, *below(id_key(self.current)))
            own = [read_pair(key)[1] for key, _ in found]
            newest = view.counters().last_content
        return ContentId(self.random.choice(own) if own else newest)

    def publish(self) -> Command:
        files = []
        for _ in range(self.random.choice((1, 1, 3))):
            kind = self.random.random()
            if kind < 0.3:
                files.append(empty_file(self.path(), if_absent=self.random.random() < 0.3))
            elif kind < 0.7:
                extents = self.extents()
                size = sum(extent.length for extent in extents)
                files.append(empty_file(self.path(), size=size, extents=extents))
            else:
                files.append(self.staged_file())
        release = (self.chunk_id(),) if self.random.random() < 0.2 else ()
        return Publish(tuple(files), release, make_parents=self.random.random() < 0.4)

    def staged_file(self):
        content_id = self.staged()
        with self.driver.view() as view:
            size = sum(extent.length for extent in view.extents(content_id))
        return empty_file(self.path(), size=size, content_id=content_id)

    def extent_change(self) -> Command:
        return extent_change(self.random, self.driver, self.path(), self.staged())

    def release(self) -> Command:
        return ReleaseChunks((self.chunk_id(), self.chunk_id()))

    def begin_seal(self) -> Command:
        return BeginSeal(self.chunk_id(), "fuzz")

    def commit_seal(self) -> Command:
        chunk_id = self.chunk_id()
        with self.driver.view() as view:
            sealing = [key for key, row in view.open_or_sealing(0, 100) if row.begin_index]
            if sealing and self.random.random() < 0.7:
                chunk_id = self.random.choice(sealing)
            chunk = view.chunk(chunk_id)
        order = chunk.begin_index if chunk else 1
        seal = CommitSeal(chunk_id, order, self.length(), 2, self.holders(chunk_id))
        members = () if chunk is None else chunk.replicas
        left = tuple(one.server_id for one in members if one.server_id not in seal.holders)
        return SealWithLoss(seal, left) if left and chunk_id % 2 else seal

    def end_claims(self) -> Command:
        with self.driver.view() as view:
            claims = view.claims(None, 50)
        chosen = self.random.sample(claims, min(len(claims), 2))
        return EndClaims(tuple(chosen))

    def expire(self) -> Command:
        with self.driver.view() as view:
            idle, _ = view.sessions_idle(view.counters().cluster_ms)
        return ExpireSessions(tuple(idle))

    def reap(self) -> Command:
        return ReapStep(self.random.choice((32, 40, 200)))

    def scrub(self) -> Command:
        if self.random.random() < 0.5:
            return SetScrub(self.random.randint(-1, 99), self.random.choice((-1, 0, 5, 7200)), 0)
        return AskScrub((self.random.randint(1, SERVERS + 1),), self.random.randint(-1, 9))

    def deleted(self) -> Command:
        chunk_id = self.chunk_id()
        with self.driver.view() as view:
            dead = view.dead_chunks(0, 10)
            if dead:
                chunk_id = self.random.choice(dead)[0]
            chunk = view.chunk(chunk_id)
        replicas = chunk.replicas if chunk else ()
        gone = self.random.sample(replicas, self.random.randint(0, len(replicas)))
        return ReplicasDeleted(tuple((chunk_id, one.server_id, one.disk_id) for one in gone))

    def repair(self) -> Command:
        """One step of a copy's life, mostly one that fits the chunk."""
        with self.driver.view() as view:
            sealed = [one for one in view.chunks_after(0, 200) if one[1].state == "sealed"]
        if not sealed or self.random.random() < 0.05:
            return SetRepairBudget(self.random.randint(-1, 99), 1 << 20, 2, 9)
        chunk_id, chunk = self.random.choice(sealed)
        sealed_index = chunk.sealed_index + (self.random.random() < 0.1)
        servers = [one.server_id for one in chunk.replicas]
        known = self.random.choice(chunk.replicas)
        orders = chunk.copying + chunk.deleting
        order = self.random.choice(orders) if orders else None
        place = next(
            (one for one in chunk.replicas if order and one.server_id == order.server_id), known
        )
        other = self.random.randint(1, SERVERS)
        kind = self.random.randint(0, 5)
        if kind == 0:
            seen = len(chunk.holders) + len(chunk.copying)
            return PlaceCopy(chunk_id, sealed_index, other, 100 + other, seen)
        if kind == 1:
            end = (chunk.length, chunk.digest, order.order_index if order else 0)
            return ConfirmCopy(chunk_id, sealed_index, place.server_id, place.disk_id, *end)
        if kind == 2:
            index = order.order_index if order else 1
            return EndCopy(chunk_id, place.server_id, index, "fuzz")
        if kind == 3:
            return LoseHolder(chunk_id, sealed_index, known.server_id, "fuzz")
        if kind == 4:
            server_id = self.random.choice((*servers, other))
            evidence = tuple(one for one in chunk.holders if one != server_id)
            return DropReplica(chunk_id, sealed_index, server_id, 100 + other, evidence)
        index = order.order_index if order else 1
        return ReplicasDeleted((), ((chunk_id, place.server_id, index),))

    def garbage(self) -> Command:
        return garbage_change(self.random, self.driver)

    def mode(self) -> Command:
        return mode_change(self.random, self.driver, SERVERS)

    def events(self) -> Command:
        return event_change(self.random, self.driver)

    def job(self) -> Command:
        return job_change(self.random, self.driver, SERVERS)

    def policy(self) -> Command:
        return policy_change(self.random, self.path())

    def enroll(self) -> Command:
        number = self.random.randint(1, SERVERS)
        disks = [EnrolledDisk(100 + number, 1), EnrolledDisk(200 + self.random.randint(1, 9), 1)]
        kept = self.random.choice((disks, disks[:1], disks[:1], disks[1:]))
        return server(number, disks=tuple(kept))

    def elected(self) -> Command:
        return LeaderElected(f"m{self.driver.term % 3}", 1)

    def verify(self) -> Command:
        return VerifyState(deep=self.random.random() < 0.5)

    def attest(self) -> Command:
        """Attest what this store noted, no majority, or a check that never was."""
        with self.driver.kv.read() as reader:
            noted = notes(reader)
        index, value = (noted[0].index, noted[0].value) if noted else (1, b"v" * 16)
        chosen = self.random.choice((value, value, b"", b"short"))
        members = self.random.sample(("m1", "m2", "m3"), self.random.randint(0, 3))
        return AttestState(index, chosen, ("m1",), tuple(members))

    def open(self) -> Command:
        return OpenSession("fuzz", self.random.choice(("", "", "k1", "k2")))


SESSION_KINDS = {
    Mkdir,
    Rename,
    Remove,
    SetAttributes,
    PlaceChunk,
    FinishChunk,
    StageExtents,
    Publish,
    ReleaseChunks,
    CloseSession,
    SetPolicy,
    UnsetPolicy,
    SetReplication,
    *KINDS,
}
