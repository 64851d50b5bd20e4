"""tree, du, df, find, count, touch and head against a real cluster."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from gfsctl_program import COMMAND_S, Gfsctl, wait_until

import gfs_ha
from gfs_ha.cli.data import walking
from gfs_ha.client.tree_walk import Name


def fill(gfsctl: Gfsctl, home: str) -> None:
    """Two levels of directories, 100 bytes in `a`, 1,000 in `a/b`, nothing in `z`."""
    for directory in ("a/b", "c"):
        gfsctl.library.mkdir(f"{home}/{directory}", parents=True)
    for name, size in (("a/x", 100), ("a/b/y", 1000), ("z", 0)):
        gfsctl.library.write_bytes(f"{home}/{name}", b"-" * size)


def items(gfsctl: Gfsctl, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = gfsctl.ok(*words, "-o", "json").json["items"]
    return found


# tree -------------------------------------------------------------------------------------------


def test_a_tree_is_drawn_with_all_that_is_below(gfsctl: Gfsctl, home: str) -> None:
    fill(gfsctl, home)
    assert gfsctl.ok("tree", home).lines == [
        home,
        "├── a",
        "│   ├── b",
        "│   │   └── y",
        "│   └── x",
        "├── c",
        "└── z",
        "",
        "3 directories, 3 files, 1.1 KiB",
    ]
    assert gfsctl.ok("tree", "-d", "-L", "1", home).lines == [
        *(home, "├── a", "└── c", "", "2 directories")
    ]
    sizes = gfsctl.ok("tree", "-s", f"{home}/a").lines
    assert sizes[2:] == [
        *("│   └── [      1000]  y", "└── [       100]  x", "", "1 directory, 2 files, 1.1 KiB")
    ]
    assert gfsctl.ok("tree", f"{home}/z").lines == [f"{home}/z", "", "0 directories, 1 file, 0 B"]
    only = gfsctl.ok("tree", f"{home}/a/x", "-o", "json").json
    assert (only["directories"], only["files"], only["bytes"]) == (0, 1, 100)


def test_a_tree_for_programs_has_the_same_names(gfsctl: Gfsctl, home: str) -> None:
    fill(gfsctl, home)
    names = [f"{home}{name}" for name in ("", "/a", "/a/b", "/a/b/y", "/a/x", "/c", "/z")]
    assert gfsctl.ok("tree", "-o", "name", home).lines == names
    report = gfsctl.ok("tree", "-o", "json", home).json
    assert [item["path"] for item in report["items"]] == names
    assert (report["directories"], report["files"], report["bytes"]) == (3, 3, 1100)
    lines = gfsctl.ok("tree", "-o", "jsonl", home).lines
    assert [json.loads(line)["path"] for line in lines] == names


def test_names_that_a_terminal_must_not_see_are_shown_safely(gfsctl: Gfsctl, home: str) -> None:
    gfsctl.library.mkdir(f"{home}/\x1b[31mred\n")
    for verb in (["tree"], ["du"], ["find"], ["tree", "-o", "wide"], ["find", "-o", "wide"]):
        out = gfsctl.ok(*verb, home).out
        assert b"\x1b" not in out and b"\\x1b[31mred\\n" in out, verb
    assert gfsctl.ok("find", home, "-print0", "-mindepth", "1").out == (
        f"{home}/\x1b[31mred\n\0".encode()
    )


def test_a_directory_that_vanishes_is_named_and_the_rest_is_shown(
    gfsctl: Gfsctl, home: str, library: gfs_ha.Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        library.mkdir(f"{home}/{name}")
        library.write_bytes(f"{home}/{name}/x", b"1")
    whole = walking.Walking.steps

    def steps(self: walking.Walking, *how: Any, **more: Any) -> Any:
        for step in whole(self, *how, **more):
            if isinstance(step, Name) and step.path == f"{home}/a":
                library.remove(f"{home}/b", recursive=True)
            yield step

    monkeypatch.setattr(walking.Walking, "steps", steps)
    ended = gfsctl("tree", home)
    assert ended.status == 11 and f"{home}/b vanished" in ended.err
    assert "(vanished while it was read)" in ended.out.decode()
    assert ended.lines[-1] == "3 directories, 2 files, 2 B"


def test_a_name_that_is_not_there_is_told_and_the_others_are_shown(
    gfsctl: Gfsctl, home: str
) -> None:
    fill(gfsctl, home)
    for verb in ("tree", "du", "find", "count"):
        assert "does not exist" in gfsctl.refused(3, verb, f"{home}/none")
        ended = gfsctl(verb, f"{home}/none", f"{home}/c")
        assert ended.status == 11 and f"{home}/c" in ended.out.decode()


def test_a_pipe_that_closes_ends_a_long_walk_quietly(gfsctl: Gfsctl, home: str) -> None:
    for number in range(40):
        gfsctl.library.mkdir(f"{home}/{'n' * 200}{number:03d}")
    for verb in ("tree", "find"):
        child = gfsctl.begin(verb, *[home] * 30)  # More than a pipe takes by itself.
        assert child.stdout is not None
        child.stdout.read(10)
        child.stdout.close()
        child.stdout = None
        assert child.wait(COMMAND_S) == 0
        assert child.stderr is not None and child.stderr.read() == b""


# du and count -----------------------------------------------------------------------------------


def test_du_shows_bytes_and_what_their_copies_take(gfsctl: Gfsctl, home: str) -> None:
    fill(gfsctl, home)
    assert gfsctl.ok("du", home).lines == [
        "      Size  All copies  Path",
        f"    1000 B     2.9 KiB  {home}/a/b",
        f"   1.1 KiB     3.2 KiB  {home}/a",
        f"       0 B         0 B  {home}/c",
        f"   1.1 KiB     3.2 KiB  {home}",
    ]
    assert gfsctl.ok("du", "-s", "--bytes", "--raw", home).lines[1:] == [f"           3300  {home}"]
    assert gfsctl.ok("du", "-s", "--bytes", "--apparent", home).lines[1:] == [
        f"           1100  {home}"
    ]
    assert len(gfsctl.ok("du", "-d", "1", home).lines) == 1 + 3
    assert len(gfsctl.ok("du", "-a", home).lines) == 1 + 4 + 3


def test_du_shows_the_largest_first_when_asked_to(gfsctl: Gfsctl, home: str) -> None:
    fill(gfsctl, home)
    names = [item["path"] for item in items(gfsctl, "du", "--sort", "size", home)]
    assert names == [f"{home}/a", home, f"{home}/a/b", f"{home}/c"]
    total = gfsctl.ok("du", "-sc", f"{home}/a", f"{home}/z").lines
    assert [line.split()[-1] for line in total] == ["Path", f"{home}/a", f"{home}/z", "total"]
    assert "give one of them" in gfsctl.refused(2, "du", "--raw", "--apparent", home)
    assert "give one of them" in gfsctl.refused(2, "du", "-s", "-d", "1", home)


def test_count_is_that_of_hdfs(gfsctl: Gfsctl, home: str) -> None:
    fill(gfsctl, home)
    lines = gfsctl.ok("count", home, f"{home}/z").lines
    assert [line.split() for line in lines] == [
        ["Directories", "Files", "Bytes", "Path"],
        ["4", "3", "1,100", home],
        ["0", "1", "0", f"{home}/z"],
        ["4", "4", "1,100", "total"],
    ]
    report = gfsctl.ok("count", home, "-o", "json").json
    assert (report["directories"], report["files"], report["bytes"]) == (4, 3, 1100)


# df ---------------------------------------------------------------------------------------------


def test_df_counts_the_disks_of_all_servers(gfsctl: Gfsctl, home: str) -> None:
    gfsctl.wait_heard()
    report = gfsctl.ok("df", home, "-o", "json").json
    cluster, *rest = report["items"]
    servers = [row for row in rest if row["kind"] == "server"]
    assert [row["name"] for row in servers] == ["cs1", "cs3", "cs2", "cs4"]
    assert cluster["capacity_bytes"] == sum(row["capacity_bytes"] for row in servers)
    assert cluster["used_bytes"] + cluster["free_bytes"] == cluster["capacity_bytes"]
    assert report["goal"] == 3 and 0 < report["fits_bytes"] <= cluster["free_bytes"] // 3
    lines = gfsctl.ok("df", home).lines
    assert lines[1].split()[0] == "cluster" and lines[3].startswith("Fits still: ")
    assert "does not exist" in gfsctl.refused(3, "df", f"{home}/none")


# find -------------------------------------------------------------------------------------------


def below(gfsctl: Gfsctl, home: str, *words: str) -> list[str]:
    return [line.removeprefix(home) for line in gfsctl.ok("find", home, *words).lines]


def test_find_takes_both_forms_of_its_options(gfsctl: Gfsctl, home: str) -> None:
    fill(gfsctl, home)
    assert below(gfsctl, home) == ["", "/a", "/a/b", "/a/b/y", "/a/x", "/c", "/z"]
    for dash in ("-", "--"):
        assert below(gfsctl, home, f"{dash}name", "[xy]") == ["/a/b/y", "/a/x"]
        assert below(gfsctl, home, f"{dash}type", "d") == ["", "/a", "/a/b", "/c"]
        assert below(gfsctl, home, f"{dash}type", "f", f"{dash}size", "-500") == ["/a/x", "/z"]
        assert below(gfsctl, home, f"{dash}empty") == ["/c", "/z"]
        assert below(gfsctl, home, f"{dash}size", "+1k") == []
    assert below(gfsctl, home, "-maxdepth", "1") == ["", "/a", "/c", "/z"]
    assert below(gfsctl, home, "--max-depth", "0") == [""]
    assert below(gfsctl, home, "-mindepth", "2", "-print") == ["/a/b", "/a/b/y", "/a/x"]


def test_find_knows_times_and_copies(gfsctl: Gfsctl, home: str) -> None:
    fill(gfsctl, home)
    gfsctl.ok("touch", "-t", "@1000000000", f"{home}/a/x")
    assert below(gfsctl, home, "-mtime", "+7") == ["/a/x"]
    assert below(gfsctl, home, "-type", "f", "-mtime", "-1") == ["/a/b/y", "/z"]
    assert below(gfsctl, home, "-type", "f", "-newer", f"{home}/a/x") == ["/a/b/y", "/z"]
    gfsctl.ok("setrep", "2", f"{home}/z")
    assert below(gfsctl, home, "--goal", "-3") == ["/z"]
    assert below(gfsctl, home, "--goal", "3") == ["/a/b/y", "/a/x"]
    assert [item["path"] for item in items(gfsctl, "find", home, "-name", "x")] == [f"{home}/a/x"]
    assert below(gfsctl, home, "--name", "nothing") == []


def test_find_names_files_that_lack_copies(gfsctl: Gfsctl, home: str) -> None:
    fill(gfsctl, home)
    gfsctl.ok("put", "-", f"{home}/many", stdin=b"1")
    gfsctl.ok("setrep", "5", f"{home}/many")  # Of four servers: that never comes to be.

    def lacking(*words: str) -> list[str]:
        return below(gfsctl, home, "--under", *words)

    wait_until(lambda: "/many" in lacking(), "the file wants a copy that nobody can have")
    # On a busy machine it may lack one until it is repaired.
    wait_until(lambda: lacking("--name", "x") == [], "another file has what it wants")
    assert lacking("--max-depth", "0") == lacking("--type", "d") == []
    gfsctl.ok("setrep", "3", f"{home}/many")
    wait_until(lambda: lacking() == [], "all files have what they want again")


def test_find_says_what_it_has_not_and_what_to_do_instead(gfsctl: Gfsctl, home: str) -> None:
    for words in (
        *(["-exec", "ls", "{}", ";"], ["-delete"], ["-name", "a", "-o", "-name", "b"]),
        *(["!", "-name", "a"], ["-perm", "644"], ["-type", "f", "-prune"], ["-type", "l"]),
        *(["-size", "big"], ["-mtime", "x"], ["-newer"], ["--print0", "-o", "name"]),
    ):
        gfsctl.refused(2, "find", home, *words)
    assert "xargs" in gfsctl.refused(2, "find", home, "-exec", "ls")
    assert "does not exist" in gfsctl.refused(3, "find", home, "-newer", f"{home}/none")


# touch ------------------------------------------------------------------------------------------


def test_touch_makes_empty_files_and_sets_times(gfsctl: Gfsctl, home: str) -> None:
    gfsctl.ok("touch", f"{home}/new", f"{home}/other")
    assert gfsctl.library.stat(f"{home}/new").size == 0
    gfsctl.library.write_bytes(f"{home}/full", b"kept")
    gfsctl.ok("touch", "-t", "2026-01-02T03:04:05.678901234Z", f"{home}/full", home)
    wanted = 1767323045_678901234
    for path in (f"{home}/full", home):
        assert gfsctl.library.stat(path).mtime_ns == wanted
    assert gfsctl.library.read_bytes(f"{home}/full") == b"kept"
    gfsctl.ok("touch", "-r", f"{home}/full", f"{home}/new", f"{home}/fresh")
    assert gfsctl.library.stat(f"{home}/fresh").mtime_ns == wanted
    gfsctl.ok("touch", f"{home}/full")
    assert gfsctl.library.stat(f"{home}/full").mtime_ns > wanted


def test_touch_makes_nothing_when_told_so_and_no_directories(gfsctl: Gfsctl, home: str) -> None:
    gfsctl.ok("touch", "-c", f"{home}/none", f"{home}/none/")
    assert gfsctl.names(home) == []
    assert "gfsctl mkdir" in gfsctl.refused(3, "touch", f"{home}/none/")
    gfsctl.refused(3, "touch", f"{home}/none/below")
    gfsctl.refused(2, "touch", "-t", "soon", f"{home}/x")
    gfsctl.refused(2, "touch", "-t", "@1", "-r", home, f"{home}/x")
    assert "1678 to 2261" in gfsctl.refused(2, "touch", "-d", "9999-12-31", f"{home}/x")
    ended = gfsctl("touch", f"{home}/none/below", f"{home}/good")
    assert ended.status == 11 and gfsctl.names(home) == ["good"]
    assert "not a directory" in gfsctl.refused(4, "touch", f"{home}/good/")


# head -------------------------------------------------------------------------------------------


def test_head_shows_lines_and_bytes_as_people_ask_for_them(gfsctl: Gfsctl, home: str) -> None:
    lines = [f"{number}\n".encode() for number in range(1, 1001)]
    gfsctl.library.write_bytes(f"{home}/log", b"".join(lines))
    log = f"{home}/log"
    assert gfsctl.ok("head", log).out == b"".join(lines[:10])
    for words in (["-n", "3"], ["-3"], ["-n3"], ["--lines=3"]):
        assert gfsctl.ok("head", *words, log).out == b"".join(lines[:3]), words
    assert gfsctl.ok("head", "-n", "-998", log).out == b"1\n2\n"
    assert gfsctl.ok("head", "-n", "-5000", log).out == b""
    assert gfsctl.ok("head", "-c", "1K", log).out == b"".join(lines)[:1024]
    assert gfsctl.ok("head", "-c", "-3890", log).out == b"".join(lines)[:-3890]
    assert gfsctl.ok("head", "-n", "0", log).out == b""
    gfsctl.refused(2, "head", "-n", "1", "-c", "1", log)
    gfsctl.refused(2, "head", "-n", "many", log)


def test_head_of_several_files_shows_which_is_which(gfsctl: Gfsctl, home: str) -> None:
    for name in ("a", "b"):
        gfsctl.library.write_bytes(f"{home}/{name}", f"{name}\n".encode())
    a, b = f"{home}/a", f"{home}/b"
    assert gfsctl.ok("head", a, b).lines == [f"==> {a} <==", "a", "", f"==> {b} <==", "b"]
    assert gfsctl.ok("head", "-q", a, b).lines == ["a", "b"]
    assert gfsctl.ok("head", "-v", a).lines == [f"==> {a} <==", "a"]
    ended = gfsctl("head", a, f"{home}/none", b)
    assert ended.status == 11 and ended.lines[-1] == "b"


def test_find_goes_into_xargs(gfsctl: Gfsctl, home: str) -> None:
    gfsctl.library.write_bytes(f"{home}/a b", b"")
    names = gfsctl.process("find", home, "-type", "f", "-print0").out
    out = subprocess.run(
        ["xargs", "-0", "-n1", "echo"], input=names, capture_output=True, check=True
    )
    assert out.stdout.decode() == f"{home}/a b\n"


def test_tail_takes_sizes_starts_and_several_files(gfsctl: Gfsctl, home: str) -> None:
    lines = [f"{number}\n".encode() for number in range(1, 30_001)]
    gfsctl.library.write_bytes(f"{home}/log", b"".join(lines))
    log = f"{home}/log"
    for words, wanted in (
        *((["-n", "2"], lines[-2:]), (["-2"], lines[-2:]), (["-n", "+29999"], lines[-2:])),
        *((["-n", "+1"], lines), (["-n", "+0"], lines), (["-n", "+40000"], [])),
        (["-c", "1K"], [b"".join(lines)[-1024:]]),
        (["-c", "+168895"], [b"".join(lines)[168894:]]),
        *((["-n", "0"], []), (["-c", "0"], [])),
    ):
        assert gfsctl.ok("tail", *words, log).out == b"".join(wanted), words
    gfsctl.library.write_bytes(f"{home}/last", b"a\nb")
    assert gfsctl.ok("tail", "-n", "1", log, f"{home}/last").lines == [
        *(f"==> {log} <==", "30000", "", f"==> {home}/last <==", "b")
    ]
    assert gfsctl("tail", f"{home}/none", f"{home}/last").status == 11
    assert "follows one file" in gfsctl.refused(2, "tail", "-f", log, f"{home}/last")
