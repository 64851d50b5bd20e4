"""Playbooks that fail on booted hosts: the service stays up, they say why, and can be run again."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from lab import Host, Lab
from lab_image import missing
from playbooks import Played, Site, built_wheelhouse, patched_wheelhouse
from story_load import Load

ADMIN = ("gfsctl", "--config", "/etc/gfs-ha/admin.toml", "--timeout", "10")
WELL_S = 300.0
DEAD = "raise RuntimeError('this build never starts')"
FRAIL = "import threading\nthreading.Timer(5, os._exit, [1]).start()"

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(
        "GFS_TEST_DEPLOY" not in os.environ, reason="`make test-deploy` boots hosts"
    ),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]


class Cluster:
    """Three masters with chunkservers, one more of these, and a client that puts, gets, appends."""

    def __init__(self, lab: Lab, wheels: Path) -> None:
        self.lab = lab
        self.masters, self.last, self.client = lab.hosts[:3], lab.hosts[3], lab.hosts[4]
        self.servers = lab.hosts[:4]
        for number, host in enumerate(self.servers):
            host.rack = f"r{number % 3 + 1}"
        groups = {"masters": self.masters, "chunkservers": self.servers}
        variables = {
            "gfs_cluster_id": "lab-1",
            "gfs_master_directory": "/data/master",
            "gfs_disks": [{"directory": "/data/disk1"}],
            "gfs_settings": {"chunk_size": "1MiB", "goal": 3},
        }
        self.site = Site(lab, wheels, {**groups, "clients": [self.client]}, variables)
        self.load: Load | None = None

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Take its time, and see that clients noticed nothing and go on."""
        began_s = time.monotonic()
        yield
        print(f"{time.monotonic() - began_s:6.0f} s  {name}", flush=True)
        assert self.load is not None
        self.load.go_on()

    def put_wide(self) -> None:
        """Put a file that wants a copy on every chunkserver."""
        script = (
            "head -c 3000000 /dev/urandom > /root/wide; gfsctl put -q --replicas 4 /root/wide /"
        )
        self.client.run("sh", "-ec", script)

    def tell(self, *command: str) -> None:
        """Run an operator's command."""
        self.masters[0].run(*ADMIN, "admin", *command)

    def ask(self, *command: str) -> list[dict[str, object]]:
        """Return the rows that an operator's command answers."""
        rows = json.loads(self.masters[0].run(*ADMIN, "-o", "json", "admin", *command))["items"]
        assert isinstance(rows, list)
        return rows

    def well(self) -> None:
        """Wait until all is well. Raises: RuntimeError with what is not."""
        until_s = time.monotonic() + WELL_S
        while True:
            try:
                return self.tell("health")
            except RuntimeError:
                if time.monotonic() > until_s:
                    raise
                time.sleep(2.0)

    def modes(self) -> dict[str, str]:
        """Return how the chunkservers stand."""
        rows = self.ask("chunkservers", "ls")
        return {
            str(row["name"]): "maintenance" if row["maintenance_left_ms"] else str(row["mode"])
            for row in rows
        }

    def disks(self) -> dict[str, str]:
        """Return how the disks of the last host stand, by their directories."""
        rows = [row for row in self.ask("disks", "ls") if row["server"] == self.last.name]
        return {str(row["directory"]): str(row["state"]) for row in rows}

    def builds(self) -> dict[str, set[str]]:
        """Return which builds the processes of each host run, and to which one it points."""
        return {host.name: builds(host) for host in self.lab.hosts}


def builds(host: Host) -> set[str]:
    """Return which builds the daemons of a host run, and to which one it points."""
    look = (
        "readlink /opt/gfs-ha/current; for unit in gfs-master gfs-chunkserver; do"
        ' pid=$(systemctl show -p MainPID --value "$unit"); [ "$pid" = 0 ] ||'
        r" tr '\0' '\n' < /proc/$pid/cmdline | head -n 1; done"
    )
    lines = host.run("sh", "-c", look).splitlines()
    return {line.removeprefix("/opt/gfs-ha/releases/").split("/")[0] for line in lines}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_wheelhouse(tmp_path_factory.mktemp("wheels"))


@pytest.fixture(scope="module")
def cluster(wheels: Path) -> Iterator[Cluster]:
    with Lab(5) as lab:
        cluster = Cluster(lab, wheels)
        cluster.last.mount("/disks/b")
        disks = [{"directory": "/data/disk1"}, {"directory": "/disks/b", "mounted": True}]
        cluster.site.describe(cluster.last, {"gfs_disks": disks})
        cluster.site.play("site.yml")
        cluster.load = Load(cluster.client)
        cluster.load.go_on()
        cluster.put_wide()
        yield cluster
        assert cluster.load.end() > 0  # Every byte is compared.


def upgrade(wheelhouse: Path, patience_s: int = 120) -> list[str]:
    """Return the options of `rolling_upgrade.yml`."""
    return ["-e", f"gfs_wheelhouse={wheelhouse}", "-e", f"gfs_patience_s={patience_s}"]


@pytest.mark.parametrize(
    ("code", "says"), [(DEAD, "this build never starts"), (FRAIL, "did not stay up")]
)
def test_a_host_goes_back_from_a_build_that_does_not_run_and_no_other_host_gets_it(
    cluster: Cluster, wheels: Path, tmp_path: Path, code: str, says: str
) -> None:
    before = cluster.builds()
    bad = patched_wheelhouse(wheels, tmp_path / "bad", code)
    with cluster.step(f"rolling_upgrade.yml: {says}"):
        text = cluster.site.fail("rolling_upgrade.yml", *upgrade(bad))
    assert says in text and "it is well with that" in text, text[-4000:]
    assert cluster.builds() == before
    assert set(cluster.modes().values()) == {"in-service"}
    cluster.well()


def test_an_upgrade_waits_for_a_chunkserver_that_is_down_and_goes_on_with_a_host_that_was_cut_off(
    cluster: Cluster, wheels: Path, tmp_path: Path
) -> None:
    before = cluster.builds()
    newer = patched_wheelhouse(wheels, tmp_path / "newer", "_NEWER = True")
    silent, last = cluster.masters[2], cluster.last
    silent.run("systemctl", "stop", "gfs-chunkserver")
    with cluster.step("rolling_upgrade.yml: a chunkserver is down"):
        text = cluster.site.fail("rolling_upgrade.yml", *upgrade(newer, 10))
    assert f"chunkserver {silent.name}" in text and "run this again" in text, text[-4000:]
    silent.run("systemctl", "start", "gfs-chunkserver")
    assert cluster.builds() == before
    cluster.well()

    with cut_off(last), cluster.step("rolling_upgrade.yml: a host is cut off amid"):
        text = cluster.site.fail("rolling_upgrade.yml", *upgrade(newer))
    assert f"{last.name}: UNREACHABLE" in text.replace("[", "").replace("]", ""), text[-4000:]
    assert len(builds(last)) == 2, "it is cut off between the release and its restart"
    with cluster.step("rolling_upgrade.yml: again"):
        played = cluster.site.play("rolling_upgrade.yml", *upgrade(newer))
    assert first_host(played) == last.name
    (now,) = {frozenset(found) for found in cluster.builds().values()}
    assert len(now) == 1 and now != before[last.name]
    assert set(cluster.modes().values()) == {"in-service"}
    again = cluster.site.play("rolling_upgrade.yml", *upgrade(newer))
    assert again.changed == 0, again.text[-4000:]


@contextmanager
def cut_off(host: Host) -> Iterator[None]:
    """Cut it off once it points to another build, before that runs; plug it in at the end."""
    link = Path(f"/proc/{host.first}/root/opt/gfs-ha/current")
    before, over = link.readlink(), threading.Event()

    def watch() -> None:
        while link.readlink() == before:
            if over.wait(0.1):
                return
        host.unplug()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        host.plug()


def first_host(played: Played) -> str:
    """Return the host with which a play of one after the other begins."""
    return played.text.partition("PLAY [One after the other]")[2].partition("ok: [")[2][:2]


def test_a_disk_that_failed_is_replaced_once_the_new_one_is_there(
    cluster: Cluster,
) -> None:
    last = cluster.last
    last.fail_disk("/disks/b")
    until_s = time.monotonic() + WELL_S
    while cluster.disks()["/disks/b"] != "failed":
        assert time.monotonic() < until_s, cluster.disks()
        time.sleep(1.0)
    disks = [{"directory": "/data/disk1"}, {"directory": "/disks/c", "mounted": True}]
    cluster.site.describe(last, {"gfs_disks": disks})
    told = ("-e", f"host={last.name}", "-e", "disk=/disks/b", "-e", "gfs_patience_s=120")
    with cluster.step("replace_disk.yml: the new one is not mounted"):
        text = cluster.site.fail("replace_disk.yml", *told)
    assert "nothing is mounted on /disks/c" in text and "nothing was done" in text, text[-4000:]
    last.mount("/disks/c")
    with cluster.step("replace_disk.yml: it is"):
        cluster.site.play("replace_disk.yml", *told)
    assert cluster.disks() == {"/data/disk1": "in-service", "/disks/c": "in-service"}
    again = cluster.site.play("replace_disk.yml", *told)
    assert again.changed == 0, again.text[-4000:]
    cluster.well()


def test_a_chunkserver_with_chunks_that_cannot_go_stays_until_they_can(cluster: Cluster) -> None:
    last = cluster.last
    told = ("-e", f"host={last.name}")
    for check in (["--check", "--diff"], []):
        with cluster.step("decommission.yml: chunks that want four copies"):
            text = cluster.site.fail("decommission.yml", *told, *check)
        assert "goal 4" in text and "0x" in text and "setrep" in text, text[-4000:]
        assert "Nothing was changed" in text
        assert cluster.modes()[last.name] == "in-service"

    # Begun by somebody who was asked and said yes: it waits, serves, and a run ends in time.
    cluster.tell("chunkservers", "decommission", last.name, "-y")
    with cluster.step("decommission.yml: begun, and blocked"):
        text = cluster.site.fail("decommission.yml", *told)
    assert "of /wide" in text and "setrep" in text and "undrain" in text, text[-4000:]
    assert cluster.modes()[last.name] == "decommissioning"
    assert last.run("systemctl", "is-active", "gfs-chunkserver").strip() == "active"
    cluster.client.run("gfsctl", "setrep", "3", "/wide")
    with cluster.step("decommission.yml: again, with fewer copies wanted"):
        cluster.site.play("decommission.yml", *told)
    assert last.name not in cluster.modes()
    cluster.client.run("sh", "-ec", "gfsctl get -q /wide /root/back; cmp /root/wide /root/back")
    again = cluster.site.play("decommission.yml", *told)
    assert again.changed == 0, again.text[-4000:]
    cluster.well()
