"""Appends, seals, holds and all that takes files away, against a plain model of files and records.

Appenders do what the library does: they ask for the records that they are not sure of, and send
again only those that the table lacks. However tails are cut, files moved and appenders forgotten,
no record is twice in a file, and each is where the table says.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from append_model import Directory, File, Known, OpenChunk, Record, Tree, tails_below
from state_driver import Driver, empty_file, small_file

from gfs_ha.ids import ChunkId, InodeId, SessionId
from gfs_ha.kv.lmdb_kv import LmdbKV
from gfs_ha.kv.ordered import MemoryKV
from gfs_ha.master.state import append_results, digest, tail_reads
from gfs_ha.master.state.commands import BeginSeal, CommitSeal, ReapStep, decode_entry
from gfs_ha.master.state.invariants import fingerprint
from gfs_ha.master.state.machine import Machine
from gfs_ha.master.state.tables import DATABASES
from gfs_ha.master.state.tail_commands import (
    AbandonTails,
    FinishTail,
    HoldInodes,
    OpenTail,
    PlaceTail,
    RenewLeases,
)
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.extents import DiscardStaged, StageCopy
from gfs_ha.protocol.metadata import CloseSession, Mkdir, Publish, Remove, Rename
from gfs_ha.protocol.records import RecordEntry

APPENDERS_MAX = 3
DIRECTORIES = ("/d", "/d/e", "/f")
STEPS = 250
_OF_THE_LEADER = (PlaceTail, OpenTail, BeginSeal, CommitSeal, FinishTail, AbandonTails)


class Appender:
    """What an appender knows: the next sequence, and which records of which file are in doubt."""

    def __init__(self) -> None:
        self.next = 1
        self.in_doubt: dict[int, File] = {}

    @property
    def window_start(self) -> int:
        return min(self.in_doubt, default=self.next)


class AppendRun:
    """One seeded history; `met` counts what happened in it."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.driver = Driver()
        self.session = self.driver.open_session()
        self.chunk_id = self.driver.chunk(self.session).chunk_id
        self.tree = Tree()
        self.appenders = {self.driver.open_session(): Appender() for _ in range(6)}
        self.ended: list[int] = []
        self.met: Counter[str] = Counter()
        self.steps: dict[Callable[[], None], int] = {
            self.mkdir: 2,
            self.publish: 3,
            self.copy: 3,
            self.remove: 3,
            self.rename: 7,
            self.hold: 2,
            self.append: 14,
            self.seal: 10,
            self.wait_and_renew: 1,
            self.end: 1,
            self.reap: 2,
            self.come_late: 6,
            self.abandon: 1,
            self.elect: 1,
        }
        for path in DIRECTORIES:
            self.make(path)
        for path in ("/x", "/d/x", "/d/e/y"):
            self.put(path, Publish((empty_file(path),)), [])

    def step(self) -> None:
        (chosen,) = self.dice.choices([*self.steps], [*self.steps.values()])
        chosen()
        self.check_files()
        self.check_tables()
        self.driver.check()

    def send(self, command: object, session: int = 0) -> str:
        reply = self.driver.do(command, session)
        error = reply.error if isinstance(reply, Failure) else ""
        self.met[f"{type(command).__name__} {error}"] += 1
        return error

    @property
    def now_ms(self) -> int:
        """Return the cluster time of the command that was applied last."""
        with self.driver.view() as view:
            return view.counters().cluster_ms

    def path(self, there: dict[str, object] | dict[str, File]) -> str:
        """Return mostly what is there: random paths alone lead nowhere most of the time."""
        if there and self.dice.random() < 0.7:
            return self.dice.choice(sorted(there))
        if self.dice.random() < 0.2:
            return self.dice.choice(DIRECTORIES)
        return self.dice.choice(("", *DIRECTORIES)) + self.dice.choice(("/x", "/y"))

    def mkdir(self) -> None:
        self.make(self.dice.choice(DIRECTORIES))

    def make(self, path: str) -> None:
        error, trail, name = self.tree.way(path)
        if not error and name not in trail[-1].children:
            made = self.driver.ok(Mkdir(path), self.session)
            trail[-1].children[name] = Directory(made.inode_id)

    def publish(self) -> None:
        path = self.path(self.tree.files())
        offset, length = self.dice.randint(0, 50), self.dice.choice((0, 1, 9))
        file = empty_file(path) if not length else small_file(path, self.chunk_id, offset, length)
        content = [(self.chunk_id, offset, length)] if length else []
        self.put(path, Publish((file,)), content)

    def put(self, path: str, command: Publish, content: list[tuple[int, int, int]]) -> str:
        reply = self.driver.do(command, self.session)
        expected = self.tree.publish(path)
        self.met[f"Publish {expected}"] += 1
        if isinstance(reply, Failure):
            assert reply.error == expected == "Held"
            return expected
        (file,) = reply.files
        assert file.error == expected
        if not expected:
            _, trail, name = self.tree.way(path)
            node = trail[-1].children.setdefault(name, File(file.inode_id))
            assert isinstance(node, File)
            node.content = content
        return expected

    def copy(self) -> None:
        source, goal = self.path(self.tree.files()), self.path(self.tree.files())
        reply = self.driver.do(StageCopy(source, 0, 1 << 20), self.session)
        expected = self.tree.copy(source)
        self.met[f"StageCopy {expected}"] += 1
        assert (reply.error if isinstance(reply, Failure) else "") == expected
        if expected:
            return
        node = self.tree.find(source)
        assert isinstance(node, File) and reply.copied == node.size
        file = empty_file(goal, size=node.size, content_id=reply.content_id)
        if self.put(goal, Publish((file,)), list(node.content)):
            self.driver.ok(DiscardStaged(reply.content_id), self.session)

    def remove(self) -> None:
        path, recursive = self.path(self.tree.paths()), self.dice.random() < 0.5
        error = self.send(Remove(path, recursive), self.session)
        assert error == self.tree.remove(path, recursive)

    def rename(self) -> None:
        source, goal = self.path(self.tree.paths()), self.path(self.tree.files())
        error = self.send(Rename(source, goal), self.session)
        assert error == self.tree.rename(source, goal, self.now_ms)

    def hold(self) -> None:
        node = self.tree.find(self.path(self.tree.paths()))
        if node is not None:
            hold_ms = self.dice.choice((1, 5, 50))
            self.driver.ok(HoldInodes((InodeId(node.inode_id),), hold_ms))
            node.held_until = self.now_ms + hold_ms

    def append(self) -> None:
        files = self.tree.files()
        if not files:
            return
        path = self.dice.choice(sorted(files))
        file = files[path]
        if file.tail is None and not self.open(path, file):
            return
        for number in self.dice.sample([*self.appenders], self.dice.randint(0, 3)):
            self.append_as(number, file, self.dice.randint(0, 4))

    def end(self) -> None:
        """End an appender; another one begins."""
        number = self.dice.choice([*self.appenders])
        self.driver.ok(CloseSession(), number)
        del self.appenders[number]
        self.ended.append(number)
        self.appenders[self.driver.open_session()] = Appender()

    def append_as(self, number: int, file: File, count: int) -> None:
        assert file.tail is not None
        appender = self.appenders[number]
        for sequence in self.unsure(number, file):
            file.tail.records.append(Record(number, sequence, appender.window_start, 5))
            self.met["sent again"] += 1
        for length in range(1, count + 1):
            record = Record(number, appender.next, appender.window_start, length)
            file.tail.records.append(record)
            appender.in_doubt[appender.next] = file
            appender.next += 1

    def open(self, path: str, file: File) -> bool:
        chunk_id = self.driver.place(file.inode_id)
        error = self.send(OpenTail(InodeId(file.inode_id), chunk_id, path, 1, 1))
        assert error == self.tree.open_tail(path, self.now_ms)
        if not error:
            file.tail = OpenChunk(chunk_id)
        return not error

    def unsure(self, number: int, file: File) -> list[int]:
        """Return the records to be sent again: those of the file that its table lacks.

        Of those that nothing is known of some are given up, and some asked for again later.
        """
        assert file.tail is not None
        appender = self.appenders[number]
        waiting = {one.sequence for one in file.tail.records if one.appender == number}
        asked = [one for one, of in appender.in_doubt.items() if of is file and one not in waiting]
        with self.driver.view() as view:
            inode_id = InodeId(file.inode_id)
            known = tail_reads.records_known(view, inode_id, SessionId(number), tuple(asked))
        found = {one.sequence for one in known.results}
        self.met["expired"] += known.expired
        for sequence in asked:
            if sequence in found:
                assert (number, sequence) in file.sealed, "a record is answered that is not there"
            if sequence in found or (known.expired and self.dice.random() < 0.5):
                del appender.in_doubt[sequence]
                self.met["found"] += sequence in found
        lacking = [] if known.expired else [one for one in asked if one not in found]
        assert all(sequence >= known.window_start for sequence in lacking)
        return lacking

    def seal(self) -> None:
        files = tails_below(self.tree.root)
        if not files:
            return
        file = self.dice.choice(files)
        assert file.tail is not None
        chunk_id, horizon = file.tail.chunk_id, file.horizon
        whole = len(file.tail.records)
        count = self.dice.choice((whole, self.dice.randint(0, whole)))
        length, told = file.seal(count, APPENDERS_MAX, {*self.appenders})
        self.met["forgotten"] += file.horizon != horizon
        self.met["sealed" if length else "sealed empty"] += 1
        entries = [
            RecordEntry(SessionId(one.appender), one.sequence, one.window_start, offset, one.length)
            for one, offset in told
        ]
        if length and count == whole and self.dice.random() < 0.5:
            # Its primary ended it, maybe while the leader had begun to seal it.
            if self.dice.random() < 0.3:
                self.driver.ok(BeginSeal(chunk_id, "test"))
            assert self.driver.finish(chunk_id, length, *entries).length == length
            self.met["finished"] += 1
            return
        self.driver.seal(chunk_id, length, *entries)

    def wait_and_renew(self) -> None:
        self.driver.elapsed_ms += self.dice.choice((1, 20_000, 60_000))
        with self.driver.view() as view:
            held = [(one, row.start_id, row.until_ms) for one, row in tail_reads.leases(view)]
        self.driver.ok(RenewLeases(tuple(held)))

    def reap(self) -> None:
        self.driver.ok(ReapStep(64))

    def come_late(self) -> None:
        """Apply a command of the leader once more, long after: it changes nothing of the model."""
        payload = self.dice.choice(self.driver.log[-100:])[2]
        command = decode_entry(payload).command
        if not isinstance(command, _OF_THE_LEADER):
            return
        if isinstance(command, OpenTail):
            with self.driver.view() as view:
                chunk = view.chunk(command.chunk_id)
            if chunk is not None and chunk.unopened:
                return  # It was refused, so it is no second time.
        self.driver.apply_payload(payload)
        self.met[f"late {type(command).__name__}"] += 1

    def elect(self) -> None:
        """Let another leader begin: holds and placed tails of the one before are void."""
        self.driver.term, self.driver.elapsed_ms = self.driver.term + 1, 0
        for node in (self.tree.root, *self.tree.paths().values()):
            node.held_until = 0

    def abandon(self) -> None:
        with self.driver.view() as view:
            placed = [one for one, _ in tail_reads.unopened_tails(view, ChunkId(0), 5)]
        self.driver.ok(AbandonTails(tuple(placed), given_up=True))

    def check_files(self) -> None:
        with self.driver.view() as view:
            for path, file in self.tree.files().items():
                opened = view.open_file(path, 0, 1000)
                found = [(one.chunk_id, one.chunk_offset, one.length) for one in opened.extents]
                assert found == file.content, path
                assert opened.status.size == file.size
                assert opened.status.inode_id == file.inode_id
                tail = tail_reads.tail_of(view, InodeId(file.inode_id))
                assert (tail and tail.chunk_id) == (file.tail and file.tail.chunk_id)
            for node in [self.tree.root, *self.tree.paths().values()]:
                below = tail_reads.tails_below(view, InodeId(node.inode_id), 1000)
                assert {one for one, _ in below} == {one.inode_id for one in tails_below(node)}

    def check_tables(self) -> None:
        sequences = tuple(range(1, max(one.next for one in self.appenders.values())))
        with self.driver.view() as view:
            for file in self.tree.files().values():
                assert len(set(file.sealed)) == len(file.sealed), "a record is there twice"
                for number in self.appenders:
                    inode_id = InodeId(file.inode_id)
                    known = tail_reads.records_known(view, inode_id, SessionId(number), sequences)
                    wanted = file.table.get(number, Known(0))
                    found = {one.sequence: (one.file_offset, one.length) for one in known.results}
                    assert (known.window_start, found) == (wanted.window_start, wanted.results)
                    unknown = set(range(wanted.window_start, wanted.forgotten_below)) - {*found}
                    forgotten = number not in file.table and number <= file.horizon
                    assert known.expired == (
                        bool(sequences) and (forgotten or bool(unknown & {*sequences}))
                    )


@pytest.fixture(autouse=True)
def few_appenders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a file remember so few appenders that some are forgotten."""
    monkeypatch.setattr(append_results, "APPENDERS_PER_FILE_MAX", APPENDERS_MAX)


@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_appended_sealed_moved_and_removed_is_as_in_the_model(seed: int) -> None:
    run = AppendRun(seed)
    for _ in range(STEPS):
        run.step()


def test_the_random_histories_meet_what_they_are_for() -> None:
    met: Counter[str] = Counter()
    for seed in range(10, 15):
        run = AppendRun(seed)
        for _ in range(STEPS):
            run.step()
        met += run.met
    wanted = ["sealed", "sealed empty", "sent again", "found", "forgotten", "expired"]
    late = ("PlaceTail", "OpenTail", "BeginSeal", "CommitSeal", "FinishTail")
    wanted += ["finished", *(f"late {one}" for one in late)]
    wanted += [f"{one} Held" for one in ("Remove", "Rename", "Publish", "StageCopy", "OpenTail")]
    assert {one: met[one] for one in wanted if not met[one]} == {}


def test_a_replay_of_such_a_history_gives_the_same_state_in_memory_and_in_lmdb(
    tmp_path: Path,
) -> None:
    run = AppendRun(5)
    for _ in range(STEPS):
        run.step()
    memory, lmdb = MemoryKV(), LmdbKV(tmp_path, DATABASES, map_bytes=64 << 20)
    try:
        for store in (memory, lmdb):
            machine = Machine()
            for start in range(0, len(run.driver.log), 50):
                transaction = store.begin()
                for logged in run.driver.log[start : start + 50]:
                    machine.apply(transaction, *logged)
                transaction.commit()
            with store.read() as reader:
                assert fingerprint(reader) == run.driver.fingerprint()
                kept = digest.kept(reader)
                assert kept is not None and kept.value == digest.count_all(reader)
    finally:
        lmdb.close()
