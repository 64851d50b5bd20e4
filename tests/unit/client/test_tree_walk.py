"""A walk tells every name once, in order, holds little, and goes on when directories vanish."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from gfs_ha.client import tree_walk
from gfs_ha.client.tree_walk import Left, Lost, Name, TreeWalk
from gfs_ha.errors import NotADirectory, NotFound
from gfs_ha.ids import InodeId
from gfs_ha.protocol.calls import Asked, Reply
from gfs_ha.protocol.codec import failure
from gfs_ha.protocol.metadata import (
    DIRECTORY,
    FILE,
    DirectoryEntry,
    FileStatus,
    ListDirectory,
    Listing,
)

Tree = dict[str, Any]  # A directory by its names; a file is the number of its bytes.


class Lister:
    """Lists a tree of this process as masters do, page by page."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.calls: list[list[ListDirectory]] = []
        self.before: Callable[[ListDirectory], None] = lambda request: None

    def __call__(self, asked: Sequence[Asked]) -> list[Reply]:
        requests = [one.request for one in asked]
        assert all(isinstance(one, ListDirectory) for one in requests)
        self.calls.append(requests)  # type: ignore[arg-type]
        return [self._listing(one) for one in requests]  # type: ignore[arg-type]

    def _listing(self, request: ListDirectory) -> Reply:
        self.before(request)
        found: Any = self.tree
        for name in request.path.split("/")[1:]:
            if name and not isinstance(found, dict):
                return failure(NotADirectory(f"{request.path} is below a file"))
            if name and name not in found:
                return failure(NotFound(f"{request.path} does not exist"))
            found = found[name] if name else found
        if not isinstance(found, dict):
            return failure(NotADirectory(f"{request.path} is a file"))
        names = sorted((one for one in found if one > request.after), key=str.encode)
        entries = tuple(DirectoryEntry(one, status(found[one])) for one in names[: request.limit])
        return Listing(entries, more=len(names) > request.limit)


def status(content: Any) -> FileStatus:
    if isinstance(content, dict):
        facts = (0o755, "", "", 0)
        return FileStatus(InodeId(1), DIRECTORY, 0, *facts, entry_count=len(content))
    return FileStatus(InodeId(1), FILE, content, 0o644, "", "", 0)


def paths(tree: Tree, above: str = "") -> Iterator[str]:
    for name in sorted(tree, key=str.encode):
        yield f"{above}/{name}"
        if isinstance(tree[name], dict):
            yield from paths(tree[name], f"{above}/{name}")


def told(walk: TreeWalk) -> list[str]:
    return [step.path for step in walk.steps() if isinstance(step, Name)]


TREE: Tree = {"a": {"b": {"c": 1}, "d": {}, "e": 2}, "f": 3, "g": {"h": 4}}


def test_names_come_in_order_each_directory_before_its_own() -> None:
    assert told(TreeWalk(Lister(TREE), "/")) == [
        *("/a", "/a/b", "/a/b/c", "/a/d", "/a/e", "/f", "/g", "/g/h")
    ]
    assert told(TreeWalk(Lister(TREE), "/a")) == ["/a/b", "/a/b/c", "/a/d", "/a/e"]


def test_the_last_name_of_each_directory_is_known_when_it_is_told() -> None:
    steps = [step for step in TreeWalk(Lister(TREE), "/").steps() if isinstance(step, Name)]
    assert [step.path for step in steps if step.last] == ["/a/b/c", "/a/e", "/g", "/g/h"]


def test_a_directory_is_left_after_all_below_it() -> None:
    steps = list(TreeWalk(Lister(TREE), "/").steps())
    left = [(step.path, step.depth) for step in steps if isinstance(step, Left)]
    assert left == [("/a/b", 2), ("/a/d", 2), ("/a", 1), ("/g", 1), ("/", 0)]


def test_a_walk_goes_no_deeper_than_it_is_told() -> None:
    assert told(TreeWalk(Lister(TREE), "/", depth_max=1)) == ["/a", "/f", "/g"]
    lister = Lister(TREE)
    assert told(TreeWalk(lister, "/", depth_max=0)) == [] and lister.calls == []


def test_names_that_are_not_wanted_do_not_hide_which_is_the_last() -> None:
    walk = TreeWalk(Lister(TREE), "/", wanted=lambda entry: entry.status.kind == DIRECTORY)
    steps = [step for step in walk.steps() if isinstance(step, Name)]
    assert [(step.path, step.last) for step in steps] == [
        *(("/a", False), ("/a/b", False), ("/a/d", True), ("/g", True))
    ]


def test_small_directories_beside_each_other_are_asked_for_together() -> None:
    lister = Lister({f"d{number:03d}": {"x": 1, "y": 2} for number in range(160)})
    assert len(told(TreeWalk(lister, "/"))) == 480
    assert len(lister.calls) == 1 + 10


def test_a_long_directory_is_read_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_walk, "LIST_PAGE_DEFAULT", 100)
    tree: Tree = {"many": {f"n{number:04d}": 1 for number in range(450)}, "z": {}}
    lister = Lister(tree)
    assert told(TreeWalk(lister, "/")) == list(paths(tree))
    assert max(one.limit for call in lister.calls for one in call) <= 1000


def test_what_is_held_has_a_limit_and_no_name_is_lost_by_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tree_walk, "HELD_MAX", 50)
    monkeypatch.setattr(tree_walk, "LIST_PAGE_DEFAULT", 30)
    tree: Tree = {"f": 1}
    for _ in range(8):
        tree = {f"{letter}{number:02d}": 1 for letter in "az" for number in range(25)} | {
            "m": tree,
            "n": {f"{number:02d}": 1 for number in range(70)},
        }
    walk = TreeWalk(Lister(tree), "/")
    found: list[str] = []
    for step in walk.steps():
        held = sum(level.held() for level in walk._stack)
        assert held <= 50 + 2 * 30 + tree_walk._AHEAD * tree_walk._AHEAD_PAGE
        if isinstance(step, Name):
            found.append(step.path)
    assert found == list(paths(tree))


def test_a_directory_that_vanishes_is_told_and_the_others_go_on() -> None:
    lister = Lister({"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1}})

    def vanish(request: ListDirectory) -> None:
        if request.path == "/a":
            lister.tree = {name: below for name, below in lister.tree.items() if name != "b"}

    lister.before = vanish
    steps = list(TreeWalk(lister, "/").steps())
    assert [step.path for step in steps if isinstance(step, Lost)] == ["/b"]
    assert [step.path for step in steps if isinstance(step, Left)] == ["/a", "/b", "/c", "/"]
    assert [step.path for step in steps if isinstance(step, Name)] == [
        *("/a", "/a/x", "/b", "/c", "/c/x")
    ]


def test_a_directory_that_vanishes_between_two_pages_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tree_walk, "_AHEAD_PAGE", 3)
    lister = Lister({"a": dict.fromkeys("opqrst", 1), "b": {"x": 1}})

    def vanish(request: ListDirectory) -> None:
        if request.path == "/a" and request.after:
            lister.tree = {"b": lister.tree["b"]}

    lister.before = vanish
    steps = list(TreeWalk(lister, "/").steps())
    names = [(step.path, step.last) for step in steps if isinstance(step, Name)]
    assert names[1:4] == [("/a/o", False), ("/a/p", False), ("/a/q", False)]
    assert [step.path for step in steps if isinstance(step, Lost)] == ["/a"]
    assert names[-1] == ("/b/x", True)


def test_a_directory_that_vanishes_before_it_is_read_again_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tree_walk, "HELD_MAX", 20)
    many = {f"{number:02d}": 1 for number in range(50)}
    lister = Lister({"a": {"many": many, "x": 1}, "b": {"x": 1}})

    def vanish(request: ListDirectory) -> None:
        if (request.path, request.after) == ("/a", "many"):
            lister.tree = {"b": lister.tree["b"]}

    lister.before = vanish
    steps = list(TreeWalk(lister, "/").steps())
    names = [step.path for step in steps if isinstance(step, Name)]
    assert "/a/many/49" in names and "/a/x" not in names and names[-1] == "/b/x"
    assert [step.path for step in steps if isinstance(step, Lost)] == ["/a"]


def test_a_directory_that_became_a_file_is_told_as_lost() -> None:
    lister = Lister({"a": {"x": 1}, "b": 1})
    lister.before = lambda request: (
        lister.tree.update({"a": 5}) if request.path == "/a" else None  # type: ignore[func-returns-value]
    )
    steps = list(TreeWalk(lister, "/").steps())
    assert [type(step) for step in steps] == [Name, Lost, Left, Name, Left]


def test_a_top_that_is_not_there_is_an_error() -> None:
    with pytest.raises(NotFound):
        list(TreeWalk(Lister(TREE), "/none").steps())
    with pytest.raises(NotADirectory):
        list(TreeWalk(Lister(TREE), "/f").steps())
