"""A master's store through a script of everything that changes it, with the product's own code.

    python scripted_master.py DIRECTORY SEED STEPS [nosync|nometasync]

Log, state and identity change in one transaction per step, as in a tick of the consensus loop. Each
step that was committed is noted with a digest of the whole store, by the shim in the record of the
disk (`disk_shim.c`), else nowhere.
"""

from __future__ import annotations

import ctypes
import hashlib
import random
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from gfs_ha.checksum import crc32c
from gfs_ha.ids import NO_SESSION, SessionId
from gfs_ha.kv import lmdb_kv
from gfs_ha.kv.lmdb_kv import LmdbKV
from gfs_ha.kv.ordered import MemoryKV, OrderedKV, Reader, Table, WriteTransaction
from gfs_ha.master.directory import MasterDirectory
from gfs_ha.master.raft import installing
from gfs_ha.master.raft.contract import RaftConfig
from gfs_ha.master.raft.export import Export
from gfs_ha.master.raft.identity import DATABASES as RAFT_DATABASES
from gfs_ha.master.raft.identity import Identity, Start, bootstrap
from gfs_ha.master.raft.journal import NO_OP, REGULAR, Journal
from gfs_ha.master.raft.members import (
    MEMBERSHIP,
    Configuration,
    encode_configuration,
)
from gfs_ha.master.raft.messages import OfferSnapshot, SnapshotChunk
from gfs_ha.master.recount import ensure_hash
from gfs_ha.master.state.commands import Command, Entry, InitCluster, VerifyState, encode_entry
from gfs_ha.master.state.machine import Machine
from gfs_ha.master.state.tables import DATABASES as STATE_DATABASES
from gfs_ha.protocol.metadata import Mkdir, OpenSession, Remove
from gfs_ha.runtime import ThreadedRuntime

MAP_BYTES = 1 << 25
ALL_DATABASES = (*RAFT_DATABASES, *STATE_DATABASES)
MEMBERS = ("m1", "m2", "m3", "m4")
CONFIG = RaftConfig(
    cluster_id="power",
    incarnation=1,
    member_id="m1",
    members={name: ("127.0.0.1", 7000 + place) for place, name in enumerate(MEMBERS[:3])},
    state_databases=STATE_DATABASES,
)
SNAPSHOT_CHUNK_BYTES = 6000
_LAG_MAX = 12
_AHEAD = 40

Note = Callable[[bytes], None]


class Committed(msgspec.Struct, frozen=True):
    """A step that returned from its commit: what the whole store is, and what it promised."""

    digest: str
    term: int
    vote: str | None
    applied: int
    last: int
    starts: int
    what: str


def digest_of(reader: Reader) -> str:
    """Return one digest over all rows of a store, of the state and of the consensus."""
    found = hashlib.blake2b(digest_size=16)
    for name in ALL_DATABASES:
        found.update(name.encode())
        for key, value in reader.scan(Table(name, name)):
            found.update(len(key).to_bytes(4, "big") + key + len(value).to_bytes(4, "big") + value)
    return found.hexdigest()


class Receiver(installing._SyncObj):
    """The product's way of receiving snapshots, with this script as its surroundings."""

    def __init__(self, journal: Journal, term: int, writer: Callable[[], WriteTransaction]) -> None:
        self._journal = journal
        self._config = CONFIG
        self._around: Any = self
        self.writer = writer
        self._SyncObj__raftCurrentTerm = term
        self._SyncObj__raftState = 0
        self._SyncObj__raftLastApplied = journal.applied_index
        self._SyncObj__raftCommitIndex = journal.getRaftCommitIndex()
        self._begin_installing()

    def _follow(self, node: Any) -> None:
        """There is nobody to follow."""

    def now_s(self) -> float:
        """Time stands still, so that the same seed writes the same rows."""
        return 0.0

    def send_durable(self, peer: str, message: object) -> None:
        """There is nobody to send to."""

    def _adopt_configuration(self) -> None:
        """The journal holds it."""


class ScriptRuntime(ThreadedRuntime):
    """Draws from the script's chance, so that the same seed writes the same rows."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance

    def random_u64(self) -> int:
        """Return the next number of the script."""
        return self._chance.getrandbits(64)


class Peer:
    """Who the snapshots come from."""

    id = "m2"


class ScriptedMaster:
    """One store and its script; `note` hears of every commit that returned."""

    def __init__(self, kv: OrderedKV, chance: random.Random, note: Note) -> None:
        self.kv = kv
        self.chance = chance
        self.note = note
        self.runtime = ScriptRuntime(chance)
        self.machine = Machine()
        self.transaction: WriteTransaction | None = None
        self.starts = 0
        self.session = NO_SESSION
        self.sequence = 0
        self.made: list[str] = []

    def create(self) -> None:
        """Become a member, as a first start does."""
        bootstrap(self.kv, CONFIG)
        self.tell("bootstrap")
        self.start()

    def start(self) -> None:
        """Begin to run on what the store holds, as every start does."""
        ensure_hash(self.kv, self.runtime)
        self.tell("hash")
        self.identity = Identity(self.kv, CONFIG, self.runtime)
        self.starts = self.identity.start.number
        initial = Configuration(CONFIG.initial(self.identity.initial_members))
        self.journal = Journal(self.kv, initial=initial)
        self.term = max(1, self.journal.getCurrentTerm())
        self.tell("start")

    def tell(self, what: str) -> None:
        """Note the store as a commit that returned has left it."""
        journal: Journal | None = getattr(self, "journal", None)
        with self.kv.read() as reader:
            digest = digest_of(reader)
        done = Committed(
            digest,
            0 if journal is None else journal.getCurrentTerm(),
            None if journal is None else journal.getVotedForNodeId(),
            1 if journal is None else journal.applied_index,
            0 if journal is None else journal.last_index,
            self.starts,
            what,
        )
        self.note(msgspec.json.encode(done))

    def writer(self) -> WriteTransaction:
        """Return the open transaction of this step."""
        if self.transaction is None:
            self.transaction = self.kv.begin()
        return self.transaction

    def commit(self, what: str) -> None:
        """End a step, as the tick does."""
        if not (self.transaction or self.journal.dirty or self.identity.dirty):
            return
        writer = self.writer()
        self.journal.write(writer)
        self.identity.write(writer)
        self.transaction = None
        writer.commit()
        self.journal.committed()
        self.identity.committed()
        self.tell(what)

    # What happens to a log.

    def command(self) -> Command:
        """Return the next command of the only session."""
        if self.journal.last_index < 2:
            return InitCluster("power", "power", incarnation=1, chunk_bytes=1 << 20)
        if self.journal.last_index == 2:
            return OpenSession("script")
        kind = self.chance.random()
        if kind < 0.15 and self.made:
            return Remove(self.made.pop(self.chance.randrange(len(self.made))))
        if kind < 0.2:
            return VerifyState(deep=False)
        path = f"/{self.sequence:06d}" + "x" * self.chance.choice((1, 20, 200))
        self.made.append(path)
        return Mkdir(path)

    def append(self, count: int) -> None:
        """Add commands to the log."""
        for _ in range(count):
            index = self.journal.last_index + 1
            command = self.command()
            session, sequence = NO_SESSION, 0
            if isinstance(command, Mkdir | Remove):
                self.sequence += 1
                session, sequence = SessionId(1), self.sequence
            start = max(1, sequence - 50) if sequence else 0
            entry = Entry(index, 10**18 + index, command, session, sequence, start)
            self.journal.add(REGULAR + encode_entry(entry), index, self.term)

    def apply(self, upto: int) -> None:
        """Apply entries of the log to the state, within the transaction of this step."""
        journal = self.journal
        for index in range(journal.applied_index + 1, min(upto, journal.last_index) + 1):
            command, _, term = journal.entries(index, 1, 1 << 30)[0]
            if command[:1] == REGULAR:
                self.machine.apply(self.writer(), index, term, command[1:])
            journal.note_applied(index, term)
            journal.setRaftCommitIndex(index)

    def grow(self) -> None:
        """Append, and apply what the step before appended."""
        stored = self.journal.last_index
        self.append(self.chance.choice((1, 1, 2, 5, 20)))
        self.apply(min(stored, self.journal.applied_index + _LAG_MAX))
        self.commit("grow")

    def truncate(self) -> None:
        """Lose the entries of an old leader to those of a new one, and vote in between."""
        self.append(self.chance.randrange(1, 6))
        self.commit("conflict")
        lowest = max(self.journal.applied_index + 1, self.journal.first_index + 1)
        if lowest <= self.journal.last_index:
            self.journal.truncate_from(self.chance.randrange(lowest, self.journal.last_index + 1))
        self.vote()
        self.journal.add(NO_OP, self.journal.last_index + 1, self.term)
        self.commit("truncate")

    def vote(self) -> None:
        """Enter a new term."""
        self.term += self.chance.choice((1, 1, 3))
        vote = self.chance.choice((None, "m1", "m2", "m3"))
        self.journal.setCurrentTerm(self.term, vote)
        self.commit("vote")

    def drop(self) -> None:
        """Forget the beginning of the log."""
        self.apply(self.journal.last_index)
        self.commit("apply")
        first, stored = self.journal.first_index, self.journal.stored_applied_index
        self.journal.drop_before(self.chance.randrange(first, stored + 1))
        self.commit("drop")

    def change_members(self) -> None:
        """Let a learner in, or out."""
        voters = CONFIG.initial(MEMBERS[:3])
        learners = CONFIG.initial(("m4",)) if self.chance.random() < 0.5 else {}
        command = encode_configuration(Configuration(voters, learners))
        assert command[:1] == MEMBERSHIP
        self.journal.add(command, self.journal.last_index + 1, self.term)
        self.commit("members")

    def meet(self) -> None:
        """See a new start of a peer."""
        start = Start(self.chance.randrange(1, 1000), self.chance.getrandbits(64))
        self.identity.note_seen(self.chance.choice(MEMBERS[1:]), start)
        self.commit("meet")

    def freeze(self) -> None:
        """Copy the store aside, as for a snapshot to another member."""
        self.kv.freeze().close()
        self.tell("freeze")

    def install(self) -> None:
        """Get the state of a leader that is far ahead, chunk by chunk."""
        ahead = self.leader_ahead()
        export = Export(
            ahead.kv.freeze(), self.chance.getrandbits(63), STATE_DATABASES,
            self.journal.initial, SNAPSHOT_CHUNK_BYTES,
        )  # fmt: skip
        point = export.point
        self.term += 1
        self.journal.setCurrentTerm(self.term, None)
        receiver = Receiver(self.journal, self.term, self.writer)
        configuration = encode_configuration(point.configuration)
        offer = OfferSnapshot(self.term, export.number, point.index, point.term, configuration)
        receiver._on_offer_snapshot(Peer(), offer)  # type: ignore[arg-type]
        self.commit("offer")
        for chunk in _chunks(export, self.term):
            receiver._on_snapshot_chunk(Peer(), chunk)  # type: ignore[arg-type]
            self.commit("install" if chunk.last else "chunk")
        self.sequence, self.made = ahead.sequence, ahead.made

    def leader_ahead(self) -> ScriptedMaster:
        """Return a twin in memory that went through the same log, and beyond."""
        kv = MemoryKV()
        writer = kv.begin()
        with self.kv.read() as reader:
            for name in ALL_DATABASES:
                table = Table(name, name)
                for key, value in reader.scan(table):
                    if name != "meta" or key[:1] == b"R":
                        writer.put(table, bytes(key), bytes(value))
        writer.commit()
        twin = ScriptedMaster(kv, self.chance, lambda text: None)
        twin.sequence, twin.made = self.sequence, list(self.made)
        twin.start()
        twin.term = self.term
        twin.append(_AHEAD)
        twin.apply(twin.journal.last_index)
        twin.commit("ahead")
        return twin

    def step(self) -> None:
        """Do one thing, mostly growing."""
        kinds = (
            *(self.grow,) * 8, self.truncate, self.truncate, self.vote, self.drop,
            self.change_members, self.meet, self.freeze, self.install,
        )  # fmt: skip
        self.chance.choice(kinds)()


def _chunks(export: Export, term: int) -> Iterator[SnapshotChunk]:
    last, position = False, 0
    while not last:
        rows, last = export.chunk(position)
        yield SnapshotChunk(term, export.number, position, last, crc32c(rows), rows)
        position += 1


def play(directory: Path, seed: int, steps: int, note: Note) -> None:
    """Run the script in an empty directory, with two restarts. Raises: DiskFull, DiskFailed."""
    chance = random.Random(seed)
    place = MasterDirectory(directory)
    try:
        for part in range(3):
            kv = LmdbKV(place.store, ALL_DATABASES, MAP_BYTES)
            try:
                if part == 0:
                    master = ScriptedMaster(kv, chance, note)
                    master.create()
                else:
                    master.kv = kv
                    master.start()
                for _ in range(steps // 3):
                    master.step()
                if part == 1:
                    master.install()
            finally:
                if master.transaction is not None:
                    master.transaction.abort()
                kv.close()
    finally:
        place.close()


def weaken(mode: str) -> None:
    """Take the durability of every commit away, to see that this is noticed."""
    weaker = {"nosync": {"sync": False}, "nometasync": {"metasync": False}}[mode]
    opened = lmdb_kv.lmdb.open

    def weakly(*arguments: Any, **options: Any) -> Any:
        return opened(*arguments, **{**options, **weaker})

    lmdb_kv.lmdb.open = weakly


def main(words: list[str]) -> None:
    """Play below the shim and note every commit in its record."""
    if len(words) > 3:
        weaken(words[3])
    shim = ctypes.CDLL(None)

    def tell(text: bytes) -> None:
        shim.disk_shim_note(text, len(text))

    play(Path(words[0]), int(words[1]), int(words[2]), partial(tell))


if __name__ == "__main__":
    main(sys.argv[1:])
