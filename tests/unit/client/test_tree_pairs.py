"""Two trees side by side: every name once and in order, whatever vanishes meanwhile."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gfs_ha.client.globs import Globs
from gfs_ha.client.local_tree import root_of
from gfs_ha.client.transfers import Problem
from gfs_ha.client.tree_pairs import Pair, TreePairs
from gfs_ha.client.tree_walk import Left, Lost, Name, Step
from gfs_ha.errors import NotFound
from gfs_ha.ids import InodeId
from gfs_ha.protocol.metadata import DIRECTORY, FILE, DirectoryEntry, FileStatus

Kinds = dict[str, str]  # Name -> kind.


def status(kind: str) -> FileStatus:
    return FileStatus(InodeId(1), kind, 0, 0o644, "", "", 0)


def remote_steps(tree: Kinds, lost: str = "-") -> Iterator[Step]:
    """Yield the steps of a walk through a tree below /r; `lost` vanishes before its names."""
    for name in sorted(tree, key=lambda one: one.split("/")):
        above, _, last = name.rpartition("/")
        if above == lost or above.startswith(f"{lost}/"):
            continue
        entry = DirectoryEntry(last, status(tree[name]))
        yield Name(f"/r/{name}", entry, name.count("/") + 1)
        if name == lost:
            yield Lost(f"/r/{name}", name.count("/") + 1, NotFound("it is gone"))
    yield Left("/r", 0)


def write(tree: Kinds, root: Path) -> Pair:
    root.mkdir()
    for name in sorted(tree):
        if tree[name] == DIRECTORY:
            (root / name).mkdir()
        else:
            (root / name).touch()
    return Pair("", root_of(str(root)), status(DIRECTORY))


def pairs(tree: Kinds, lost: str = "-", globs: Globs | None = None) -> TreePairs:
    return TreePairs(
        lambda path: remote_steps(tree, lost), lambda path: status(FILE), "/r", globs or Globs()
    )


@st.composite
def kinds(draw: st.DrawFn) -> Kinds:
    found: Kinds = {}
    for _ in range(draw(st.integers(0, 10))):
        folders = ["", *(name for name, kind in found.items() if kind == DIRECTORY)]
        above = draw(st.sampled_from(folders))
        name = draw(st.sampled_from(("a", "a!", "a.b", "b", "é", "\U0010ffff")))
        kind = draw(st.sampled_from((FILE, DIRECTORY)))
        found.setdefault(f"{above}/{name}" if above else name, kind)
    return found


def conflicts(here: Kinds, there: Kinds) -> set[str]:
    return {name for name in here.keys() & there.keys() if here[name] != there[name]}


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kinds(), kinds())
def test_every_name_is_told_once_and_in_order(tmp_path: Path, here: Kinds, there: Kinds) -> None:
    root = write(here, tmp_path / "t")
    try:
        found = [one for one in pairs(there).walk(root) if isinstance(one, Pair)]
    finally:
        shutil.rmtree(tmp_path / "t")
    names = [one.name for one in found]
    assert names == sorted(set(names), key=lambda name: name.split("/"))
    hidden = {
        name
        for name in here.keys() | there.keys()
        if any(name.startswith(f"{above}/") for above in conflicts(here, there))
    }
    assert set(names) == (here.keys() | there.keys()) - hidden
    for one in found:
        assert (one.local_kind, one.remote_kind) == (
            *(here.get(one.name, ""), there.get(one.name, "")),
        )


HERE = {"a": FILE, "b": DIRECTORY, "b/x": FILE, "c": FILE, "d": DIRECTORY, "d/e": FILE}
THERE = {"b": DIRECTORY, "b/y": FILE, "b/z": DIRECTORY, "b/z/q": FILE, "c": FILE, "d": DIRECTORY}


def told(found: list[Pair | Problem]) -> list[str]:
    return [one.name if isinstance(one, Pair) else f"! {one.path}" for one in found]


def test_below_a_local_directory_that_vanished_nothing_is_told(tmp_path: Path) -> None:
    walk = pairs(THERE).walk(write(HERE, tmp_path / "t"))
    found = [next(walk)]
    shutil.rmtree(tmp_path / "t" / "b")
    found += list(walk)
    assert told(found) == ["a", "b", f"! {tmp_path}/t/b", "c", "d", "d/e"]


def test_below_a_remote_directory_that_vanished_nothing_is_told(tmp_path: Path) -> None:
    walk = pairs(THERE, lost="b").walk(write(HERE, tmp_path / "t"))
    assert told(list(walk)) == ["a", "b", "! /r/b", "c", "d", "d/e"]


def test_what_was_told_before_a_directory_vanished_stays_told(tmp_path: Path) -> None:
    def steps(path: str) -> Iterator[Step]:
        for name in ("b", "b/m"):
            kind = DIRECTORY if name == "b" else FILE
            yield Name(f"/r/{name}", DirectoryEntry(name, status(kind)), 1)
        yield Lost("/r/b", 1, NotFound("it is gone"))
        yield Name("/r/c", DirectoryEntry("c", status(FILE)), 1)

    here = {"b": DIRECTORY, "b/a": FILE, "b/n": FILE, "c": FILE}
    walk = TreePairs(steps, lambda path: status(FILE), "/r", Globs())
    found = list(walk.walk(write(here, tmp_path / "t")))
    # Of b/n nobody knows whether it is missing there.
    assert told(found) == ["b", "b/a", "b/m", "! /r/b", "c"]


def test_a_tree_on_one_side_alone_is_told_whole(tmp_path: Path) -> None:
    root = write(HERE, tmp_path / "t")
    alone = pairs({}).walk(Pair("", root.local, None))
    assert told(list(alone)) == sorted(HERE)
    remote = pairs(THERE).walk(Pair("", None, root.remote))
    assert told(list(remote)) == sorted(THERE)


def test_what_globs_leave_out_is_told_on_neither_side(tmp_path: Path) -> None:
    globs = Globs(includes=("x", "q", "e"), excludes=("/d/", "z/"))
    walk = pairs(THERE, globs=globs).walk(write(HERE, tmp_path / "t"))
    assert told(list(walk)) == ["b", "b/x"]
