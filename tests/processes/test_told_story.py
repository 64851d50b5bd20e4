"""The story of a server that dies while the leader does: told once, whole, to who follows it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from killing import MIB, bury_early, content, holds_most, leader_of, settle, wait_until

import gfs_ha
from gfs_ha.errors import GfsError
from gfs_ha.local.cluster import LocalCluster
from gfs_ha.protocol.events import EventItem, GetEvents
from gfs_ha.protocol.reports import Finding

pytestmark = pytest.mark.processes


def dying_early(cluster: LocalCluster) -> None:
    """Let masters take a server for dead as early as they may."""
    cluster.up(masters=3, chunkservers=5, racks=("r1", "r2"), chunk_bytes=MIB)
    bury_early(cluster)


def all_told(fs: gfs_ha.Cluster) -> list[EventItem]:
    return fs.operations.events.since(GetEvents())[0]


def last(fs: gfs_ha.Cluster) -> int:
    return fs.operations.events.newest(GetEvents(), 1)[1]


def told(fs: gfs_ha.Cluster, after: int, subject: str, word: str) -> bool:
    return any(
        one.number > after and one.subject == subject and one.text.startswith(word)
        for one in all_told(fs)
    )


def finding(fs: gfs_ha.Cluster, code: str) -> Finding | None:
    return next((one for one in fs.operations.health().items if one.code == code), None)


def followed(path: Path) -> list[int]:
    """Return the numbers that a follower has shown so far, whole lines only."""
    return [json.loads(line)["number"] for line in path.read_bytes().split(b"\n")[:-1]]


def test_nothing_is_told_twice_or_left_out_when_the_leader_dies_in_the_midst_of_it(
    new_cluster: Callable[[str], LocalCluster], tmp_path: Path
) -> None:
    cluster = new_cluster("cluster")
    dying_early(cluster)
    with gfs_ha.connect(cluster.config_path) as fs:
        for number in range(6):
            fs.write_bytes(f"/f{number}", content(MIB // 2, seed=number))
        settle(fs)
        wait_until(lambda: fs.operations.health().healthy, "health")
        # While nothing is wrong a mute covers all that may come.
        fs.operations.events.mute("SERVER_DEAD", 3_600_000, "a test", "pytest")
        victim = holds_most(fs)
        known = last(fs)
        shown, errors = tmp_path / "shown", tmp_path / "errors"
        code = "import sys; from gfs_ha.cli.main import main; sys.exit(main())"
        words = ("admin", "events", "-f", "-n", "1", "-o", "jsonl")
        with shown.open("wb") as out, errors.open("wb") as err:
            follower = subprocess.Popen(
                [sys.executable, "-c", code, "--config", str(cluster.config_path), *words],
                stdout=out,
                stderr=err,
            )
        try:
            wait_until(lambda: bool(followed(shown)), "it follows")
            cluster.kill(victim, signal.SIGKILL)
            wait_until(lambda: told(fs, known, victim, "suspect"), "it is suspect")
            leader = leader_of(fs)
            cluster.kill(leader, signal.SIGKILL)
            wait_until(lambda: told(fs, known, victim, "dead"), "it is dead")
            wait_until(lambda: told(fs, known, "repair", "over"), "repair is over")
            check_muted(fs, known, victim)
            cluster.start(leader)
            cluster.start(victim)
            wait_until(lambda: told(fs, known, victim, "back"), "it is back")
            check_story(all_told(fs), known, victim)
            newest = last(fs)
            wait_until(lambda: max(followed(shown)) >= newest, "the follower has seen all")
            numbers = followed(shown)
            assert numbers == list(range(numbers[0], numbers[-1] + 1)), errors.read_text()
        finally:
            follower.send_signal(signal.SIGINT)
            try:
                status = follower.wait(30)
            finally:
                follower.kill()
                follower.wait()
        assert status == 130 and "Traceback" not in errors.read_text()


def check_muted(fs: gfs_ha.Cluster, known: int, victim: str) -> None:
    """The dead server is found, since it fell silent, and does not count."""
    found: list[Finding] = []

    def standing() -> bool:
        one = finding(fs, "SERVER_DEAD")
        found[:] = [one] if one is not None and one.since_ns else []
        return bool(found)

    wait_until(standing, "it is found")
    assert found[0].subject == victim
    assert found[0].muted_ms > 0 and found[0].mute_reason == "a test"
    # It may have been suspect before: masters started anew when the cluster was made.
    mine = [one for one in all_told(fs) if one.number > known and one.subject == victim]
    silent = next(one for one in mine if "suspect" in one.text)
    assert found[0].since_ns == silent.wall_ns, "it stands since before this leader"
    fs.operations.events.mute("SERVER_DEAD", 0, "", "pytest")
    after = finding(fs, "SERVER_DEAD")
    assert after is None or not after.muted_ms
    with pytest.raises(GfsError, match="not muted"):
        fs.operations.events.mute("SERVER_DEAD", 0, "", "pytest")


def check_story(items: list[EventItem], known: int, victim: str) -> None:
    """The numbers have no gap, and what happened to the victim and its chunks is in order."""
    assert [one.number for one in items] == list(range(1, items[-1].number + 1))
    mine = [one for one in items if one.number > known and one.subject == victim]
    states = [one.text.split()[0].rstrip(":,") for one in mine if one.kind == "server"]
    assert [one for one in states if one != "started"] == ["suspect", "dead", "back"]
    repairs = [one.text.split()[0].rstrip(":") for one in items if one.kind == "repair"]
    assert repairs == ["begins", "over"] * (len(repairs) // 2), "each begin has its end"
    (over, *_) = [one for one in items if one.number > known and one.text.startswith("over")]
    assert "made" in over.text and not over.text.startswith("over: 0 ")
    leads = [one.subject for one in items if one.kind == "leader"]
    assert len(leads) >= 2
