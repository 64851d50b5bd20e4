"""The daemons from outside: what they refuse, with which status and words, and how they stop."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from free_ports import HOST, free_ports

from gfs_ha.chunk.disk import PosixDisk
from gfs_ha.chunk.slots.identity import Identity, write_identity
from gfs_ha.ids import DiskId, ServerId
from gfs_ha.local import processes
from gfs_ha.runtime import ThreadedRuntime

pytestmark = pytest.mark.processes

PATIENCE_S = 120


class Daemon:
    """A configuration below tmp_path, and the runs of a daemon with it."""

    def __init__(self, directory: Path, role: str) -> None:
        self.directory = directory
        self.role = role
        self.port, self.master_port, self.raft_port = free_ports(3)
        self.path = directory / "gfs.toml"
        self.data = directory / "data"
        own = (
            f'[chunkserver]\nname = "cs1"\ndirectory = "data"\nlisten = "{HOST}:{self.port}"\n'
            if role == "chunkserver"
            else '[master]\nname = "m1"\ndirectory = "data"\n'
        )
        self.path.write_text(
            '[cluster]\nid = "c1"\n\n[[cluster.masters]]\nname = "m1"\n'
            f'host = "{HOST}"\nport = {self.master_port}\nraft_port = {self.raft_port}\n\n{own}'
        )
        self._begun: list[subprocess.Popen[str]] = []

    def edit(self, old: str, new: str) -> None:
        text = self.path.read_text()
        assert old in text
        self.path.write_text(text.replace(old, new))

    def identify(self, cluster_id: str = "c1") -> None:
        """Make the data directory that of server 7, as after a first start."""
        disk = PosixDisk(self.data)
        write_identity(disk, Identity(cluster_id, ServerId(7), DiskId(9)))
        disk.close()

    def begin(self, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "gfs_ha.cli.daemons", self.role]
        process = subprocess.Popen(
            [*command, "--config", str(self.path), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._begun.append(process)
        return process

    def run(self, *options: str) -> tuple[int, str, str]:
        """Return (status, standard output, last line of standard error) of a run that ends."""
        process = self.begin(*options)
        output, errors = process.communicate(timeout=PATIENCE_S)
        lines = errors.splitlines()
        return process.returncode, output, lines[-1] if lines else ""

    def end(self) -> None:
        for process in self._begun:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.communicate(timeout=PATIENCE_S)


@pytest.fixture(params=["master", "chunkserver"])
def daemon(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path, request.param)
    yield made
    made.end()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path, "chunkserver")
    made.identify()
    yield made
    made.end()


def wait_ready(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_a_right_configuration_is_said_to_be_right_and_nothing_is_made(daemon: Daemon) -> None:
    status, output, errors = daemon.run("--check-config")
    assert (status, errors) == (0, "")
    assert output == f"{daemon.path}: right (cluster c1)\n"
    assert not daemon.data.exists()


def test_a_misspelt_key_stops_the_start_with_file_line_and_key(daemon: Daemon) -> None:
    daemon.edit("directory =", "diretory =")
    line = daemon.path.read_text().splitlines().index('diretory = "data"') + 1
    for options in ((), ("--check-config",)):
        status, output, error = daemon.run(*options)
        assert (status, output) == (2, "")
        assert error == (
            f"ConfigError: {daemon.path}:{line}: {daemon.role}.diretory: unknown key; "
            "did you mean 'directory'?"
        )
        told = daemon.begin(*options).communicate(timeout=PATIENCE_S)[1]
        assert told.splitlines() == [error], "it is told once"
    assert not daemon.data.exists()


def test_broken_toml_and_a_missing_file_stop_the_start(daemon: Daemon) -> None:
    daemon.edit("[cluster]", "[cluster")
    assert daemon.run()[0] == 2
    assert "gfs.toml:1: broken TOML" in daemon.run()[2]
    daemon.path.unlink()
    status, _, error = daemon.run()
    assert status == 2 and "cannot read the configuration: No such file" in error


def test_the_file_of_another_role_is_refused(daemon: Daemon) -> None:
    other = "chunkserver" if daemon.role == "master" else "master"
    daemon.role = other
    status, _, error = daemon.run()
    assert status == 2 and f"has no [{other}]" in error


def test_a_chunkserver_stops_cleanly_without_any_master(server: Daemon) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        process = server.begin()
        assert wait_ready(process) == f"ready name=cs1 port={server.port}\n"
        process.send_signal(number)
        _, errors = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, errors
        assert "stopped server=cs1 clean=True" in errors
        assert "Traceback" not in errors


def test_a_daemon_that_stood_still_goes_on(daemon: Daemon) -> None:
    if daemon.role == "chunkserver":
        daemon.identify()
    process = daemon.begin(*(["--bootstrap"] if daemon.role == "master" else []))
    assert wait_ready(process).startswith("ready")
    found = processes.Process(process.pid, processes.start_ticks(process.pid))
    for _ in range(3):
        process.send_signal(signal.SIGSTOP)
        assert found.wait_paused(ThreadedRuntime(), PATIENCE_S)
        ThreadedRuntime().sleep(0.5)  # Longer than any wait of its main thread.
        process.send_signal(signal.SIGCONT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1.0)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0


def test_a_new_chunkserver_that_finds_no_master_can_be_stopped(tmp_path: Path) -> None:
    new = Daemon(tmp_path, "chunkserver")
    try:
        process = new.begin()
        assert process.stderr is not None
        while "no heartbeat is answered" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0
        assert not (new.data / "identity.json").exists()
    finally:
        new.end()


def test_a_taken_port_is_one_clear_line(daemon: Daemon) -> None:
    if daemon.role == "chunkserver":
        daemon.identify()
    port = daemon.port if daemon.role == "chunkserver" else daemon.master_port
    options = ["--bootstrap"] if daemon.role == "master" else []
    with socket.create_server((HOST, port)):
        status, output, error = daemon.run(*options)
    assert (status, output) == (4, "")
    assert error.startswith("PortTaken: ") and str(port) in error


def test_a_taken_port_does_not_use_up_an_empty_directory(tmp_path: Path) -> None:
    new = Daemon(tmp_path, "chunkserver")
    with socket.create_server((HOST, new.port)):
        status, _, error = new.run()
    assert status == 4 and error.startswith("PortTaken: ")
    assert not list(new.data.iterdir())
    new.end()


def test_a_directory_of_another_cluster_is_refused_and_left_alone(server: Daemon) -> None:
    server.edit('id = "c1"', 'id = "c2"')
    before = {path: path.read_bytes() for path in server.data.iterdir()}
    status, _, error = server.run()
    assert status == 4
    assert error == ("WrongDirectory: the data directory belongs to cluster c1, this server to c2")
    assert before == {path: path.read_bytes() for path in server.data.iterdir()}


def test_a_directory_with_other_files_is_refused(tmp_path: Path) -> None:
    new = Daemon(tmp_path, "chunkserver")
    new.data.mkdir()
    (new.data / "thesis.txt").write_text("years of work")
    status, _, error = new.run()
    assert status == 4 and error.startswith("WrongDirectory: ")
    assert [path.name for path in new.data.iterdir()] == ["thesis.txt"]
    new.end()


def test_a_directory_in_use_is_refused(server: Daemon) -> None:
    wait_ready(server.begin())
    server.edit(str(server.port), str(server.raft_port))
    status, _, error = server.run()
    assert status == 4 and "in use by another process" in error


def test_a_server_does_not_listen_on_the_network_unless_told_twice(server: Daemon) -> None:
    server.edit(f"{HOST}:{server.port}", f"0.0.0.0:{server.port}")
    for security, options in (("", ()), ("", ("--insecure",)), ('security = "none"\n', ())):
        text = server.path.read_text()
        server.path.write_text(security + text)
        status, _, error = server.run(*options)
        assert status == 2 and "--insecure" in error
        server.path.write_text(text)
    server.path.write_text('security = "none"\n' + server.path.read_text())
    assert wait_ready(server.begin("--insecure")).startswith("ready name=cs1")


def test_the_log_goes_to_a_file_when_asked(server: Daemon) -> None:
    log = server.directory / "log/cs1.log"
    process = server.begin("--log-file", str(log))
    wait_ready(process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert errors == ""
    assert "INFO cs1 chunk.server: serving server=cs1 id=7" in log.read_text()


def test_the_log_is_json_when_asked(server: Daemon) -> None:
    log = server.directory / "cs1.log"
    process = server.begin("--log-file", str(log), "--log-format", "json")
    wait_ready(process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE_S)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    (serving,) = [line for line in lines if line["message"] == "serving"]
    assert serving["process"] == "cs1" and serving["module"] == "chunk.server"
    assert serving["fields"]["server"] == "cs1" and serving["fields"]["id"] == 7
    status, _, error = server.run("--log-format", "loud")
    assert status == 2 and "json" in error


def test_help_needs_nothing_heavy() -> None:
    code = (
        "import sys; import gfs_ha.cli.daemons;"
        "heavy = {'rpyc', 'lmdb', 'pysyncobj', 'msgspec', 'rich'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))
