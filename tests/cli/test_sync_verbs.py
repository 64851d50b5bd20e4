"""sync, check and checksum as a person uses them: words, exit statuses, what is shown."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from gfsctl_program import CHUNK_BYTES, Gfsctl, wait_until

MOMENT_NS = 1_700_000_000_123_456_789


def make(root: Path, **files: bytes) -> Path:
    """Make a tree; `a__b` is the file b in the directory a."""
    root.mkdir(exist_ok=True)
    for name, data in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, ns=(MOMENT_NS, MOMENT_NS))
    return root


def test_sync_says_what_it_would_do_does_it_and_then_nothing(
    gfsctl: Gfsctl, home: str, tmp_path: Path
) -> None:
    make(tmp_path / "src", a__x=b"x" * 3000, b=b"", c=b"ccc")
    (tmp_path / "src" / "empty").mkdir()
    gfsctl.library.mkdir(f"{home}/t")
    gfsctl.library.write_bytes(f"{home}/t/c", b"c")
    gfsctl.library.write_bytes(f"{home}/t/old", b"o" * 2048)
    planned = gfsctl.ok("sync", "-n", "--delete", "src", f"{home}/t").lines
    assert planned == [
        f"set     ./  ({'other mode' if 'mode' in planned[0] else 'other time'})",
        "make    a/",
        "copy    a/x  (new, 2.9 KiB)",
        "copy    b  (new, 0 B)",
        "copy    c  (other size, 3 B)",
        "make    empty/",
        "delete  old  (2.0 KiB)",
        "would copy 3 files (2.9 KiB), make 2 directories, set mode or time of 1, "
        "delete 1 (2.0 KiB); 0 files and 0 directories are equal already",
    ]
    assert gfsctl.names(f"{home}/t") == ["c", "old"]
    done = gfsctl.ok("sync", "--delete", "-y", "src", f"{home}/t").lines
    assert done == [
        "copied 3 files (2.9 KiB), made 2 directories, set mode or time of 1, deleted 1; "
        "0 files and 0 directories are equal already"
    ]
    again = gfsctl.ok("sync", "--delete", "-y", "src", f"{home}/t").lines
    assert again == ["nothing to do: 3 files and 3 directories are equal"]
    assert gfsctl.ok("sync", "-n", "src", f"{home}/t").lines == again
    item = gfsctl.ok("sync", "-o", "json", f"gfs://{_cluster(gfsctl)}{home}/t", "back").json
    assert item["kind"] == "Sync" and item["problems"] == []
    [facts] = item["items"]
    assert (facts["copied_files"], facts["copied_bytes"], facts["up"]) == (3, 3003, False)
    assert facts["plan"]["make_directories"] == 3
    assert (tmp_path / "back" / "a" / "x").stat().st_mtime_ns == MOMENT_NS
    assert gfsctl.ok("check", "back", f"{home}/t").lines == ["5 the same (2.9 KiB)"]


def _cluster(gfsctl: Gfsctl) -> str:
    return gfsctl.library.config.cluster.id


def test_a_plan_in_json_is_what_is_shown(gfsctl: Gfsctl, home: str, tmp_path: Path) -> None:
    make(tmp_path / "src", f=b"abc")
    gfsctl.library.mkdir(f"{home}/t")
    gfsctl.library.write_bytes(f"{home}/t/extra", b"1")
    plan = gfsctl.ok("sync", "-n", "-o", "json", "src", f"{home}/t").json
    assert plan["kind"] == "SyncPlan"
    rows = [(item["action"], item["name"], item["size"]) for item in plan["items"]]
    assert rows[1:] == [("copy", "f", 3)] and rows[0][:2] == ("set", "./")
    assert plan["summary"]["kept"] == 1 and plan["summary"]["delete_files"] == 0
    told = gfsctl.ok("sync", "-n", "src", f"{home}/t").lines[-1]
    assert told.endswith("1 name that only the target has would stay (--delete ends them)")
    assert gfsctl.ok("sync", "-n", "-o", "name", "src", f"{home}/t").lines == ["./", "f"]


def test_deleting_without_a_terminal_wants_a_flag_before_anything_is_done(
    gfsctl: Gfsctl, home: str, tmp_path: Path
) -> None:
    make(tmp_path / "src", f=b"abc")
    said = gfsctl.refused(2, "sync", "--delete", "src", f"{home}/t")
    assert "say -y" in said and gfsctl.names(home) == []


def test_an_empty_source_ends_no_target_unless_somebody_answers(
    gfsctl: Gfsctl, home: str, tmp_path: Path
) -> None:
    make(tmp_path / "src")
    make(tmp_path / "down", keep=b"!")
    for name in ("t", "t/d", "nothing"):
        gfsctl.library.mkdir(f"{home}/{name}")
    gfsctl.library.write_bytes(f"{home}/t/d/f", b"abc")
    before = gfsctl.library.stat(f"{home}/t")
    for words in (("-n",), ()):
        said = gfsctl.refused(4, "sync", *words, "--delete", "-y", "src", f"{home}/t")
        assert "the source local src is empty" in said and f"gfsctl rm -r {home}/t" in said
    plan = gfsctl.ok("sync", "-n", "--delete", "src", f"{home}/t").lines[-1]
    assert "delete 2 (3 B) as the source is EMPTY" in plan
    assert gfsctl.names(f"{home}/t") == ["d"]
    assert gfsctl.library.stat(f"{home}/t") == before, "what is refused sets no time either"
    target = f"gfs://{_cluster(gfsctl)}{home}/nothing"
    assert "rm -r -- down" in gfsctl.refused(4, "sync", "--delete", "-y", target, "down")
    assert (tmp_path / "down" / "keep").exists()
    # With a single name left it is what was asked for; so is an empty target.
    make(tmp_path / "src", one=b"1")
    gfsctl.ok("sync", "--delete", "-y", "src", f"{home}/t")
    assert gfsctl.names(f"{home}/t") == ["one"]
    gfsctl.ok("sync", "--delete", "-y", target, "fresh")
    gfsctl.ok("sync", "--delete", "-y", target, "fresh")


def test_what_is_left_out_is_listed_and_the_rest_arrives(
    gfsctl: Gfsctl, home: str, tmp_path: Path
) -> None:
    tree = make(tmp_path / "src", f=b"abc", d__g=b"g")
    (tree / "link").symlink_to("d")
    gfsctl.library.mkdir(f"{home}/t")
    gfsctl.library.mkdir(f"{home}/t/f")
    gfsctl.library.write_bytes(f"{home}/t/extra", b"1")
    planned = gfsctl("sync", "-n", "--delete", "src", f"{home}/t")
    assert planned.status == 11
    assert planned.err.splitlines() == [
        "gfsctl: 2 names would not be as in the source; 1 name would not be deleted because of that"
    ]
    ended = gfsctl("sync", "--delete", "-y", "src", f"{home}/t")
    assert ended.status == 11
    assert ended.err.splitlines() == [
        f"gfsctl: {home}/t/f is a directory; a file cannot replace it: remove it first",
        "gfsctl: src/link: a link to a directory; skipped",
        "gfsctl: 2 names are not as in the source; 1 name was not deleted because of that",
    ]
    assert gfsctl.tree(f"{home}/t") == [
        *(f"{home}/t/d", f"{home}/t/d/g", f"{home}/t/extra", f"{home}/t/f"),
    ]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (2, ("sync",)),
        (2, ("sync", "only-one")),
        (2, ("sync", "here", "here-too")),
        (3, ("sync", "missing", "/x")),
        (3, ("sync", "/no/such/thing", "/x")),
        (3, ("sync", ".", "/no/where/at/all")),
        (3, ("sync", "/no/where", "back")),
        (2, ("sync", "--bwlimit", "fast", ".", "/x")),
        (2, ("sync", "--bwlimit", "10", ".", "/x")),
        (2, ("sync", "--exclude", "", ".", "/x")),
        (2, ("sync", "-j", "0", ".", "/x")),
        (2, ("check", "here", "here-too")),
        (3, ("check", ".", "/no/such")),
        (3, ("check", "missing", "/")),
        (2, ("checksum",)),
        (2, ("checksum", "-c", "list", "/a")),
        (2, ("checksum", "--verify", "--no-read", "/a")),
        (3, ("checksum", "/no/such")),
        (3, ("checksum", "missing")),
        (3, ("checksum", "-c", "no-list")),
        (4, ("checksum", "/")),
        (4, ("checksum", ".")),
    ],
)
def test_bad_words_are_one_clear_line(gfsctl: Gfsctl, status: int, words: tuple[str, ...]) -> None:
    gfsctl.refused(status, *words)


def test_check_shows_differences_in_order_and_writes_names(
    gfsctl: Gfsctl, home: str, tmp_path: Path
) -> None:
    make(tmp_path / "src", a__same=b"s", bytes=b"x", here=b"1", size=b"xx")
    gfsctl.library.mkdir(f"{home}/t/a", parents=True)
    for name, data in (("a/same", b"s"), ("bytes", b"y"), ("size", b"x"), ("there", b"1")):
        gfsctl.library.write_bytes(f"{home}/t/{name}", data)
    words = ("check", "src", f"{home}/t")
    ended = gfsctl(*words, "--missing-on-remote", "todo", "--match", "equal", "--differ", "d")
    assert ended.status == 8
    assert ended.lines == [
        "differs        bytes  (the bytes differ)",
        "missing there  here",
        "differs        size  (2 bytes here, 1 there)",
        "missing here   there",
        "2 the same (1 B), 2 differs, 1 missing there, 1 missing here",
    ]
    assert ended.err == (
        "gfsctl: 4 names differ or are missing; gfsctl sync makes one side like the other\n"
    )
    names = {name: (tmp_path / name).read_text().splitlines() for name in ("todo", "equal", "d")}
    assert names == {"todo": ["here"], "equal": ["a/", "a/same"], "d": ["bytes", "size"]}
    assert len(gfsctl(*words, "--size-only", "--one-way").lines) == 3
    found = gfsctl(*words, "-o", "json", "--all").json
    assert found["kind"] == "CheckList" and found["summary"]["equal"] is False
    assert [item["state"] for item in found["items"]][:2] == ["same", "same"]
    only = gfsctl.ok(*words, "--include", "same", "--exclude", "none").lines
    assert only == ["2 the same (1 B)"]


def test_checksums_of_both_sides_are_alike_and_a_list_checks_either(
    gfsctl: Gfsctl, home: str, tmp_path: Path
) -> None:
    tree = make(tmp_path / "src", a__x=b"x" * 70_000, b=b"123456789", empty=b"")
    (tree / "we\nird").write_bytes(b"w")
    gfsctl.ok("sync", "src", f"{home}/t")
    remote = gfsctl.ok("checksum", "-r", f"{home}/t", "--base", f"{home}/t")
    local = gfsctl.ok("checksum", "-r", "src", "--base", "src")
    assert remote.out == local.out
    assert "e3069283  b" in remote.lines  # The check value of this CRC, from the literature.
    assert any(line.startswith("\\") and line.endswith("  we\\nird") for line in remote.lines)
    (tmp_path / "list").write_bytes(remote.out)
    for base in (f"{home}/t", "./src"):
        checked = gfsctl.ok("checksum", "-c", "list", "--base", base).lines
        assert sorted(checked) == ["a/x: OK", "b: OK", "empty: OK", "we\\nird: OK"]
    (tree / "b").write_bytes(b"123456780")
    (tree / "empty").unlink()
    (tmp_path / "list").write_bytes(remote.out + b"nonsense\n# note\n")
    ended = gfsctl("checksum", "-c", "list", "--base", "./src", "-o", "json")
    assert ended.status == 8
    states = {item["name"]: item["state"] for item in ended.json["items"]}
    assert states == {"a/x": "ok", "b": "differs", "empty": "missing", "we\nird": "ok"}
    assert ended.json["malformed"] == 1
    stdin = gfsctl("checksum", "-c", "-", "--base", "./src", stdin=b"e3069283  a/x\n")
    assert stdin.status == 8 and b"a/x: FAILED" in stdin.out
    gfsctl.refused(2, "checksum", "-c", "src/a/x")
    here = tmp_path / "here"
    here.write_bytes(b"x")
    for words in ((str(here),), ("-r", str(here))):
        told = gfsctl.refused(3, "checksum", *words)
        assert f"{here} does not exist in the cluster; {here} is here: --local takes" in told
    assert gfsctl.ok("checksum", "--local", str(here)).status == 0
    assert "/no/such does not exist in the cluster\n" in gfsctl.refused(3, "checksum", "/no/such")
    assert "--base" in gfsctl.refused(2, "checksum", "-c", "list", f"{home}/t")
    piped = gfsctl.ok("checksum", "-", f"{home}/t/b", stdin=b"123456789").lines
    assert piped == ["e3069283  -", f"e3069283  {home}/t/b"]


def test_a_checksum_without_reading_names_what_would_need_it(
    gfsctl: Gfsctl, home: str, tmp_path: Path
) -> None:
    gfsctl.library.write_bytes(f"{home}/whole", b"w" * 5000)
    gfsctl.library.write_bytes(f"{home}/cut", b"c" * 5000)
    gfsctl.library.truncate(f"{home}/cut", 1234)
    ended = gfsctl("checksum", "--no-read", f"{home}/whole", f"{home}/cut", "-o", "json")
    assert ended.status == 11
    [item], [problem] = ended.json["items"], ended.json["problems"]
    assert (item["how"], item["read_bytes"], problem["path"]) == ("stored", 0, f"{home}/cut")
    found = gfsctl.ok("checksum", f"{home}/cut", "-o", "json").json["items"][0]
    assert (found["how"], found["read_bytes"]) == ("read", 1234)
    verified = gfsctl.ok("checksum", "--verify", "-r", home, "-o", "json").json["items"]
    assert [item["how"] for item in verified] == ["verified", "verified"]
    assert verified[0]["crc32c"] == found["crc32c"]


def test_a_stopped_sync_leaves_nothing_half_and_the_next_does_the_rest(
    gfsctl: Gfsctl, home: str, tmp_path: Path
) -> None:
    tree = tmp_path / "src"
    tree.mkdir()
    for index in range(6):
        (tree / f"f{index}").write_bytes(os.urandom(2 * CHUNK_BYTES))
    child = gfsctl.begin("sync", "-j1", "--bwlimit", "2MiB/s", "src", f"{home}/t")
    wait_until(lambda: len(gfsctl.tree(home)) > 2, "the first file arrived")
    assert child.poll() is None, "it ended before the signal; this proves nothing"
    child.send_signal(signal.SIGINT)
    ended = gfsctl.end(child)
    assert ended.status == 130 and "Traceback" not in ended.err
    for path in gfsctl.tree(f"{home}/t"):
        whole = (tree / Path(path).name).read_bytes()
        assert gfsctl.library.read_bytes(path) == whole
    arrived = len(gfsctl.names(f"{home}/t"))
    said = gfsctl.ok("sync", "src", f"{home}/t").lines[0]
    assert said.startswith(f"copied {6 - arrived} file")
    gfsctl.ok("check", "src", f"{home}/t")
