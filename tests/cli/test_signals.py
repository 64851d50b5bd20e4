"""Ctrl-C and SIGTERM in the middle: the right status, nothing half, the next one works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from gfsctl_program import CHUNK_BYTES, COMMAND_S, Gfsctl, wait_until

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
BIG_BYTES = 192 * CHUNK_BYTES

pytestmark = pytest.mark.parametrize(("number", "status"), SIGNALS, ids=["int", "term"])


_SIGNAL_WHILE_IMPORTING = """
import signal, sys
class Trap:
    def find_spec(self, name, *rest):
        if name == "gfs_ha.cli.shell":
            signal.raise_signal(signal.Signals(int(sys.argv[1])))
sys.meta_path.insert(0, Trap())
from gfs_ha.cli.main import main
main()
"""


def interrupt(
    gfsctl: Gfsctl, child: subprocess.Popen[bytes], number: signal.Signals, status: int
) -> None:
    assert child.poll() is None, "it ended before the signal; this proves nothing"
    child.send_signal(number)
    ended = gfsctl.end(child)
    assert ended.status == status, ended.err
    assert "Traceback" not in ended.err and ended.err.count("\n") <= 1


def live(gfsctl: Gfsctl) -> set[int]:
    return set(gfsctl.live_chunks())


def sparse(file: Path, size: int) -> Path:
    with file.open("wb") as opened:
        opened.truncate(size)
    return file


def wait_for_new_chunks(gfsctl: Gfsctl, before: set[int]) -> None:
    wait_until(lambda: len(live(gfsctl) - before) >= 2, "the put reached its second chunk")


def check_nothing_half(gfsctl: Gfsctl, home: str, before: set[int], names: list[str]) -> None:
    assert gfsctl.names(home) == names
    wait_until(lambda: not gfsctl.left_over(before), "the chunks of the broken put are collected")


def test_a_put_from_a_pipe(gfsctl: Gfsctl, home: str, number: signal.Signals, status: int) -> None:
    gfsctl.ok("put", "-", f"{home}/f", stdin=b"old")
    before = live(gfsctl)
    child = gfsctl.begin("put", "-", f"{home}/f", stdin=subprocess.PIPE)
    assert child.stdin is not None
    child.stdin.write(os.urandom(3 * CHUNK_BYTES))
    child.stdin.flush()
    interrupt(gfsctl, child, number, status)
    check_nothing_half(gfsctl, home, before, ["f"])
    assert gfsctl.ok("cat", f"{home}/f").out == b"old"
    gfsctl.ok("put", "-", f"{home}/f", stdin=b"new")
    assert gfsctl.ok("cat", f"{home}/f").out == b"new"


def test_a_put_of_a_file(
    gfsctl: Gfsctl, home: str, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    before = live(gfsctl)
    big = sparse(tmp_path / "big", BIG_BYTES)
    child = gfsctl.begin("put", big, f"{home}/f")
    wait_for_new_chunks(gfsctl, before)
    interrupt(gfsctl, child, number, status)
    check_nothing_half(gfsctl, home, before, [])
    gfsctl.ok("put", "-", f"{home}/f", stdin=b"new")
    assert gfsctl.ok("cat", f"{home}/f").out == b"new"


def test_a_put_of_a_tree(
    gfsctl: Gfsctl, home: str, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    before = live(gfsctl)
    (tmp_path / "tree").mkdir()
    for at in range(8):
        sparse(tmp_path / "tree" / str(at), BIG_BYTES // 8)
    child = gfsctl.begin("put", "-r", tmp_path / "tree", f"{home}/tree")
    wait_for_new_chunks(gfsctl, before)
    interrupt(gfsctl, child, number, status)
    # Files that were finished before are whole; the others are not there.
    found = gfsctl.library.walk(home)
    sizes = {entry.status.size for _, entry in found if entry.status.kind == "file"}
    assert sizes <= {BIG_BYTES // 8}
    gfsctl.ok("rm", "-r", "-y", home)
    wait_until(lambda: not gfsctl.left_over(before), "the chunks are collected")
    gfsctl.ok("mkdir", home)
    gfsctl.ok("put", "-", f"{home}/f", stdin=b"new")


def test_a_get(
    gfsctl: Gfsctl, home: str, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    gfsctl.ok("put", sparse(tmp_path / "big", BIG_BYTES), f"{home}/f")
    out = tmp_path / "out"
    out.mkdir()
    (out / "f").write_bytes(b"old")
    child = gfsctl.begin("get", f"{home}/f", out / "f")
    wait_until(lambda: len(os.listdir(out)) == 2, "the temporary file is there")
    interrupt(gfsctl, child, number, status)
    assert os.listdir(out) == ["f"]
    assert (out / "f").read_bytes() == b"old"
    gfsctl.ok("get", f"{home}/f", out / "f")
    assert (out / "f").stat().st_size == BIG_BYTES
    gfsctl.ok("rm", f"{home}/f")


def test_a_get_of_a_tree(
    gfsctl: Gfsctl, home: str, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    (tmp_path / "tree").mkdir()
    for at in range(6):
        sparse(tmp_path / "tree" / str(at), BIG_BYTES // 6)
    gfsctl.ok("put", "-r", tmp_path / "tree", f"{home}/tree")
    out = tmp_path / "out"
    child = gfsctl.begin("get", "-r", "-j", "2", f"{home}/tree", out)
    wait_until(lambda: out.exists() and bool(os.listdir(out)), "the first file is begun")
    interrupt(gfsctl, child, number, status)
    left = {path.name: path.stat().st_size for path in out.iterdir()}
    assert set(left) <= {str(at) for at in range(6)}
    assert set(left.values()) <= {BIG_BYTES // 6}
    gfsctl.ok("rm", "-r", "-y", home)


def test_a_signal_while_the_program_still_starts(number: signal.Signals, status: int) -> None:
    words = [sys.executable, "-c", _SIGNAL_WHILE_IMPORTING, str(int(number))]
    ended = subprocess.run(words, capture_output=True, timeout=COMMAND_S)
    assert (ended.returncode, ended.stderr) == (status, b"")
