"""A local cluster from outside: up, down, kill, stale pid files, taken ports, wrong directories."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from killing import wait_until

import gfs_ha
from gfs_ha import config
from gfs_ha.checksum import crc32c
from gfs_ha.chunk.slots.identity import Identity
from gfs_ha.errors import (
    ConfigError,
    DiskFull,
    GfsError,
    NotFound,
    PortTaken,
    PreconditionFailed,
    UsageError,
    WrongDirectory,
)
from gfs_ha.ids import ServerId
from gfs_ha.local import cluster as cluster_module
from gfs_ha.local import processes
from gfs_ha.local.cluster import LocalCluster
from gfs_ha.local.home import CHUNKSERVER, MASTER, Home
from gfs_ha.local.layout import Layout, Plan
from gfs_ha.local.member_status import PAUSED, RUNNING, STOPPED
from gfs_ha.local.ports import is_free
from gfs_ha.local.shape import Growth
from gfs_ha.runtime import Runtime, ThreadedRuntime

pytestmark = pytest.mark.processes

MIB = 1 << 20
NewCluster = Callable[[str], LocalCluster]
NAMES = ("m1", "m2", "m3", "cs1", "cs2", "cs3", "cs4")
HOST = "127.0.0.1"


@pytest.fixture
def small(small_cluster: LocalCluster) -> LocalCluster:
    return small_cluster


def states(cluster: LocalCluster) -> dict[str, str]:
    return {one.name: one.state for one in cluster.status()}


def ports_of(cluster: LocalCluster) -> list[int]:
    read = config.load(cluster.config_path)
    raft = [master.raft_port for master in read.cluster.masters]
    return raft + [one.port for one in cluster.status()]


def identity_of(data: Path) -> Identity:
    text, _ = (data / "identity.json").read_bytes().strip().rsplit(b"\n", 1)
    return msgspec.json.decode(text, type=Identity)


def nothing_left(cluster: LocalCluster, ports: Sequence[int]) -> bool:
    mark = os.fsencode(cluster.directory)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if mark in (entry / "cmdline").read_bytes():
                    return False
            except (FileNotFoundError, ProcessLookupError):
                continue
    return all(is_free(HOST, port) for port in ports)


def test_a_cluster_is_ready_says_what_runs_and_goes_away_without_a_trace(
    local_cluster: LocalCluster,
) -> None:
    assert states(local_cluster) == dict.fromkeys(NAMES, RUNNING)
    roles = [one.role for one in local_cluster.status()]
    assert roles == [MASTER] * 3 + [CHUNKSERVER] * 4
    again = local_cluster.up()
    assert (again.created, again.running, again.started) == (False, NAMES, ())
    ports = ports_of(local_cluster)
    assert len(set(ports)) == 10
    assert local_cluster.down() == NAMES
    assert nothing_left(local_cluster, ports)
    assert states(local_cluster) == dict.fromkeys(NAMES, STOPPED)
    assert local_cluster.down() == ()
    local_cluster.down(wipe=True)
    assert not local_cluster.directory.exists()
    assert local_cluster.status() == ()


def test_killed_and_paused_processes_and_stale_pid_files_do_no_harm(
    local_cluster: LocalCluster,
) -> None:
    local_cluster.kill("m2", signal.SIGKILL)
    local_cluster.kill("cs1", signal.SIGKILL)
    local_cluster.kill("cs3", signal.SIGSTOP)
    found = states(local_cluster)
    assert (found["m2"], found["cs1"], found["cs3"]) == (STOPPED, STOPPED, PAUSED)
    assert (local_cluster.directory / "m2/pid").exists(), "its pid file is stale"
    ports = ports_of(local_cluster)
    ended = local_cluster.down()
    assert ended == ("m1", "m3", "cs2", "cs3", "cs4")
    assert nothing_left(local_cluster, ports)

    # A pid file that names a process of somebody else, as after a reboot or a wrap of numbers.
    mine = processes.Process(os.getpid(), 1)
    (local_cluster.directory / "m1/pid").write_text(f"{mine.pid} {mine.start_ticks} 1\n")
    report = local_cluster.up()
    assert report.started == NAMES
    assert states(local_cluster) == dict.fromkeys(NAMES, RUNNING)
    assert ports_of(local_cluster) == ports, "it comes back where clients look for it"


def test_up_starts_what_is_stopped_and_wakes_what_is_paused(small: LocalCluster) -> None:
    small.kill("cs1", signal.SIGKILL)
    small.kill("cs2", signal.SIGSTOP)
    report = small.up()
    assert (report.running, report.started) == (("m1", "cs2"), ("cs1",))
    assert set(states(small).values()) == {RUNNING}


def test_one_process_is_killed_and_started_by_name(small: LocalCluster) -> None:
    assert small.kill("cs1") > 0
    assert states(small)["cs1"] == STOPPED
    with pytest.raises(NotFound, match="cs1 does not run"):
        small.kill("cs1")
    with pytest.raises(NotFound, match="no process 'cs9' here; there are m1, cs1, cs2"):
        small.kill("cs9")
    assert small.start("cs1")
    assert not small.start("cs1"), "it runs already"
    small.wait_serving()


def test_a_process_whose_pid_file_was_lost_is_still_known(small: LocalCluster) -> None:
    ports = ports_of(small)
    for name in ("m1", "cs1", "cs2"):
        (small.directory / name / "pid").unlink()
    assert set(states(small).values()) == {RUNNING}
    assert small.up().started == ()
    assert small.down() == ("m1", "cs1", "cs2")
    assert nothing_left(small, ports)


def test_down_ends_also_what_has_a_damaged_configuration(small: LocalCluster) -> None:
    ports = ports_of(small)
    (small.directory / "cs1/gfs.toml").write_text("[cluster")
    (small.directory / "cs1/pid").unlink()
    assert small.down() == ("m1", "cs1", "cs2")
    assert nothing_left(small, ports)


def test_two_clusters_do_not_disturb_each_other(
    small: LocalCluster, new_cluster: NewCluster
) -> None:
    other = new_cluster("other")
    other.up(masters=1, chunkservers=1, chunk_bytes=MIB)
    assert not set(ports_of(small)) & set(ports_of(other))
    small.down()
    assert set(states(other).values()) == {RUNNING}
    small.up()
    other.down(wipe=True)
    assert set(states(small).values()) == {RUNNING}


def test_a_cluster_of_another_shape_is_refused_and_left_as_it_is(small: LocalCluster) -> None:
    for shape in ({"masters": 3}, {"chunkservers": 1}, {"chunk_bytes": 2 * MIB}):
        with pytest.raises(UsageError, match="local down --wipe"):
            small.up(**shape)  # type: ignore[arg-type]
    assert set(states(small).values()) == {RUNNING}


def test_a_first_up_that_was_broken_off_is_begun_anew(new_cluster: NewCluster) -> None:
    half = new_cluster("half")
    layout = Layout(half.directory)
    layout.claim()
    plan = Plan(masters=1, chunkservers=1, chunk_bytes=MIB)
    ports = cluster_module.choose_ports(HOST, plan.ports_needed(), ThreadedRuntime())
    layout.write(plan, "local-half", ports)
    assert half.start("m1")  # It was never bootstrapped: it waits to be let in.
    report = half.up(masters=1, chunkservers=2, chunk_bytes=MIB)
    assert report.created and report.started == ("m1", "cs1", "cs2")


@contextmanager
def first_choice_taken(
    monkeypatch: pytest.MonkeyPatch, at: int
) -> Iterator[tuple[list[tuple[int, ...]], int, set[int]]]:
    """Have one port of the first choice be another's by then; tell what is chosen, that, and
    which ports are left to others."""
    avoided: set[int] = set()
    chosen: list[tuple[int, ...]] = []
    with socket.create_server((HOST, 0)) as rival:
        taken = rival.getsockname()[1]

        def choose(
            host: str, count: int, runtime: Runtime, theirs: Collection[int] = ()
        ) -> tuple[int, ...]:
            ports = list(real(host, count, runtime, theirs))
            avoided.update(theirs)
            if not chosen:
                ports[at] = taken
            chosen.append(tuple(ports))
            return chosen[-1]

        real = cluster_module.choose_ports
        monkeypatch.setattr(cluster_module, "choose_ports", choose)
        yield chosen, taken, avoided


def test_a_port_that_is_taken_meanwhile_is_replaced_at_the_first_up(
    new_cluster: NewCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with first_choice_taken(monkeypatch, -1) as (chosen, taken, _):
        cluster = new_cluster("c")
        cluster.up(masters=1, chunkservers=1, chunk_bytes=MIB)
        assert len(chosen) == 2
        assert taken not in ports_of(cluster)


def test_servers_that_are_added_are_live_and_take_files_and_a_taken_port_is_replaced(
    small: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = set(ports_of(small))
    with first_choice_taken(monkeypatch, 2) as (chosen, taken, avoided):
        added = small.add(Growth(servers=2, rack="r9"))
        assert [(one.name, one.rack) for one in added] == [("cs3", "r9"), ("cs4", "r9")]
        assert len(chosen) == 2 and taken not in ports_of(small)
        assert avoided >= known, "those of who may be stopped stay theirs"
    assert set(states(small).values()) == {RUNNING}
    with gfs_ha.connect(small.config_path) as fs:
        rows = fs.operations.servers().items
        there = {row.name: row.state for row in rows}
        assert there == dict.fromkeys(("cs1", "cs2", "cs3", "cs4"), "live")
        fs.write_bytes("/f", b"x" * MIB)
        small.kill("cs1", signal.SIGKILL)
        small.kill("cs2", signal.SIGKILL)
        assert fs.read_bytes("/f") == b"x" * MIB, "of three copies one is on a new server"
    _check_a_failed_add_leaves_what_is_known_only(small)
    small.kill("m1", signal.SIGSTOP)
    with pytest.raises(PreconditionFailed, match="0 of 1 masters run"):
        small.add(Growth())
    small.down()
    assert small.up().started == ("m1", "cs1", "cs2", "cs3", "cs4")


def _check_a_failed_add_leaves_what_is_known_only(cluster: LocalCluster) -> None:
    """Fail unless newcomers that do not start are gone, but for who has its id already."""
    there = states(cluster)

    def launch(home: Home, role: str, options: Sequence[str]) -> processes.Process:
        home.data.mkdir()
        home.files.log.write_text("ends\n")
        if home.name in known:
            (home.data / "identity.json").touch()
        if home.name == "cs6":
            raise stopped
        return processes.Process(os.getpid(), 1)  # One that is over.

    known: set[str] = set()
    other = LocalCluster(cluster.directory, launch=launch)
    for stopped in (KeyboardInterrupt(), DiskFull("no room")):
        with pytest.raises(type(stopped)):
            other.add(Growth(servers=2))
        assert states(cluster).keys() - there.keys() == known
        known = {"cs5"}
    shutil.rmtree(cluster.directory / "cs5")
    known = set()
    with pytest.raises(
        GfsError, match=rf"cs5 did not start: ends \(log: {cluster.directory}/cs5.log"
    ):
        other.add(Growth())
    assert (cluster.directory / "cs5.log").read_text() == "ends\n"


def test_a_taken_port_of_a_process_that_had_it_is_named(small: LocalCluster) -> None:
    small.kill("cs1")
    port = small.member("cs1").port
    with socket.create_server((HOST, port)):
        with pytest.raises(PortTaken, match=rf"cs1 did not start: .*{port}.*cs1\.log"):
            small.start("cs1")
        assert states(small)["cs1"] == STOPPED
    assert small.start("cs1")


def test_a_misspelt_key_keeps_a_process_down_with_file_line_and_key(small: LocalCluster) -> None:
    small.kill("cs1")
    path = small.directory / "cs1/gfs.toml"
    text = path.read_text()
    path.write_text(text.replace("rack =", "rak ="))
    with pytest.raises(ConfigError, match=r"cs1/gfs\.toml:\d+: chunkserver\.rak: unknown key"):
        small.start("cs1")
    path.write_text(text)
    assert small.start("cs1")


def test_the_directory_of_another_server_is_refused_and_nothing_in_it_is_lost(
    small: LocalCluster,
) -> None:
    small.kill("cs1")
    small.kill("cs2")
    one, two = (small.directory / name / "data" for name in ("cs1", "cs2"))
    before = (one / "identity.json").read_bytes()
    aside = small.directory / "aside"
    one.rename(aside)
    two.rename(one)
    with pytest.raises(WrongDirectory, match="belongs to server cs2, this is cs1"):
        small.start("cs1")
    one.rename(two)
    aside.rename(one)
    assert (one / "identity.json").read_bytes() == before
    small.up()


def test_of_servers_that_the_masters_know_no_more_all_are_told_with_what_forgets_them(
    small: LocalCluster,
) -> None:
    homes = [small.directory / name for name in ("cs1", "cs2")]
    for home in homes:
        small.kill(home.name)
        unknown = identity_of(home / "data")
        text = msgspec.json.encode(msgspec.structs.replace(unknown, server_id=ServerId(99)))
        (home / "data" / "identity.json").write_bytes(text + b"\n%08x\n" % crc32c(text))
    with gfs_ha.connect(small.config_path) as fs:
        servers = fs.operations.servers
        wait_until(
            lambda: not any(row.state == "live" for row in servers().items),
            "what they were before not to be taken for them",
        )

    def start_known() -> None:
        small.start("cs1")  # It may serve its port before it hears that it is unknown, or not.
        wait_until(lambda: states(small)["cs1"] == STOPPED, "it hears of that")
        small.wait_known("cs1")

    with pytest.raises(WrongDirectory, match=f"cs1 did not start.*: mv {homes[0]} "):
        start_known()
    for _ in range(5):  # One may end long after the other: `up` waits a moment for it only.
        with pytest.raises(WrongDirectory) as caught:
            small.up()
        if "cs1, cs2" in caught.value.message:
            break
    assert "cs1, cs2 did not start: they are unknown here" in caught.value.message
    told = [f"mv {home} {home}.aside" for home in homes]
    assert caught.value.message.endswith(f": {' && '.join(told)}")
    subprocess.run(caught.value.message.rpartition(": ")[2], shell=True, check=True)
    small.add(Growth())
    small.kill("cs1")
    assert small.start("cs1")
    small.wait_known("cs1")
    with gfs_ha.connect(small.config_path) as fs:
        live = {row.name: row.state for row in fs.operations.servers().items}
    assert live["cs1"] == "live", "who is known is waited for"
    small.kill("m1")
    small.wait_known("cs1")


def test_the_directory_of_another_cluster_is_refused(
    small: LocalCluster, new_cluster: NewCluster
) -> None:
    other = new_cluster("other")
    other.up(masters=1, chunkservers=2, chunk_bytes=MIB)
    for name in ("m1", "cs1"):
        small.kill(name)
        other.kill(name)
        mine, theirs = (one.directory / name / "data" for one in (small, other))
        mine.rename(small.directory / "aside")
        shutil.copytree(theirs, mine, ignore=lambda _, names: [])
        with pytest.raises(GfsError) as caught:
            small.start(name)
        assert caught.value.code in ("WrongDirectory", "WrongCluster")
        assert caught.value.exit_status in (4, 6)
        shutil.rmtree(mine)
        (small.directory / "aside").rename(mine)
    small.up()
    other.up()


def test_an_empty_directory_is_a_new_disk_of_the_same_server(small: LocalCluster) -> None:
    data = small.directory / "cs1/data"
    before = identity_of(data)
    small.kill("cs1")
    shutil.rmtree(data)
    small.start("cs1")
    after = identity_of(data)
    assert after.server_id == before.server_id
    assert after.disk_id != before.disk_id


def test_a_master_without_its_data_does_not_come_back_as_if_nothing_was(
    local_cluster: LocalCluster,
) -> None:
    local_cluster.kill("m1", signal.SIGKILL)
    shutil.rmtree(local_cluster.directory / "m1/data")
    local_cluster.start("m1")  # It waits to be let in, until the others see what it is.
    wait_until(lambda: states(local_cluster)["m1"] == STOPPED, "it stops for good")
    output = (local_cluster.directory / "m1/output").read_text()
    assert "OldCopy" in output and "old or emptied copy" in output
    local_cluster.wait_serving()


def test_a_directory_with_other_things_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    cluster = LocalCluster(tmp_path)
    with pytest.raises(WrongDirectory):
        cluster.up()
    cluster.down(wipe=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
