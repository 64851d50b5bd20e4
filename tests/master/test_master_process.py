"""A master as a process: ready, SIGTERM, and what it refuses to start on."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from free_ports import free_ports

from gfs_ha.kv.lmdb_kv import LmdbKV
from gfs_ha.limits import MIB
from gfs_ha.master.raft.identity import DATABASES as RAFT_DATABASES
from gfs_ha.master.state.tables import COUNTERS, DATABASES, ONLY

WAIT_S = 60

pytestmark = pytest.mark.processes


class Daemon:
    """One configuration of a cluster of one master, and the processes started on it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ports = free_ports(2)
        self.processes: list[subprocess.Popen[str]] = []
        self.write()

    def write(self, cluster: str = "c1", host: str = "127.0.0.1", data: str = "data") -> None:
        (self.directory / "gfs.toml").write_text(
            f'[cluster]\nid = "{cluster}"\n'
            f'[[cluster.masters]]\nname = "m1"\nhost = "{host}"\n'
            f"port = {self.ports[0]}\nraft_port = {self.ports[1]}\n"
            f'[master]\nname = "m1"\ndirectory = "{data}"\nmap_bytes = "64MiB"\n'
        )

    def start(self, *options: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [
                sys.executable,
                *("-m", "gfs_ha.cli.daemons", "master"),
                *("--config", str(self.directory / "gfs.toml"), *options),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def started(self, *options: str) -> subprocess.Popen[str]:
        """Start it and wait until it says that it serves."""
        process = self.start(*options)
        assert process.stdout is not None
        assert process.stdout.readline() == f"ready name=m1 port={self.ports[0]}\n"
        return process

    def refused(self, *options: str) -> tuple[int, str]:
        """Start it and return the exit status and the last line that it said."""
        process = self.start(*options)
        _, errors = process.communicate(timeout=WAIT_S)
        return process.returncode, errors.strip().splitlines()[-1]

    def stop(self, process: subprocess.Popen[str]) -> int:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=WAIT_S)
        return process.returncode


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path)
    try:
        yield made
    finally:
        for process in made.processes:
            process.kill()
            process.communicate()


def test_a_master_serves_and_stops_cleanly_and_starts_again(daemon: Daemon) -> None:
    assert daemon.stop(daemon.started("--bootstrap")) == 0
    again = daemon.started()
    again.kill()
    again.communicate()
    assert daemon.stop(daemon.started()) == 0


def test_without_bootstrap_an_empty_directory_waits_to_be_let_in(daemon: Daemon) -> None:
    process = daemon.started()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0 and "waits to be let in" in errors
    # It waits on: a later --bootstrap would make a second cluster out of it.
    status, line = daemon.refused("--bootstrap")
    assert status == 4 and line.startswith("WrongDirectory: ")


def test_a_used_directory_refuses_bootstrap(daemon: Daemon) -> None:
    daemon.stop(daemon.started("--bootstrap"))
    status, line = daemon.refused("--bootstrap")
    assert status == 4 and line.startswith("WrongDirectory: ")
    assert daemon.stop(daemon.started()) == 0


def test_a_directory_of_something_else_is_refused_and_left_alone(daemon: Daemon) -> None:
    data = daemon.directory / "data"
    data.mkdir()
    (data / "identity.json").write_text("{}")
    for options in ((), ("--bootstrap",)):
        status, line = daemon.refused(*options)
        assert status == 4 and line.startswith("WrongDirectory: ") and "identity.json" in line
    assert not (data / "db").exists()


def test_a_directory_of_another_cluster_is_refused(daemon: Daemon) -> None:
    daemon.stop(daemon.started("--bootstrap"))
    daemon.write(cluster="c2")
    status, line = daemon.refused()
    assert status == 4 and line.startswith("WrongDirectory: ") and "c1" in line


def test_a_directory_in_use_is_refused(daemon: Daemon) -> None:
    daemon.started("--bootstrap")
    daemon.ports = free_ports(2)
    daemon.write()
    status, line = daemon.refused()
    assert status == 4 and line.startswith("WrongDirectory: ") and "another process" in line


def take(taken: socket.socket, daemon: Daemon, which: int) -> None:
    """Take one of a daemon's ports; it gets others if somebody else was faster."""
    for _ in range(20):
        try:
            taken.bind(("127.0.0.1", daemon.ports[which]))
            taken.listen()
            return
        except OSError:
            daemon.ports = free_ports(2)
            daemon.write()
    raise AssertionError("no port is free")


@pytest.mark.parametrize("which", [0, 1])
def test_a_taken_port_is_named(daemon: Daemon, which: int) -> None:
    with socket.socket() as taken:
        take(taken, daemon, which)
        status, line = daemon.refused("--bootstrap")
    assert status == 4 and line.startswith("PortTaken: ")
    assert str(daemon.ports[which]) in line
    assert daemon.stop(daemon.started("--bootstrap")) == 0


def test_a_damaged_store_ends_the_process_with_its_name(daemon: Daemon) -> None:
    daemon.stop(daemon.started("--bootstrap"))
    kv = LmdbKV(daemon.directory / "data" / "db", (*RAFT_DATABASES, *DATABASES), 64 * MIB)
    writer = kv.begin()
    writer.put(COUNTERS.table, ONLY, b"\xff no row of ours")
    writer.commit()
    kv.close()
    process = daemon.started()
    _, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == 1
    assert "\nDiskFailed: a row of counters" in errors


def test_the_network_is_not_listened_on_by_accident(daemon: Daemon) -> None:
    daemon.write(host="0.0.0.0")
    status, line = daemon.refused("--bootstrap")
    assert status == 2 and "--insecure" in line
