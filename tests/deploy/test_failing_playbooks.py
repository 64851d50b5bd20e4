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
WANTED = "/etc/systemd/system/multi-user.target.wants/disks-c.mount"
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
        disks = [{"directory": "/data/disk1"}, {"directory": "/disks/b", "mounted": True}]
        self.own = {"gfs_disks": disks}  # What is said of the last host.
        self.load: Load | None = None
        self.release = wheels  # What all hosts run now.

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
        cluster.site.describe(cluster.last, cluster.own)
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

    link = "/opt/gfs-ha/current"
    with cut_off(last, link), cluster.step("rolling_upgrade.yml: a host is cut off amid"):
        text = cluster.site.fail("rolling_upgrade.yml", *upgrade(newer))
    assert f"{last.name}: UNREACHABLE" in text.replace("[", "").replace("]", ""), text[-4000:]
    assert len(builds(last)) == 2, "it is cut off between the release and its restart"
    foreseen = cluster.site.play("rolling_upgrade.yml", "--check", "--diff", *upgrade(newer))
    assert len(builds(last)) == 2, "a check changes nothing"
    with cluster.step("rolling_upgrade.yml: again"):
        played = cluster.site.play("rolling_upgrade.yml", *upgrade(newer))
    assert played.changes == foreseen.changes
    assert first_host(played) == last.name
    cluster.release = newer
    (now,) = {frozenset(found) for found in cluster.builds().values()}
    assert len(now) == 1 and now != before[last.name]
    assert set(cluster.modes().values()) == {"in-service"}
    again = cluster.site.play("rolling_upgrade.yml", *upgrade(newer))
    assert again.changed == 0, again.text[-4000:]


@contextmanager
def cut_off(host: Host, path: str) -> Iterator[None]:
    """Cut it off once a file is another one, before that is used; plug it in at the end."""
    watched = Path(f"/proc/{host.first}/root{path}")
    before, over = watched.lstat().st_ino, threading.Event()

    def watch() -> None:
        while watched.lstat().st_ino == before:
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


def files(host: Host) -> str:
    """Return the digests of what daemons and their users read on a host, keys too."""
    look = "cd /etc; find gfs-ha systemd/system/gfs-* -type f | sort | xargs sha256sum"
    return host.run("sh", "-ec", look)


def test_a_value_that_daemons_refuse_is_taken_back_and_a_host_that_was_cut_off_gets_its_files(
    cluster: Cluster,
) -> None:
    last, own = cluster.last, cluster.own
    before = {host.name: files(host) for host in cluster.lab.hosts}
    quick = ("-e", "gfs_patience_s=120")
    bad = ("-e", json.dumps({"gfs_master_options": {"dead_after_s": 1}}))
    for check in (["--check", "--diff"], []):
        with cluster.step("config.yml: a value that its daemons refuse"):
            text = cluster.site.fail("config.yml", *bad, *quick, *check)
        assert "dead_after_s" in text and "nothing was changed on any host" in text, text[-4000:]
    with cluster.step("config.yml: a port that somebody has"):
        text = cluster.site.fail("config.yml", "-e", "gfs_chunkserver_metrics_port=22", *quick)
    assert "does not do well with its new files" in text and "those before again" in text
    assert {host.name: files(host) for host in cluster.lab.hosts} == before
    assert set(cluster.modes().values()) == {"in-service"}

    cluster.site.describe(last, {**own, "gfs_chunkserver_metrics_port": 9702})
    file = "/etc/gfs-ha/chunkserver.toml"
    with cut_off(last, file), cluster.step("config.yml: a host is cut off amid"):
        text = cluster.site.fail("config.yml", *quick)
    assert "UNREACHABLE" in text
    assert files(last) != before[last.name] and not measured(last)
    with cluster.step("config.yml: again"):
        cluster.site.play("config.yml", *quick)
    assert measured(last) and set(cluster.modes().values()) == {"in-service"}

    cluster.site.describe(last, own)
    foreseen = cluster.site.play("config.yml", "--check", "--diff", *quick)
    assert files(last) != before[last.name], "a check changes nothing"
    with cluster.step("site.yml: brings by turns what differs"):
        played = cluster.site.play("site.yml", *upgrade(cluster.release))
    assert {one for one in played.changes if one[1] != "Write its file"} < foreseen.changes
    assert files(last) == before[last.name] and not measured(last)
    again = cluster.site.play("config.yml", *quick)
    assert again.changed == 0, again.text[-4000:]


def measured(host: Host) -> bool:
    """Return whether its chunkserver has a port for Prometheus."""
    return bool(host.run("ss", "-Hltn", "sport", "=", ":9702").strip())


def test_a_check_of_a_rotation_says_which_hosts_get_new_keys(cluster: Cluster) -> None:
    every = ("-e", "gfs_certificate_days=400", "-e", "gfs_patience_s=120")
    before = {host.name: files(host) for host in cluster.lab.hosts}
    foreseen = cluster.site.play("tls_rotate.yml", "--check", "--diff", *every)
    assert {host.name: files(host) for host in cluster.lab.hosts} == before
    with cluster.step("tls_rotate.yml: all certificates"):
        played = cluster.site.play("tls_rotate.yml", *every)
    assert {host for host, _ in played.changes} == {host for host, _ in foreseen.changes}
    assert all(files(host) != before[host.name] for host in cluster.lab.hosts)
    assert "PRIVATE KEY" not in foreseen.text + played.text
    again = cluster.site.play("tls_rotate.yml")
    assert again.changed == 0, again.text[-4000:]


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
    foreseen = cluster.site.play("replace_disk.yml", "--check", "--diff", *told)
    assert cluster.disks()["/disks/b"] == "failed"
    with cluster.step("replace_disk.yml: it is"):
        played = cluster.site.play("replace_disk.yml", *told)
    assert played.changes == foreseen.changes
    assert cluster.disks() == {"/data/disk1": "in-service", "/disks/c": "in-service"}
    again = cluster.site.play("replace_disk.yml", *told)
    assert again.changed == 0, again.text[-4000:]
    cluster.well()


def test_a_server_that_boots_starts_without_a_disk_whose_mount_fails(cluster: Cluster) -> None:
    last, unit = cluster.last, "/etc/systemd/system/disks-c.mount"
    lines = "[Unit]", "[Mount]", "What=/disks/gone.img", "Where=/disks/c", "Options=loop"
    last.run("sh", "-ec", f"printf '%s\\n' {' '.join(lines)} > $0; ln -s $0 {WANTED}", unit)
    last.halt()
    last.boot()
    last.wait()
    with cluster.step("booted, with a disk that cannot be mounted"):
        until_s = time.monotonic() + WELL_S
        while (found := cluster.disks())["/disks/c"] == "in-service":
            assert time.monotonic() < until_s, found
            time.sleep(1.0)
    assert last.run("systemctl", "is-failed", "disks-c.mount").strip() == "failed"
    assert last.run("systemctl", "is-active", "gfs-chunkserver").strip() == "active"
    assert found["/data/disk1"] == "in-service"
    last.run("rm", unit, WANTED)
    last.run("systemctl", "daemon-reload")
    last.mount("/disks/c")
    last.run("chown", "gfs:", "/disks/c")
    last.run("systemctl", "restart", "gfs-chunkserver")
    cluster.well()
    assert cluster.disks()["/disks/c"] == "in-service"


def test_the_only_disk_of_a_server_is_replaced_after_it_became_read_only(cluster: Cluster) -> None:
    last = cluster.last
    told = ("-e", f"host={last.name}", "-e", "gfs_patience_s=180")
    cluster.site.describe(last, {"gfs_disks": [{"directory": "/disks/c", "mounted": True}]})
    with cluster.step("replace_disk.yml: one disk less, which works"):
        cluster.site.play("replace_disk.yml", *told, "-e", "disk=/data/disk1")
    assert cluster.disks() == {"/disks/c": "in-service"}
    last.protect_disk("/disks/c")
    until_s = time.monotonic() + WELL_S
    while (found := cluster.disks()) == {"/disks/c": "in-service"}:
        assert time.monotonic() < until_s, found
        time.sleep(1.0)
    last.mount("/disks/d")
    cluster.site.describe(last, {"gfs_disks": [{"directory": "/disks/d", "mounted": True}]})
    with cluster.step("replace_disk.yml: the only disk is read-only"):
        cluster.site.play("replace_disk.yml", *told, "-e", "disk=/disks/c")
    assert cluster.disks() == {"/disks/d": "in-service"}
    assert last.run("systemctl", "is-active", "gfs-chunkserver").strip() == "active"
    again = cluster.site.play("replace_disk.yml", *told, "-e", "disk=/disks/c")
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
    foreseen = cluster.site.play("decommission.yml", "--check", "--diff", *told)
    assert last.run("systemctl", "is-active", "gfs-chunkserver").strip() == "active"
    with cluster.step("decommission.yml: again, with fewer copies wanted"):
        played = cluster.site.play("decommission.yml", *told)
    assert played.changes == foreseen.changes
    assert last.name not in cluster.modes()
    cluster.client.run("sh", "-ec", "gfsctl get -q /wide /root/back; cmp /root/wide /root/back")
    again = cluster.site.play("decommission.yml", *told)
    assert again.changed == 0, again.text[-4000:]
    cluster.well()

    # Still in the inventory: nobody has it back but who says so, with empty disks and new keys.
    for playbook in ("config.yml", "rolling_upgrade.yml", "scale_out.yml"):
        left = cluster.site.play(playbook, *upgrade(cluster.release))
        assert left.changed == 0 and "is left alone" in left.text, left.text[-4000:]
    back = ("-e", f"back={last.name}", "-e", f"gfs_wheelhouse={cluster.release}")
    foreseen = cluster.site.play("scale_out.yml", "--check", "--diff", *back)
    assert last.name not in cluster.modes()
    with cluster.step("scale_out.yml: it comes back"):
        played = cluster.site.play("scale_out.yml", *back)
    assert {host for host, _ in played.changes} == {host for host, _ in foreseen.changes}
    assert cluster.modes()[last.name] == "in-service"
    assert cluster.site.play("scale_out.yml", *back).changed == 0
    cluster.well()
