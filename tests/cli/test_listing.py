"""What `ls` shows: names, long lines, trees, and long directories as they come."""

from __future__ import annotations

import grp
import json
import os
import pwd
from pathlib import Path

from gfsctl_program import Gfsctl


def fill(gfsctl: Gfsctl, home: str) -> None:
    for directory in ("a", "a/b", "c"):
        gfsctl.library.mkdir(f"{home}/{directory}")
    for name in ("a/x", "a/b/y", "z"):
        gfsctl.library.write_bytes(f"{home}/{name}", name.encode() * 500)


def test_ls_shows_names_in_byte_order(gfsctl: Gfsctl, home: str) -> None:
    fill(gfsctl, home)
    assert gfsctl.ok("ls", home).lines == ["a", "c", "z"]
    assert gfsctl.ok("ls", f"{home}/").lines == ["a", "c", "z"]
    assert gfsctl.ok("ls", "-o", "name", home).lines == ["a", "c", "z"]
    assert gfsctl.ok("ls", f"{home}/z").lines == [f"{home}/z"]


def test_ls_of_several_shows_files_first_then_each_directory(gfsctl: Gfsctl, home: str) -> None:
    fill(gfsctl, home)
    assert gfsctl.ok("ls", f"{home}/a", f"{home}/z", f"{home}/c").lines == [
        *(f"{home}/z", "", f"{home}/a:", "b", "x", "", f"{home}/c:"),
    ]


def test_ls_of_a_tree_shows_each_directory_once(gfsctl: Gfsctl, home: str) -> None:
    fill(gfsctl, home)
    assert gfsctl.ok("ls", "-R", home).lines == [
        *(f"{home}:", "a", "c", "z", ""),
        *(f"{home}/a:", "b", "x", "", f"{home}/a/b:", "y", "", f"{home}/c:"),
    ]
    assert gfsctl.ok("ls", "-R", "-o", "name", home).lines == [
        *(f"{home}/a", f"{home}/c", f"{home}/z"),
        *(f"{home}/a/b", f"{home}/a/x", f"{home}/a/b/y"),
    ]


def test_long_lines_have_mode_copies_size_and_time(gfsctl: Gfsctl, home: str) -> None:
    fill(gfsctl, home)
    directory, _, file = gfsctl.ok("ls", "-l", home).lines
    assert directory.startswith("drwx") and directory.endswith(" a")
    assert file.startswith("-rw-r--r-- 3 ") and " 500 " in file and file.endswith(" z")
    assert " 2.4 KiB " in gfsctl.ok("ls", "-lh", f"{home}/a/b").out.decode()


def test_a_long_directory_is_whole_and_each_form_agrees(gfsctl: Gfsctl, home: str) -> None:
    names = [f"n{number:05d}" for number in range(1200)]  # More than a page.
    for name in names:
        gfsctl.library.mkdir(f"{home}/{name}")
    assert gfsctl.ok("ls", home).lines == names
    items = gfsctl.ok("ls", "-o", "json", home).json["items"]
    assert [item["name"] for item in items] == names
    lines = gfsctl.ok("ls", "-o", "jsonl", home).lines
    assert [json.loads(line)["name"] for line in lines] == names


def test_a_name_belongs_to_who_made_it(gfsctl: Gfsctl, home: str, tmp_path: Path) -> None:
    (tmp_path / "tree" / "below").mkdir(parents=True)
    (tmp_path / "tree" / "small").write_bytes(b"x")
    gfsctl.ok("put", "-r", str(tmp_path / "tree"), f"{home}/tree")
    gfsctl.ok("put", "-", f"{home}/stream", stdin=b"y")
    made = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
    for name in ("tree", "tree/below", "tree/small", "stream"):
        (status,) = gfsctl.ok("stat", f"{home}/{name}", "-o", "json").json["items"]
        assert (status["owner"], status["group"]) == made, name
