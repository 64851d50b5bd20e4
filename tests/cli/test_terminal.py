"""gfsctl at a terminal: it asks, it draws progress, it redraws what is watched."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gfsctl_program import CHUNK_BYTES, COMMAND_S, Gfsctl

from gfs_ha.cli.render import text_of

# Ctrl-C reaches only what the terminal controls.
_TAKE_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
ESCAPE = "\x1b["


class Terminal:
    """One pseudo-terminal; gfsctl runs at its other end."""

    def __init__(self, gfsctl: Gfsctl) -> None:
        self._gfsctl = gfsctl
        self._ours, self._theirs = pty.openpty()
        self.resize(120)
        self._seen = ""

    def resize(self, columns: int) -> None:
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))

    def run(self, *words: str | Path, answers: tuple[tuple[str, str], ...] = ()) -> tuple[int, str]:
        """Run a command; type each answer when its question is seen. Return status and screen."""
        self._seen = ""
        child = self._gfsctl.begin(
            *words,
            before=(sys.executable, "-c", _TAKE_TERMINAL),
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
        )
        deadline_s = time.monotonic() + COMMAND_S
        waiting = list(answers)
        while child.poll() is None:
            assert time.monotonic() < deadline_s, f"it hangs: {self._seen}"
            self._read(0.05)
            if waiting and waiting[0][0] in self._seen:
                os.write(self._ours, waiting.pop(0)[1].encode())
        self._read(0)
        assert not waiting, f"never asked {waiting}: {self._seen}"
        return child.returncode, self._seen.replace("\r\n", "\n")

    def _read(self, patience_s: float) -> None:
        while select.select([self._ours], [], [], patience_s)[0]:
            self._seen += os.read(self._ours, 65536).decode(errors="replace")
            patience_s = 0

    def close(self) -> None:
        os.close(self._ours)
        os.close(self._theirs)


@pytest.fixture
def terminal(gfsctl: Gfsctl) -> Iterator[Terminal]:
    opened = Terminal(gfsctl)
    try:
        yield opened
    finally:
        opened.close()


def test_a_recursive_rm_asks_with_count_and_bytes(
    gfsctl: Gfsctl, home: str, terminal: Terminal
) -> None:
    gfsctl.library.mkdir(f"{home}/d/e", parents=True)
    gfsctl.library.write_bytes(f"{home}/d/e/f", b"x" * 2048)
    question = f"remove {home}/d with 1 file (2.0 KiB) and 1 directory? [y/N]"
    status, _ = terminal.run("rm", "-r", f"{home}/d", answers=((question, "n\n"),))
    assert status == 0 and gfsctl.names(home) == ["d"]
    status, _ = terminal.run("rm", "-r", f"{home}/d", answers=((question, "\n"),))
    assert status == 0 and gfsctl.names(home) == ["d"]
    status, _ = terminal.run("rm", "-r", f"{home}/d", answers=((question, "\x03"),))
    assert status == 130 and gfsctl.names(home) == ["d"]
    status, _ = terminal.run("rm", "-r", f"{home}/d", answers=((question, "y\n"),))
    assert status == 0 and gfsctl.names(home) == []


def test_sync_asks_before_it_deletes_with_count_bytes_and_place(
    gfsctl: Gfsctl, home: str, terminal: Terminal, tmp_path: Path
) -> None:
    (tmp_path / "src").mkdir()
    gfsctl.library.mkdir(f"{home}/t/e", parents=True)
    gfsctl.library.write_bytes(f"{home}/t/e/f", b"x" * 2048)
    words = ("sync", "--delete", "src", f"{home}/t")
    question = f"delete 1 file (2.0 KiB) and 1 directory in the cluster's {home}/t that the source"
    status, _ = terminal.run(*words, answers=((question, "n\n"),))
    assert status == 0 and gfsctl.names(f"{home}/t") == ["e"]
    status, screen = terminal.run(*words, answers=((question, "y\n"),))
    assert status == 0 and "deleted 2" in screen
    assert gfsctl.names(f"{home}/t") == []
    status, screen = terminal.run(*words)
    assert status == 0 and screen.endswith("nothing to do: 0 files and 1 directory is equal\n")
    assert "copied 0" not in screen


def test_rm_of_a_file_mv_and_put_never_ask(gfsctl: Gfsctl, home: str, terminal: Terminal) -> None:
    gfsctl.library.write_bytes(f"{home}/a", b"a")
    gfsctl.library.write_bytes(f"{home}/b", b"b")
    assert terminal.run("put", "-q", "/dev/null", f"{home}/a") == (0, "")
    assert terminal.run("mv", f"{home}/a", f"{home}/b") == (0, "")
    assert terminal.run("rm", f"{home}/b") == (0, "")


def test_a_copy_draws_progress_and_says_what_happened(
    gfsctl: Gfsctl, home: str, terminal: Terminal, tmp_path: Path
) -> None:
    (tmp_path / "f").write_bytes(os.urandom(2 * CHUNK_BYTES))
    status, screen = terminal.run("put", tmp_path / "f", f"{home}/f")
    assert status == 0
    assert "of 2.0 MiB" in screen and "gfsctl: put 1 file, 2.0 MiB in " in screen
    status, screen = terminal.run("get", f"{home}/f", tmp_path / "back")
    assert status == 0 and "gfsctl: got 1 file, 2.0 MiB in " in screen
    assert terminal.run("get", "-q", f"{home}/f", tmp_path / "back") == (0, "")


def test_progress_of_several_files_counts_those_that_can_be_copied(
    gfsctl: Gfsctl, home: str, terminal: Terminal, tmp_path: Path
) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(os.urandom(CHUNK_BYTES))
    gfsctl.ok("mkdir", f"{home}/c")
    words = [tmp_path / name for name in ("a", "gone", "b", "c")]
    terminal.resize(100)
    status, screen = terminal.run("put", "-j", "2", *words, home)
    assert status == 11 and "2/2 files" in screen
    assert "gfsctl: put 2 files, 2.0 MiB in " in screen


def test_progress_of_a_tree_stays_on_one_line_of_a_narrow_terminal(
    gfsctl: Gfsctl, home: str, terminal: Terminal, tmp_path: Path
) -> None:
    (tmp_path / "d").mkdir()
    for number in range(1200):
        (tmp_path / "d" / str(number)).write_bytes(b"x" * 600)
    terminal.resize(80)
    status, screen = terminal.run("put", "-r", tmp_path / "d", f"{home}/d")
    assert status == 0 and "1,200/1,200 files" in screen
    two_lines_up = f"{ESCAPE}1A{ESCAPE}2K" * 2
    assert two_lines_up not in screen


def test_colours_are_for_terminals_and_only_when_wanted(terminal: Terminal) -> None:
    status, screen = terminal.run("admin", "chunkservers", "ls")
    assert status == 0 and ESCAPE in screen
    status, screen = terminal.run("admin", "chunkservers", "ls", "--no-color")
    assert status == 0 and ESCAPE not in screen


def test_names_reach_a_terminal_as_it_may_show_them_and_programs_as_they_are(
    gfsctl: Gfsctl, home: str, terminal: Terminal
) -> None:
    gfsctl.library.write_bytes(f"{home}/\x1b[31mred", b"")
    for words in (("find", home, "-o", "name"), ("checksum", "-r", home)):
        status, shown = terminal.run(*words)
        assert status == 0 and "\\x1b[31mred" in shown and "\x1b[31m" not in shown
        assert b"\x1b[31mred" in gfsctl.ok(*words).out


def test_a_watched_screen_is_drawn_over_the_old_one_until_ctrl_c(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    words = ("admin", "status", "-w", "0.1", "--no-color")
    looks = (*[("alerts", "")] * 10, ("alerts", "\x03"))  # It looks again meanwhile.
    status, screen = terminal.run(*words, answers=looks)
    assert status == 130 and "leader" in screen
    # On a screen of its own, never wiped, and the shell's comes back.
    assert screen.startswith(f"{ESCAPE}?1049h") and f"{ESCAPE}?1049l" in screen
    assert f"{ESCAPE}2J" not in screen and f"{ESCAPE}J" not in screen
    rows: dict[str, str] = {}
    for row, text in re.findall(r"\x1b\[(\d+);1H([^\x1b\r\n]*)", screen):
        assert rows.get(row) != text, "an equal line is written again"
        rows[row] = text
    assert rows["1"].startswith("cluster ")


def test_a_watched_screen_ends_with_q(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    status, screen = terminal.run("admin", "masters", "ls", "-w", answers=(("leader", "q"),))
    assert status == 0 and screen.endswith(f"{ESCAPE}?1049l")


def test_what_no_retry_can_help_ends_a_watched_screen_and_is_told_after_it(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    status, screen = terminal.run("admin", "jobs", "show", "r-99", "-w", "0.1")
    shell = screen.partition(f"{ESCAPE}?1049l")[2]
    assert status == 3 and shell.startswith("gfsctl: ") and "99" in shell


def test_a_terminal_that_cannot_draw_gets_what_a_pipe_gets(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    words = ("admin", "status", "-w", "0.1", "--no-color")
    status, screen = terminal.run(*words, answers=(("alerts", "\x03"),))
    assert status == 130 and ESCAPE not in screen


def test_text_for_a_pipe_has_one_line_per_row() -> None:
    from rich.table import Table

    table = Table("Name", box=None)
    table.add_row("x" * 500)
    assert text_of(table, color=True, wide=False).count("\n") == 1
