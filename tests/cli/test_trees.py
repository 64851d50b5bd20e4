"""Trees there and back: empties, targets that exist, names that begin alike, times and modes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from gfsctl_program import Gfsctl


def facts(tree: Path) -> dict[str, tuple[int, int, bytes | None]]:
    """Return mode, mtime and bytes of everything in a tree (mtime of files only)."""
    found = {}
    for path in sorted([tree, *tree.rglob("*")]):
        status = path.stat()
        name = str(path.relative_to(tree))
        content = None if path.is_dir() else path.read_bytes()
        found[name] = (status.st_mode, 0 if path.is_dir() else status.st_mtime_ns, content)
    return found


def test_empty_files_and_folders_come_back(gfsctl: Gfsctl, home: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "empty" / "nested" / "deeper").mkdir(parents=True)
    (tree / "full").mkdir()
    (tree / "full" / "a").write_bytes(b"a")
    (tree / "full" / "zero.bin").touch()
    (tree / "zero").touch()
    gfsctl.ok("put", "-r", tree, f"{home}/tree")
    gfsctl.ok("get", "-r", f"{home}/tree", tmp_path / "back")
    assert facts(tree) == facts(tmp_path / "back")


def test_an_empty_file_and_an_empty_pipe_are_files_of_size_0(
    gfsctl: Gfsctl, home: str, tmp_path: Path
) -> None:
    (tmp_path / "zero").touch()
    gfsctl.ok("put", tmp_path / "zero", f"{home}/by-file")
    gfsctl.ok("put", "-", f"{home}/by-pipe", stdin=b"")
    for name in ("by-file", "by-pipe"):
        item = gfsctl.ok("stat", "-o", "json", f"{home}/{name}").json["items"][0]
        assert (item["kind"], item["size"]) == ("file", 0)
        assert gfsctl.ok("cat", f"{home}/{name}").out == b""
        gfsctl.ok("get", f"{home}/{name}", tmp_path / name)
        assert (tmp_path / name).read_bytes() == b""


def test_the_same_recursive_put_twice_never_mixes(
    gfsctl: Gfsctl, home: str, tmp_path: Path
) -> None:
    (tmp_path / "D").mkdir()
    (tmp_path / "D" / "f").write_bytes(b"1")
    gfsctl.ok("put", "-r", tmp_path / "D", f"{home}/x")
    assert gfsctl.tree(f"{home}/x") == [f"{home}/x/f"]
    (tmp_path / "D" / "g").write_bytes(b"2")
    gfsctl.ok("put", "-r", tmp_path / "D", f"{home}/x")
    assert sorted(gfsctl.tree(f"{home}/x")) == sorted(
        [f"{home}/x/D", f"{home}/x/D/f", f"{home}/x/D/g", f"{home}/x/f"]
    )


def test_the_same_recursive_get_twice_never_mixes(
    gfsctl: Gfsctl, home: str, tmp_path: Path
) -> None:
    gfsctl.ok("mkdir", f"{home}/d")
    gfsctl.ok("put", "-", f"{home}/d/f", stdin=b"1")
    for _ in range(2):
        gfsctl.ok("get", "-r", f"{home}/d", tmp_path / "x")
    found = sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / "x").rglob("*"))
    assert found == ["x/d", "x/d/f", "x/f"]


def test_a_path_is_no_prefix(gfsctl: Gfsctl, home: str, tmp_path: Path) -> None:
    for name in ("lib", "lib2", "library"):
        gfsctl.ok("mkdir", f"{home}/{name}")
        gfsctl.ok("put", "-", f"{home}/{name}/f", stdin=name.encode())
    gfsctl.ok("put", "-", f"{home}/lib.tar", stdin=b"tar")
    gfsctl.ok("get", "-r", f"{home}/lib", tmp_path / "back")
    assert [path.name for path in tmp_path.rglob("*")] == ["back", "f"]
    assert (tmp_path / "back" / "f").read_bytes() == b"lib"
    gfsctl.refused(3, "get", "-r", f"{home}/li", tmp_path / "none")
    gfsctl.refused(3, "ls", f"{home}/li")
    gfsctl.refused(3, "rm", "-r", "-y", f"{home}/li")
    gfsctl.refused(3, "mv", f"{home}/li", f"{home}/lo")
    gfsctl.ok("mv", f"{home}/lib", f"{home}/moved")
    assert gfsctl.names(home) == ["lib.tar", "lib2", "library", "moved"]
    gfsctl.ok("rm", "-r", "-y", f"{home}/moved")
    assert gfsctl.tree(home) == [
        *(f"{home}/lib.tar", f"{home}/lib2", f"{home}/lib2/f"),
        *(f"{home}/library", f"{home}/library/f"),
    ]


def test_times_and_modes_are_kept(gfsctl: Gfsctl, home: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    times_ns = {
        "y1969": -86_400_000_000_000 + 123_456_789,
        "y1970": 0,
        "y2026": 1_795_000_000_987_654_321,
        "y2096": 3_976_214_400_000_000_001,
    }
    modes = (0o600, 0o444, 0o755, 0o640)
    for (name, moment_ns), mode in zip(times_ns.items(), modes, strict=True):
        file = tree / name
        file.write_bytes(name.encode())
        file.chmod(mode)
        os.utime(file, ns=(moment_ns, moment_ns))
    (tree / "folder").mkdir(mode=0o750)
    tree.chmod(0o711)
    old = os.umask(0o077)
    try:
        gfsctl.ok("put", "-r", tree, f"{home}/tree")
        gfsctl.ok("get", "-r", f"{home}/tree", tmp_path / "back")
        gfsctl.ok("put", tree / "y1969", f"{home}/single")
        gfsctl.ok("get", f"{home}/single", tmp_path / "single")
    finally:
        os.umask(old)
    assert facts(tree) == facts(tmp_path / "back")
    for name, moment_ns in times_ns.items():
        assert (tmp_path / "back" / name).stat().st_mtime_ns == moment_ns
    assert (tmp_path / "single").stat().st_mtime_ns == times_ns["y1969"]
    assert (tmp_path / "single").stat().st_mode & 0o777 == 0o600


def test_what_is_no_file_is_listed_and_the_rest_arrives(
    gfsctl: Gfsctl, home: str, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    (tree / "real").mkdir(parents=True)
    (tree / "real" / "f").write_bytes(b"f")
    (tree / "to-file").symlink_to("real/f")
    (tree / "to-folder").symlink_to("real")
    (tree / "dangling").symlink_to("nowhere")
    os.mkfifo(tree / "fifo")
    ended = gfsctl("put", "-r", tree, f"{home}/tree")
    assert ended.status == 11, ended.err
    for name in ("to-folder", "dangling", "fifo"):
        assert name in ended.err
    assert gfsctl.tree(f"{home}/tree") == [
        *(f"{home}/tree/real", f"{home}/tree/real/f", f"{home}/tree/to-file"),
    ]
    assert gfsctl.ok("cat", f"{home}/tree/to-file").out == b"f"


def test_a_tree_may_hold_small_and_big_files(gfsctl: Gfsctl, home: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for number in range(300):
        folder = tree / f"d{number % 7}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"f{number}").write_bytes(os.urandom(number * 37 % 9000))
    (tree / "big").write_bytes(os.urandom(3_500_000))
    gfsctl.ok("put", "-r", "-j", "4", tree, f"{home}/tree")
    gfsctl.ok("get", "-r", "-j", "4", "--verify", f"{home}/tree", tmp_path / "back")
    assert facts(tree) == facts(tmp_path / "back")


@pytest.mark.parametrize("recursive", [False, True])
def test_a_file_over_a_folder_and_the_reverse_are_refused(
    gfsctl: Gfsctl, home: str, tmp_path: Path, recursive: bool
) -> None:
    (tmp_path / "thing").mkdir()
    (tmp_path / "thing" / "inner").write_bytes(b"x")
    (tmp_path / "file").write_bytes(b"y")
    gfsctl.ok("put", "-", f"{home}/thing", stdin=b"old")
    if recursive:
        gfsctl.refused(4, "put", "-r", tmp_path / "thing", f"{home}/thing")
        gfsctl.refused(4, "put", "-r", tmp_path / "thing", home)
        assert gfsctl.ok("cat", f"{home}/thing").out == b"old"
    else:
        gfsctl.ok("mkdir", "-p", f"{home}/d/file")
        gfsctl.refused(4, "put", tmp_path / "file", f"{home}/d")
        gfsctl.refused(4, "get", f"{home}/thing", tmp_path)  # There is a folder of that name.
        assert (tmp_path / "thing" / "inner").read_bytes() == b"x"
