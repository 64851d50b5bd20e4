"""Appends, seals, holds and all that takes files away, against a plain model of files and records.

Appenders do what the library does: they ask for the records that they are not sure of, and send
again only those that the table lacks. However tails are cut, files moved and appenders forgotten,
no record is twice in a file, and each is where the table says.
"""

from __future__ import annotations

from unittest.mock import patch

from append_model import Directory, File, OpenChunk, Record, Tree, tails_below
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from state_driver import Driver, empty_file, small_file

from gfs_ha.ids import InodeId, SessionId
from gfs_ha.master.state import append_results, tail_reads
from gfs_ha.master.state.commands import ReapStep
from gfs_ha.master.state.tail_commands import HoldInodes, OpenTail, RenewLeases
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.extents import DiscardStaged, StageCopy
from gfs_ha.protocol.metadata import Mkdir, Publish, Remove, Rename
from gfs_ha.protocol.records import RecordEntry

APPENDERS_MAX = 3
APPENDERS = range(100, 106)

directory = st.sampled_from(["/d", "/d/e", "/f"])
path = st.tuples(st.sampled_from(["", "/d", "/d/e", "/f"]), st.sampled_from("xy")).map("/".join)
place = path | directory


class Appender:
    """What an appender knows: the next sequence, and which records of which file are in doubt."""

    def __init__(self) -> None:
        self.next = 1
        self.in_doubt: dict[int, File] = {}

    @property
    def window_start(self) -> int:
        return min(self.in_doubt, default=self.next)


class AppendMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.patch = patch.object(append_results, "APPENDERS_PER_FILE_MAX", APPENDERS_MAX)
        self.patch.start()
        self.driver = Driver()
        self.session = self.driver.open_session()
        self.chunk_id = self.driver.chunk(self.session).chunk_id
        self.tree = Tree()
        self.appenders = {number: Appender() for number in APPENDERS}

    def teardown(self) -> None:
        self.patch.stop()

    def send(self, command: object, session: int = 0) -> str:
        reply = self.driver.do(command, session)
        return reply.error if isinstance(reply, Failure) else ""

    @property
    def now_ms(self) -> int:
        return self.driver.elapsed_ms  # Cluster time, for the term never changes here.

    @rule(path=directory)
    def mkdir(self, path: str) -> None:
        error, trail, name = self.tree.way(path)
        if error or name in trail[-1].children:
            return
        made = self.driver.ok(Mkdir(path), self.session)
        trail[-1].children[name] = Directory(made.inode_id)

    @rule(path=path, offset=st.integers(0, 50), length=st.integers(0, 9))
    def publish(self, path: str, offset: int, length: int) -> None:
        file = empty_file(path) if not length else small_file(path, self.chunk_id, offset, length)
        content = [(self.chunk_id, offset, length)] if length else []
        self.put(path, Publish((file,)), content)

    def put(self, path: str, command: Publish, content: list[tuple[int, int, int]]) -> str:
        reply = self.driver.do(command, self.session)
        expected = self.tree.publish(path)
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

    @rule(source=path, goal=path)
    def copy(self, source: str, goal: str) -> None:
        reply = self.driver.do(StageCopy(source, 0, 1 << 20), self.session)
        expected = self.tree.copy(source)
        assert (reply.error if isinstance(reply, Failure) else "") == expected
        if expected:
            return
        node = self.tree.find(source)
        assert isinstance(node, File) and reply.copied == node.size
        file = empty_file(goal, size=node.size, content_id=reply.content_id)
        if self.put(goal, Publish((file,)), list(node.content)):
            self.driver.ok(DiscardStaged(reply.content_id), self.session)

    @rule(path=place, recursive=st.booleans())
    def remove(self, path: str, recursive: bool) -> None:
        error = self.send(Remove(path, recursive), self.session)
        assert error == self.tree.remove(path, recursive)

    @rule(source=place, goal=place)
    def rename(self, source: str, goal: str) -> None:
        error = self.send(Rename(source, goal), self.session)
        assert error == self.tree.rename(source, goal, self.now_ms)

    @rule(path=place, hold_ms=st.sampled_from([1, 5, 1000]))
    def hold(self, path: str, hold_ms: int) -> None:
        node = self.tree.find(path)
        if node is None:
            return
        self.driver.ok(HoldInodes((InodeId(node.inode_id),), hold_ms))
        node.held_until = self.now_ms + hold_ms

    @precondition(lambda self: self.tree.files())
    @rule(data=st.data(), number=st.sampled_from(APPENDERS), lengths=st.lists(st.integers(1, 9)))
    def append(self, data: st.DataObject, number: int, lengths: list[int]) -> None:
        path, file = data.draw(st.sampled_from(sorted(self.tree.files().items())))
        if file.tail is None and not self.open(path, file):
            return
        assert file.tail is not None
        appender = self.appenders[number]
        for sequence in self.unsure(number, file):
            file.tail.records.append(Record(number, sequence, appender.window_start, 5))
        for length in lengths[:3]:
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
        """Return the records to be sent again: those of the file that its table lacks."""
        assert file.tail is not None
        appender = self.appenders[number]
        waiting = {one.sequence for one in file.tail.records if one.appender == number}
        asked = [one for one, of in appender.in_doubt.items() if of is file and one not in waiting]
        with self.driver.view() as view:
            inode_id = InodeId(file.inode_id)
            known = tail_reads.records_known(view, inode_id, SessionId(number), tuple(asked))
        found = {one.sequence for one in known.results}
        for sequence in asked:
            if sequence in found or known.expired:
                assert known.expired or (number, sequence) in file.sealed
                del appender.in_doubt[sequence]
        lacking = [] if known.expired else [one for one in asked if one not in found]
        assert all(sequence >= known.window_start for sequence in lacking)
        return lacking

    @precondition(lambda self: tails_below(self.tree.root))
    @rule(data=st.data(), share=st.floats(0, 1))
    def seal(self, data: st.DataObject, share: float) -> None:
        file = data.draw(st.sampled_from(tails_below(self.tree.root)))
        assert file.tail is not None
        chunk_id, count = file.tail.chunk_id, round(share * len(file.tail.records))
        length, told = file.seal(count, APPENDERS_MAX)
        entries = [
            RecordEntry(SessionId(one.appender), one.sequence, one.window_start, offset, one.length)
            for one, offset in told
        ]
        self.driver.seal(chunk_id, length, *entries)

    @rule(waited_ms=st.sampled_from([1, 20_000, 60_000]))
    def wait_and_renew(self, waited_ms: int) -> None:
        self.driver.elapsed_ms += waited_ms
        with self.driver.view() as view:
            held = [(one, row.start_id, row.until_ms) for one, row in tail_reads.leases(view)]
        self.driver.ok(RenewLeases(tuple(held)))

    @rule()
    def reap(self) -> None:
        self.driver.ok(ReapStep(64))

    @invariant()
    def the_files_are_those_of_the_model(self) -> None:
        with self.driver.view() as view:
            for path, file in self.tree.files().items():
                opened = view.open_file(path, 0, 1000)
                found = [(one.chunk_id, one.chunk_offset, one.length) for one in opened.extents]
                assert found == file.content, path
                assert opened.status.size == file.size
                assert opened.status.inode_id == file.inode_id
                tail = tail_reads.tail_of(view, InodeId(file.inode_id))
                assert (tail and tail.chunk_id) == (file.tail and file.tail.chunk_id)
            root = tail_reads.tails_below(view, InodeId(1), 1000)
            wanted = {file.inode_id for file in tails_below(self.tree.root)}
            assert {inode_id for inode_id, _ in root} == wanted

    @invariant()
    def the_tables_of_records_are_those_of_the_model(self) -> None:
        sequences = tuple(range(1, max(one.next for one in self.appenders.values())))
        with self.driver.view() as view:
            for file in self.tree.files().values():
                assert len(set(file.sealed)) == len(file.sealed), "a record is there twice"
                for number in APPENDERS:
                    inode_id = InodeId(file.inode_id)
                    known = tail_reads.records_known(view, inode_id, SessionId(number), sequences)
                    start, results = file.table.get(number, (0, {}))
                    found = {one.sequence: (one.file_offset, one.length) for one in known.results}
                    assert (known.window_start, found) == (start, results)
                    forgotten = number not in file.table and number <= file.horizon
                    assert known.expired == forgotten

    @invariant()
    def the_tables_agree(self) -> None:
        self.driver.check()


TestAppends = AppendMachine.TestCase
TestAppends.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
