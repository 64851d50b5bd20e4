"""Policies of directories: who says what, what new files get of it, and that they keep it."""

from __future__ import annotations

import pytest
from state_driver import Driver, empty_file, small_file

from gfs_ha.limits import MIB
from gfs_ha.master.state import policies
from gfs_ha.master.state.commands import PlaceChunk, ReapStep
from gfs_ha.master.state.records import Inode
from gfs_ha.master.state.tail_commands import PlaceTail
from gfs_ha.protocol.metadata import Mkdir, Publish, Remove, Rename
from gfs_ha.protocol.policy import SetPolicy, UnsetPolicy


def inode(driver: Driver, path: str) -> Inode:
    with driver.view() as view:
        found = view.inode(view.resolve(path).inode_id)
    assert found is not None
    return found


def kept(driver: Driver, path: str) -> tuple[int, str, int]:
    """Return how a file and its future chunks are kept."""
    found = inode(driver, path)
    return found.goal, found.rule, found.chunk_bytes


@pytest.fixture
def made() -> tuple[Driver, int]:
    driver = Driver(server_count=5)
    session = driver.open_session()
    driver.ok(Mkdir("/a/b/c", parents=True), session)
    return driver, session


def test_the_nearest_directory_that_says_something_decides_field_by_field(
    made: tuple[Driver, int],
) -> None:
    driver, session = made
    driver.ok(SetPolicy("/", rule="spread"), session)
    driver.ok(SetPolicy("/a", goal=2, chunk_bytes=2 * MIB), session)
    driver.ok(SetPolicy("/a/b", goal=4), session)
    for path in ("/x", "/a/x", "/a/b/x", "/a/b/c/x", "/a/b/c/new/deep/x"):
        driver.ok(Publish((empty_file(path),), make_parents=True), session)
    assert kept(driver, "/x") == (0, "spread", 0)
    assert kept(driver, "/a/x") == (2, "spread", 2 * MIB)
    for path in ("/a/b/x", "/a/b/c/x", "/a/b/c/new/deep/x"):
        assert kept(driver, path) == (4, "spread", 2 * MIB)
    driver.check()


def test_a_file_keeps_what_it_got_when_it_moves_or_the_policy_changes(
    made: tuple[Driver, int],
) -> None:
    driver, session = made
    driver.ok(SetPolicy("/a", goal=2, rule="hdfs"), session)
    driver.ok(Publish((empty_file("/a/x"), empty_file("/a/y", goal=3))), session)
    driver.ok(SetPolicy("/a", goal=5), session)
    driver.ok(Rename("/a/x", "/x"), session)
    assert kept(driver, "/x") == (2, "hdfs", 0)
    assert kept(driver, "/a/y") == (3, "hdfs", 0), "who asked for a goal gets it"
    driver.ok(Rename("/a", "/moved"), session)
    driver.ok(Publish((empty_file("/moved/z"),)), session)
    assert kept(driver, "/moved/z") == (5, "hdfs", 0), "a directory takes its policy along"
    driver.ok(Publish((empty_file("/moved/y"),)), session)
    assert kept(driver, "/moved/y") == (5, "hdfs", 0), "new content, as of a new file"
    driver.check()


def test_a_field_is_left_to_the_directories_above_and_all_of_them_with_unset(
    made: tuple[Driver, int],
) -> None:
    driver, session = made
    driver.ok(SetPolicy("/a", goal=2, rule="spread"), session)
    driver.ok(SetPolicy("/a", goal=0), session)
    driver.ok(Publish((empty_file("/a/x"),)), session)
    assert kept(driver, "/a/x") == (0, "spread", 0)
    driver.ok(UnsetPolicy("/a"), session)
    driver.ok(UnsetPolicy("/a"), session)
    driver.ok(Publish((empty_file("/a/y"),)), session)
    assert kept(driver, "/a/y") == (0, "", 0)
    driver.ok(SetPolicy("/a", goal=2), session)
    driver.ok(SetPolicy("/a", goal=0), session)
    driver.ok(SetPolicy("/a", durability="memory"), session)
    with driver.view() as view:
        assert view.counters().policies == 1
    driver.ok(SetPolicy("/a", durability=""), session)
    with driver.view() as view:
        assert view.counters().policies == 0
    driver.check()


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (SetPolicy("/none", goal=2), "NotFound"),
        (SetPolicy("/file", goal=2), "NotADirectory"),
        (SetPolicy("/a", goal=9), "InvalidArgument"),
        (SetPolicy("/a", goal=-1), "InvalidArgument"),
        (SetPolicy("/a", rule="nearby"), "InvalidArgument"),
        (SetPolicy("/a", chunk_bytes=MIB - 65_536), "InvalidArgument"),
        (SetPolicy("/a", chunk_bytes=MIB + 1), "InvalidArgument"),
        (SetPolicy("/a", chunk_bytes=65 * MIB), "InvalidArgument"),
        (SetPolicy("/a", durability="paper"), "InvalidArgument"),
        (UnsetPolicy("/file"), "NotADirectory"),
        (UnsetPolicy("/none"), "NotFound"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(
    made: tuple[Driver, int], command: SetPolicy | UnsetPolicy, error: str
) -> None:
    driver, session = made
    driver.ok(Publish((empty_file("/file"),)), session)
    assert driver.error(command, session) == error
    with driver.view() as view:
        assert view.counters().policies == 0


def test_policies_are_bounded(made: tuple[Driver, int], monkeypatch: pytest.MonkeyPatch) -> None:
    driver, session = made
    monkeypatch.setattr(policies, "POLICIES_MAX", 1)
    driver.ok(SetPolicy("/a", goal=2), session)
    driver.ok(SetPolicy("/a", goal=3), session)
    assert driver.error(SetPolicy("/a/b", goal=2), session) == "LimitExceeded"
    driver.ok(UnsetPolicy("/a"), session)
    driver.ok(SetPolicy("/a/b", goal=2), session)


def test_a_policy_goes_with_its_directory(made: tuple[Driver, int]) -> None:
    driver, session = made
    for path in ("/a", "/a/b", "/a/b/c"):
        driver.ok(SetPolicy(path, goal=2), session)
    driver.ok(Mkdir("/empty"), session)
    driver.ok(SetPolicy("/empty", goal=2), session)
    driver.ok(Remove("/empty"), session)
    driver.ok(Remove("/a", recursive=True), session)
    driver.check()
    for _ in range(5):
        driver.ok(ReapStep(500))
    with driver.view() as view:
        assert view.counters().policies == 0
    driver.check()


def test_a_chunk_is_as_its_file_wants_it_and_a_tail_too(made: tuple[Driver, int]) -> None:
    driver, session = made
    places = tuple((number, 100 + number) for number in range(1, 4))
    allocated = driver.ok(PlaceChunk(places, rule="spread", capacity=2 * MIB), session)
    assert allocated.capacity == 2 * MIB
    driver.ok(SetPolicy("/a", goal=2, rule="hdfs", chunk_bytes=3 * MIB), session)
    file = small_file("/a/x", allocated.chunk_id, 0, 10)
    driver.ok(Publish((file,)), session)
    with driver.view() as view:
        chunk = view.chunk(allocated.chunk_id)
        assert chunk is not None and (chunk.rule, chunk.goal) == ("spread", 3)
    inode_id = driver.file(session, "/a/log")
    tail = driver.ok(PlaceTail(inode_id, places[:2]))
    assert (tail.capacity, tail.goal) == (3 * MIB, 2)
    with driver.view() as view:
        chunk = view.chunk(tail.chunk_id)
        assert chunk is not None and chunk.rule == "hdfs"
    assert driver.error(PlaceChunk(places, rule="nearby"), session) == "InvalidArgument"
    assert driver.error(PlaceChunk(places, capacity=5), session) == "InvalidArgument"
