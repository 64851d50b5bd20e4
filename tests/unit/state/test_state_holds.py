"""Holds: tails leave a file only sealed, and none is opened where a command waits (C9)."""

from __future__ import annotations

import msgspec
import pytest
from state_driver import WALL_NS, Driver, empty_file, small_file

from gfs_ha.ids import SessionId
from gfs_ha.limits import HOLD_MS, HOLDS_MAX
from gfs_ha.master.state import holds as hold_steps
from gfs_ha.master.state import tables, tail_reads
from gfs_ha.master.state.commands import BeginSeal, Command, Entry, ReapStep
from gfs_ha.master.state.tail_commands import EndHolds, HoldInodes, OpenTail
from gfs_ha.protocol.calls import Reply
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.extents import ReplaceContent, StageCopy
from gfs_ha.protocol.metadata import Mkdir, Publish, Remove, Rename
from gfs_ha.protocol.records import RecordEntry


class World(Driver):
    """/d/e/log has an open tail, and 10 bytes before it; /x and /y are small files."""

    def __init__(self) -> None:
        super().__init__()
        self.session = self.open_session()
        put = self.chunk(self.session).chunk_id
        self.file(self.session, "/d/e/log")
        files = [small_file(path, put, 0, 10) for path in ("/d/e/log", "/x", "/y")]
        self.ok(Publish(tuple(files)), self.session)
        self.ok(Mkdir("/empty"), self.session)
        self.tail_id = self.tail("/d/e/log")

    def inode(self, path: str) -> int:
        with self.view() as view:
            return view.resolve(path).inode_id

    def hold(self, path: str, hold_ms: int = HOLD_MS) -> int:
        self.ok(HoldInodes((self.inode(path),), hold_ms))
        return self.inode(path)

    def held(self) -> list[int]:
        with self.view() as view:
            return [inode_id for inode_id, _ in tail_reads.holds_after(view, 0, 99)]

    def opening(self, path: str) -> Command:
        """Return the OpenTail of a freshly placed chunk."""
        inode_id = self.inode(path)
        return OpenTail(inode_id, self.place(inode_id), path, 1, 1)

    def send(self, command: Command, sequence: int) -> Reply:
        """Send a request of the session under a sequence of its own."""
        self.elapsed_ms += 1
        wall_ns = WALL_NS + self.index
        return self.apply(Entry(self.elapsed_ms, wall_ns, command, self.session, sequence, 1))


def replace_log(world: World, **changes: int) -> ReplaceContent:
    """Return the flip of the log to 3 bytes of /x, as the one who saw it now would send it."""
    staged = world.ok(StageCopy("/x", 0, 3), world.session)
    with world.view() as view:
        status = view.status("/d/e/log")
    pinned = (status.content_id, status.generation)
    return ReplaceContent("/d/e/log", staged.content_id, 3, 1, *pinned, **changes)


TAKES = {
    "rm": lambda world: Remove("/d/e/log"),
    "rm -r of the directory": lambda world: Remove("/d/e", recursive=True),
    "rm -r far above": lambda world: Remove("/d", recursive=True),
    "mv over it": lambda world: Rename("/x", "/d/e/log"),
    "put over it": lambda world: Publish((empty_file("/y"), empty_file("/d/e/log"))),
    "a change of its content": replace_log,
    "a copy of it": lambda world: StageCopy("/d/e/log", 0, 100),
}


@pytest.mark.parametrize("name", TAKES)
def test_what_takes_or_freezes_an_open_tail_is_held_and_applied_once_it_is_sealed(name) -> None:
    world = World()
    command = TAKES[name](world)
    target = world.hold("/d/e/log")
    refused = world.send(command, 500)
    assert isinstance(refused, Failure) and refused.error == "Held"
    assert refused.details["retry_ms"] > 0 and refused.details["inode_id"] >= 1
    world.seal(world.tail_id, 20)
    done = world.send(command, 500)
    assert not isinstance(done, Failure), done
    # Only a command upon the file itself ends a hold on the file; what is gone is held no more.
    if "rm -r" not in name:
        assert target not in world.held()
    for _ in range(3):
        world.ok(ReapStep(200))
    assert target not in world.held()
    assert world.send(command, 500) == done, "the answer is recorded now"
    world.check()


@pytest.mark.parametrize("name", TAKES)
def test_a_held_request_is_no_answer_and_leaves_nothing_behind(name) -> None:
    world = World()
    command = TAKES[name](world)
    with world.view() as view:
        inodes = list(view.rows.scan(tables.INODES))
        replies = list(view.rows.scan(tables.REPLIES))
        staged = list(view.rows.scan(tables.STAGED))
    for _ in range(3):
        assert world.send(command, 500).error == "Held"
    with world.view() as view:
        assert list(view.rows.scan(tables.INODES)) == inodes
        assert list(view.rows.scan(tables.REPLIES)) == replies
        assert list(view.rows.scan(tables.STAGED)) == staged
    world.check()


def test_a_tail_that_is_being_sealed_still_holds_up_what_would_take_it() -> None:
    world = World()
    world.ok(BeginSeal(world.tail_id, "test"))
    assert world.error(Remove("/d/e/log"), world.session) == "Held"


@pytest.mark.parametrize("held", ["/x", "/"])
def test_no_tail_is_opened_at_or_below_what_is_held(held: str) -> None:
    world = World()
    opening = world.opening("/x")
    world.hold(held)
    assert world.error(opening) == "Held"
    world.check()


def test_a_hold_far_above_counts_too() -> None:
    world = World()
    world.seal(world.tail_id, 5)
    opening = world.opening("/d/e/log")
    world.hold("/d")
    assert world.error(opening) == "Held"
    world.ok(Rename("/d/e", "/outside"), world.session)
    assert world.error(opening) == "NotFound"
    world.ok(world.opening("/outside/log"))
    world.check()


def test_a_hold_counts_until_its_deadline_and_within_its_epoch() -> None:
    world = World()
    opening = world.opening("/x")
    world.hold("/x", hold_ms=50)
    world.elapsed_ms += 48
    assert world.error(opening) == "Held"
    world.ok(opening)
    other = world.opening("/y")
    world.hold("/y")
    assert world.error(other) == "Held"
    world.term, world.elapsed_ms = 2, 0
    world.ok(world.opening("/y"))
    world.check()


def test_no_tail_is_moved_into_what_is_held() -> None:
    world = World()
    world.hold("/empty")
    for source in ("/d/e/log", "/d/e", "/d"):
        assert world.error(Rename(source, "/empty/in"), world.session) == "Held"
    world.ok(Rename("/x", "/empty/in"), world.session)
    world.seal(world.tail_id, 5)
    world.ok(Rename("/d", "/empty/d"), world.session)
    world.check()


def test_a_tail_follows_its_file_and_its_directories() -> None:
    world = World()
    log = world.inode("/d/e/log")
    world.ok(Rename("/d/e/log", "/d/log"), world.session)
    assert world.error(Remove("/d", recursive=True), world.session) == "Held"
    world.ok(Rename("/d/log", "/empty/log"), world.session)
    world.ok(Remove("/d", recursive=True), world.session)
    world.ok(Rename("/empty", "/full"), world.session)
    world.ok(Mkdir("/top"), world.session)
    world.ok(Rename("/full", "/top/full"), world.session)
    assert world.error(Remove("/top", recursive=True), world.session) == "Held"
    with world.view() as view:
        for path in ("/", "/top", "/top/full", "/top/full/log"):
            below = tail_reads.tails_below(view, view.resolve(path).inode_id, 9)
            assert [inode_id for inode_id, _ in below] == [log]
        assert tail_reads.tails_below(view, 99, 9) == []
    world.seal(world.tail_id, 5)
    world.ok(Remove("/top", recursive=True), world.session)
    world.check()


def test_a_directory_of_an_older_release_may_hold_any_tail() -> None:
    """Its row does not say where it lies, so a tail in it counts as below everything."""
    world = World()
    transaction = world.kv.begin()
    key = tables.id_key(world.inode("/d"))
    row = tables.INODES.decode(transaction.get(tables.INODES.table, key))
    old = msgspec.structs.replace(row, parent=0)
    transaction.put(tables.INODES.table, key, tables.INODES.encode(old))
    transaction.commit()
    world.file(world.session, "/empty/z")
    assert world.error(Remove("/empty", recursive=True), world.session) == "Held"
    world.ok(Rename("/d", "/known"), world.session)
    world.ok(Remove("/empty", recursive=True), world.session)
    assert world.error(Remove("/known", recursive=True), world.session) == "Held"


def test_a_hold_ends_by_the_leader_only_as_it_saw_it() -> None:
    world = World()
    inode_id = world.hold("/x")
    with world.view() as view:
        index = tail_reads.hold_on(view, inode_id).index
    world.hold("/x")
    world.ok(EndHolds(((inode_id, index),)))
    assert world.held() == [inode_id]
    with world.view() as view:
        index = tail_reads.hold_on(view, inode_id).index
    world.ok(EndHolds(((inode_id, index), (99, 1))))
    assert world.held() == []
    world.check()


def test_void_holds_are_swept_with_the_next_one() -> None:
    world = World()
    world.hold("/x", hold_ms=5)
    world.elapsed_ms += 10
    world.hold("/y")
    assert world.held() == [world.inode("/y")]
    world.check()


def test_a_hold_goes_with_what_it_is_on() -> None:
    world = World()
    world.ok(Mkdir("/t"), world.session)
    for path in ("/t/a", "/t/b"):
        world.file(world.session, path)
        world.hold(path)
    top = world.hold("/t")
    world.ok(Remove("/t", recursive=True), world.session)
    assert top not in world.held()
    world.ok(HoldInodes((top,)))  # It waits to be reaped, so it still is there.
    world.ok(ReapStep(200))
    assert world.held() == []
    world.check()


def test_strange_holds_are_refused_or_passed_over(monkeypatch) -> None:
    world = World()
    for command, error in (
        (HoldInodes((-1,)), "InvalidArgument"),
        (HoldInodes((2,), 0), "InvalidArgument"),
        (HoldInodes((2,), HOLD_MS + 1), "InvalidArgument"),
        (HoldInodes((2,) * 251), "LimitExceeded"),
        (EndHolds(((-1, 1),)), "InvalidArgument"),
        (EndHolds(((1, 1),) * 251), "LimitExceeded"),
    ):
        assert world.error(command) == error
    world.ok(HoldInodes((99, 1 << 63)))
    assert world.held() == []
    monkeypatch.setattr(hold_steps, "HOLDS_MAX", 2)
    assert world.error(HoldInodes((1, 2, 3))) == "LimitExceeded"
    assert world.held() == [] and HOLDS_MAX > 1000
    world.check()


def test_a_change_in_the_middle_never_loses_what_was_appended_meanwhile() -> None:
    """The generation stays with appends, so the size has to be compared (F3)."""
    world = World()
    change = replace_log(world, expected_size=10)
    assert world.error(change, world.session) == "Held"
    world.seal(world.tail_id, 20, RecordEntry(SessionId(1), 1, 1, 0, 20))
    assert world.error(change, world.session) == "PreconditionFailed"
    cut = replace_log(world)
    world.ok(cut, world.session)
    with world.view() as view:
        assert view.status("/d/e/log").size == 3
    world.check()
