"""Real servers emptied under load, taken back, paused and removed: every byte compared."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from killing import (
    MIB,
    bury_early,
    check_files,
    content,
    holds_most,
    leader_of,
    settle_whole,
    wait_until,
)
from stage import START_S

import gfs_ha
from gfs_ha.client.jobs import own_name
from gfs_ha.errors import PreconditionFailed
from gfs_ha.local.cluster import LocalCluster
from gfs_ha.protocol.jobs import DONE, JobRow
from gfs_ha.protocol.reports import ServerRow

pytestmark = pytest.mark.processes

FILES = {f"/f{number}": content(MIB + 200_000, seed=number) for number in range(8)}
WHO = own_name("here")
NO_PLACE = "wants 3 copies (goal 3), only 2 other servers in service"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Five servers in two racks; masters that take one for dead as early as they may."""
    made = LocalCluster(tmp_path_factory.mktemp("emptied") / "cluster", timeout_s=START_S)
    try:
        made.up(masters=3, chunkservers=5, racks=("r1", "r2"), chunk_bytes=MIB)
        bury_early(made)
        with gfs_ha.connect(made.config_path) as fs:
            for path, data in FILES.items():
                fs.write_bytes(path, data)
        with gfs_ha.connect(made.config_path) as fs:
            settle_whole(fs)
        yield made
    finally:
        made.down(wipe=True)


@pytest.fixture
def fs(cluster: LocalCluster) -> Iterator[gfs_ha.Cluster]:
    """The library; afterwards every server runs and is in service again."""
    with gfs_ha.connect(cluster.config_path) as connected:
        yield connected
        cluster.up()
        for row in connected.operations.servers().items:
            if row.mode != "in-service":
                connected.operations.server_modes.undrain(row.name, WHO)
            if row.maintenance_left_ms:
                connected.operations.server_modes.maintain(row.name, 0)
        wait_until(lambda: all(one.state == "live" for one in rows(connected).values()), "live")
        wait_until(lambda: connected.operations.health().healthy, "health")


def rows(fs: gfs_ha.Cluster) -> dict[str, ServerRow]:
    return {row.name: row for row in fs.operations.servers().items}


def holders(fs: gfs_ha.Cluster) -> dict[str, list[set[str]]]:
    """Return where the chunks of the files have their copies."""
    return {
        path: [
            {replica.name for replica in row.chunk.replicas}
            for row in fs.operations.placement(path).items
        ]
        for path in FILES
    }


def begin(fs: gfs_ha.Cluster, name: str, decommission: bool = False) -> int:
    return fs.operations.server_modes.drain(name, decommission, (0, 0), WHO).number


def job(fs: gfs_ha.Cluster, number: int) -> JobRow:
    return fs.operations.jobs.get(number)


def test_a_server_that_stops_in_its_maintenance_costs_no_copy(
    cluster: LocalCluster, fs: gfs_ha.Cluster
) -> None:
    # The first of all: nothing has moved yet, and nothing lies against its rule.
    before = holders(fs)
    name = holds_most(fs)
    fs.operations.server_modes.maintain(name, 600_000)
    cluster.kill(name, signal.SIGTERM)
    wait_until(lambda: rows(fs)[name].state == "dead", "it counts as dead")
    fs.write_bytes("/meanwhile", b"x" * MIB)
    wait_until(lambda: fs.operations.health().healthy, "health: what is in maintenance counts not")
    wait_until(lambda: fs.operations.repair().below_count > 0, "it is told what cannot be read now")
    assert holders(fs) == before
    cluster.start(name)
    wait_until(lambda: rows(fs)[name].state == "live", "it is back")
    assert holders(fs) == before
    check_files(fs, FILES)


def test_a_server_is_emptied_under_load_with_its_leader_killed_on_the_way(
    cluster: LocalCluster, fs: gfs_ha.Cluster
) -> None:
    written = dict(FILES)
    records: list[bytes] = []
    fs.append("/log", b"first\n")
    records.append(b"first\n")
    number = begin(fs, "cs2")
    killed = leader_of(fs)
    cluster.kill(killed, signal.SIGKILL)
    for turn in range(40):
        path = f"/new{turn % 5}"
        written[path] = content(300_000, seed=100 + turn)
        fs.write_bytes(path, written[path])
        records.append(f"record {turn}\n".encode())
        fs.append("/log", records[-1])
        assert fs.read_bytes(f"/f{turn % 8}") == FILES[f"/f{turn % 8}"]
        if turn >= 5 and job(fs, number).phase == DONE:
            break
    cluster.start(killed)
    wait_until(lambda: job(fs, number).phase == DONE, "the job is done")
    check_files(fs, written)
    assert fs.read_bytes("/log") == b"".join(records)
    row = rows(fs)["cs2"]
    assert (row.mode, row.replica_count, row.job_share) == ("drained", 0, -1.0)
    wait_until(lambda: rows(fs)["cs2"].chunk_count == 0, "the server says the same")
    for chunk in fs.operations.chunks():
        if chunk.state == "sealed":
            assert all(replica.name != "cs2" for replica in chunk.replicas), chunk


def test_what_cannot_be_moved_is_named_with_two_ways_out_and_either_ends_it(
    cluster: LocalCluster, fs: gfs_ha.Cluster
) -> None:
    # Three of five leave: two servers are no place for three copies.
    jobs = {name: begin(fs, name, decommission=True) for name in ("cs1", "cs2", "cs3")}
    last: dict[str, JobRow] = {}

    def stuck() -> bool:
        last.update({name: job(fs, number) for name, number in jobs.items()})
        running = [row for row in last.values() if row.phase != DONE]
        return (
            bool(running)
            and all(row.blocked and row.blocked == row.left_moves for row in running)
            and running[0].last_error.endswith(NO_PLACE)
        )

    wait_until(stuck, "all that is left is blocked")
    blocked = next(row for row in last.values() if row.phase != DONE)
    wait_until(lambda: any(one.path for one in job(fs, _number(blocked)).blockers), "a file")
    shown = next(one for one in job(fs, _number(blocked)).blockers if one.path)
    assert "undrain" in shown.ways[0] and shown.ways[1].endswith(f"setrep 2 {shown.path}")
    codes = {one.code for one in fs.operations.health().items}
    assert "DRAIN_BLOCKED" in codes
    # One way out: a server more. All others end by themselves.
    fs.operations.server_modes.undrain(blocked.server, WHO)
    for name, number in jobs.items():
        if name != blocked.server:
            wait_until(lambda number=number: job(fs, number).phase == DONE, f"{name} is empty")
    # The other: fewer copies are wanted.
    number = begin(fs, blocked.server, decommission=True)
    wait_until(lambda: job(fs, number).blocked > 0, "it is blocked again")
    set_all(fs, 2)
    wait_until(lambda: job(fs, number).phase == DONE, "it ends by itself")
    check_files(fs, FILES)
    set_all(fs, 3)


def set_all(fs: gfs_ha.Cluster, replicas: int) -> None:
    paths = [f"/{entry.name}" for entry in fs.listdir("/")]
    assert not any(fs.policies.set_replication_all(paths, replicas))


def _number(row: JobRow) -> int:
    return int(row.id.partition("-")[2])


def test_a_dead_server_is_removed_once_it_is_repaired_and_its_name_comes_anew(
    cluster: LocalCluster, fs: gfs_ha.Cluster
) -> None:
    cluster.kill("cs5", signal.SIGKILL)
    wait_until(lambda: rows(fs)["cs5"].state == "dead", "it counts as dead")
    before = rows(fs)["cs5"].server_id

    def removed() -> bool:
        try:
            fs.operations.server_modes.remove("cs5")
        except PreconditionFailed:
            return False  # Chunks that still lack a copy elsewhere.
        return True

    wait_until(removed, "it is removed")
    assert "cs5" not in rows(fs)
    check_files(fs, FILES)
    for slot in Path(cluster.directory, "cs5", "data").iterdir():
        slot.unlink()
    cluster.start("cs5")
    wait_until(lambda: "cs5" in rows(fs) and rows(fs)["cs5"].state == "live", "it is back")
    assert rows(fs)["cs5"].server_id != before, "it is another server"
