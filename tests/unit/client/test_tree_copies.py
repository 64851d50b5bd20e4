"""Trees arrive as they are: empty things, modes, times, odd names; the rest is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from little_cluster import LittleCluster, lost

from gfs_ha.client.sync_steps import EQUAL, SyncRule
from gfs_ha.client.transfers import Cancel
from gfs_ha.errors import (
    AlreadyExists,
    Cancelled,
    InvalidArgument,
    NoLeader,
    NotADirectory,
    NotFound,
    UsageError,
)
from gfs_ha.limits import MIB, TIME_NS_MAX


def build(tree: Path) -> None:
    """A tree of what users have."""
    (tree / "empty" / "nested" / "deep").mkdir(parents=True)
    (tree / "zero").write_bytes(b"")
    (tree / "docs").mkdir()
    for number in range(50):
        (tree / "docs" / f"{number}.txt").write_bytes(os.urandom(number * 37))
    (tree / "big").write_bytes(os.urandom(2 * MIB + 3))
    (tree / "100% + a%41b [red]x :smile:").write_bytes(b"odd")
    (tree / ("ü" * 127 + "x")).write_bytes(b"255 bytes")
    (tree / "-rf").write_bytes(b"dash")
    (tree / "link").symlink_to("zero")
    for name, mode in (("zero", 0o600), ("big", 0o444), ("docs", 0o750)):
        os.chmod(tree / name, mode)
    for name, time_ns in (("zero", -86_400 * 10**9 + 5), ("big", 4_000_000_000 * 10**9 + 7)):
        os.utime(tree / name, ns=(time_ns, time_ns))
    os.utime(tree / "docs", ns=(1, 1))
    os.chmod(tree, 0o755)
    os.utime(tree, ns=(3, 3))


def facts(tree: Path) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for path in [tree, *sorted(tree.rglob("*"))]:
        status = path.stat()
        content = path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(tree))] = (status.st_mode, status.st_mtime_ns, content)
    return found


def test_a_tree_comes_back_as_it_was(little: LittleCluster, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    build(tree)
    result = little.client.put_tree(tree, "/tree")
    assert result.complete
    assert result.file_count == 56
    back = little.client.get_tree("/tree", tmp_path / "back", verify=True)
    assert back.complete
    assert (back.file_count, back.directory_count) == (56, result.directory_count)
    assert facts(tmp_path / "back") == facts(tree)


def test_a_tree_is_right_although_one_server_lies(little: LittleCluster, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    build(tree)
    little.client.put_tree(tree, "/tree")
    for number, place in enumerate(little.masters.locations()):
        little.plane.flipping = {place.server_id}
        assert little.client.get_tree("/tree", tmp_path / f"back{number}").complete
        assert facts(tmp_path / f"back{number}") == facts(tree)


def test_a_second_copy_goes_where_cp_puts_it(little: LittleCluster, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "a").write_bytes(b"1")
    little.client.put_tree(tree, "/x")
    assert [e.name for e in little.client.listdir("/x")] == ["a", "sub"]
    little.client.put_tree(tree, "/x")
    little.client.put_tree(tree, "/x")  # And again: it is merged, like cp -r.
    assert [e.name for e in little.client.listdir("/x")] == ["a", "sub", "tree"]
    little.client.get_tree("/x", tmp_path / "y")
    little.client.get_tree("/x", tmp_path / "y")
    assert sorted(os.listdir(tmp_path / "y")) == ["a", "sub", "tree", "x"]


def test_what_cannot_be_copied_is_named_and_the_rest_arrives(
    little: LittleCluster, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "good").write_bytes(b"good")
    (tree / "sub").mkdir()
    (tree / "link").symlink_to("sub")
    (tree / "dangling").symlink_to("nowhere")
    os.mkfifo(tree / "fifo")
    os.close(os.open(os.fsencode(tree) + b"/caf\xe9", os.O_CREAT | os.O_WRONLY))
    result = little.client.put_tree(tree, "/tree")
    assert result.file_count == 1
    problems = {os.path.basename(problem.path): problem.error for problem in result.problems}
    assert set(problems) == {"link", "dangling", "fifo", "caf\\xe9"}
    assert isinstance(problems["dangling"], NotFound)
    assert [e.name for e in little.client.listdir("/tree")] == ["good", "sub"]


def test_a_time_beyond_what_the_cluster_keeps_stops_no_file(
    little: LittleCluster, tmp_path: Path
) -> None:
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    for name in ("late", "fine", "sub"):
        path = tmp_path / "tree" / name
        if name != "sub":
            path.write_bytes(b"x")
        years = 3000 if name != "fine" else 10
        os.utime(path, ns=(0, years * 366 * 86_400 * 10**9))
    put = little.client.put_tree(tmp_path / "tree", "/tree")
    assert (put.problems, put.file_count) == ([], 2)
    little.client.put(tmp_path / "tree" / "late", "/late")
    assert little.client.stat("/late").mtime_ns <= TIME_NS_MAX
    again = little.client.trees.sync(str(tmp_path / "tree"), "/tree", SyncRule(True, False, False))
    assert {step.action for step in again.plan()} == {EQUAL}


def test_what_no_message_can_carry_fails_at_once(little: LittleCluster, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    with pytest.raises(InvalidArgument):
        little.client.put(tmp_path / "f", "/f", replicas=1 << 70)
    with pytest.raises(InvalidArgument):
        little.client.set_attributes("/", mtime_ns=1 << 70)


def test_only_what_lies_below_is_taken(little: LittleCluster, tmp_path: Path) -> None:
    for name in ("lib", "lib2", "library"):
        little.client.mkdir(f"/{name}")
        little.client.write_bytes(f"/{name}/{name}", b"x")
    little.client.get_tree("/lib", tmp_path / "lib")
    assert os.listdir(tmp_path / "lib") == ["lib"]
    with pytest.raises(NotFound):
        little.client.get_tree("/li", tmp_path / "li")
    little.client.remove("/lib", recursive=True)
    assert [e.name for e in little.client.listdir("/")] == ["lib2", "library"]


def test_kinds_that_do_not_fit_are_refused(little: LittleCluster, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "dir").mkdir()
    little.client.write_bytes("/file", b"x")
    little.client.mkdir("/dir")
    with pytest.raises(AlreadyExists):
        little.client.put_tree(tmp_path / "dir", "/file")
    with pytest.raises(NotADirectory):
        little.client.put_tree(tmp_path / "file", "/dir")
    with pytest.raises(NotADirectory):
        little.client.get_tree("/file", tmp_path / "new")
    with pytest.raises(AlreadyExists):
        little.client.get_tree("/dir", tmp_path / "file")
    with pytest.raises(NotFound):
        little.client.put_tree(tmp_path / "missing", "/dir")
    with pytest.raises(NotFound):
        little.client.put_tree(tmp_path / "dir", "/no/such")
    with pytest.raises(UsageError):
        little.client.put_tree(tmp_path / "dir", "/dir", jobs=0)
    assert not list(little.client.listdir("/dir"))


def test_a_file_in_the_way_of_a_directory_is_one_problem_of_many(
    little: LittleCluster, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "inside").write_bytes(b"1")
    (tree / "good").write_bytes(b"2")
    little.client.mkdir("/x")
    little.client.mkdir("/x/tree")
    little.client.write_bytes("/x/tree/sub", b"in the way")
    result = little.client.put_tree(tree, "/x")
    assert {os.path.basename(problem.path) for problem in result.problems} == {"sub", "inside"}
    assert little.client.read_bytes("/x/tree/good") == b"2"
    assert little.client.read_bytes("/x/tree/sub") == b"in the way"


def test_if_absent_keeps_each_file_that_is_there(little: LittleCluster, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "old").write_bytes(b"new")
    (tree / "new").write_bytes(b"new")
    little.client.mkdir("/x")
    little.client.mkdir("/x/tree")
    little.client.write_bytes("/x/tree/old", b"old")
    result = little.client.put_tree(tree, "/x", if_absent=True)
    assert [os.path.basename(problem.path) for problem in result.problems] == ["old"]
    assert little.client.read_bytes("/x/tree/old") == b"old"
    assert little.client.read_bytes("/x/tree/new") == b"new"


def test_lost_answers_double_nothing(little: LittleCluster, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    build(tree)
    for number in range(40):
        little.masters.after.append(lost if number % 3 == 0 else lambda name, asked: None)
    assert little.client.put_tree(tree, "/tree").complete
    little.client.get_tree("/tree", tmp_path / "back")
    assert facts(tmp_path / "back") == facts(tree)


def test_a_cancelled_tree_ends_soon_with_whole_files(little: LittleCluster, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(300):
        (tree / f"{number}").write_bytes(b"whole")
    cancel = Cancel()

    class CancelSoon:
        def __init__(self) -> None:
            self.count = 0

        def expect(self, files: int, size: int) -> None: ...
        def moved(self, size: int) -> None: ...
        def finished(self, path: str) -> None:
            self.count += 1
            if self.count == 20:
                cancel.set()

    with pytest.raises(Cancelled):
        little.client.put_tree(tree, "/tree", cancel=cancel, progress=CancelSoon())
    for entry in little.client.listdir("/tree"):
        assert little.client.read_bytes(f"/tree/{entry.name}") == b"whole"


def test_a_tree_without_a_leader_fails_as_a_whole(tmp_path: Path) -> None:
    little = LittleCluster(timeout_s=0.3)
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a").write_bytes(b"1")
    little.masters.leader = ""
    with pytest.raises(NoLeader):
        little.client.put_tree(tree, "/tree")
    little.close()
