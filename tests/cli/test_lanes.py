"""`-j`: several files, and several chunks of a big one, at the same time; nothing else changes."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path

import pytest
from gfsctl_program import CHUNK_BYTES, Gfsctl, kill_member, wait_until

from gfs_ha.local.cluster import LocalCluster

BIG_BYTES = 96 * CHUNK_BYTES + 12_345


def digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def big_file(file: Path, size: int = BIG_BYTES) -> Path:
    """Write a file of which each packet is different."""
    with file.open("wb") as opened:
        for start in range(0, size, CHUNK_BYTES):
            opened.write(os.urandom(min(CHUNK_BYTES, size - start)))
    return file


@pytest.mark.parametrize("jobs", ["1", "3", "64"])
def test_of_several_files_the_missing_one_is_named_and_the_order_is_that_of_the_words(
    gfsctl: Gfsctl, home: str, tmp_path: Path, jobs: str
) -> None:
    # The first is by far the last to be done.
    big = big_file(tmp_path / "z", 5 * CHUNK_BYTES + 1)
    (tmp_path / "a").write_bytes(b"a")
    words = (big, tmp_path / "gone", tmp_path / "a", tmp_path / "lost")
    ended = gfsctl("put", "-j", jobs, "-o", "json", *words, home)
    assert ended.status == 11
    assert [item["path"] for item in ended.json["items"]] == [f"{home}/z", f"{home}/a"]
    assert [one["code"] for one in ended.json["problems"]] == ["NotFound", "NotFound"]
    assert [one["path"] for one in ended.json["problems"]] == [str(words[1]), str(words[3])]
    assert gfsctl.names(home) == ["a", "z"]

    (tmp_path / "out").mkdir()
    paths = [f"{home}/{name}" for name in ("z", "none", "a")]
    ended = gfsctl("get", "-j", jobs, "-o", "name", *paths, tmp_path / "out")
    assert ended.status == 11
    assert ended.lines == [str(tmp_path / "out" / name) for name in ("z", "a")]
    assert f"{home}/none" in ended.err and "1 name was not copied, 2 were" in ended.err
    assert digest(tmp_path / "out" / "z") == digest(big)
    assert sorted(os.listdir(tmp_path / "out")) == ["a", "z"]


def test_of_two_sources_with_one_name_the_later_one_wins(
    gfsctl: Gfsctl, home: str, tmp_path: Path
) -> None:
    for directory in ("1", "2"):
        (tmp_path / directory).mkdir()
    big_file(tmp_path / "1" / "f", 6 * CHUNK_BYTES)
    (tmp_path / "2" / "f").write_bytes(b"later")
    gfsctl.ok("put", "-j", "4", tmp_path / "1" / "f", tmp_path / "2" / "f", home)
    assert gfsctl.library.read_bytes(f"{home}/f") == b"later"
    for directory in ("1", "2"):
        gfsctl.ok("mkdir", f"{home}/{directory}")
        gfsctl.ok("put", tmp_path / directory / "f", f"{home}/{directory}/f")
    gfsctl.ok("get", "-j", "4", f"{home}/1/f", f"{home}/2/f", tmp_path)
    assert (tmp_path / "f").read_bytes() == b"later"


def test_files_and_trees_of_one_command(gfsctl: Gfsctl, home: str, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    for name in ("a", "tree/b", "c"):
        big_file(tmp_path / name, 3 * CHUNK_BYTES + len(name))
    words = ("a", "tree", "c")
    gfsctl.ok("put", "-r", "-j", "3", *(tmp_path / word for word in words), home)
    (tmp_path / "out").mkdir()
    gfsctl.ok("get", "-r", "-j", "3", *(f"{home}/{word}" for word in words), tmp_path / "out")
    for name in ("a", "tree/b", "c"):
        assert digest(tmp_path / "out" / name) == digest(tmp_path / name)


def test_a_server_that_dies_under_four_chunks_in_flight_costs_no_byte(
    gfsctl: Gfsctl, home: str, whole_cluster: LocalCluster, tmp_path: Path
) -> None:
    old = set(gfsctl.live_chunks())
    big = big_file(tmp_path / "big")
    victim = ""

    def found() -> bool:
        nonlocal victim
        fresh = [row for chunk_id, row in gfsctl.live_chunks().items() if chunk_id not in old]
        opened = [row for row in fresh if row.state == "open" and row.replicas]
        if len(fresh) < 8 or not opened:
            return False
        victim = opened[-1].replicas[-1].name
        return True

    child = gfsctl.begin("put", "-j", "4", big, f"{home}/big")
    wait_until(found, "the put is in its middle")
    kill_member(whole_cluster, victim)
    assert child.poll() is None, "the put was over before the kill; this proves nothing"
    ended = gfsctl.end(child)
    assert ended.status == 0, ended.err

    gfsctl.ok("get", "-j", "5", f"{home}/big", tmp_path / "without")
    whole_cluster.start(victim)
    gfsctl.ok("get", "--verify", "-j", "1", f"{home}/big", tmp_path / "with")
    assert digest(big) == digest(tmp_path / "without") == digest(tmp_path / "with")
    gfsctl.ok("rm", f"{home}/big")


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["int", "term"]
)
@pytest.mark.parametrize("files", [1, 3])
def test_a_signal_with_chunks_and_files_in_flight_publishes_nothing_half(
    gfsctl: Gfsctl, home: str, tmp_path: Path, number: signal.Signals, status: int, files: int
) -> None:
    before = set(gfsctl.live_chunks())
    size = 192 * CHUNK_BYTES // files
    words = [tmp_path / f"{at}" for at in range(files)]
    for word in words:
        with word.open("wb") as opened:
            opened.truncate(size)
    child = gfsctl.begin("put", "-j", "4", *words, f"{home}/")
    wait_until(lambda: len(set(gfsctl.live_chunks()) - before) >= 6, "the put is in its middle")
    assert child.poll() is None, "it ended before the signal; this proves nothing"
    child.send_signal(number)
    ended = gfsctl.end(child)
    assert ended.status == status, ended.err
    assert "Traceback" not in ended.err and ended.err.count("\n") <= 1
    # One of several may have been through before the signal came; then it is whole.
    left = {entry.name: entry.status.size for entry in gfsctl.library.listdir(home)}
    assert len(left) < files and set(left.values()) <= {size}
    for name in left:
        gfsctl.ok("rm", f"{home}/{name}")
    wait_until(lambda: not gfsctl.left_over(before), "the chunks are collected")


def test_more_jobs_than_are_possible_are_refused(gfsctl: Gfsctl, home: str) -> None:
    for verb in ("put", "get"):
        shown = gfsctl.ok(verb, "--help").out.decode()
        assert "at once (4)" in shown and "1<=x<=64" in shown
        for jobs in ("0", "65", "x"):
            gfsctl.refused(2, verb, "-j", jobs, "a", home)


def test_a_signal_in_a_get_of_several_files_leaves_no_half_one(
    gfsctl: Gfsctl, home: str, tmp_path: Path
) -> None:
    names = ["a", "b", "c"]
    for name in names:
        with (tmp_path / name).open("wb") as opened:
            opened.truncate(64 * CHUNK_BYTES)
    gfsctl.ok("put", *(tmp_path / name for name in names), home)
    out = tmp_path / "out"
    out.mkdir()
    child = gfsctl.begin("get", "-j", "3", *(f"{home}/{name}" for name in names), out)
    wait_until(lambda: len(os.listdir(out)) >= 2, "the files are under way")
    assert child.poll() is None, "it ended before the signal; this proves nothing"
    child.send_signal(signal.SIGINT)
    ended = gfsctl.end(child)
    assert ended.status == 130, ended.err
    left = {path.name: path.stat().st_size for path in out.iterdir()}
    assert set(left) <= set(names) and set(left.values()) <= {64 * CHUNK_BYTES}
    gfsctl.ok("rm", *(f"{home}/{name}" for name in names))
