"""`gfsctl admin disks` on real servers with three disks each, all of which every chunk needs."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from gfsctl_program import Gfsctl, eventually, kill_member, wait_until

import gfs_ha
from gfs_ha.local.cluster import LocalCluster

pytestmark = pytest.mark.processes
DISKS = ("admin", "disks")
MIB = 1 << 20


@pytest.fixture(scope="module")
def shelves(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    made = LocalCluster(tmp_path_factory.mktemp("shelves") / "cluster", timeout_s=180.0)
    try:
        racks = ("r1", "r2", "r3")
        made.up(chunkservers=3, racks=racks, chunk_bytes=MIB, capacities=(256 * MIB,), disks=3)
        with gfs_ha.connect(made.config_path) as fs:
            for number in range(9):
                fs.write_bytes(f"/f{number}", bytes([number]) * MIB)
        yield made
    finally:
        made.down(wipe=True)


@pytest.fixture
def gfs(shelves: LocalCluster, tmp_path: Path) -> Iterator[Gfsctl]:
    with gfs_ha.connect(shelves.config_path) as library:
        program = Gfsctl(shelves.config_path, tmp_path, library)
        wait_until(lambda: all(row.state == "sealed" for row in library.operations.chunks()), "all")
        program.wait_heard()
        yield program
        program.stop_all()


def states(gfs: Gfsctl, server: str) -> dict[str, str]:
    """Return how the disks of a server stand, by their names."""
    listed = gfs.ok(*DISKS, "ls", server, "-o", "json").json["items"]
    return {f"{server}:{row['disk_id']}": row["state"] for row in listed}


def directory(gfs: Gfsctl, name: str) -> str:
    listed = gfs.ok(*DISKS, "ls", "-o", "json").json["items"]
    return next(
        str(row["directory"]) for row in listed if f"{row['server']}:{row['disk_id']}" == name
    )


def test_a_plan_says_which_drained_disks_could_take_what_has_nowhere_to_go(gfs: Gfsctl) -> None:
    first, second, third = states(gfs, "cs1")
    gfs.ends_well(*DISKS, "drain", first, second, "--wait", "-q")
    listed = gfs.ok("admin", "rebalance", "status", "-o", "json").json
    assert f"{first} is drained" in listed["left_out"]
    assert third in gfs.ok("admin", "rebalance", "status").out.decode(), "named with its disk"
    other = next(iter(states(gfs, "cs2")))
    ended = gfs(*DISKS, "drain", third, other, "-n")
    said = ended.out.decode()
    assert ended.status == 4, "it would not begin"
    assert "only 2 other servers would be in service" in said, "cs2 goes on with its other disks"
    for drained in (first, second):
        assert f"gfsctl admin disks undrain {drained}" in said
    gfs.ok(*DISKS, "undrain", first, second)
    planned = gfs.ok(*DISKS, "drain", third, "-n", "-o", "json").json
    assert planned["move_count"] == planned["within_count"] > 0
    assert planned["move_bytes"] == planned["within_bytes"] > 0
    assert planned["eta_ms"] > 0, "also within a server copies take their time"


def test_a_wait_for_a_disk_whose_server_is_away_says_so(
    shelves: LocalCluster, gfs: Gfsctl, tmp_path: Path
) -> None:
    name = max(states(gfs, "cs2"))
    kill_member(shelves, "cs2")
    wait_until(lambda: set(states(gfs, "cs2").values()) == {"not reported"}, "it is missed")
    ended = gfs(*DISKS, "drain", name, "-n")
    said = ended.out.decode()  # A leader that is new tells the silence otherwise.
    assert ended.status == 4, said
    assert re.search(r"cs2 is (suspect|dead) \((no heartbeat for|not heard since)", said), said
    told = tmp_path / "told"
    with told.open("wb") as stream:
        child = gfs.begin(*DISKS, "drain", name, "-y", "--wait", stderr=stream)
    wait_until(lambda: "; bring cs2 back:" in told.read_text(), "the wait says why")
    assert "beside cs2, which is away; bring cs2 back" in told.read_text()
    child.send_signal(signal.SIGINT)
    assert child.wait(60) == 130
    (job,) = re.findall(r"(x-\d+) goes on", told.read_text())
    silent = r"which is away: it (is (suspect|dead) \(no heartbeat for|has not been heard by)"

    def told_why() -> None:  # A leader that is new looks first.
        shown = " ".join(gfs.ok("admin", "jobs", "show", job).out.decode().split())
        assert re.search(silent, shown), shown

    eventually(told_why)
    shelves.start("cs2")
    gfs.ends_well("admin", "jobs", "wait", job)
    gfs.ok(*DISKS, "undrain", name)


def test_a_drained_disk_that_is_taken_out_is_forgotten_with_an_event(
    shelves: LocalCluster, gfs: Gfsctl
) -> None:
    name = min(states(gfs, "cs3"))
    gfs.ends_well(*DISKS, "drain", name, "--wait", "-q")
    where = directory(gfs, name)
    kill_member(shelves, "cs3")
    shutil.rmtree(where)
    shelves.start("cs3")
    wait_until(lambda: name not in states(gfs, "cs3"), "it is forgotten")
    events = gfs.ok("admin", "events").out.decode()
    said = f"came back without disk {name.partition(':')[2]}, which was drained: it is forgotten"
    assert said in " ".join(events.split())
    wait_until(lambda: gfs("admin", "health").status == 0, "nothing is left to be told of it")
