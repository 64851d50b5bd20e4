"""Walks through the live view by keyboard, in a real terminal (tmux) and against a real cluster."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gfsctl_program import GFSCTL, Gfsctl

from gfs_ha.local.cluster import LocalCluster

TMUX = shutil.which("tmux")
PATIENCE_S = 120.0

pytestmark = [
    pytest.mark.skipif(TMUX is None, reason="tmux is not installed: nobody can type"),
    pytest.mark.processes,
]


class Terminal:
    """A tmux server of its own with one window, in which gfsctl runs."""

    def __init__(self, gfsctl: Gfsctl, directory: Path) -> None:
        self._socket = str(directory / "tmux.sock")
        self._environment = gfsctl.environment() | {"LC_ALL": "C.UTF-8"}
        self._environment.pop("TMUX", None)

    def _tmux(self, *words: str) -> str:
        told = subprocess.run(
            [str(TMUX), "-S", self._socket, "-f", os.devnull, *words],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        return told.stdout

    def run(self, words: str, columns: int = 120, rows: int = 30) -> None:
        """Start a command; what it says at its end stays to be read."""
        told = f"{shlex.quote(GFSCTL)} {words}; echo status $?; sleep 600"
        self._tmux("new-session", "-d", "-x", str(columns), "-y", str(rows), told)

    def type(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    def write(self, text: str) -> None:
        """Type a text letter by letter: tmux would take some words for names of keys."""
        self._tmux("send-keys", "-l", text)

    def resize(self, columns: int, rows: int) -> None:
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def screen(self) -> str:
        return self._tmux("capture-pane", "-p")

    def wait_for(self, *texts: str) -> str:
        """Return the screen once it has all these texts."""
        until_s = time.monotonic() + PATIENCE_S
        while True:
            screen = self.screen()
            if all(text in screen for text in texts):
                return screen
            assert "Traceback" not in screen, screen
            assert time.monotonic() < until_s, f"never seen {texts}:\n{screen}"
            time.sleep(0.1)

    def close(self) -> None:
        self._tmux("kill-server")


@pytest.fixture
def terminal(gfsctl: Gfsctl, tmp_path: Path) -> Iterator[Terminal]:
    opened = Terminal(gfsctl, tmp_path)
    try:
        yield opened
    finally:
        opened.close()


def test_a_walk_from_the_servers_to_a_file_and_its_chunk(
    gfsctl: Gfsctl, home: str, terminal: Terminal
) -> None:
    gfsctl.library.write_bytes(f"{home}/f", b"x" * 3000)
    terminal.run("admin top")
    terminal.wait_for("leader", "cs1", "cs4", "by name  1 of 4", "? help")

    terminal.type("Down", "Enter")
    terminal.wait_for("Servers > server cs2", "disks (1)", "rack")
    terminal.type("Escape")
    terminal.wait_for("2 of 4")

    terminal.type("s", "s", "s")
    terminal.wait_for("by heartbeat", "heard ▼")
    terminal.type("r")
    terminal.wait_for("by heartbeat reversed", "heard ▲")

    terminal.type("/", "c", "s", "3", "Enter")
    assert "\ncs1 " not in terminal.wait_for("filter 'cs3'", "1 of 1", "\ncs3")
    terminal.type("Escape")
    terminal.wait_for("of 4", "\ncs1 ")

    terminal.type(":")
    terminal.write(f"{home}/f")
    terminal.type("Enter")
    terminal.wait_for(f"file {home}/f", "extents (1)", "2.9 KiB")
    terminal.type("End", "Enter")
    terminal.wait_for("> chunk 0x", "replicas", "copies")
    terminal.type("Escape", "2")
    terminal.wait_for("m1", "m2", "m3", "LEADER", "commit p50")
    terminal.type("6")
    terminal.wait_for("what happened", "subject", "leader")
    terminal.type("?")
    terminal.wait_for("Ctrl-Z suspends", "any key goes back")
    terminal.type("x", "3")
    terminal.wait_for("copies", "goal")
    terminal.resize(80, 24)
    terminal.type("1")
    assert max(map(len, terminal.wait_for("heard ▲", "queue", "cs4").split("\n"))) <= 80
    terminal.type("Space")
    terminal.wait_for("PAUSED")
    terminal.type("q")
    assert "PAUSED" not in terminal.wait_for("status 0")


def test_what_is_not_there_is_said_on_its_page(terminal: Terminal) -> None:
    terminal.run("admin top --tab jobs", columns=80, rows=24)
    terminal.wait_for("4 Jobs", "? help")
    for name in ("/no/such/file", "r-99", "cs99", "0x1"):
        terminal.type(":")
        terminal.write(name)
        terminal.type("Enter")
        terminal.wait_for("Jobs >", name.removeprefix("0x"), "no ")
        terminal.type("Escape")
        terminal.wait_for("4 Jobs")
    terminal.type("C-c")
    terminal.wait_for("stopped by SIGINT", "status 130")


def test_the_view_goes_on_through_a_change_of_the_leader_and_without_one(
    gfsctl: Gfsctl, whole_cluster: LocalCluster, terminal: Terminal
) -> None:
    terminal.run("admin top")
    terminal.wait_for("leader", "by name  1 of 4", "live")
    leader = gfsctl.library.operations.status().leader
    others = [name for name in ("m1", "m2", "m3") if name != leader]
    whole_cluster.kill(leader, signal.SIGKILL)
    terminal.wait_for("NO_QUORUM_MARGIN", "4 live")
    second = gfsctl.library.operations.status().leader
    assert second in others
    whole_cluster.kill(second, signal.SIGKILL)
    screen = terminal.wait_for("no leader since", "answers")
    assert " live" in screen and "\ncs4" in screen, "what was known stays"
    whole_cluster.up()
    terminal.wait_for("leader m", "4 live", "cs4")
    terminal.type("q")
    terminal.wait_for("status 0")


def test_ctrl_z_gives_the_terminal_back_and_fg_goes_on(terminal: Terminal, gfsctl: Gfsctl) -> None:
    terminal._tmux("new-session", "-d", "-x", "100", "-y", "24", "bash --norc")
    terminal.type("PS1='shell> '", "Enter")
    terminal.wait_for("\nshell>")
    terminal.write(f"{GFSCTL} admin status -w 1")
    terminal.type("Enter")
    terminal.wait_for("masters", "alerts")
    terminal.type("C-z")
    terminal.wait_for("Stopped", "shell>")
    terminal.type("fg", "Enter")
    terminal.wait_for("cluster", "alerts")
    terminal.type("q")
    terminal.wait_for("Stopped", "shell>")
    terminal.write("stty -a | tr ';' '\\n' | grep -o ' -*icanon'")
    terminal.type("Enter")
    assert " -icanon" not in terminal.wait_for("\n icanon")


def test_without_a_terminal_it_says_what_to_use_instead(gfsctl: Gfsctl) -> None:
    assert "--once" in gfsctl.refused(2, "admin", "top")
    once = gfsctl.ok("admin", "top", "--once", "--sort", "used")
    assert any("cs4" in line for line in once.lines) and "\x1b" not in once.out.decode()
    told = gfsctl.ok("admin", "top", "-o", "json", "--limit", "2").json
    report = told["items"][0]
    assert told["kind"] == "Live" and told["meta"]["leader"] == report["answered_by"]
    assert len(report["servers"]) == 2 and report["matching"] == 4
    assert {"read", "write", "append", "queue"} <= set(report["overview"]["load"])
    assert gfsctl.ok("admin", "top", "-o", "name", "--filter", "cs2").lines == ["cs2"]


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_frame_into_a_pipe_is_as_wide_as_columns_says(
    gfsctl: Gfsctl, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    once = gfsctl.ok("admin", "top", "--once")
    assert any("cs4" in line for line in once.lines)
    assert columns - 20 < max(map(len, once.lines)) <= columns


def test_who_does_how_much_is_live_at_a_terminal_and_told_once_on_demand(
    gfsctl: Gfsctl, home: str, terminal: Terminal
) -> None:
    gfsctl.library.write_bytes(f"{home}/f", b"x" * 3000)
    terminal.run("admin top --by op; GFS=$?; echo; echo left $GFS")
    terminal.wait_for("Operation")
    time.sleep(0.5)
    assert "left" not in terminal.screen(), "it goes on"
    terminal.type("q")
    terminal.wait_for("left 0")


def test_one_table_of_who_does_how_much_is_told_with_once(terminal: Terminal) -> None:
    terminal.run("admin top --by op --once")
    terminal.wait_for("Operation", "status 0")
