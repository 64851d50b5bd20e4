"""Two of three masters are gone for good: the third one's copy becomes the cluster."""

from __future__ import annotations

import io
import re
import shutil
import signal
import subprocess
import sys

import pytest
from killing import RUNTIME, leader_of, wait_until

import gfs_ha
from gfs_ha.errors import GfsError
from gfs_ha.local.cluster import LocalCluster
from gfs_ha.local.member_status import STOPPED

pytestmark = pytest.mark.processes

WAIT_S = 120


def recover(cluster: LocalCluster, name: str, typed: str) -> subprocess.Popen[str]:
    """Start a master by hand with --recover-from-this-copy, and type a name."""
    process = start_recovery(cluster, name)
    assert process.stdin is not None
    process.stdin.write(f"{typed}\n")
    process.stdin.flush()
    return process


def start_recovery(cluster: LocalCluster, name: str, *options: str) -> subprocess.Popen[str]:
    home = cluster.directory / name
    return subprocess.Popen(
        [
            sys.executable,
            *("-m", "gfs_ha.cli.daemons", "master", "--config", str(home / "gfs.toml")),
            *("--log-file", str(home / f"{name}.log"), "--recover-from-this-copy"),
            *options,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def refused_while_others_live(cluster: LocalCluster, own: str, others: list[str]) -> None:
    """Whoever led would stop for good when it is shown the new incarnation."""
    cluster.kill(own, signal.SIGKILL)
    with gfs_ha.connect(cluster.config_path) as fs:
        wait_until(lambda: leader_of(fs) in others, "another one leads")
        for _ in range(5):  # Amid an election they are a majority that may elect, and nobody leads.
            process = recover(cluster, own, "local")
            _, errors = process.communicate(timeout=WAIT_S)
            assert process.returncode == 4, errors
            if any(f"{one} leads" in errors for one in others):
                break
        assert any(f"{one} leads" in errors for one in others), errors
        assert "Nothing was changed. Start" in errors
        # With one of the others it is a majority that could be elected; it may still lead.
        cluster.kill(others[1], signal.SIGKILL)
        process = recover(cluster, own, "no")
        _, errors = process.communicate(timeout=WAIT_S)
        assert process.returncode == 4 and f"{others[0]} still answers: " in errors, errors
        for name in (own, others[1]):
            cluster.start(name)
        fs.mkdir("/serves")
        assert fs.operations.status().incarnation == 1


def nobody_answers(cluster: LocalCluster, name: str) -> None:
    """The question ends with one line when the input does, or a person interrupts it."""
    ended = start_recovery(cluster, name)
    _, errors = ended.communicate(input="", timeout=WAIT_S)
    assert ended.returncode == 2 and "no name was typed: nothing was changed" in errors, errors
    assert "Traceback" not in errors
    interrupted = start_recovery(cluster, name)
    assert interrupted.stderr is not None
    asked = ""
    while "To go on" not in asked:
        asked = interrupted.stderr.readline(9)  # The prompt has no end of line.
        assert asked, "it ended before it asked"
    interrupted.send_signal(signal.SIGINT)
    _, errors = interrupted.communicate(timeout=WAIT_S)
    assert interrupted.returncode == 130 and "interrupted: nothing was changed" in errors, errors
    assert "Traceback" not in errors
    both = start_recovery(cluster, name, "--bootstrap")
    _, errors = both.communicate(input="local\n", timeout=WAIT_S)
    assert both.returncode == 2 and "give one of them" in errors, errors


def test_one_copy_goes_on_and_grows_to_three_again(local_cluster: LocalCluster) -> None:
    with gfs_ha.connect(local_cluster.config_path) as fs:
        fs.put(io.BytesIO(b"before"), "/before")
        last = leader_of(fs)
    lost = [name for name in ("m1", "m2", "m3") if name != last]
    refused_while_others_live(local_cluster, last, lost)
    for name in (*lost, last):
        local_cluster.kill(name, signal.SIGKILL)
    for name in lost:
        # Kept aside: what comes back from the old incarnation is not let in below.
        data = local_cluster.directory / name / "data"
        data.rename(data.with_name("lost"))

    nobody_answers(local_cluster, last)
    wrong = recover(local_cluster, last, "another cluster")
    _, errors = wrong.communicate(timeout=WAIT_S)
    assert wrong.returncode == 2 and "nothing was changed" in errors
    right = recover(local_cluster, last, "local")
    try:
        assert right.stdout is not None
        assert right.stdout.readline().startswith(f"ready name={last}")
        with gfs_ha.connect(local_cluster.config_path) as fs:
            wait_until(lambda: leader_of(fs) == last, "it leads")
            status = fs.operations.status()
            assert status.incarnation == 2 and [row.name for row in status.masters] == [last]
            assert fs.read_bytes("/before") == b"before"
            fs.put(io.BytesIO(b"after"), "/after")
            # A master of the old incarnation is not let in, and does no harm.
            old_data = local_cluster.directory / lost[0] / "data"
            old_data.with_name("lost").rename(old_data)
            local_cluster.start(lost[0])
            wait_until(lambda: len(fs.operations.servers().items) == 4, "the servers follow")
            local_cluster.kill(lost[0], signal.SIGKILL)
        for name in lost:
            steps = list(local_cluster.replace_master(name))
            assert any(step.endswith("votes") for step in steps), steps
        with gfs_ha.connect(local_cluster.config_path) as fs:
            assert len(fs.operations.masters().items) == 3
            assert fs.operations.transfer_leadership("m4").leader == "m4"
            assert fs.operations.status().incarnation == 2
            assert fs.read_bytes("/after") == b"after"
            fs.mkdir("/more")
    finally:
        right.kill()
        _, errors = right.communicate()
    assert re.search(r"It restarts from entry [1-9][0-9]* of the log", errors), errors
    assert {one.state for one in local_cluster.status() if one.name == last} == {STOPPED}
    shutil.rmtree(local_cluster.directory / last / "data")


class Writer:
    """A client that makes one directory after another, and remembers those that were answered."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.made: list[str] = []
        self._fs = gfs_ha.connect(cluster.config_path)
        self._ending = False
        self._task = RUNTIME.spawn("writer", self._run)

    def _run(self) -> None:
        number = 0
        while not self._ending:
            number += 1
            try:
                self._fs.mkdir(f"/w{number}")
                self.made.append(f"/w{number}")
            except GfsError:
                RUNTIME.sleep(0.01)

    def more(self) -> None:
        """Wait until some more were answered."""
        count = len(self.made) + 20
        wait_until(lambda: len(self.made) >= count, "the client writes")

    def end(self) -> list[str]:
        self._ending = True
        assert self._task.join(WAIT_S)
        self._fs.close()
        return self.made


@pytest.mark.parametrize("copy", ["m1", "m3"])
def test_old_masters_that_come_back_together_acknowledge_nothing(
    local_cluster: LocalCluster, copy: str
) -> None:
    old = [name for name in ("m1", "m2", "m3") if name != copy]
    for name in (*old, copy):
        local_cluster.kill(name, signal.SIGKILL)
    process = recover(local_cluster, copy, "local")
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(f"ready name={copy}")
        writer = Writer(local_cluster)
        try:
            writer.more()
            for name in old:
                local_cluster.start(name, wait=False)
            wait_until(lambda: stopped(local_cluster, old), "the old ones end")
            writer.more()
        finally:
            made = writer.end()
        with gfs_ha.connect(local_cluster.config_path) as fs:
            assert leader_of(fs) == copy
            assert fs.operations.status().incarnation == 2
            there = {entry.name for entry in fs.listdir("/")}
            assert not [path for path in made if path[1:] not in there]
        for name in old:
            log = (local_cluster.directory / name / f"{name}.log").read_text()
            assert "stops for good" in log and "Traceback" not in log
    finally:
        process.kill()
        process.communicate()


def stopped(cluster: LocalCluster, names: list[str]) -> bool:
    return all(one.state == STOPPED for one in cluster.status() if one.name in names)
