"""Several sources in one command: what can be copied is, what cannot is named."""

from __future__ import annotations

import json
import os
from pathlib import Path

from gfsctl_program import Gfsctl, eventually


def test_several_files_go_into_a_directory(gfsctl: Gfsctl, home: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "c").write_text("c")
    gfsctl.ok("put", "-r", tmp_path / "a", tmp_path / "b", tmp_path / "d", f"{home}/")
    assert gfsctl.tree(home) == [f"{home}/{name}" for name in ("a", "b", "d", "d/c")]
    (tmp_path / "out").mkdir()
    gfsctl.ok("get", "-r", f"{home}/a", f"{home}/d", tmp_path / "out")
    assert (tmp_path / "out" / "a").read_text() == "a"
    assert (tmp_path / "out" / "d" / "c").read_text() == "c"


def test_several_sources_need_a_directory(gfsctl: Gfsctl, home: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
        gfsctl.library.write_bytes(f"{home}/{name}", b"old")
    gfsctl.refused(3, "put", tmp_path / "a", tmp_path / "b", f"{home}/none")
    gfsctl.refused(4, "put", tmp_path / "a", tmp_path / "b", f"{home}/a")
    gfsctl.refused(4, "get", f"{home}/a", f"{home}/b", tmp_path / "none")
    gfsctl.refused(2, "put", "-", tmp_path / "b", home)
    assert gfsctl.library.read_bytes(f"{home}/a") == b"old"


def test_a_source_that_fails_is_named_and_the_others_arrive(
    gfsctl: Gfsctl, home: str, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    ended = gfsctl("put", tmp_path / "a", tmp_path / "gone", tmp_path / "b", home)
    assert ended.status == 11
    assert "gone" in ended.err and "1 name was not copied, 2 were" in ended.err
    assert gfsctl.names(home) == ["a", "b"]

    ended = gfsctl("get", "-o", "json", f"{home}/a", f"{home}/gone", tmp_path)
    assert ended.status == 11
    found = ended.json
    assert [item["source"] for item in found["items"]] == [f"{home}/a"]
    (problem,) = found["problems"]
    assert problem["path"] == f"{home}/gone" and problem["code"] == "NotFound"
    assert json.loads(ended.err)["error"]["code"] == "PartlyDone"


def test_a_name_that_fails_does_not_keep_the_others_from_it(gfsctl: Gfsctl, home: str) -> None:
    for name in ("a", "b"):
        gfsctl.library.write_bytes(f"{home}/{name}", name.encode())
    names = (f"{home}/a", f"{home}/none", f"{home}/b")
    for verb, seen in (("cat", b"ab"), ("ls", f"{home}/a\n{home}/b\n".encode()), ("stat", b"")):
        ended = gfsctl(verb, *names)
        assert ended.status == 11 and seen in ended.out
        assert ended.err.count("\n") == 2 and f"{home}/none" in ended.err
    ended = gfsctl("mkdir", f"{home}/x", f"{home}/a", f"{home}/y")
    assert ended.status == 11 and gfsctl.names(home) == ["a", "b", "x", "y"]
    ended = gfsctl("mv", *names, f"{home}/x")
    assert ended.status == 11 and gfsctl.names(f"{home}/x") == ["a", "b"]
    ended = gfsctl("rm", f"{home}/none", f"{home}/x/a", f"{home}/x/b")
    assert ended.status == 11 and gfsctl.names(f"{home}/x") == []


def test_a_missing_target_is_asked_for(gfsctl: Gfsctl) -> None:
    assert "'/f'" in gfsctl.refused(2, "get", "/f")
    assert "remote target" in gfsctl.refused(2, "put", "x")
    assert "target" in gfsctl.refused(2, "mv", "/f")
    gfsctl.refused(2, "put")


def test_what_was_put_is_told_to_programs(gfsctl: Gfsctl, home: str, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_bytes(b"12345")
    (item,) = gfsctl.ok("put", "-r", "-o", "json", tmp_path / "d", home).json["items"]
    assert (item["file_count"], item["directory_count"], item["size"]) == (1, 1, 5)

    def whole() -> None:  # On a busy machine a chain may lose a server on the way.
        (item,) = gfsctl.ok("put", "-o", "json", tmp_path / "d" / "f", home).json["items"]
        assert item["path"] == f"{home}/f" and item["size"] == 5
        assert item["copies"] == 3 and item["warnings"] == []

    eventually(whole)
    assert gfsctl.ok("put", tmp_path / "d" / "f", home).out == b""


def test_what_was_copied_is_told_with_where_it_is_now(
    gfsctl: Gfsctl, home: str, tmp_path: Path
) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_bytes(b"12345")
    for words, path in (
        (("put", "-r", tmp_path / "d", home), f"{home}/d"),
        (("put", tmp_path / "d" / "f", home), f"{home}/f"),
        (("get", "-r", f"{home}/d", tmp_path / "e"), str(tmp_path / "e")),
        (("get", f"{home}/f", tmp_path / "e"), str(tmp_path / "e" / "f")),
    ):
        (item,) = gfsctl.ok(*words, "-o", "json").json["items"]
        assert item["path"] == path and item["source"] == str(words[-2])
    assert gfsctl.ok("get", f"{home}/f", tmp_path, "-o", "name").lines == [str(tmp_path / "f")]


def test_a_local_directory_whose_name_is_no_utf8_can_be_told(
    gfsctl: Gfsctl, home: str, tmp_path: Path
) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    odd.mkdir()
    (odd / "f").write_bytes(b"12345")
    (item,) = gfsctl.ok("put", odd / "f", f"{home}/f", "-o", "json").json["items"]
    assert item["source"].endswith("caf\\xe9/f")
    (item,) = gfsctl.ok("get", f"{home}/f", odd / "g", "-o", "json").json["items"]
    assert item["path"].endswith("caf\\xe9/g")


def test_a_recursive_put_or_get_of_a_file_is_that_of_a_file(
    gfsctl: Gfsctl, home: str, tmp_path: Path
) -> None:
    (tmp_path / "f").write_text("f")
    gfsctl.ok("put", "-r", tmp_path / "f", f"{home}/g")
    gfsctl.ok("get", "-r", f"{home}/g", tmp_path / "h")
    assert (tmp_path / "h").read_text() == "f"
