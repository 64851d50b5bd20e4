"""Names that trip others: dashes, percents, brackets, stray bytes, 255 bytes."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest
from gfsctl_program import Gfsctl

ODD_NAMES = (
    *("-dash", "--help", "-rf", "-"),
    *("100%", "a%41b", "%2e%2e", "plus+", "%3A", "a b", " lead", "trail "),
    *("[brackets]", "[red]x", ":smile:", "back\\slash", "quo'te\"s", "$HOME", "*", "~"),
    *("ünïcödé", "名前", "e\u0301", "tab\there", "line\nbreak", "\x1b[31mred"),
)


def test_odd_names_go_through_every_verb(gfsctl: Gfsctl, home: str, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    for name in ODD_NAMES:
        (source / name).write_bytes(name.encode())
    remotes = [f"{home}/{name}" for name in ODD_NAMES]
    gfsctl.ok("put", "--", *(source / name for name in ODD_NAMES), home)
    assert gfsctl.ok("cat", "--", *remotes).out == "".join(ODD_NAMES).encode()
    items = gfsctl.ok("stat", "-o", "json", "--", *remotes).json["items"]
    assert [(item["name"], item["path"]) for item in items] == list(
        zip(ODD_NAMES, remotes, strict=True)
    )
    gfsctl.ok("get", "--", *remotes, out)
    for name in ODD_NAMES:
        assert (out / name).read_bytes() == name.encode()
    found = gfsctl.ok("ls", "-o", "json", home).json["items"]
    assert sorted(item["name"] for item in found) == sorted(ODD_NAMES)
    moved = f"{home}/moved"
    gfsctl.ok("mkdir", moved)
    gfsctl.ok("mv", "--", *remotes, moved)
    gfsctl.ok("get", "-r", moved, tmp_path / "back")
    assert sorted(os.listdir(tmp_path / "back")) == sorted(ODD_NAMES)
    gfsctl.ok("rm", "--", *(f"{moved}/{name}" for name in ODD_NAMES))
    assert gfsctl.names(moved) == []


def test_local_names_that_begin_with_a_dash_need_two_dashes(
    gfsctl: Gfsctl, home: str, tmp_path: Path
) -> None:
    for name in ("-dash", "--help", "-rf"):
        (tmp_path / name).write_bytes(name.encode())
        gfsctl.ok("put", "--", name, f"{home}/")
        gfsctl.ok("get", "--", f"{home}/{name}", f"{name}.back")
        assert (tmp_path / f"{name}.back").read_bytes() == name.encode()


def test_names_are_shown_as_they_are(gfsctl: Gfsctl, home: str) -> None:
    names = ("[brackets]", "[red]x", ":smile:", "100%", "a%41b")
    for name in names:
        gfsctl.ok("put", "-", f"{home}/{name}", stdin=b"x")
    for words in (("ls",), ("ls", "-l"), ("ls", "-R"), ("ls", "-o", "wide")):
        shown = gfsctl.ok(*words, home).out.decode()
        for name in names:
            assert name in shown
    for name in names:
        assert name in gfsctl.ok("admin", "placement", "show", f"{home}/{name}").out.decode()
        assert name in gfsctl.ok("stat", f"{home}/{name}").out.decode()


def test_a_name_that_could_move_the_terminal_is_escaped(gfsctl: Gfsctl, home: str) -> None:
    gfsctl.ok("put", "-", f"{home}/\x1b[31mred\nline", stdin=b"x")
    assert gfsctl.ok("ls", home).out == b"\\x1b[31mred\\nline\n"
    assert b"\x1b" not in gfsctl.ok("ls", "-l", home).out
    assert "\x1b" not in gfsctl.refused(3, "stat", f"{home}/\x1b[31mgone")


def test_a_name_that_is_not_utf8_is_listed_and_the_rest_arrives(
    gfsctl: Gfsctl, home: str, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "good").write_bytes(b"good")
    bad = os.path.join(os.fsencode(tree), b"caf\xe9")
    with open(bad, "wb") as file:
        file.write(b"bad")
    ended = gfsctl("put", "-r", tree, f"{home}/tree")
    assert ended.status == 11 and "caf\\xe9" in ended.err
    assert gfsctl.names(f"{home}/tree") == ["good"]
    assert gfsctl("put", bad, f"{home}/").status in (2, 4)
    assert gfsctl("ls", f"{home}/caf".encode() + b"\xe9").status in (2, 4)
    assert gfsctl("put", tree / "good", f"{home}/caf".encode() + b"\xe9").status in (2, 4)


@pytest.mark.parametrize("name", ["n" * 255, "é" * 127 + "x"])
def test_a_name_of_255_bytes_works_everywhere(
    gfsctl: Gfsctl, home: str, tmp_path: Path, name: str
) -> None:
    assert len(name.encode()) == 255
    (tmp_path / name).write_bytes(b"long")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / name).write_bytes(b"long")
    gfsctl.ok("put", tmp_path / name, f"{home}/")
    gfsctl.ok("get", f"{home}/{name}", tmp_path / "tree" / name)
    gfsctl.ok("put", "-r", tmp_path / "tree", f"{home}/t")
    gfsctl.ok("get", "-r", "--verify", f"{home}/t", tmp_path / "back")
    assert (tmp_path / "back" / name).read_bytes() == b"long"
    gfsctl.ok("mv", f"{home}/{name}", f"{home}/{name[::-1]}")
    assert gfsctl.names(home) == sorted([name[::-1], "t"])


def test_a_name_of_256_bytes_is_refused_with_the_limit(
    gfsctl: Gfsctl, home: str, tmp_path: Path
) -> None:
    (tmp_path / "f").write_bytes(b"x")
    for name in ("n" * 256, "é" * 128):
        for words in (
            ("put", tmp_path / "f", f"{home}/{name}"),
            ("mkdir", f"{home}/{name}"),
            ("stat", f"{home}/{name}"),
        ):
            ended = gfsctl(*words)
            assert ended.status in (2, 4), ended.err
            assert "255" in ended.err and ended.err.count("\n") == 1


@pytest.mark.parametrize("path", ["/.", "/..", "/a/../b"])
def test_names_that_cannot_exist_are_refused(gfsctl: Gfsctl, path: str) -> None:
    for verb in ("stat", "mkdir"):
        assert path in gfsctl.refused(2, verb, path)


def test_a_cluster_may_be_named_in_the_path(gfsctl: Gfsctl, home: str) -> None:
    status = gfsctl.ok("admin", "status", "-o", "json").json["items"][0]
    gfsctl.ok("put", "-", f"gfs://{status['cluster_id']}{home}/f", stdin=b"f")
    assert gfsctl.ok("cat", f"{home}/f").out == b"f"
    gfsctl.refused(6, "cat", f"gfs://another{home}/f")
    gfsctl.refused(6, "put", "/dev/null", f"gfs://another{home}/f")
    error = json.loads(gfsctl("ls", "-o", "json", "gfs://another/").err)
    assert error["error"]["code"] == "WrongCluster"


@pytest.mark.parametrize("name", ["a b", "$HOME", "quo'te\"s", "x; rm -r ~", "`id`"])
def test_commands_to_paste_take_a_name_as_one_word(gfsctl: Gfsctl, home: str, name: str) -> None:
    path = f"{home}/{name}"
    gfsctl.library.mkdir(path)
    [told] = gfsctl.ok("explain", "-o", "json", path).json["items"]
    commands = [shlex.split(step["command"]) for step in told["next"]]
    assert commands and all(words[-1] == path for words in commands)
    gfsctl.library.write_bytes(f"{path}/file", b"1")
    [told] = gfsctl.ok("explain", "-o", "json", f"{path}/file").json["items"]
    assert f"{path}/file" in [shlex.split(step["command"])[-1] for step in told["next"]]
    assert (
        gfsctl.refused(3, "touch", f"{path}/none/")
        .strip()
        .endswith(f"gfsctl mkdir {shlex.quote(f'{path}/none')}")
    )
