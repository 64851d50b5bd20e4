"""The life of a cluster on booted hosts, by playbooks, under a load that notices nothing of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from lab import Host, Lab
from lab_image import missing
from playbooks import Site, built_wheelhouse, next_wheelhouse
from story_load import Load

ADMIN = ("gfsctl", "--config", "/etc/gfs-ha/admin.toml", "--timeout", "10")
FILES = 12
FILE_BYTES = 8 << 20
WELL_S = 600.0
CUT_S = 8.0

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(
        "GFS_TEST_DEPLOY" not in os.environ, reason="`make test-deploy` boots hosts"
    ),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]


class Story:
    """A cluster of booted hosts, what was put there, and who goes on to work with it."""

    def __init__(self, lab: Lab, wheels: Path) -> None:
        self.lab = lab
        self.times: list[str] = []
        self.masters, self.servers, self.client = lab.hosts[:3], lab.hosts[3:6], lab.hosts[6]
        for number, host in enumerate(self.servers, 1):
            host.rack = f"r{number}"
        self.sums = ""
        self.load: Load | None = None
        variables = {
            "gfs_cluster_id": "lab-1",
            "gfs_master_directory": "/data/master",
            "gfs_disks": [{"directory": "/data/disk1"}],
            "gfs_settings": {"chunk_size": "1MiB", "goal": 3},
        }
        self.site = Site(lab, wheels, self._groups(), variables)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Take its time, and see that clients noticed nothing and go on."""
        began_s = time.monotonic()
        yield
        self.times.append(f"{time.monotonic() - began_s:6.0f} s  {name}")
        print(self.times[-1], flush=True)
        if self.load is not None:
            self.load.go_on()

    def regroup(self) -> None:
        """Write the inventory anew."""
        self.site.regroup(self._groups())

    def ask(self, *command: str) -> dict[str, object]:
        """Return what an operator's command answers."""
        answer = json.loads(self.masters[-1].run(*ADMIN, "-o", "json", "admin", *command))
        assert isinstance(answer, dict)
        return answer

    def put(self) -> None:
        """Put files, remember what is in them, and begin the load."""
        self.client.run(
            "sh",
            "-ec",
            f"mkdir /root/files; cd /root/files; for n in $(seq {FILES}); do"
            f" head -c {FILE_BYTES} /dev/urandom > $n; done; sha256sum * > ../sums;"
            " gfsctl put -q -r /root/files /",
            timeout_s=WELL_S,
        )
        self.load = Load(self.client)

    def compare(self) -> int:
        """Compare every byte that anybody put; return how many rounds the load did."""
        assert self.load is not None
        rounds, self.load = self.load.end(), None
        self.client.run(
            "sh",
            "-ec",
            "rm -rf /root/back; gfsctl get -q -r /files /root/back; cd /root/back;"
            " sha256sum -c --quiet ../sums",
            timeout_s=WELL_S,
        )
        return rounds

    def well(self) -> None:
        """Wait until all is well. Raises: RuntimeError with what is not."""
        until_s = time.monotonic() + WELL_S
        while True:
            try:
                self.masters[-1].run(*ADMIN, "admin", "health")
                return
            except RuntimeError:
                if time.monotonic() > until_s:
                    raise
                time.sleep(2.0)

    def cut(self, *hosts: Host) -> None:
        """Cut the power of hosts, boot them a while later, and wait until all is well."""
        for host in hosts:
            host.power_cut()
        time.sleep(CUT_S)
        for host in hosts:
            host.boot()
        for host in hosts:
            host.wait()
        self.well()

    def releases(self) -> set[str]:
        """Return the releases that the hosts run."""
        hosts = [*self.masters, *self.servers, self.client]
        return {host.run("readlink", "/opt/gfs-ha/current").strip() for host in hosts}

    def _groups(self) -> dict[str, list[Host]]:
        groups = {"masters": self.masters, "chunkservers": self.servers}
        return {**groups, "clients": [self.client]}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_wheelhouse(tmp_path_factory.mktemp("wheels"))


@pytest.fixture
def story(wheels: Path) -> Iterator[Story]:
    with Lab(7) as lab:
        story = Story(lab, wheels)
        try:
            yield story
        finally:
            print("\n".join(["", *story.times]))


def test_clients_notice_nothing_of_a_life_of_changes_and_every_byte_is_there(
    story: Story, wheels: Path, tmp_path: Path
) -> None:
    with story.step("site.yml: three masters, three chunkservers, a client"):
        assert story.site.play("site.yml").changed > 0
    with story.step("files and a load of put, get and append"):
        story.put()
    with story.step("site.yml again"):
        again = story.site.play("site.yml")
        assert again.changed == 0, again.text[-4000:]
    grow(story)
    shrink(story)
    replace_a_master(story)
    rotate(story)
    change_release(story, wheels, tmp_path)
    with story.step("a master host without power, and back"):
        story.cut(story.masters[0])
    with story.step("a rack without power, and back"):
        story.cut(*[host for host in story.servers if host.rack == "r2"])
    with story.step("every byte compared"):
        assert story.compare() > 0


def grow(story: Story) -> None:
    with story.step("scale_out.yml: two chunkservers more"):
        for rack in ("r1", "r2"):
            host = story.lab.add()
            host.rack = rack
            host.wait()
            story.servers = [*story.servers, host]
        story.regroup()
        story.site.play("scale_out.yml")
    with story.step("they are filled"):
        begun = ("rebalance", "start", "-y", "--wait", "--threshold", "1")
        story.masters[-1].run(*ADMIN, "admin", *begun, timeout_s=WELL_S)
        rows = story.ask("chunkservers", "ls")["items"]
        assert isinstance(rows, list)
        counts = {row["name"]: row["chunk_count"] for row in rows}
        assert all(counts[host.name] > FILES for host in story.servers[-2:]), counts


def shrink(story: Story) -> None:
    gone = story.servers[0]
    with story.step("decommission.yml: a chunkserver less"):
        story.site.play("decommission.yml", "-e", f"host={gone.name}")
        story.servers = story.servers[1:]
        story.regroup()
        gone.halt()
        story.well()


def replace_a_master(story: Story) -> None:
    gone = story.masters[0]
    with story.step("replace_master.yml: an empty machine for one that is gone"):
        gone.power_cut()
        host = story.lab.add()
        host.wait()
        story.masters = [*story.masters[1:], host]
        story.regroup()
        told = ("-e", f"old={gone.name}", "-e", f"new={host.name}")
        story.site.play("replace_master.yml", *told)
    again = story.site.play("replace_master.yml", *told)
    assert again.changed == 0, again.text[-4000:]


def rotate(story: Story) -> None:
    ca = str(story.site.authority)
    gfsctl = [str(Path(sys.executable).with_name("gfsctl")), "-o", "json", "admin", "tls"]
    master, server = ("master", "admin", "client"), ("chunkserver", "client")
    gone = [("h1", role) for role in master] + [("h4", role) for role in server]
    for name, role in gone:
        revoke = [*gfsctl, "revoke", "-y", name, "--role", role, "--ca", ca]
        subprocess.run(revoke, check=True, timeout=60)
    shown = subprocess.run([*gfsctl, "status", ca], capture_output=True, timeout=60)
    (old,) = [one["id"] for one in json.loads(shown.stdout)["authorities"]]
    with story.step("tls_rotate.yml: a new authority, new certificates for all"):
        story.site.play("tls_rotate.yml", "-e", f"old_authority={old}")
    again = story.site.play("tls_rotate.yml", "-e", f"old_authority={old}")
    assert again.changed == 0, again.text[-4000:]


def change_release(story: Story, wheels: Path, place: Path) -> None:
    before = story.releases()
    assert len(before) == 1
    newer = next_wheelhouse(wheels, place)
    with story.step("rolling_upgrade.yml: to the next build"):
        story.site.play("rolling_upgrade.yml", "-e", f"gfs_wheelhouse={newer}")
    after = story.releases()
    assert len(after) == 1 and after != before
    with story.step("rolling_upgrade.yml: and back"):
        story.site.play("rolling_upgrade.yml")
    assert story.releases() == before
