"""What real daemons tell the service manager, from their start to their end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from free_ports import HOST, free_ports

from gfs_ha.local.processes import read_tail

pytestmark = pytest.mark.processes

PATIENCE_S = 120.0
WATCHDOG_S = 3.0
TRIES = 4  # On a busy machine the one who is to lead may come too late.


class Manager:
    """A service manager of a few daemons of one cluster; hears each on a socket of its own."""

    def __init__(self, directory: Path, masters: int = 1) -> None:
        self.directory = directory
        ports = free_ports(2 * masters + 1)
        self._port = ports[-1]
        self._cluster = '[cluster]\nid = "c1"\n' + "".join(
            f'\n[[cluster.masters]]\nname = "m{number + 1}"\nhost = "{HOST}"\n'
            f"port = {ports[2 * number]}\nraft_port = {ports[2 * number + 1]}\n"
            for number in range(masters)
        )
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self._sockets: dict[str, socket.socket] = {}
        self.heard: dict[str, list[str]] = {}
        self._unread: dict[str, list[str]] = {}  # Lines that came with one that was waited for.

    def begin(self, name: str, *options: str) -> None:
        """Start a daemon as a unit with a watchdog would."""
        role = "master" if name.startswith("m") else "chunkserver"
        own = f'\n[{role}]\nname = "{name}"\ndirectory = "{name}"\n'
        if role == "chunkserver":
            own += f'listen = "{HOST}:{self._port}"\n'
        path = self.directory / f"{name}.toml"
        path.write_text(self._cluster + own)
        if name in self._sockets:
            self._sockets.pop(name).close()
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address = f"gfs-notified-{os.getpid()}-{name}"
        listening.bind("\0" + address)
        self._sockets[name] = listening
        self.heard[name], self._unread[name] = [], []
        environ = {
            **os.environ,
            "NOTIFY_SOCKET": "@" + address,
            "WATCHDOG_USEC": str(round(WATCHDOG_S * 1e6)),
        }
        command = [sys.executable, "-m", "gfs_ha.cli.daemons", role, "--config", str(path)]
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [*command, *options], stdout=subprocess.DEVNULL, stderr=log, env=environ, text=True
            )

    def wait_for(self, name: str, *wanted: str) -> str:
        """Return the first of the wanted lines that a daemon says behind those that were read."""
        until_s = time.monotonic() + PATIENCE_S
        listening, unread = self._sockets[name], self._unread[name]
        while (left_s := until_s - time.monotonic()) > 0:
            while unread:
                self.heard[name].append(unread.pop(0))
                if self.heard[name][-1] in wanted:
                    return self.heard[name][-1]
            listening.settimeout(left_s)
            try:
                unread += listening.recv(65536).decode().splitlines()
            except TimeoutError:
                break
        raise AssertionError(f"{name} never said {wanted}: {self.heard[name]}\n{self._logs()}")

    def _logs(self) -> str:
        """Return how each daemon ended, if it did, and the end of its log."""
        return "\n".join(
            f"--- {name}, status {process.poll()}\n"
            + "\n".join(read_tail(self.directory / f"{name}.log")[-25:])
            for name, process in self.processes.items()
        )

    def hear(self, name: str) -> list[str]:
        """Return what a daemon has said by now and was not heard yet."""
        found, self._unread[name] = self._unread[name], []
        listening = self._sockets[name]
        listening.setblocking(False)
        while True:
            try:
                found += listening.recv(65536).decode().splitlines()
            except BlockingIOError:
                return found

    def stop(self, name: str) -> int:
        """Return the status with which a daemon ends that is told to."""
        process = self.processes[name]
        process.terminate()
        return process.wait(PATIENCE_S)

    def close(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait(PATIENCE_S)
        for listening in self._sockets.values():
            listening.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path)
    yield made
    made.close()


def test_a_master_says_ready_what_it_does_that_it_lives_and_that_it_ends(manager: Manager) -> None:
    manager.begin("m1", "--bootstrap")
    assert manager.wait_for("m1", "READY=1")
    assert manager.wait_for("m1", "STATUS=leads in term 1")
    assert manager.wait_for("m1", "WATCHDOG=1") and manager.wait_for("m1", "WATCHDOG=1")
    assert manager.stop("m1") == 0
    said = manager.hear("m1")
    assert "STOPPING=1" in said and "EXTEND_TIMEOUT_USEC=30000000" in said


def test_a_master_that_cannot_serve_never_says_ready(manager: Manager) -> None:
    (manager.directory / "m1").write_text("no directory")
    manager.begin("m1", "--bootstrap")
    assert manager.processes["m1"].wait(PATIENCE_S) != 0
    assert manager.hear("m1") == []


def test_a_new_chunkserver_is_ready_once_a_leader_gave_it_an_id(manager: Manager) -> None:
    manager.begin("cs1")
    assert manager.wait_for("cs1", "EXTEND_TIMEOUT_USEC=30000000")
    assert manager.wait_for("cs1", "STATUS=waits for a leader that gives it an id")
    manager.begin("m1", "--bootstrap")
    assert manager.wait_for("cs1", "READY=1")
    assert manager.wait_for("cs1", "WATCHDOG=1")
    assert manager.stop("m1") == 0
    assert manager.wait_for("cs1", "STATUS=serves, but no leader answers")
    assert manager.wait_for("cs1", "WATCHDOG=1"), "it lives on without masters"
    assert manager.stop("cs1") == 0
    assert "STOPPING=1" in manager.hear("cs1")
    # It has its id now: it serves what it has, whoever leads.
    manager.begin("cs1")
    assert manager.wait_for("cs1", "READY=1")


def test_a_leader_that_is_told_to_end_hands_over_before_it_goes(tmp_path: Path) -> None:
    for turn in range(TRIES):
        directory = tmp_path / f"{turn}"
        directory.mkdir()
        with closing(Manager(directory, masters=3)) as three:
            if handed_over(three):
                return
    raise AssertionError("nobody took over, each time")


def handed_over(three: Manager) -> bool:
    """Return whether a leader that is told to end has a successor in time, and check its end."""
    names = ("m1", "m2", "m3")
    for name in names:
        three.begin(name, "--bootstrap")
    leads = [f"STATUS=leads in term {term}" for term in range(1, 50)]
    follows = {f"STATUS=follows {name}": name for name in names}
    said = three.wait_for("m1", *leads, *follows)
    leader = follows.get(said, "m1")
    assert three.stop(leader) == 0
    log = (three.directory / f"{leader}.log").read_text()
    assert "stopped master=" in log and "clean=True" in log
    assert "leads no more" in log, "it led when it was told"
    if "without a successor" in log or "nobody took over" in log:
        return False
    first, second = (name for name in names if name != leader)
    successor = follows.get(three.wait_for(first, *leads, f"STATUS=follows {second}"), first)
    assert successor != leader
    return True


def test_a_daemon_that_its_watchdog_ends_leaves_where_each_thread_was(manager: Manager) -> None:
    manager.begin("m1", "--bootstrap")
    manager.wait_for("m1", "READY=1")
    process = manager.processes["m1"]
    process.send_signal(signal.SIGABRT)
    assert process.wait(PATIENCE_S) == -signal.SIGABRT
    log = (manager.directory / "m1.log").read_text()
    assert "Fatal Python error: Aborted" in log
    for loop in ("raft/node.py", "net/door.py", "master/housekeeping.py"):
        assert loop in log, log
