"""`gfsctl admin masters add, replace, remove` by hand: asked, broken off, repeated, down to one."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from free_ports import free_ports
from gfsctl_program import Gfsctl, eventually, wait_until

import gfs_ha
from gfs_ha.config import MasterAddress
from gfs_ha.local.cluster import LocalCluster
from gfs_ha.runtime import ThreadedRuntime

pytestmark = pytest.mark.processes

RUNTIME = ThreadedRuntime()
MASTERS = ("admin", "masters")


@dataclass
class Newcomers:
    """Masters that are started by hand, on empty directories of the test's own."""

    cluster: LocalCluster
    home: Path
    stack: ExitStack

    def config(self, name: str, cluster_id: str = "") -> tuple[Path, MasterAddress]:
        """Write the file of a new master, instead of m3."""
        port, raft_port = free_ports(2)
        known = gfs_ha.config.load(self.cluster.config_path).cluster
        lines = ["[cluster]", f'id = "{cluster_id or known.id}"', 'name = "local"']
        new = MasterAddress(name, "127.0.0.1", port, raft_port)
        for one in (*known.masters[:2], new):
            lines += ["[[cluster.masters]]", f'name = "{one.name}"', f'host = "{one.host}"']
            lines += [f"port = {one.port}", f"raft_port = {one.raft_port}"]
        data = self.home / f"{name}-{port}"
        lines += ["[master]", f'name = "{name}"', f'directory = "{data}"']
        path = self.home / f"{name}-{port}.toml"
        path.write_text("\n".join(lines) + "\n")
        return path, new

    def start(self, path: Path) -> subprocess.Popen[str]:
        """Start it; it listens on return."""
        log = self.stack.enter_context(path.with_suffix(".log").open("w"))
        words = ["-m", "gfs_ha.cli.daemons", "master", "--config", str(path)]
        child = subprocess.Popen(
            [sys.executable, *words], stdout=subprocess.PIPE, stderr=log, text=True
        )
        self.stack.callback(lambda: (child.kill(), child.communicate()))
        assert child.stdout is not None and child.stdout.readline().startswith("ready")
        return child


@pytest.fixture
def newcomers(local_cluster: LocalCluster, tmp_path: Path) -> Iterator[Newcomers]:
    with ExitStack() as stack:
        yield Newcomers(local_cluster, tmp_path, stack)


@pytest.fixture
def own_gfsctl(local_cluster: LocalCluster, tmp_path: Path) -> Iterator[Gfsctl]:
    with gfs_ha.connect(local_cluster.config_path) as library:
        program = Gfsctl(local_cluster.config_path, tmp_path, library)
        try:
            yield program
        finally:
            program.stop_all()


def where(master: MasterAddress) -> str:
    return f"{master.host}:{master.port}:{master.raft_port}"


def test_masters_are_replaced_and_removed_by_hand(
    local_cluster: LocalCluster, newcomers: Newcomers, own_gfsctl: Gfsctl
) -> None:
    gfsctl = own_gfsctl
    path, m4 = newcomers.config("m4")
    _refusals_change_nothing(gfsctl, newcomers, m4)
    child = newcomers.start(path)
    wrong = MasterAddress("m4", m4.host, m4.port, m4.raft_port + 1)
    said = _refused_in_time(gfsctl, 2, "add", "m4", where(wrong))
    assert f"itself says that it is at {where(m4)}" in said
    assert "runs m4, and not m5" in _refused_in_time(gfsctl, 2, "add", "m5", where(m4))
    _plans_are_shown(gfsctl, m4)

    # It learns, but does not go on: now the client is broken off, and the leader dies.
    steps = gfsctl.library.operations.members(RUNTIME).add(m4)
    assert next(steps) == "m4 receives the log"
    child.send_signal(signal.SIGSTOP)
    wait_until(lambda: not _answers(gfsctl, "m4"), "m4 is silent")
    replace = (*MASTERS, "replace", "-y", "m3", "m4")
    client = gfsctl.begin(*replace)
    assert client.stdout is not None
    assert any(b"m4 does not answer" in line for line in client.stdout)
    client.send_signal(signal.SIGINT)
    ended = gfsctl.end(client)
    assert ended.status == 130 and "the same command again goes on" in ended.err

    # It is the patience with each answer, too.
    def no_progress() -> None:  # Unless a leader is silent for so long, too.
        told = gfsctl(*replace, "--timeout", "3")
        assert told.status == 10 and "no progress for 3 s" in told.err, told

    eventually(no_progress)
    leader = gfsctl.library.operations.status().leader
    local_cluster.kill(leader, signal.SIGKILL)
    child.send_signal(signal.SIGCONT)
    local_cluster.start(leader)
    # Who is away when it is removed hears nothing of it.
    wait_until(lambda: _answers(gfsctl, leader), f"{leader} is back")
    # Its address is known by now.
    lines = gfsctl.ok(*replace).lines
    assert "m4 votes" in lines and lines[-1] == "m3 is out"
    assert gfsctl.ok(*replace).lines == ["m3 is out already, and m4 votes"]
    assert gfsctl.ok(*MASTERS, "replace", "m3", "m4", "-n").lines == [
        "nothing to do: m3 is out already, and m4 votes"
    ]
    _the_removed_one_says_so(local_cluster, gfsctl)
    _down_to_one(gfsctl)


def _one_is_dead(cluster: LocalCluster, gfsctl: Gfsctl) -> str:
    """Kill m1 or m2, whoever does not lead; try to hand over to who leads, and to who is dead."""
    transfer = (*MASTERS, "transfer-leader")

    def leads_already() -> bool:  # Unless another one was elected meanwhile: it leads then.
        leader = gfsctl.library.operations.status().leader
        told = gfsctl(*transfer, leader)
        return told.status == 4 and f"{leader} leads already" in told.err

    def not_connected() -> bool:
        told = gfsctl(*transfer, dead)
        return told.status == 5 and f"{dead} is not connected to the leader: start it" in told.err

    wait_until(leads_already, "who leads is not handed over to")
    leader = gfsctl.library.operations.status().leader
    dead = next(name for name in ("m1", "m2") if name != leader)
    cluster.kill(dead, signal.SIGKILL)
    wait_until(lambda: not _answers(gfsctl, dead), "it is seen to be dead")
    wait_until(not_connected, "it is refused")
    return dead


def _refused_in_time(gfsctl: Gfsctl, status: int, *words: str) -> str:
    """Return why it is refused, once a master that was just started answers in time."""
    return eventually(lambda: gfsctl.refused(status, *MASTERS, *words))


def _answers(gfsctl: Gfsctl, name: str) -> bool:
    rows = gfsctl.library.operations.masters().items
    return any(row.reachable for row in rows if row.name == name)


def _refusals_change_nothing(gfsctl: Gfsctl, newcomers: Newcomers, m4: MasterAddress) -> None:
    told = gfsctl.refused(5, *MASTERS, "add", "m4", where(m4))
    assert "nothing was changed" in told and "empty directory" in told
    path, stranger = newcomers.config("m9", cluster_id="another-cluster")
    newcomers.start(path)
    assert "another-cluster" in _refused_in_time(gfsctl, 6, "add", "m9", where(stranger))
    for verb in ("add", "replace"):
        words = ("m4",) if verb == "add" else ("m3", "m4")
        for bad in ("nonsense", "h:1:1", "h:0:1", "h:1:70000", "h:1:\u0662"):
            gfsctl.refused(2, *MASTERS, verb, *words, bad)
    assert gfsctl.ok(*MASTERS, "ls", "-o", "name").lines == ["m1", "m2", "m3"]


def _plans_are_shown(gfsctl: Gfsctl, m4: MasterAddress) -> None:
    replace = (*MASTERS, "replace", "m3", "m4", where(m4))
    assert gfsctl.ok(*replace, "-n").lines == [
        f"would add m4 at {m4.host}:{m4.port} (raft {m4.raft_port}): it learns, then it votes",
        "take m3 out for good",
        "votes before: m1, m2, m3; 2 of 3 decide, 1 may fail",
        "votes after:  m1, m2, m4; 2 of 3 decide, 1 may fail",
    ]
    found = gfsctl.ok(*MASTERS, "add", "m4", where(m4), "-n", "-o", "json").json
    assert found["kind"] == "MembersPlan" and found["dry_run"] is True
    (plan,) = found["items"]
    assert plan["voters_after"] == ["m1", "m2", "m3", "m4"] and plan["majority_after"] == 3
    assert "an even number" in plan["warnings"][0]
    for words in (replace, (*MASTERS, "remove", "m3")):
        assert "There is no terminal to ask at; say -y" in gfsctl.refused(2, *words)
    assert gfsctl.ok(*MASTERS, "ls", "-o", "name").lines == ["m1", "m2", "m3"]


def _the_removed_one_says_so(cluster: LocalCluster, gfsctl: Gfsctl) -> None:
    def shown(*words: str) -> str:
        return gfsctl.ok(*MASTERS, *words).out.decode()

    # The file of this client still names m3, and not m4.
    assert gfsctl.ok(*MASTERS, "ls", "-o", "name").lines == ["m1", "m2", "m4"]

    def known_to_m4() -> None:
        assert "m1, m2, m4" in shown("show", "m4")

    def known_to_m3() -> None:
        told = shown("show", "m3")
        assert "was removed from the masters" in told and "masters add" not in told, told

    eventually(known_to_m4)
    eventually(known_to_m3)
    log = cluster.directory / "m3" / "m3.log"
    wait_until(lambda: "m3 was removed from the masters" in log.read_text(), "its log says so")
    known = gfs_ha.config.load(cluster.config_path).cluster
    m3 = known.master("m3")
    assert m3 is not None
    assert "never used again" in gfsctl.refused(4, *MASTERS, "add", "m3", where(m3))
    # Who knows nobody but m3 hears of the others from it.
    lonely = gfsctl.directory / "lonely.toml"
    lonely.write_text(
        f'[cluster]\nid = "{known.id}"\n[[cluster.masters]]\nname = "m3"\nhost = "{m3.host}"\n'
        f"port = {m3.port}\nraft_port = {m3.raft_port}\n"
    )
    words = (*MASTERS, "ls", "--config", str(lonely))
    assert eventually(lambda: gfsctl.ok(*words, "-o", "name")).lines == ["m1", "m2", "m4"]
    for name in ("m1", "m2"):
        cluster.kill(name, signal.SIGSTOP)

    def told_by_m3() -> None:  # Unless it does not answer in time, too.
        told = gfsctl(*words, "--timeout", "3")
        assert told.status == 5 and "m3 was removed from the masters" in told.err, told
        assert [line.split()[0] for line in told.lines[1:]] == ["m1", "m2", "m4"]

    eventually(told_by_m3)
    for name in ("m1", "m2"):
        cluster.kill(name, signal.SIGCONT)


def _down_to_one(gfsctl: Gfsctl) -> None:
    first = gfsctl.ok(*MASTERS, "remove", "m1", "-y")
    assert first.lines[-1] == "m1 is out" and "an even number" in first.err
    second = gfsctl.ok(*MASTERS, "remove", "m2", "-y")
    assert second.lines[-1] == "m2 is out" and "the only copy" in second.err
    assert "the only master that votes" in gfsctl.refused(4, *MASTERS, "remove", "m4", "-y")
    again = gfsctl.ok(*MASTERS, "remove", "m2", "-y").lines
    assert again == ["m2 is no member already; there are m4"]
    gfsctl.ok("mkdir", "/written-by-one")


def test_a_local_replacement_is_repeated_and_never_mixed(
    new_cluster: Callable[[str], LocalCluster],
) -> None:
    cluster = new_cluster("mixed")
    cluster.up(masters=3, chunkservers=0)
    begun = cluster.replace_master("m3")
    assert next(begun) == "m4 runs, on an empty directory"
    begun.close()
    with pytest.raises(gfs_ha.errors.UsageError, match="local replace-master m3"):
        list(cluster.replace_master("m2"))
    assert "m3 is out" in list(cluster.replace_master("m3"))
    again = list(cluster.replace_master("m3"))
    assert again == ["m3 is replaced already; the masters are m1, m2, m4"]
    with pytest.raises(gfs_ha.errors.NotFound):
        list(cluster.replace_master("m7"))


def test_two_operators_at_once_and_leaders_that_cannot_be(
    local_cluster: LocalCluster, newcomers: Newcomers, own_gfsctl: Gfsctl
) -> None:
    gfsctl = own_gfsctl
    transfer = (*MASTERS, "transfer-leader")
    (path, m4), (other_path, m5) = newcomers.config("m4"), newcomers.config("m5")
    child = newcomers.start(path)
    newcomers.start(other_path)
    if gfsctl.library.operations.status().leader == "m3":
        gfsctl.ok(*transfer, "m1")
    # The first operator's new master falls silent, the second one is through meanwhile.
    assert next(gfsctl.library.operations.members(RUNTIME).add(m4)) == "m4 receives the log"
    child.send_signal(signal.SIGSTOP)
    wait_until(lambda: not _answers(gfsctl, "m4"), "m4 is silent")
    assert "m4 is a learner: it does not vote yet" in gfsctl.refused(5, *transfer, "m4")
    first = gfsctl.begin(*MASTERS, "replace", "-y", "m3", "m4")
    assert first.stdout is not None
    assert any(b"m4 does not answer" in line for line in first.stdout)
    second = gfsctl.ok(*MASTERS, "replace", "-y", "m3", "m5", where(m5))
    assert second.lines[-1] == "m3 is out" and "meanwhile" not in second.err
    child.send_signal(signal.SIGCONT)
    ended = gfsctl.end(first)
    assert ended.status == 0, ended.err
    assert (
        "somebody else changed the masters meanwhile: m1, m2, m4, m5 vote now (3 of 4 decide), and"
        " not m1, m2, m4" in ended.err
    )
    for name in ("m3", "m99"):
        assert f"there is no other master {name!r}" in gfsctl.refused(3, *transfer, name)
    dead = _one_is_dead(local_cluster, gfsctl)
    assert f"master {dead}: 127.0.0.1" in gfsctl.refused(5, *MASTERS, "show", dead)
    gfsctl.ok(*MASTERS, "remove", "-y", dead)
    gfsctl.library.mkdir("/served")
