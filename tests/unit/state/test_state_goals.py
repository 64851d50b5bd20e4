"""How many copies the chunks of files want: changed in steps, never less than a file wants."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from state_driver import Driver, small_file

from gfs_ha.ids import ChunkId
from gfs_ha.master.state import goals
from gfs_ha.master.state.commands import FitGoals, ReapStep
from gfs_ha.protocol.extents import StageCopy
from gfs_ha.protocol.metadata import (
    Extent,
    FinishChunk,
    Mkdir,
    Publish,
    PublishFile,
    Remove,
    StageExtents,
)
from gfs_ha.protocol.policy import SetPolicy, SetReplication
from gfs_ha.protocol.records import RecordEntry


class House:
    """Five servers, a session, and files of 10 bytes in chunks."""

    def __init__(self) -> None:
        self.driver = Driver(server_count=5)
        self.session = self.driver.open_session()
        self.driver.ok(Mkdir("/five"), self.session)
        self.driver.ok(SetPolicy("/five", goal=5), self.session)

    def chunk(self, paths: tuple[str, ...], sealed: bool = True, **how: object) -> ChunkId:
        """Return a chunk with a file of each path in it, one after the other."""
        chunk_id = self.driver.chunk(self.session, **how).chunk_id
        for number, path in enumerate(paths):
            self.publish(small_file(path, chunk_id, 10 * number, 10))
        if sealed:
            self.seal(chunk_id, 10 * len(paths))
        return chunk_id

    def seal(self, chunk_id: ChunkId, length: int) -> None:
        with self.driver.view() as view:
            chunk = view.chunk(chunk_id)
            assert chunk is not None
        holders = tuple(one.server_id for one in chunk.replicas)
        self.driver.ok(FinishChunk(chunk_id, length, 1, holders), self.session)

    def publish(self, file: PublishFile) -> None:
        (made,) = self.driver.ok(Publish((file,)), self.session).files
        assert not made.error, made

    def copy(self, source: str, target: str) -> None:
        staged = self.driver.ok(StageCopy(source, 0, 1 << 40), self.session)
        self.publish(PublishFile(target, staged.copied, 0o644, 1, content_id=staged.content_id))

    def wants(self, path: str, goal: int) -> None:
        self.driver.ok(SetReplication(path, goal), self.session)

    def goal(self, chunk_id: ChunkId) -> int:
        with self.driver.view() as view:
            chunk = view.chunk(chunk_id)
        assert chunk is not None
        return chunk.goal

    def fit(self, chunks_max: int = 100) -> int:
        """Go on until nothing is left to fit; return in how many steps."""
        for step in range(100):
            with self.driver.view() as view:
                if not view.counters().fits:
                    return step
            self.driver.ok(FitGoals(chunks_max))
            self.driver.check()
        raise AssertionError("it does not come to an end")


def test_more_and_fewer_copies_are_wanted_of_what_is_there() -> None:
    house = House()
    chunk_id = house.chunk(("/x",))
    for goal in (5, 4, 1, 3, 2, 0):
        house.wants("/x", goal)
        house.fit()
        assert house.goal(chunk_id) == (goal or 3)
        with house.driver.view() as view:
            chunk = view.chunk(chunk_id)
            assert chunk is not None and chunk.min_copies <= chunk.goal
            assert view.status("/x").goal == (goal or 3)


def test_a_chunk_that_files_share_takes_the_largest_goal() -> None:
    house = House()
    chunk_id = house.chunk(("/x", "/y", "/z"))
    house.wants("/x", 5)
    house.fit()
    assert house.goal(chunk_id) == 5
    house.wants("/y", 1)
    house.wants("/z", 4)
    house.fit()
    assert house.goal(chunk_id) == 5
    house.wants("/x", 2)
    house.fit()
    assert house.goal(chunk_id) == 4
    house.wants("/z", 1)
    house.fit()
    assert house.goal(chunk_id) == 2


def test_a_file_of_many_chunks_is_fitted_in_bounded_steps() -> None:
    house = House()
    content_id, chunks = 0, []
    for number in range(25):
        chunk_id = house.driver.chunk(house.session).chunk_id
        house.seal(chunk_id, 10)
        chunks.append(chunk_id)
        extent = Extent(10 * number, chunk_id, 0, 10, 7)
        staged = house.driver.ok(StageExtents(content_id, (extent,)), house.session)
        content_id = staged.content_id
    house.publish(PublishFile("/big", 250, 0o644, 1, content_id=content_id))
    house.wants("/big", 4)
    assert house.fit(chunks_max=10) == 3
    assert [house.goal(one) for one in chunks] == [4] * 25
    house.wants("/big", 2)
    house.driver.ok(FitGoals(10))
    house.wants("/big", 5)  # Changed again in the middle: from the beginning.
    house.fit(chunks_max=10)
    assert [house.goal(one) for one in chunks] == [5] * 25


def test_many_references_are_looked_at_in_bounded_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(goals, "REFERENCES_PER_STEP", 4)
    house = House()
    paths = tuple(f"/f{number:02}" for number in range(21))
    chunk_id = house.chunk(paths)
    house.wants(paths[0], 2)
    assert house.fit() <= 3, "the next reference wants three copies: no need to look on"
    for path in paths[1:]:
        house.wants(path, 2)
    house.fit()
    assert house.goal(chunk_id) == 2


def test_a_reference_that_comes_meanwhile_is_looked_at_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(goals, "REFERENCES_PER_STEP", 2)
    house = House()
    paths = tuple(f"/f{number}" for number in range(6))
    chunk_id = house.chunk(paths)
    for path in paths:
        house.wants(path, 1)
    house.driver.ok(FitGoals(100))
    house.driver.ok(FitGoals(100))
    assert house.goal(chunk_id) == 3, "it is in the middle of its references"
    house.wants("/f0", 2)  # That one was passed already.
    house.fit()
    assert house.goal(chunk_id) == 2
    for path in paths:
        house.wants(path, 1)
    house.driver.ok(FitGoals(100))
    house.copy("/f0", "/five/copy")
    house.fit()
    assert house.goal(chunk_id) == 5


@pytest.mark.parametrize("change", ["copied", "wants the old goal again", "staged before"])
def test_a_reference_behind_the_look_keeps_the_goal_that_it_wants(
    change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(goals, "REFERENCES_PER_STEP", 2)
    house = House()
    paths = tuple(f"/f{number}" for number in range(6))
    chunk_id = house.chunk(paths)
    for path in paths:
        house.wants(path, 1)
    house.driver.ok(FitGoals(100))
    house.driver.ok(FitGoals(100))  # The first references were looked at, and want one copy.
    staged = None
    if change == "copied":
        house.copy("/f0", "/copy")
    elif change == "staged before":
        staged = house.driver.ok(StageCopy("/f0", 0, 10), house.session)
    else:
        house.wants("/f0", 3)
    house.fit()
    if staged is not None:
        house.publish(PublishFile("/copy", 10, 0o644, 1, content_id=staged.content_id))
    house.driver.check()
    assert house.goal(chunk_id) == 3


def test_an_open_chunk_is_raised_at_once_and_lowered_once_it_is_sealed() -> None:
    house = House()
    chunk_id = house.chunk(("/x",), sealed=False)
    house.wants("/x", 5)
    house.fit()
    assert house.goal(chunk_id) == 5
    house.wants("/x", 1)
    house.driver.ok(FitGoals(100))
    house.driver.ok(FitGoals(100))
    assert house.goal(chunk_id) == 5
    house.seal(chunk_id, 10)
    house.fit()
    assert house.goal(chunk_id) == 1
    with house.driver.view() as view:
        assert view.surplus_chunks(ChunkId(0), 9), "the planner of the surplus sees it"


def test_files_that_are_put_together_raise_the_goals_of_the_chunks_they_share() -> None:
    house = House()
    plain, two = house.chunk(("/x",)), house.chunk(("/y",), copies=2, goal=2)
    house.copy("/x", "/five/x")  # A copy wants what its directory says.
    house.copy("/y", "/z")
    house.driver.check()
    house.fit()
    assert (house.goal(plain), house.goal(two)) == (5, 3)
    house.driver.ok(Remove("/five/x"), house.session)
    house.driver.ok(ReapStep(500))
    house.wants("/x", 3)
    house.fit()
    assert house.goal(plain) == 3


def test_a_small_file_in_a_shared_chunk_is_never_below_what_it_wants() -> None:
    house = House()
    chunk_id = house.chunk(("/x",), sealed=False)
    house.publish(small_file("/five/y", chunk_id, 10, 10))  # Its writer knew of no policy.
    assert house.goal(chunk_id) == 5
    house.driver.check()


def test_what_was_appended_gets_the_goal_that_the_file_has_by_then() -> None:
    house = House()
    inode_id = house.driver.file(house.session, "/log")
    chunk_id = house.driver.tail("/log")
    house.wants("/log", 4)
    house.driver.seal(chunk_id, 10, RecordEntry(house.session, 1, 1, 0, 10))
    assert inode_id and house.goal(chunk_id) == 4
    chunk_id = house.driver.tail("/log")
    house.wants("/log", 1)
    house.driver.seal(chunk_id, 10, RecordEntry(house.session, 2, 2, 0, 10))
    house.fit()
    assert house.goal(chunk_id) == 1


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (SetReplication("/none", 2), "NotFound"),
        (SetReplication("/five", 2), "IsADirectory"),
        (SetReplication("/x", 9), "InvalidArgument"),
        (SetReplication("/x", -1), "InvalidArgument"),
    ],
)
def test_a_goal_that_cannot_be_is_refused(command: SetReplication, error: str) -> None:
    house = House()
    house.chunk(("/x",))
    assert house.driver.error(command, house.session) == error
    assert house.driver.error(FitGoals(0)) == "InvalidArgument"


def test_a_content_that_is_replaced_amid_it_raises_nothing_any_more() -> None:
    house = House()
    chunk_id = house.chunk(("/x", "/y"))
    other = house.chunk(("/z",), sealed=False)
    house.wants("/x", 5)
    house.publish(small_file("/x", other, 10, 10))
    house.driver.check()
    house.fit()
    assert (house.goal(chunk_id), house.goal(other)) == (3, 3)


def test_a_file_that_is_removed_amid_it_is_forgotten() -> None:
    house = House()
    house.chunk(("/x", "/y"))
    house.wants("/x", 5)
    house.driver.ok(Remove("/x"), house.session)
    house.driver.ok(ReapStep(500))
    house.driver.check()
    assert house.fit() == 0


def test_a_chunk_falls_when_the_file_is_removed_that_wanted_more_copies() -> None:
    house = House()
    chunk_id = house.chunk(("/x", "/y", "/z"))
    house.wants("/y", 5)
    house.wants("/z", 4)
    house.fit()
    assert house.goal(chunk_id) == 5
    house.driver.ok(Remove("/y"), house.session)
    house.driver.ok(ReapStep(500))
    house.driver.check()
    house.fit()
    assert house.goal(chunk_id) == 4
    other = house.chunk(("/other",))
    house.publish(small_file("/z", other, 0, 10))
    house.driver.ok(ReapStep(500))
    house.fit()
    assert house.goal(chunk_id) == 3


def test_of_files_that_want_the_same_none_that_goes_has_anything_looked_at() -> None:
    house = House()
    house.chunk(("/x", "/y", "/z"))
    house.driver.ok(Remove("/x"), house.session)
    house.driver.ok(ReapStep(500))
    assert house.fit() == 0


FILES = ("/a", "/b", "/c", "/five/d")
CHANGES = st.one_of(
    st.tuples(st.just("wants"), st.sampled_from(FILES), st.integers(0, 5)),
    st.tuples(st.just("copy"), st.sampled_from(FILES), st.sampled_from(FILES)),
    st.tuples(st.just("fit"), st.integers(1, 4), st.just(0)),
    st.tuples(st.just("remove"), st.sampled_from(FILES), st.just(0)),
    st.tuples(st.just("reap"), st.sampled_from((32, 1000)), st.just(0)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(CHANGES, max_size=25))
def test_in_the_end_every_chunk_has_the_largest_goal_of_its_files(changes: list) -> None:
    house = House()
    chunks = [house.chunk(("/a", "/b")), house.chunk(("/c", "/five/d"))]
    removed: set[str] = set()
    for kind, first, second in changes:
        if kind == "wants" and first not in removed:
            house.wants(first, second)
        elif kind == "copy" and first != second and first not in removed:
            house.copy(first, second)
            removed.discard(second)
        elif kind == "remove" and first not in removed:
            house.driver.ok(Remove(first), house.session)
            removed.add(first)
        elif kind == "reap":
            house.driver.ok(ReapStep(first))
        elif kind == "fit":
            house.driver.ok(FitGoals(first))
        house.driver.check()
    for _ in range(3):
        house.driver.ok(ReapStep(1000))
    house.fit()
    with house.driver.view() as view:
        there = [view.status(path) for path in FILES if path not in removed]
        for chunk_id in chunks:
            wanted = [
                status.goal
                for status in there
                if any(one.chunk_id == chunk_id for one in view.extents(status.content_id))
            ]
            chunk = view.chunk(chunk_id)
            assert chunk is None or not wanted or chunk.goal == max(wanted)
