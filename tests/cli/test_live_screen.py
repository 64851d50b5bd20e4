"""The live view on a real pseudo-terminal: what is written, and that the terminal comes back."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator

import pytest

ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"
PATIENCE_S = 60.0

# A screen with the frames of a simulated cluster; each key lets a second pass there.
PROGRAM = """
import signal
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # Whoever ran the tests may ignore it.
import sys
from gfs_ha.cli.interrupt import listen
from gfs_ha.cli.live.frame import draw
from gfs_ha.cli.live.look import Look
from gfs_ha.cli.live.screen import Screen
from gfs_ha.cli.live.sight import Looked, Sight
from gfs_ha.cli.live.spans import Palette
from gfs_ha.protocol.live import GetLive
from gfs_ha.sim.live_scene import LiveScene

listen()
scene, look, sight = LiveScene(), Look(), Sight()
sight.take(Looked(scene.now_s, scene.report(GetLive())))
with Screen(Palette()) as screen:
    typed = b""
    while True:
        screen.draw(draw(look, sight, screen.size, (scene.now_s, "13:04:11")).lines)
        typed = typed or screen.read()
        key, typed = typed[:1], typed[1:]
        if key == b"q":
            break
        if key == b"x":
            raise RuntimeError("a mistake")
        if key == b"s":
            scene.step()
            sight.take(Looked(scene.now_s, scene.report(GetLive())))
"""


# The live view of a cluster, whose looks fail by a mistake.
MISTAKEN = """
from gfs_ha.cli.live.app import LiveApp
from gfs_ha.cli.live.look import Look
from gfs_ha.cli.live.screen import Screen
from gfs_ha.cli.live.spans import Palette
from gfs_ha.runtime import ThreadedRuntime

class View:
    def look(self, asked):
        raise ValueError("a mistake")

with Screen(Palette()) as screen:
    LiveApp(View(), screen, Look(), ThreadedRuntime()).run()
"""


class Terminal:
    """A program at the other end of a pseudo-terminal."""

    def __init__(self, columns: int = 120, rows: int = 40, program: str = PROGRAM) -> None:
        self.ours, self.theirs = pty.openpty()
        self.resize(columns, rows)
        self.before = termios.tcgetattr(self.theirs)
        self.child = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=self.theirs,
            stdout=self.theirs,
            stderr=subprocess.DEVNULL,
        )
        self.seen = b""

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        os.write(self.ours, keys)

    def wait_for(self, text: bytes) -> bytes:
        """Return what was written until a text came, and forget it."""
        until_s = time.monotonic() + PATIENCE_S
        while text not in self.seen:
            assert time.monotonic() < until_s, self.seen[-2000:]
            if select.select([self.ours], [], [], 0.05)[0]:
                self.seen += os.read(self.ours, 65536)
        taken, self.seen = self.seen, b""
        return taken

    def end(self) -> int:
        return self.child.wait(PATIENCE_S)

    def close(self) -> None:
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait(PATIENCE_S)
        os.close(self.ours)
        os.close(self.theirs)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    opened = Terminal()
    try:
        yield opened
    finally:
        opened.close()


def test_a_refresh_wipes_nothing_and_writes_changed_lines_only(terminal: Terminal) -> None:
    first = terminal.wait_for(b"q quit")
    assert first.count(b"server \xe2\x96\xb2") == 1
    terminal.type(b"s")
    second = terminal.wait_for(b"cs12")
    for wipe in (b"\x1b[2J", b"\x1b[J", b"\x1b[H", ENTER):
        assert wipe not in second
    assert len(second) < len(first) and b"files 10,211,448" not in second
    assert b"server \xe2\x96\xb2" not in second and b"q quit" not in second


def test_a_mistake_in_a_look_ends_the_view_and_is_no_screen_that_stands_still() -> None:
    terminal = Terminal(program=MISTAKEN)
    try:
        terminal.wait_for(LEAVE)
        assert terminal.end() == 1
        assert termios.tcgetattr(terminal.theirs) == terminal.before
    finally:
        terminal.close()


def test_an_equal_frame_writes_nothing(terminal: Terminal) -> None:
    terminal.wait_for(b"q quit")
    terminal.type(b"nnq")
    assert terminal.wait_for(LEAVE).startswith(b"\x1b[?7h")


def test_a_new_size_is_drawn_anew(terminal: Terminal) -> None:
    terminal.wait_for(b"q quit")
    terminal.resize(80, 24)
    terminal.type(b"n")
    assert terminal.wait_for(b"q quit").count(b"server \xe2\x96\xb2") == 1


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        (b"q", 0),
        (b"x", 1),
        (b"\x03", -signal.SIGINT),
        (signal.SIGTERM, 1),
        (signal.SIGHUP, 1),
    ],
    ids=str,
)
def test_the_terminal_comes_back_whatever_ends_it(
    terminal: Terminal, ending: bytes | signal.Signals, status: int
) -> None:
    terminal.wait_for(b"q quit")
    assert termios.tcgetattr(terminal.theirs) != terminal.before
    if isinstance(ending, bytes) and ending != b"\x03":
        terminal.type(ending)
    else:
        terminal.child.send_signal(signal.SIGINT if ending == b"\x03" else ending)
    assert LEAVE in terminal.wait_for(LEAVE)
    assert (terminal.end() == 0) == (status == 0)
    assert termios.tcgetattr(terminal.theirs) == terminal.before
